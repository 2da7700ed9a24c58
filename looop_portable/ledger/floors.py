"""Above which number a name goes on whose generations have all been removed: `.ledger/.floors`, a number for each name, and
`.ledger/.pruned/N`, one for all: see `pruning`.

Numbers that begin again at 1 are a danger: a resource that has seen a greater one would refuse the new holder, and accept
the old one.

Guarantees: as long as that file is there, a name's numbers are never used again, whatever removes its directory.
Does not guarantee: that a new name begins at 1 where there are many thousands (see `growing`), or once names were pruned.
Nor, of what others than `looop prune` remove, anything after a power cut, on a full disk, or of whoever may write in a
name's directory and not in that file; or where a directory is removed in the very moment in which its name is claimed, or
record by record, so that lower numbers are left.
How: the writer of one of the numbers 1, 2, 4, 8, ..., 1024, 2048, 3072, ... first raises the name's floor to the number
before the next of them. Other writers need not raise it. Floors are read only where a name has no generation. Then the
directory is made with a released generation in it, the floor, and renamed into place. The rename fails where another
directory has a generation. So a process that begins at 1 and one that begins above the floor cannot both win.
"""

from __future__ import annotations

import contextlib
import errno

from looop_portable.ledger.numbers import highest
from looop_portable.ledger.pruning import ENDS, Common
from looop_portable.ledger.root import FLOORS, LedgerRoot
from looop_portable.protocol.codec import decode, encode, text
from looop_portable.system.files import Files
from looop_portable.system.files.rooms import clear
from looop_portable.system.opening.ours import DIRECTORY, GENERATION, RECORD, is_nonce, those

_PRIME = 2**64 - 59
"""The greatest with which a mark has eight bytes: two names have the same one by a chance of 1 in 10**19."""

STEP = 1024
_TRIES, _MOST = 8, 10_000


