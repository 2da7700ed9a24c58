"""A name's generations on disk: `<root>/<name>/1`, `2`, `3`, ... Both claims and registrations are kept in one.

Guarantees: at most one process ever publishes a given generation; a generation is complete when it can be seen; numbers
only grow and are never used again; whoever dies at whatever instruction has either published or not.
Does not guarantee: durability. After a power cut the newest generations may be gone, or empty files unless `durable`.
How: the complete record is written to a private file, which is then linked (link(2), which never replaces) to the next
number. One listing afterwards makes sure that the number was new, and not one that had been used and pruned long ago. It
relies on a listing of some 20 names being one step, which getdents(2) under the directory's lock is.
Where there are no hard links, the directory has a guard (see `stamp`). Under it the next number is created in place or, on
Windows, renamed to; neither replaces. What is seen incomplete in place is being written, or its writer has died; who holds
the guard knows that he has died. Such a generation repeats the one below it, so it says nothing new.
Source: exclusive creation as the one compare-and-set of all filesystems is folklore (open(2) on O_EXCL over NFS names
link); a log of numbered generations with a second look, and its proof, are in docs/explanation/protocol.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from looop_portable.errors import Unavailable
from looop_portable.ledger import pruning
from looop_portable.ledger.floors import STEP, Floors
from looop_portable.ledger.numbers import highest
from looop_portable.ledger.publishing import Publisher
from looop_portable.ledger.recent import NOTHING as UNKNOWN
from looop_portable.ledger.recent import Memory
from looop_portable.ledger.root import LedgerRoot
from looop_portable.ledger.spelling import Spelling
from looop_portable.ledger.stamp import Policy
from looop_portable.protocol.codec import encode, whole
from looop_portable.system.files import OS, Files

KEEP = 16
"""How many of the newest generations stay. Part of the protocol: by it a process tells that its number had been pruned."""

NOTHING = encode({"released": True})
"""What a first generation says whose writer has died before he had written it."""

_TRIES, _LAST = 64, 10**15
_POSIX = Policy("posix")


class Ledger:
    """The generations of all names under `root`. Records are JSON objects; `files` does what is done to the disk.

    `policy` is what the backend can do; how it is done, and under which guard, is what the directory's stamp says.
    """

    def __init__(
        self,
        root: str,
        files: Files = OS,
        keep: int = KEEP,
        durable: bool = False,
        policy: Policy = _POSIX,
        *,
        floors: bool = False,
    ) -> None:
        self.root = root
        self.files = files
        self.keep = keep
        self.ledger_root = LedgerRoot(root, files, policy)
        self.spelling = Spelling(self.ledger_root, files)
        self.floors = Floors(self.ledger_root, files, on=floors)
        self._publisher = Publisher(self.ledger_root, files, durable, self.floors.make_directory)
        self._looked_at: set[str] = set()
        self.recent = Memory()

    def head(self, key: str) -> tuple[int, bytes]:
        """The latest generation of `key` and its record; (0, b"") if it has none."""
        stamped = self.ledger_root.format()
        top, data = self._head(key)
        recent = self.recent.get(key, UNKNOWN)
        if recent.released[0] or recent.alone:
            recent.alone = recent.released[0] == top
        if stamped is None or stamped.links or not top or whole(data):
            return top, data
        with self.ledger_root.guard():
            top, data = self._head(key)
            return top, self._that_counts(key, top, data)

    def record(self, key: str, generation: int) -> bytes | None:
        """What counts as the record of `generation`, inside the guard; None: it is not there. Raises OSError."""
        data, stamped = self.files.read(f"{self.root}/{key}/{generation}"), self.ledger_root.format()
        return data if data is None or stamped is None or stamped.links else self._that_counts(key, generation, data)

    def _that_counts(self, key: str, generation: int, data: bytes) -> bytes:
        """The record that counts. A generation whose writer died before it was whole repeats the one below it."""
        while generation and not whole(data):
            generation -= 1
            data = self.files.read(f"{self.root}/{key}/{generation}") or b"" if generation else NOTHING
        return data

    def _head(self, key: str) -> tuple[int, bytes]:
        directory = f"{self.root}/{key}"
        for _ in range(_TRIES):
            try:
                if key not in self._looked_at:
                    self.files.refuse_link(directory)
                    self._looked_at.add(key)
                top = highest(self.files.list(directory))
            except FileNotFoundError:
                top = 0
                if key in self._looked_at:
                    self._look_anew(key)
            if not top:
                if (floor := self.floors.of(key)) < 0:
                    continue
                return floor, NOTHING if floor else b""
            data = self.files.read(f"{directory}/{top}")
            if data is not None:  # Else it was removed since it was listed, and there is a newer one to be seen.
                if pruning.SAYS_SO in data:
                    self.floors.see(key, top, data)
                return top, data
        raise Unavailable(f"{directory}: generation {top} is listed and cannot be opened; try again", directory)

    def recall(self, key: str) -> int:
        """The generation of this process's own last release of `key`, if it is probably still the head; else 0.

        It may be out of date, since nothing is listed. Advancing from it then fails, as for any stale reader: see
        docs/explanation/protocol.md, "Why it is safe", 7. The record is read: its nonce differs where another directory
        was made in this one's place. 0 after somebody else's turn: the next one is not guessed.
        """
        recent = self.recent.get(key, UNKNOWN)
        generation, data = recent.released
        if not (generation and recent.alone):
            return 0
        recent.released = 0, b""
        if self.files.read(f"{self.root}/{key}/{generation}") == data:
            return generation
        self._look_anew(key)
        return 0

    def is_as_published(self, key: str, generation: int) -> bool:
        """Whether `generation`, if this process has published it, is the record that it was, and not another store's."""
        published, data = self.recent.get(key, UNKNOWN).published
        if published != generation or not data or self.files.read(f"{self.root}/{key}/{generation}") == data:
            return True
        self._look_anew(key)
        return False

    def _look_anew(self, key: str) -> None:
        """Forget what this process saw: all of it may have been removed and made anew in another format."""
        self._looked_at.discard(key)
        self.recent.pop(key, None)
        self.ledger_root.start_anew()

    def names(self) -> list[str]:
        """Every name that ever had a generation here."""
        try:
            names = self.files.list(self.root)
        except FileNotFoundError:
            return []
        return [name for name in names if not name.startswith(".") and not self.spelling.is_none(name)]

    def advance(
        self, key: str, expected: int, record: Mapping[str, object], shown_as: str = "", first: bool = False
    ) -> bool:
        """Publish generation `expected` + 1. False: lost to another; whatever the head says now stands.

        `shown_as`, which a lease has and a release has not, is a path that the record replaces once it is published;
        where that fails the generation stands all the same. With a guard the failure is raised: a lease that is not shown
        there counts as released. `first`: it replaces nothing; if a file is there, ours is lost, and released.
        Raises FileNotFoundError if all of it was removed and made anew in another format: then look again.
        """
        self.ledger_root.shared()
        stamped = self.ledger_root.make()
        try:
            return self._advance(key, expected, record, shown_as, first)
        except FileNotFoundError:
            if self.floors.is_all_else_there():
                return False
            if not self.ledger_root.may_repeat() or self.ledger_root.make() != stamped:
                raise
        return self._advance(key, expected, record, shown_as, first)

    def _advance(self, key: str, expected: int, record: Mapping[str, object], shown_as: str, first: bool) -> bool:
        if self.ledger_root.shared():
            self.ledger_root.refuse_links(key)
        target = self._after(key, expected)
        nonce = self.files.nonce()
        data = encode({**record, "generation": target, "token": nonce})
        with self.ledger_root.guard():
            stamped = self.ledger_root.make()
            if (self.floors.begins or self.floors.ends) and not self.floors.begin(key, expected):
                return self.ledger_root.lost()
            if target > 1 and not (target & (target - 1) and target % STEP):  # Of most there is nothing to be written.
                self.floors.rise(key, target)
            private = self._publisher.publish(key, target, nonce, data, stamped)
            admitted = private is not None and (target > 1 or self.floors.admit(key, target))
            won = (admitted and self._stands(key, target, held=bool(shown_as))) or self.ledger_root.lost()
            if won and shown_as:
                recent = self.recent[key]
                recent.published, recent.released = (target, data), (0, b"")
            try:
                if won and shown_as:
                    self._publisher.show(key, target, nonce, data, private or "", shown_as, first)
                elif private:
                    self.files.remove(private)
            except FileExistsError:
                self.release(key, target)
                return False
            except (OSError, Unavailable):  # It is decided: to fail now would deny it. The reaper mends the rest.
                if won and shown_as and stamped.guard:
                    raise
            return won

    def release(self, key: str, expected: int, *, moves: bool = False) -> bool:
        """Publish generation `expected` + 1, which says that `expected`'s lease was released. False: superseded.

        The release is one more name of the lease's own record: a record under another number than its own says "released".
        It needs no space, so it works on a full disk. Where records keep one name, it is a record of its own.
        There is no second look: `expected` was there and numbers are pruned from below, so the next number cannot have been
        used and pruned. A release that arrives late, after a break and sixteen more generations, may be answered with True.
        `moves`: others publish while the holder lives, who shares the claim. Then he looks whether the head is far above.
        Raises PermissionError where the record is another user's (see fs.protected_hardlinks in proc(5)).
        """
        if self.ledger_root.shared():
            self.ledger_root.refuse_links(key)
        target = self._after(key, expected)
        if not (target & (target - 1) and target % STEP):
            self.floors.rise(key, target)
        recent = self.recent.get(key, UNKNOWN)
        if self.ledger_root.make().aliases:
            released = self._publisher.link_own(f"{self.root}/{key}/{expected}", f"{self.root}/{key}/{target}")
            if released and recent.published[0] == expected:
                recent.released = target, recent.published[1]
        else:
            released = self._publisher.publish_release(key, expected, target)
        if released and moves and self._above(target, self.files.list(f"{self.root}/{key}")) >= self.keep:
            self.files.remove(f"{self.root}/{key}/{target}")
            released, recent.released = False, (0, b"")
        if released:
            self._prune(key, target, missing=recent.pruned == target - self.keep - 1)
        return released

    def keep_young(self, key: str, older: float) -> None:
        """The head of `key`, if it is older than so many seconds: see `youth`."""
        with contextlib.suppress(OSError):  # There is nothing.
            self.files.keep_young(f"{self.root}/{key}/{highest(self.files.list(f'{self.root}/{key}'))}", older)

    def sweep(self, key: str) -> int:
        """Remove what crashed processes left of `key`. How many there were. One that lives makes its private file anew."""
        return pruning.sweep(self.files, self.root, key, self.keep)

    def sweep_root(self) -> int:
        """Remove what crashed processes left beside the names. How many there were."""
        return self.floors.sweep() + self.ledger_root.sweep()

    def forget(self, key: str) -> None:
        """Remove all of `key`, the head last. Only for a name that nobody will use again: its numbers restart."""
        pruning.forget(self.files, self.root, key)

    def _stands(self, key: str, target: int, *, held: bool) -> bool:
        """The second look, at a generation that we have just published, and then the pruning.

        A lease stands if nothing is above it. A release may already have been built upon: it stands unless its number can
        have been pruned, by the writer of the generation that is `keep` above it. The generation below must be there. Else
        a writer whose directory was removed and made anew would become its head, above its holder.
        """
        names = self.files.list(f"{self.root}/{key}")
        above = self._above(target, names)
        elsewhere = str(target - 1) not in names and (target > 1 or not names) and self.floors.are_missed(target, names)
        if above >= self.keep or elsewhere:
            self.files.remove(f"{self.root}/{key}/{target}")
        if above >= (1 if held else self.keep) or elsewhere:
            return False
        if self._prune(key, target, missing=str(target - self.keep - 1) not in names) and held:
            self.recent[key].pruned = target - self.keep
        return True

    def _above(self, target: int, names: list[str]) -> int:
        """By how much the head exceeds `target`. A number that was pruned while we slept would otherwise be won again."""
        return max(highest(names) - target, 0)

    def _prune(self, key: str, target: int, *, missing: bool) -> bool:
        """One comes, one goes, and never before the one below it: to `release`, that one shows that its number is new.

        `missing`: the one below it is known to be gone. What a crash leaves below, `sweep` removes. False: it was in vain.
        """
        last = target - self.keep
        if last <= 0:
            return False
        try:
            if self.ledger_root.shared():
                pruning.prune_together(self.files, self.root, key, last)
                return False
            if last > 1 and not missing:
                self.files.remove(f"{self.root}/{key}/{last - 1}")
            self.files.remove(f"{self.root}/{key}/{last}")
        except OSError:  # Another user's file in a sticky directory, say. It is only in the way.
            return False
        return True

    def _after(self, key: str, expected: int) -> int:
        if expected >= _LAST:
            raise Unavailable(f"{self.root}/{key}: there are no numbers left after {expected}", f"{self.root}/{key}")
        return expected + 1
