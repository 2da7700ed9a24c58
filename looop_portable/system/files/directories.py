"""The directories that a store is made of; and who may use what is made in them, on POSIX.

Guarantees: whoever owns the directory above can use what is made in it, whatever umask or user made it. Everybody gets what
the umask and the directory's default ACL give. In a directory that its group (or everybody) can write, which is what a
shared store is, new files and directories are opened to the same, whatever the umask: `shared_bits`. Nobody else can write
what is made, whatever the umask: without that, one of 000 would make a store everybody's. What root makes in
somebody's directory becomes his: without that, one `sudo looop` would shut him out.
Does not guarantee: the latter where root may not give anything away (a server that trusts no root); nor anything about what
another version, or somebody else, has made there before.
How: a directory that is not as `mkdir` leaves it is made under a private name. What root gives away is open, just made, and
has no other name, so nobody can put another file of root's in its place.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

from looop_portable.system.opening.descriptors import Shared, most, opened, share_directory, umask_shuts
from looop_portable.system.opening.nonces import nonce
from looop_portable.system.opening.private import fresh, named

PRIVATE_DIRECTORY = ".dir-"
"""How the names of directories begin that do not have their final one yet."""

_DIRECTORY = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_DIRECTORY", 0)


class DirectoryFiles:
    """What `files/posix` inherits. Methods raise OSError."""

    _shuts = False  # Whether the umask did, when it was last looked at: see `umask_shuts`.

    def nonce(self) -> str:
        """A word that nobody else has."""
        return nonce()

    def mkdir(self, path: str, *, shared: int = 0) -> None:
        """A directory is there; its parent must be."""
        if shared or self._shuts:
            self._make_directory(path, shared, 0o777)
            return
        try:
            os.mkdir(path, most(0o777, shared))
        except FileExistsError:
            return

    def written_at(self, path: str) -> int:
        """When `path` was last written, by the clock that `is_untouched` goes by; 0 where that cannot be told."""
        return 0 if sys.platform == "win32" else os.lstat(path).st_mtime_ns

    def is_untouched(self, path: str, since: int) -> bool:
        """Whether nothing was made in the directory `path`, or removed from it, from `since` on: by the filesystem's clock,
        in nanoseconds. False where that cannot be told. utime(2) does not change what is looked at.
        """
        if sys.platform == "win32" or not since:
            return False  # There a directory has no such time.
        try:
            found = os.lstat(path)
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_ctime_ns < since

    def make_private(self, path: str) -> None:
        """A directory is there, which nobody but its owner may look into if it is new; those above it are as a store's."""
        if sys.platform == "win32":
            os.makedirs(path, mode=0o700, exist_ok=True)
        elif not os.path.isdir(path):
            self._make_private(path, 0o700)

    def _make_private(self, path: str, mode: int) -> None:
        above = os.path.dirname(path)
        if not os.path.isdir(above):
            self._make_private(above, 0o777)
        self._make_directory(path, self.shared_bits(above) if mode != 0o700 else self._owner_of(above), mode)

    def _owner_of(self, path: str) -> int:
        shared = self.shared_bits(path)
        return Shared(0, shared.owner) if isinstance(shared, Shared) else 0

    def _make_directory(self, path: str, shared: int, mode: int) -> None:
        """It gets its mode and its owner before its name: without that, a crash in between would leave a directory that
        shuts others out, or its own owner. Renaming replaces an empty directory at most, and so loses nothing.
        """
        if os.path.isdir(path):
            return

        def name(private: str) -> None:
            fd = _open_directory(private)
            try:
                share_directory(fd, shared)
            finally:
                os.close(fd)
            os.rename(private, path)

        private = fresh(os.path.join(os.path.dirname(path), PRIVATE_DIRECTORY), self.nonce)
        try:
            named(private, lambda new: os.mkdir(new, most(mode, shared)), name, os.rmdir)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise

    def shared_bits(self, path: str) -> int:
        """The permissions of a directory's group and of all others, of those that may write there; 0 if none may.

        A sticky directory shares nothing: without that, a store made in /tmp would be everybody's to write. To root: also
        whose it is, if it is somebody else's. And the umask is looked at.
        """
        found = os.stat(path)
        self._shuts = umask_shuts()
        mode = found.st_mode
        bits = (mode & 0o070 if mode & 0o020 else 0) | (mode & 0o007 if mode & 0o002 else 0)
        bits = 0 if mode & stat.S_ISVTX else bits
        if sys.platform != "win32" and found.st_uid and os.geteuid() == 0:
            return Shared(bits, (found.st_uid, found.st_gid))
        return bits


def _open_directory(path: str) -> int:
    """One that we have just made, and no other that somebody has put in its place."""
    try:
        return opened(path, _DIRECTORY)
    except PermissionError:  # The umask.
        os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode) | 0o700)
        return opened(path, _DIRECTORY)
