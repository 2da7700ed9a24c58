"""Faults at filesystem calls: the n-th call that a verb makes in a store fails, or is the last one of its process.

Does not see: what is opened by other means than `os` and `fcntl` (inotify), and what is outside of the store.
How: the functions of `os` and `fcntl` are replaced in a process of its own, a fork, which ends afterwards. Calls are
counted while `Injector.counting`; those of the harness come before or after, or while it is paused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

BEFORE, AFTER = "before", "after"
"""The call fails, and nothing was done; or all was done, and the reply was lost."""
TORN, SHORT = "torn", "short"
"""Half was written, and the call fails; or half was written, or read, and that is what the call says."""
KILLED_BEFORE, KILLED_AFTER = "killed before", "killed after"
SWEPT = "swept"
"""A private file was removed by somebody's reaper just before the call."""
RIVAL = "rival"
"""Another session comes just before the call, breaks the claim if it is held, and claims it."""
ONWARD, FULL = "onward", "full"
"""From this call on every call fails with EIO; or each that needs room fails with ENOSPC."""

_READING = ("read", "listdir", "scandir", "stat", "lstat", "fstat", "lseek")
_LOCKING = ("flock", "lockf", "fcntl")
_CHANGING = ("open", "write", "link", "rename", "replace", "unlink", "mkdir", "rmdir", "utime", "fsync", "chmod")
_CHANGING_OTHERWISE = ("fchmod", "fchown", "ftruncate", "close")
_OF_OS = (*_READING, *_CHANGING, *_CHANGING_OTHERWISE)
_ANY = (errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE, errno.EINTR)
_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_REPEATED = {
    "link": errno.EEXIST,
    "mkdir": errno.EEXIST,
    "open": errno.EEXIST,
    "unlink": errno.ENOENT,
    "rename": errno.ENOENT,
    "replace": errno.ENOENT,
    "rmdir": errno.ENOENT,
}
"""What a network filesystem says whose first reply was lost, and which has sent the call once more."""


class Call(NamedTuple):
    """One filesystem call, as it was counted. `makes`: it creates a file. `private`: of a file of one process's own."""

    name: str
    path: str
    makes: bool = False
    private: bool = False
    size: int = 0


class Fault(NamedTuple):
    """What happens at call number `at`; 0: nothing ever."""

    at: int
    kind: str = BEFORE
    error: int = 0

    def __str__(self) -> str:
        return f"call {self.at}: {self.kind}" + (f" {errno.errorcode[self.error]}" if self.error else "")


NONE = Fault(0)


def faults_at(at: int, call: Call) -> Iterator[Fault]:
    """All that can happen at a call."""
    yield from (Fault(at, BEFORE, error) for error in _before(call))
    yield from (Fault(at, AFTER, error) for error in _after(call))
    if call.name == "write" and call.size > 1:
        yield from (Fault(at, TORN, error) for error in (errno.EIO, errno.ENOSPC))
    if call.name in ("read", "write") and call.size > 1:
        yield Fault(at, SHORT)
    if call.private and call.name in ("open", "link", "unlink", "replace", "rename") and not call.makes:
        yield Fault(at, SWEPT)
    yield Fault(at, RIVAL)
    yield Fault(at, ONWARD, errno.EIO)
    if _needs_room(call):
        yield Fault(at, FULL, errno.ENOSPC)
    if call.name in _CHANGING:
        yield from (Fault(at, KILLED_BEFORE), Fault(at, KILLED_AFTER))


def _before(call: Call) -> tuple[int, ...]:
    if call.name == "close":
        return ()  # It releases the descriptor, whatever it says.
    if call.name in ("listdir", "scandir"):
        return (*_ANY, errno.EMFILE)
    if call.name in _READING or call.name in _LOCKING:
        return _ANY
    return (*_ANY, *_ROOM, errno.EMFILE) if call.name == "open" else (*_ANY, *_ROOM)


def _after(call: Call) -> tuple[int, ...]:
    if call.name == "close":
        return (errno.EIO, errno.EINTR, errno.ENOSPC, errno.EDQUOT, errno.ESTALE)
    if call.name in _READING or (call.name == "open" and not call.makes):
        return ()
    repeated = _REPEATED.get(call.name)
    return (*_ANY, *_ROOM, *((repeated,) if repeated else ())) if call.name not in _LOCKING else _ANY


