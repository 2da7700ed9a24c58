"""A name's generations on disk: `<root>/<name>/1`, `2`, `3`, ... Both claims and registrations are kept in one.

Guarantees: at most one process ever publishes a given generation; a generation is complete when it can be seen; numbers
only grow and are never used again; whoever dies at whatever instruction has either published or not.
Does not guarantee: durability. After a power cut the newest generations may be gone, or empty files unless `durable`.
How: the complete record is written to a private file, which is then linked (link(2), which never replaces) to the next
number. One listing afterwards makes sure that the number was new, and not one that had been used and pruned long ago. It
relies on a listing of some 20 names being one step, which getdents(2) under the directory's lock is.
Private files are called `.N-TOKEN-ATTEMPT`; whoever finds one may remove it: its maker, if it lives, makes another.
Source: exclusive creation as the one compare-and-set of all filesystems is folklore (open(2) on O_EXCL over NFS names
link); a log of numbered generations with a second look, and its proof, are in ARCHITECTURE.md.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from looop_portable.errors import Unavailable
from looop_portable.files import OS, Files
from looop_portable.lease import encode
from looop_portable.stamp import Stamp

KEEP = 16
"""How many of the newest generations stay. Part of the protocol: by it a process tells that its number had been pruned."""

_TRIES = 64
_LAST = 10**15


class Ledger:
    """The generations of all names under `root`. Records are JSON objects; `files` does what is done to the disk."""

    def __init__(self, root: str, files: Files = OS, keep: int = KEEP, durable: bool = False) -> None:
        self.root = root
        self.files = files
        self.keep = keep
        self.durable = durable
        self._shared: int | None = None
        self._stamp = Stamp(root, files)
        self._looked_at: set[str] = set()

    def head(self, key: str) -> tuple[int, bytes]:
        """The latest generation of `key` and its record; (0, b"") if it has none."""
        self._stamp.known()
        directory = f"{self.root}/{key}"
        for _ in range(_TRIES):
            try:
                if key not in self._looked_at:
                    self.files.refuse_link(directory)
                    self._looked_at.add(key)
                top = _highest(self.files.list(directory))
            except FileNotFoundError:
                top = 0
            if not top:
                return 0, b""
            data = self.files.read(f"{directory}/{top}")
            if data is not None:
                return top, data
            # It has been pruned, or withdrawn, since it was listed. So there is a newer one to be seen.
        raise Unavailable(f"{directory}: generation {top} is listed and cannot be opened; try again", directory)

    def names(self) -> list[str]:
        """Every name that ever had a generation here."""
        try:
            return [name for name in self.files.list(self.root) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def advance(self, key: str, expected: int, record: Mapping[str, object], shown_as: str = "") -> bool:
        """Publish generation `expected` + 1. False: lost to another; whatever the head says now stands.

        `shown_as`, which a lease has and a release has not, is a path that the record replaces once it is published;
        where that fails the generation stands all the same.
        """
        shared = self.shared()
        target = self._after(key, expected)
        token = self.files.token()
        public = f"{self.root}/{key}/{target}"
        data = encode({**record, "generation": target, "token": token})
        for attempt in range(_TRIES):
            private = f"{self.root}/{key}/.{target}-{token}-{attempt}"
            if not self._write(key, private, data, shared):
                continue
            published = self._publish(private, public, data)
            if published is not None:
                break
        else:
            raise Unavailable(f"{public}: its private files vanish as often as they are written; try again", public)
        won = published and self._stands(key, target, held=bool(shown_as))
        self._settle(private, shown_as if won else "")
        return won

    def repeat(self, key: str, expected: int) -> bool:
        """Publish generation `expected` + 1 as one more name of `expected`'s own record: so it says nothing new.

        A lease that stands under another number than its own is one that was let go. This needs no space on the disk:
        without it, nobody could release on a full one. There is no second look: `expected` was there to be linked, and a
        release that comes too late all the same is below the head, where nobody reads it. With one, a holder that is
        slow here would be told that it had lost what it has just released, because others have built upon it.
        Raises PermissionError where the record is another user's (see fs.protected_hardlinks in proc(5)).
        """
        self.shared()
        own, public = f"{self.root}/{key}/{expected}", f"{self.root}/{key}/{self._after(key, expected)}"
        try:
            self.files.link(own, public)
        except (FileExistsError, FileNotFoundError):
            return False  # Superseded, and if `expected` has even been pruned, long ago.
        except OSError:
            released = self.files.read(public)
            if released is None:
                raise
            if released != self.files.read(own):
                return False
        self._prune(key, expected + 1)
        return True

    def sweep(self, key: str) -> int:
        """Remove what crashed processes left of `key`: private files, and generations that should have been pruned.

        How many there were. A process that lives and loses its private file by this makes another.
        """
        directory = f"{self.root}/{key}"
        try:
            names = self.files.list(directory)
        except FileNotFoundError:
            return 0
        oldest = _highest(names) - self.keep
        useless = [name for name in _in_order(names) if name.startswith(".") or int(name) <= oldest]
        return sum(self.files.remove(f"{directory}/{name}") for name in useless)

    def sweep_root(self) -> int:
        """Remove what crashed processes left beside the names. How many there were."""
        return self._stamp.sweep()

    def forget(self, key: str) -> None:
        """Remove all of `key`, the head last. Only for a name that nobody will use again: its numbers restart."""
        directory = f"{self.root}/{key}"
        try:
            for name in _in_order(self.files.list(directory)):
                self.files.remove(f"{directory}/{name}")
            self.files.rmdir(directory)
        except FileNotFoundError:
            return

    def shared(self) -> int:
        """The permissions that new files share. The first call makes the directory and finds out that it can exclude."""
        if self._shared is None:
            self._stamp.make()
            self._shared = self.files.shared_bits(self.root)
        return self._shared

    def _write(self, key: str, private: str, data: bytes, shared: int) -> bool:
        """False: the name is taken. Only ever so by ourselves, after a lost reply, and then it may be incomplete."""
        for _ in range(2):
            try:
                self.files.create(private, data, shared=shared, durable=self.durable)
                return True
            except FileExistsError:
                return False
            except FileNotFoundError:
                self._make_directory(key, shared)
        raise Unavailable(f"{self.root}/{key}: removed by others while it was in use; try again", self.root)

    def _make_directory(self, key: str, shared: int) -> None:
        try:
            self.files.mkdir(f"{self.root}/{key}", shared=shared)
        except FileNotFoundError:  # All of it has been removed since we looked.
            self._shared, self._stamp = None, Stamp(self.root, self.files)
            self.files.mkdir(f"{self.root}/{key}", shared=self.shared())

    def _publish(self, private: str, public: str, data: bytes) -> bool | None:
        """Whether `public` is ours; None: our private file has been swept away, nothing has happened.

        After any error the deed may have been done and the reply lost, so what is published is compared with ours
        (its token makes every record unique) before anything is said.
        """
        try:
            self.files.link(private, public)
        except OSError as error:
            if self.files.read(public) == data:
                return True
            if isinstance(error, FileExistsError):
                return False
            if isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE:
                return None
            self.files.remove(private)
            raise
        return True

    def _stands(self, key: str, target: int, *, held: bool) -> bool:
        """The second look, at a generation that we have just published, and then the pruning.

        A lease stands if nothing is above it. A release may have been built upon already: it stands unless its number
        can have been pruned, which is done by whoever publishes the one that is `keep` above it.
        """
        above = self._above(target, self.files.list(f"{self.root}/{key}"))
        if above >= self.keep:
            self.files.remove(f"{self.root}/{key}/{target}")
        if above >= (1 if held else self.keep):
            return False
        self._prune(key, target)
        return True

    def _above(self, target: int, names: list[str]) -> int:
        """By how much the head exceeds `target`.

        Without this, a number that was used and pruned while we slept would be won once more.
        """
        return max(_highest(names) - target, 0)

    def _settle(self, private: str, shown_as: str) -> None:
        try:
            if shown_as:
                self.files.replace(private, shown_as)
            else:
                self.files.remove(private)
        except OSError:
            # It is decided: to fail now would deny what has happened. The reaper mends the rest.
            return

    def _prune(self, key: str, target: int) -> None:
        """One comes, one goes. What a crash leaves below that, `sweep` removes."""
        if target <= self.keep:
            return
        try:
            self.files.remove(f"{self.root}/{key}/{target - self.keep}")
        except OSError:
            # Another user's file in a sticky directory, say. It is only in the way.
            return

    def _after(self, key: str, expected: int) -> int:
        if expected >= _LAST:
            raise Unavailable(f"{self.root}/{key}: there are no numbers left after {expected}", f"{self.root}/{key}")
        return expected + 1


def _in_order(names: list[str]) -> list[str]:
    """Private files first, then generations, the oldest first; what is neither is left alone."""
    private = [name for name in names if name.startswith(".")]
    return private + sorted((name for name in names if name.isdecimal()), key=int)


def _highest(names: list[str]) -> int:
    """The highest number among the names in a directory; what is not spelled as we spell numbers is none."""
    top = max(map(int, filter(str.isdecimal, names)), default=0)
    if top and str(top) not in names:
        return max((int(name) for name in names if name.isdecimal() and str(int(name)) == name), default=0)
    return top
