"""`.ledger/.protocol.json`: which protocol a directory is written with, and that it was found able to exclude.

Guarantees: a directory of another protocol is neither read nor written; one without hard links is refused, with the remedy.
How: the stamp is itself published by a hard link, once, when the first record is about to be written.
"""

from __future__ import annotations

import contextlib
import errno

from looop_portable.errors import CannotExclude, Unavailable, UnknownProtocol, because
from looop_portable.files import PRIVATE_DIRECTORY, Files
from looop_portable.lease import decode, encode, number

PROTOCOL = 1

_TRIES = 16
_NAME = ".protocol.json"
_PRIVATE = ".stamp-"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Stamp:
    """The stamp of `root`. It is read once; who has seen it relies on it."""

    def __init__(self, root: str, files: Files) -> None:
        self.root = root
        self._files = files
        self._seen = False

    def known(self) -> bool:
        """Whether there is a stamp. Raises `UnknownProtocol` if it is of another protocol than ours."""
        if self._seen:
            return True
        with contextlib.suppress(FileNotFoundError):
            self._files.refuse_link(self.root)
        data = self._files.read(f"{self.root}/{_NAME}")
        if data is None:
            return False
        version = number(decode(data), "protocol")
        if version != PROTOCOL:
            raise UnknownProtocol(
                f"{self.root}: written with protocol {version or 'unknown'}, this is protocol {PROTOCOL}: "
                f"use the version of looop-portable that wrote it (see {_NAME} there)",
                self.root,
            )
        self._seen = True
        return True

    def make(self) -> None:
        """There is a stamp, and a directory for it. Raises `CannotExclude` where hard links do not work."""
        for _ in range(_TRIES):
            if self.known():
                return
            self._publish()
        raise Unavailable(f"{self.root}: its stamp vanishes as often as it is written; try again", self.root)

    def _publish(self) -> None:
        _make_directory(self._files, self.root)
        private = f"{self.root}/{_PRIVATE}{self._files.token()}"
        record = encode({"protocol": PROTOCOL, "links": True})
        self._files.create(private, record, shared=self._files.shared_bits(self.root), durable=True)
        try:
            self._files.link(private, f"{self.root}/{_NAME}")
        except (FileExistsError, FileNotFoundError):
            return  # Another was faster, or a reaper has swept ours.
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            raise CannotExclude(
                f"{self.root}: this filesystem has no hard links ({because(error)}), so the posix backend cannot exclude "
                "here: choose a directory on another filesystem with --data-dir or LOOOP_DATA_DIR",
                self.root,
            ) from error
        finally:
            self._files.remove(private)

    def sweep(self) -> int:
        """Remove the private stamps and directories of crashed processes."""
        try:
            names = self._files.list(self.root)
        except FileNotFoundError:
            return 0
        for name in names:
            if name.startswith(PRIVATE_DIRECTORY):
                with contextlib.suppress(OSError):  # Its maker may have renamed it by now.
                    self._files.rmdir(f"{self.root}/{name}")
        return sum(self._files.remove(f"{self.root}/{name}") for name in names if name.startswith(_PRIVATE))


def _make_directory(files: Files, directory: str) -> None:
    """`directory` and those above it, shared as the one above is."""
    above = directory.rpartition("/")[0] or "/"
    try:
        files.mkdir(directory, shared=files.shared_bits(above))
    except FileNotFoundError:
        _make_directory(files, above)
        files.mkdir(directory, shared=files.shared_bits(above))
