"""`.ledger/.floors`: above which number a name goes on whose generations have all been removed.

Numbers that begin again at 1 are a danger: a resource that has seen a greater one would refuse the new holder, and accept
the old one.

Guarantees: as long as that file is there, a name's numbers are never used again, whatever removes its directory.
Does not guarantee: that a new name begins at 1 where there are many thousands (see `growing`). Nor anything after a
power cut, on a full disk, or of whoever may write in a name's directory and not in that file; or where a directory is
removed in the very moment in which its name is claimed, or record by record, so that lower numbers are left.
How: the writer of one of the numbers 1, 2, 4, 8, ..., 1024, 2048, 3072, ... first raises the floor to the number before the
next of them. Other writers need not raise it. The floor is read only where a name has no generation. Then the directory is
made with a released generation in it, the floor, and renamed into place. The rename fails where another directory has a
generation. So a process that begins at 1 and one that begins above the floor cannot both win.
"""

from __future__ import annotations

import contextlib

from looop_portable.ledger.numbers import highest
from looop_portable.ledger.root import FLOORS, LedgerRoot
from looop_portable.protocol.codec import encode
from looop_portable.system.files import PRIVATE_DIRECTORY, Files
from looop_portable.system.files.rooms import clear
from looop_portable.system.opening.ours import DIRECTORY, GENERATION, RECORD, those

_PRIME = 2**64 - 59
"""The greatest with which a mark has eight bytes: two names have the same one by a chance of 1 in 10**19."""

STEP = 1024
_TRIES = 8


class Floors:
    """The floors of the names in a ledger. `on`: whether there are any."""

    def __init__(self, ledger_root: LedgerRoot, files: Files, *, on: bool) -> None:
        self._root = ledger_root.root
        self._path = f"{ledger_root.root}/{FLOORS}"
        self._ledger_root = ledger_root
        self._files = files
        self.on = on
        self.begins: dict[str, int] = {}
        """Of names that were found without generations: the floor that they have to be begun from."""

    def of(self, key: str) -> int:
        """The number from which `key`, which has no generation, has to go on; 0: it is new."""
        floor = self._files.floor(self._path, _mark(key)) if self.on else 0
        if floor:
            self.begins[key] = floor
        return floor

    def rise(self, key: str, generation: int) -> bool:
        """`generation` is being published. False: the floor was as high already.

        Where that cannot be written down, it is published all the same.
        """
        if self.on and (number := ceiling(generation)):
            with contextlib.suppress(OSError):
                return self._files.raise_floor(self._path, _mark(key), number, shared=self._ledger_root.shared())
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
        return highest(names) == target and (self.on or below)

    def begin(self, key: str, generation: int) -> bool:
        """If `key` has to be begun from `generation`, that is there, and released. False: another has begun it."""
        if self.begins.pop(key, 0) != generation:
            return True
        private, directory = f"{self._root}/{PRIVATE_DIRECTORY}{self._files.nonce()}", f"{self._root}/{key}"
        shared = self._ledger_root.shared()
        self._files.mkdir(private, shared=shared)
        try:
            record = encode({"released": True, "generation": generation})
            self._files.create(f"{private}/{generation}", record, shared=shared)
            if not self._rename(private, directory):
                return False
        finally:
            with contextlib.suppress(OSError):  # It has been renamed.
                self._files.remove(f"{private}/{generation}")
                self._files.rmdir(private)
        if self._files.floor(self._path, _mark(key)) == generation:
            return True
        self._files.remove(f"{directory}/{generation}")  # It was begun from there before, and removed again meanwhile.
        return False

    def sweep(self) -> int:
        """Remove what crashed processes were about to begin from. How many there were."""
        if not self.on:
            return 0
        found = 0
        with contextlib.suppress(OSError):  # There is nothing; or its maker has renamed it: another time.
            for name in those(self._files.list(self._root), DIRECTORY):
                with contextlib.suppress(OSError), self._files.room(f"{self._root}/{name}", 2) as room:
                    found += clear(room, those(room.names(), GENERATION))
        return found

    def _rename(self, private: str, directory: str) -> bool:
        """Whether it could be: not over a directory in which there is a generation.

        Whoever has but a private file there makes another, and comes to publish below ours.
        """
        for again in range(_TRIES):
            with contextlib.suppress(OSError):  # Where there is none, or one that is not empty. POSIX would replace it.
                self._files.rmdir(directory)
            try:
                self._files.replace(private, directory)
            except FileNotFoundError:
                return False  # A reaper has swept it.
            except OSError:
                names = self._files.list(directory)
                if highest(names):
                    return False
                if again == _TRIES - 1:
                    raise
                with self._files.room(directory, 2) as room:
                    clear(room, those(names, RECORD))
            else:
                return True
        raise AssertionError("unreachable")


def ceiling(generation: int) -> int:
    """To where the floor has to be raised before `generation` is published; 0: that was done with an earlier one."""
    if generation >= STEP:
        return 0 if generation % STEP else generation + STEP - 1
    return 0 if generation & (generation - 1) else 2 * generation - 1


def _mark(key: str) -> int:
    return int.from_bytes(key.encode(errors="surrogatepass"), "little") % _PRIME + 1
