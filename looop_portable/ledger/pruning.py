"""What is removed of a name's generations: what has been superseded, what crashes left, or all of it.

Guarantees: only what has exactly a name that we make, and only in the directory that is really there: see `rooms`. No name
that is pruned begins again at a number that it had, and none is pruned that somebody holds, whatever races or crashes.
Does not guarantee: the latter to processes of versions that know nothing of pruning.
How: `.ledger/.pruned/N` is a directory; N is the common floor, above which every name goes on that has no generations. It
is raised by renaming that directory. A name's directory is made as `.pruned/N/N-NONCE`, and renamed into place. Who raises
the floor takes away what was staged below a lower one. So who goes by an old floor makes nothing.
To prune a name is to publish one more released generation, which `ends` with an empty directory `.end-NONCE`, and then to
rename the name's directory into that. Nobody builds upon such a generation before he has removed `.end-NONCE`. rmdir(2) and
rename(2) exclude each other, also where a path was looked up before: of both only one succeeds.
"""

from __future__ import annotations

import contextlib
import errno

from looop_portable.errors import Unavailable
from looop_portable.ledger.numbers import highest, in_order
from looop_portable.ledger.root import COMMON, FLOORS, LedgerRoot
from looop_portable.system.files import PRIVATE_DIRECTORY, Files
from looop_portable.system.files.rooms import clear
from looop_portable.system.opening.ours import DIRECTORY, END, STAGED, those

ENDS = "ends"
"""In a released record: the nonce of the directory into which that of the name may be renamed."""

SAYS_SO = b'"ends"'
"""In the bytes of such a record."""

_TOGETHER, _TRIES = 8, 64
_END, _TAKEN = ".end-", "taken"
_ALL = 2**64 - 58
"""The mark of the common floor in the file of floors, which no name has: there it is written down once more."""