class Floors:
    """The floors of the names in a ledger. `on`: whether there are any."""

    def __init__(self, ledger_root: LedgerRoot, files: Files, *, on: bool) -> None:
        self._root = ledger_root.root
        self._path = f"{ledger_root.root}/{FLOORS}"
        self._ledger_root = ledger_root
        self._files = files
        self.on = on
        self.common = Common(ledger_root, files)
        self.begins: dict[str, tuple[int, int]] = {}
        """Of names that were found without generations: the floor that they have to be begun from, and the common one."""
        self.ends: dict[tuple[str, int], str] = {}
        """Of names and generations that nobody may build upon: with what they end."""

    def of(self, key: str) -> int:
        """The number from which `key`, which has no generation, has to go on; 0: it is new; -1: it has some by now.

        Without the latter a reader would be shown a floor that was raised since, and afterwards a lower number.
        """
        if not self.on:
            return 0
        common = self.common.number()  # First: see `begin`.
        floor = max(common, self._files.floor(self._path, _mark(key)))
        if floor:
            if highest(self.names(key)):
                return -1
            if len(self.begins) >= _MOST:
                self.begins.clear()  # Whoever needs it is told that he has lost, and looks again.
            self.begins[key] = floor, common
        return floor

    def names(self, key: str) -> list[str]:
        """What is in the directory of `key`, if there is one."""
        try:
            return self._files.list(f"{self._root}/{key}")
        except FileNotFoundError:
            return []

    def is_all_else_there(self) -> bool:
        """Whether a name's directory that is missing was pruned, and not all of it removed."""
        try:
            self._files.refuse_link(self._root)
        except FileNotFoundError:
            return False
        return self.on

    def see(self, key: str, generation: int, data: bytes) -> None:
        """`data` is the head of `key`. Its directory may be about to be taken away: see `pruning`."""
        record = decode(data)
        if "released" in record and is_nonce(nonce := text(record, ENDS)):
            self.ends[key, generation] = nonce

    def rise(self, key: str, generation: int) -> bool:
        """`generation` is being published. False: the floor was as high already.

        Where that cannot be written down, it is published all the same.
        """
        return not (self.on and (floor := ceiling(generation))) or self._rise(key, floor)

    def _rise(self, key: str, floor: int) -> bool:
        with contextlib.suppress(OSError):
            return self._files.raise_floor(self._path, _mark(key), floor, shared=self._ledger_root.shared())
        return True

    def admit(self, key: str, generation: int) -> bool:
        """Whether a first generation, which has been published, is none that was used before its name was removed.

        It raises the floor only now: who sees a floor and no generation would begin above it.
        """
        if self.rise(key, generation):
            return True
        self._files.remove(f"{self._root}/{key}/{generation}")
        return False

    def are_missed(self, target: int, names: list[str]) -> bool:
        """Whether what `target` was built upon is not there because the directory was made anew: see `Ledger`."""
        below = any(name.isdecimal() and int(name) < target for name in names)
        return highest(names) <= target and (self.on or below)

    def begin(self, key: str, generation: int) -> bool:
        """Before something is built upon `generation`, which was found at the head. False: look again.

        If `key` has to be begun from it, it is there then, and released. If its directory was about to be taken away, it is
        not any more, or was.
        """
        if nonce := self.ends.get((key, generation)):
            stays = self.common.void(nonce)
            self.ends.pop((key, generation), None)  # Not before: another thread may be about to build upon it, too.
            if not stays:
                return False
        found, common = self.begins.pop(key, (-1, 0))
        return found != generation or self._begin(key, generation, common)

    def _begin(self, key: str, floor: int, common: int) -> bool:
        """As long as `common` is that floor no name was pruned above it; then what was staged by it has lost its path."""
        shared = self._ledger_root.shared()
        try:
            staged = self.common.stage(common, shared)
        except FileNotFoundError:
            return False
        try:
            self._files.create(f"{staged}/{floor}", encode({"released": True, "generation": floor}), shared=shared)
            if floor > common and self._files.floor(self._path, _mark(key)) != floor:
                return False  # It was begun from there before, and removed again meanwhile. By hand.
            if not self._rename(staged, f"{self._root}/{key}"):
                return False
        except FileNotFoundError:
            return False
        finally:
            with contextlib.suppress(OSError):  # It has been renamed.
                self._files.remove(f"{staged}/{floor}")
                self._files.rmdir(staged)
        if floor == common:  # Not before: a reader who finds no generation would be shown that.
            self._rise(key, _next_ceiling(floor))
        return True

    def make_directory(self, key: str, target: int, shared: int) -> None:
        """`key` has a directory, in which `target` is about to be published. Raises FileExistsError where that was used.

        And FileNotFoundError where all of it has been removed.
        """
        directory = f"{self._root}/{key}"
        if not self.on:
            self._files.mkdir(directory, shared=shared)
            return
        try:
            if target == 1:
                self._stage_empty(directory, shared)
                return
        except FileNotFoundError:
            pass
        self._files.refuse_link(self._root)
        raise FileExistsError(errno.EEXIST, "it has been pruned meanwhile", directory)

    def _stage_empty(self, directory: str, shared: int) -> None:
        """FileNotFoundError: names have been pruned, or all of it has been removed."""
        staged = self.common.stage(0, shared)
        try:
            self._files.replace(staged, directory)
        except OSError as error:
            self._names_in(directory, error)
        finally:
            with contextlib.suppress(OSError):  # It has been renamed.
                self._files.rmdir(staged)

    def sweep(self) -> int:
        """Remove what crashed processes were about to begin from, or had taken away. How many there were."""
        if not self.on:
            return 0
        found = 0
        with contextlib.suppress(OSError):  # There is nothing; or its maker has renamed it: another time.
            names = self._files.list(self._root)
            found += self.common.sweep(names)
            for name in those(names, DIRECTORY):
                with contextlib.suppress(OSError), self._files.room(f"{self._root}/{name}", 2) as room:
                    for floor in filter(str.isdecimal, room.names()):  # A directory, of whoever made the common floor.
                        with contextlib.suppress(OSError):
                            room.rmdir(floor)
                    found += clear(room, those(room.names(), GENERATION))
        return found

    def _rename(self, staged: str, directory: str) -> bool:
        """Whether it could be: not over a directory in which there is a generation.

        Whoever has but a private file there makes another, and comes to publish below ours.
        """
        for again in range(_TRIES):
            with contextlib.suppress(OSError):  # Where there is none, or one that is not empty. POSIX would replace it.
                self._files.rmdir(directory)
            try:
                self._files.replace(staged, directory)
            except OSError as error:
                names = self._names_in(directory, error)
                if highest(names):
                    return False
                if again == _TRIES - 1:
                    raise
                with self._files.room(directory, 2) as room:
                    clear(room, those(names, RECORD))
            else:
                return True
        raise AssertionError("unreachable")

    def _names_in(self, directory: str, error: OSError) -> list[str]:
        """What is in `directory`, over which nothing could be renamed. Raises the `error` if it was another."""
        if isinstance(error, FileNotFoundError):
            raise error  # What was to be renamed is gone.
        try:
            return self._files.list(directory)
        except FileNotFoundError:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                return []  # It has been pruned since.
            raise error from None


def ceiling(generation: int) -> int:
    """To where the floor has to be raised before `generation` is published; 0: that was done with an earlier one."""
    if generation >= STEP:
        return 0 if generation % STEP else generation + STEP - 1
    return 0 if generation & (generation - 1) else 2 * generation - 1


def _next_ceiling(floor: int) -> int:
    """To where it has to be raised before what comes next after `floor` is published, which need not be one of those."""
    return (1 << (floor + 1).bit_length()) - 1 if floor + 1 < STEP else (floor + 1) // STEP * STEP + STEP - 1


def _mark(key: str) -> int:
    return int.from_bytes(key.encode(errors="surrogatepass"), "little") % _PRIME + 1
