"""What is done to a file that is open. `files/posix` opens and closes it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys

from looop_portable.typed import Self

_CHUNK = 4096
_LARGEST = 1 << 20
_STATUS = "/proc/self/status"


class Shared(int):
    """The permissions that new files share, and `owner`, a user and a group: to whom root gives what it makes there."""

    owner: tuple[int, int]

    def __new__(cls, bits: int, owner: tuple[int, int]) -> Self:
        found = super().__new__(cls, bits)
        found.owner = owner
        return found

    def __bool__(self) -> bool:
        return True


def opened(path: str | bytes, flags: int, mode: int = 0o777) -> int:
    """As `os.open`, but the descriptor is assigned, in the same step of Python, to whoever closes it.

    Without this, what a signal's handler raises, which comes when the call returns, would leave it open for ever. Nothing
    of the kind comes within an unpacking, nor between a return and the assignment of what it returns.
    """
    [fd] = map(os.open, (path,), (flags,), (mode,))
    return fd


def most(mode: int, shared: int) -> int:
    """`mode`, but that nobody else can write than those who share it."""
    return mode & ~(0o022 & ~shared)


def share(fd: int, shared: int, within: int) -> None:
    """A new file is its owner's to use, whatever the umask, and theirs who share it: of all permissions those `within`."""
    widen(fd, (shared | 0o700) & within)
    if isinstance(shared, Shared) and os.fstat(fd).st_nlink == 1:  # Nobody has put another file in its place.
        give(fd, shared)


def share_directory(fd: int, shared: int) -> None:
    """The same of a new directory."""
    if isinstance(shared, Shared) and not os.listdir(fd):
        give(fd, shared)
    widen(fd, shared | 0o700)


def give(fd: int, shared: Shared) -> None:
    """To whom the directory above belongs. A file that cannot be given (a server that trusts no root) stays root's."""
    if sys.platform != "win32" and os.fstat(fd).st_uid == os.geteuid():
        with contextlib.suppress(OSError):
            os.fchown(fd, *shared.owner)


def umask_shuts() -> bool:
    """Whether the umask keeps a new file from its own owner, so that whoever makes one has to open it to him."""
    if sys.platform == "win32":
        return False
    try:
        with open(_STATUS, "rb") as file:
            umask = next((int(line.split()[1], 8) for line in file if line.startswith(b"Umask:")), None)
    except OSError:
        umask = None
    if umask is None:  # It can only be told by setting it: for a moment, other threads share less than they should.
        umask = os.umask(0o077)
        os.umask(umask)
    return umask & 0o700 != 0


def widen(fd: int, bits: int) -> None:
    """Add permissions to those that it has."""
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if sys.platform != "win32" and mode | bits != mode:
        os.fchmod(fd, mode | bits)


def refuse_others(fd: int, path: str) -> os.stat_result:
    """What `fd` is, which is to be written in place. Raises OSError if it is no regular file, or has another name too.

    Without this, a name for somebody's file that was planted where ours should be would have us write into that.
    """
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file; remove it", path)
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "it has another name too, so it may be somebody else's file; remove it", path)
    return found


def write(fd: int, data: bytes) -> None:
    """All of `data`, however often it takes."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def read(fd: int) -> bytes:
    """All of it; empty if that is more than 1 MiB."""
    data = os.read(fd, _CHUNK)
    if not data or (len(data) < _CHUNK and data.endswith(b"}\n")):
        return data  # All of ours end so, and have no newline before: there is no more of it.
    while len(data) <= _LARGEST:  # Without this, a short read would make half a lease of a whole one.
        more = os.read(fd, _CHUNK)
        if not more:
            return data
        data += more
    return b""