def _needs_room(call: Call) -> bool:
    return call.makes or call.name in ("write", "mkdir")


class Injector:
    """Counts the calls below `root` in this process, and has `fault` happen. `rival` is what comes in between."""

    def __init__(self, root: str, fault: Fault = NONE, rival: Callable[[], object] = bool) -> None:
        self.counting = False
        self.calls: list[Call] = []
        self.fired = False
        self._root = root
        self._fault = fault
        self._rival = rival
        self._open: dict[int, str] = {}
        for module, names in ((os, _OF_OS), (fcntl, _LOCKING)):
            for name in names:
                self._replace(module, name)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        counting, self.counting = self.counting, False
        try:
            yield
        finally:
            self.counting = counting

    def _replace(self, module: Any, name: str) -> None:
        real = getattr(module, name)

        def called(*args: Any, **options: Any) -> Any:
            return self._called(name, real, args, options)

        called.__name__ = name
        for known in ("supports_fd", "supports_follow_symlinks", "supports_dir_fd"):
            if module is os and real in getattr(os, known):
                getattr(os, known).add(called)
        setattr(module, name, called)

    def _called(self, name: str, real: Callable[..., Any], args: Any, options: Any) -> Any:
        path = self._path(args)
        if path is None:
            found = real(*args, **options)
            if name == "open":
                self._open.pop(found, None)  # What had that number was closed by C.
            return found
        if not self.counting:
            return self._done(name, real, args, options)
        self.calls.append(_call(name, path, args))
        number, fault = len(self.calls), self._fault
        if number == fault.at:
            self.fired = True
            return self._fail(self.calls[-1], real, args, options)
        if (
            fault.at
            and number > fault.at
            and (fault.kind == ONWARD or (fault.kind == FULL and _needs_room(self.calls[-1])))
        ):
            return self._fail(self.calls[-1], real, args, options)
        return self._done(name, real, args, options)

    def _done(self, name: str, real: Callable[..., Any], args: Any, options: Any) -> Any:
        if name == "close":
            self._open.pop(args[0], None)
        found = real(*args, **options)
        if name == "open":
            self._open[found] = os.fsdecode(args[0])
        return found

    def _fail(self, call: Call, real: Callable[..., Any], args: Any, options: Any) -> Any:
        kind, error = self._fault.kind, OSError(self._fault.error, os.strerror(self._fault.error or errno.EIO), call.path)
        if kind == KILLED_BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == SWEPT:
            with self.paused(), contextlib.suppress(OSError):
                os.unlink(call.path)
        if kind == RIVAL:
            with self.paused():
                self._rival()
        if kind in (SHORT, TORN) and call.name in ("read", "write"):
            found = self._half(call, real, args)
            if kind == TORN:
                raise error
            return found
        if kind in (BEFORE, FULL, ONWARD) and call.name != "close":  # That lets go, whatever it says.
            raise error
        found = self._done(call.name, real, args, options)
        if kind == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind in (BEFORE, AFTER, ONWARD):
            if call.name == "open":
                with self.paused():
                    os.close(found)
            raise error
        return found

    def _half(self, call: Call, real: Callable[..., Any], args: Any) -> Any:
        if call.name == "write":
            return real(args[0], bytes(args[1])[: call.size // 2])
        found = real(*args)
        half = len(found) // 2
        if half:
            with self.paused():
                os.lseek(args[0], half - len(found), os.SEEK_CUR)
        return found[:half] if half else found

    def _path(self, args: Any) -> str | None:
        """The path in the store that a call is about; None: it is about something else."""
        for arg in args[:2]:
            if isinstance(arg, str) and arg.startswith(self._root):
                return arg
            if isinstance(arg, bytes) and arg.startswith(self._root.encode()):
                return os.fsdecode(arg)
        return self._open.get(args[0]) if args and type(args[0]) is int else None


def _call(name: str, path: str, args: Any) -> Call:
    makes = name == "open" and len(args) > 1 and bool(args[1] & os.O_CREAT)
    last = path.rpartition("/")[2]
    private = last.startswith(".") and "-" in last
    size = len(args[1]) if name == "write" else args[1] if name == "read" else 0
    return Call(name, path, makes, private, size)
