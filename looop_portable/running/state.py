"""Directories of this user on this host, for what is nobody else's: his state directory, and what stands in for it.

Does not guarantee: that a directory found today is found tomorrow: a runtime directory goes with the last login, and a
temporary one is swept. Nor that there is one at all.
Guarantees: none is used that another user could write to, or has planted: it is a directory and no symbolic link, it is
ours, and its mode lets nobody else in.
How: in this order the state directory, $XDG_RUNTIME_DIR, /run/user/UID, and a directory of our own under $TMPDIR, /tmp and
/var/tmp. Whoever looks for something looks in all of them; whoever begins something takes the first that can be used, which
is found out by trying.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator

from looop_portable.config import state_dir
from looop_portable.errors import Unavailable, UsageError, because
from looop_portable.system.files import OS, OsFiles
from looop_portable.typed import NamedTuple

_OTHERS_WRITE, _OTHERS = 0o022, 0o077
_NOBODY = 65534
"""Who owns what belongs to a user that a user namespace does not know: its host's root, say."""
_TRIED = b"x" * 1024
_RUNTIME = "/run/user"
_SYSTEMS_OWN = ("/tmp", "/var/tmp")  # noqa: S108 (verified before they are used)


class StateDirectory(NamedTuple):
    """A directory that can be used, by its path, and why each of those before it cannot be."""

    directory: str
    passed_over: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """Why it is not the first; empty if it is."""
        return "; ".join(self.passed_over)


def places(name: str) -> Iterator[str]:
    """The directories `name` that are there and ours, in their order. Each is looked at when it is asked for."""
    for directory, foreign in _candidates(name):
        if not isinstance(foreign, str) and _is_ours(directory, foreign):
            yield directory


def choose(name: str, files: OsFiles = OS) -> StateDirectory:
    """The first directory `name` that can be made, written to and locked in. Raises `Unavailable`, with what is wrong."""
    passed_over: list[str] = []
    for directory, foreign in _candidates(name):
        if isinstance(foreign, str):
            passed_over.append(foreign)
            continue
        try:
            _refuse_to_make_for_others(directory)
            files.make_private(directory)
            _verify(directory, foreign)
            _try_out(directory, files)
        except (OSError, ValueError) as error:
            passed_over.append(f"{directory}: {because(error) if isinstance(error, OSError) else error}")
        else:
            return StateDirectory(directory, tuple(passed_over))
    raise Unavailable(f"no directory of this user's can be used on this host: {'; '.join(passed_over)}")


def _candidates(name: str) -> Iterator[tuple[str, int | str]]:
    """Each with the bits that its mode must not have; or nothing, and why it is none."""
    try:
        yield f"{state_dir()}/{name}", _OTHERS_WRITE
    except UsageError as error:
        yield "", str(error)
    if sys.platform == "win32":
        temporary = os.environ.get("TEMP", "")
        if os.path.isabs(temporary):
            yield f"{temporary}/looop/{name}".replace(os.sep, "/"), 0
        return
    me = _me()
    for runtime in _once(os.environ.get("XDG_RUNTIME_DIR", ""), f"{_RUNTIME}/{me}"):
        if _is_ours(runtime, _OTHERS):
            yield f"{runtime}/looop/{name}", _OTHERS
    for temporary in _once(os.environ.get("TMPDIR", ""), *_SYSTEMS_OWN):
        if _keeps_others_out(temporary):
            yield f"{temporary}/looop-{name}-{me}", _OTHERS


def _me() -> int:
    """This user's number; 0 where users have none."""
    if sys.platform == "win32":
        return 0
    return os.geteuid()


def _once(*paths: str) -> list[str]:
    """Those that are absolute, each once."""
    return list(dict.fromkeys(path.rstrip("/") for path in paths if path.rstrip("/") and os.path.isabs(path)))


def _keeps_others_out(temporary: str) -> bool:
    """Whether nobody can put something else in the place of what we make there."""
    try:
        found = os.stat(temporary)
    except (OSError, ValueError):
        return False
    trusted = found.st_uid in (0, _me(), _NOBODY)
    return (
        stat.S_ISDIR(found.st_mode)
        and trusted
        and (not found.st_mode & _OTHERS_WRITE or bool(found.st_mode & stat.S_ISVTX))
    )


def _is_ours(directory: str, foreign: int) -> bool:
    try:
        _verify(directory, foreign)
    except (OSError, ValueError):
        return False
    return True


def _verify(directory: str, foreign: int) -> None:
    """Raises OSError where it is not a directory of ours that others are kept out of."""
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is no directory, or a symbolic link", directory)
    if sys.platform == "win32":
        return
    if found.st_uid != _me():
        raise PermissionError(errno.EACCES, f"it belongs to another user (uid {found.st_uid})", directory)
    if found.st_mode & foreign:
        raise PermissionError(errno.EACCES, f"others may use it (mode {stat.S_IMODE(found.st_mode):o})", directory)


def _refuse_to_make_for_others(directory: str) -> None:
    """Without this, root (`sudo` with the caller's HOME) would make what shuts the owner out of his own state directory."""
    if sys.platform == "win32" or _me() != 0:
        return
    above = directory
    while not os.path.lexists(above) and above != os.path.dirname(above):
        above = os.path.dirname(above)
    owner = os.lstat(above).st_uid
    if owner not in (0, _NOBODY):
        raise PermissionError(errno.EACCES, f"{above} belongs to another user (uid {owner})", directory)


def _try_out(directory: str, files: OsFiles) -> None:
    """Raises OSError where a file cannot be written, or cannot be locked."""
    probe = f"{directory}/.{files.nonce()}"
    written = f"{probe}-written"
    try:
        taken = files.take(probe)
        if taken is not None:
            files.unlock(taken)
        files.create(written, _TRIED)
    finally:
        with contextlib.suppress(OSError):  # Swept some day.
            files.remove(written)
        with contextlib.suppress(OSError):
            files.remove(probe)