class Common:
    """The common floor: see above. Without any, it is 0."""

    def __init__(self, ledger_root: LedgerRoot, files: Files) -> None:
        self._root = ledger_root.root
        self.directory = COMMON
        self._path = f"{ledger_root.root}/{COMMON}"
        self._ledger_root = ledger_root
        self._files = files

    def number(self) -> int:
        """The floor."""
        try:
            return highest(self._files.list(self._path))
        except FileNotFoundError:
            return 0

    def rise(self, least: int) -> None:
        """The floor is `least`, or more. What was staged below a lower one is gone."""
        for _ in range(_TRIES):
            now = self.number()
            if now >= least:
                with contextlib.suppress(FileNotFoundError):  # It has been raised since.
                    self._clear_below(now, least)
                    return
                continue
            shared = self._ledger_root.shared()
            with contextlib.suppress(OSError):  # It counts only where this directory is removed.
                self._files.raise_floor(f"{self._root}/{FLOORS}", _ALL, least, shared=shared)
            try:
                self._files.replace(f"{self._path}/{now}", f"{self._path}/{least}")
            except FileNotFoundError:
                if not now:
                    self._make(shared)
        raise Unavailable(f"{self._path}: renamed by others as often as it is looked at; try again", self._path)

    def _clear_below(self, now: int, least: int) -> None:
        """Whoever is about to rename one of those into place may have looked its path up before the floor was raised."""
        for name in self._files.list(f"{self._path}/{now}"):
            floor = name.partition("-")[0]
            if floor.isdecimal() and int(floor) < least:
                self._remove(f"{self._path}/{now}", name)

    def stage(self, floor: int, shared: int) -> str:
        """A new directory, to be renamed as long as `floor` is the floor. FileNotFoundError: it is not."""
        path = f"{self._path}/{floor}/{floor}-{self._files.nonce()}"
        try:
            self._files.mkdir(path, shared=shared)
        except FileNotFoundError:
            if floor:
                raise
            self._make(shared)
            self._files.mkdir(path, shared=shared)
        return path

    def announce(self) -> str:
        """A new `.end-NONCE`: its nonce."""
        nonce = self._files.nonce()
        self._files.mkdir(f"{self._root}/{_END}{nonce}", shared=self._ledger_root.shared())
        return nonce

    def take_away(self, key: str, nonce: str) -> None:
        """Rename the directory of `key` into `.end-NONCE`. FileNotFoundError: somebody has removed that."""
        self._files.replace(f"{self._root}/{key}", f"{self._root}/{_END}{nonce}/{_TAKEN}")

    def void(self, nonce: str) -> bool:
        """Whether nothing was, or will be, renamed into `.end-NONCE`."""
        try:
            self._files.rmdir(f"{self._root}/{_END}{nonce}")
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
        return True

    def remove(self, nonce: str) -> None:
        """Remove `.end-NONCE` with what was taken away. Raises OSError where there is something else in that."""
        directory = f"{_END}{nonce}"
        with contextlib.suppress(FileNotFoundError):
            with self._files.room(f"{self._root}/{directory}/{_TAKEN}", 3) as room:
                clear(room, in_order(room.names()))
            with self._files.room(f"{self._root}/{directory}", 2) as room:
                room.rmdir(_TAKEN)
        with contextlib.suppress(FileNotFoundError), self._files.room(self._root, 1) as room:
            room.rmdir(directory)

    def sweep(self, names: list[str]) -> int:
        """Remove what crashed processes left, of `names`, which are all in the ledger's directory. How many there were."""
        found = 0
        for name in those(names, END):
            with contextlib.suppress(OSError):  # There is something in it by now, or not any more: another time.
                self.remove(name.removeprefix(_END))
                found += 1
        if COMMON not in names:
            return found
        with contextlib.suppress(OSError):
            room = f"{self._path}/{self.number()}"
            for name in those(self._files.list(room), STAGED, DIRECTORY):
                with contextlib.suppress(OSError):
                    self._remove(room, name)
                    found += 1
        return found

    def _remove(self, room: str, name: str) -> None:
        """Remove what somebody has staged. It is renamed first: he would rename a part of it, while it is being removed."""
        private = f"{PRIVATE_DIRECTORY}{self._files.nonce()}"
        self._files.replace(f"{room}/{name}", f"{room}/{private}")
        with self._files.room(f"{room}/{private}", 3) as inner:
            clear(inner, in_order(inner.names()))
        with self._files.room(room, 2) as outer:
            outer.rmdir(private)

    def _is_there(self) -> bool:
        try:
            return bool(self._files.list(self._path))
        except FileNotFoundError:
            return False

    def _make(self, shared: int) -> None:
        """There is a floor: as it was written down, or 0."""
        private = f"{self._root}/{PRIVATE_DIRECTORY}{self._files.nonce()}"
        self._files.mkdir(private, shared=shared)
        floor = self._files.floor(f"{self._root}/{FLOORS}", _ALL)
        try:
            self._files.mkdir(f"{private}/{floor}", shared=shared)
            with contextlib.suppress(OSError):  # It is empty, if somebody cleans up here.
                self._files.rmdir(self._path)
            self._files.replace(private, self._path)
        except OSError as error:
            if isinstance(error, FileNotFoundError) or not self._is_there():
                raise
        finally:
            with contextlib.suppress(OSError):  # It has been renamed.
                self._files.rmdir(f"{private}/{floor}")
                self._files.rmdir(private)


def sweep(files: Files, root: str, key: str, keep: int) -> int:
    """Private files, and generations that should have been pruned. How many there were."""
    try:
        with files.room(f"{root}/{key}", 2) as room:
            names = room.names()
            oldest = highest(names) - keep
            return clear(room, (name for name in in_order(names) if name.startswith(".") or int(name) <= oldest))
    except FileNotFoundError:
        return 0


def forget(files: Files, root: str, key: str) -> None:
    """All of it, the head last."""
    try:
        with files.room(f"{root}/{key}", 2) as room:
            clear(room, in_order(room.names()))
        with files.room(root, 1) as room:
            room.rmdir(key)
    except FileNotFoundError:
        return


def prune_together(files: Files, root: str, key: str, last: int) -> None:
    """All generations up to `last`, from below, each eighth time: where others could have planted a link meanwhile.

    To open the directories on the way costs more than removing one file of known name, which is done elsewhere.
    """
    if last % _TOGETHER == 0:
        with files.room(f"{root}/{key}", 2) as room:
            clear(room, (name for name in in_order(room.names()) if not name.startswith(".") and int(name) <= last))
