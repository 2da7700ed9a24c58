"""What the filesystem's calls do in a directory: each is tried on files made for it, and the result is looked at.

Guarantees: "works" was seen, and not concluded from a type, an option or a missing error.
Does not guarantee: that it works for two hosts at once, nor for two processes but for locks (`locks`); `arbiter` and
`meeting` are for that. That a rename over a file is atomic is watched, not proven.
How: the system's raw calls, and not those of `files`: they are what is measured. All happens in one directory of ours.
The clock: a byte written in place into a file that exists, then open and fstat. On SMB a file that is created, or touched
with utime, carries the client's clock; a path's stat may be seconds old on NFS.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import threading
import time
from collections.abc import Callable

from looop_portable.doctor.findings import Measures, Primitives, Probe
from looop_portable.doctor.probes import locks
from looop_portable.errors import because
from looop_portable.typed import TypeVar

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_CWD, _NO_REPLACE = -100, 1  # AT_FDCWD and RENAME_NOREPLACE, in renameat2(2).
_LENGTHS = (255, 200, 143, 100, 64)  # Bytes; 143 is what eCryptfs leaves.
_UNITS = (2_000_000_000, 1_000_000_000, 10_000_000, 1_000_000, 1_000, 100, 1)  # Nanoseconds.
_TIMES = (1_700_000_001_123_456_789, 1_700_000_003_987_654_321, 1_700_000_005_555_555_557)
_WATCHED = 40
_WATCHED_FOR = 2.0  # Seconds at most.

_T = TypeVar("_T")


def try_all(directory: str) -> Primitives:
    """All primitives, in `directory`, which is there and ours."""
    at = f"{directory}/"
    create(at + "locked", b"?")
    flock, byte_range = locks.probe(at + "locked")
    return Primitives(
        exclusive_create=_tried(lambda: _exclusive_create(at + "created")),
        hard_link=_tried(lambda: _hard_link(at + "linked")),
        second_name=_tried(lambda: _second_name(at + "named")),
        rename_no_replace=_tried(lambda: _rename_no_replace(at + "renamed")),
        rename_over=_tried(lambda: _rename_over(at + "over")),
        exclusive_mkdir=_tried(lambda: _exclusive_mkdir(at + "made")),
        flock=flock,
        byte_range_lock=byte_range,
    )


def measure(directory: str) -> Measures:
    """The rest that matters. What fails is None."""
    at = f"{directory}/"
    resolution = _measured(lambda: _resolution(at + "stamped"))
    clock = _measured(lambda: _clock(at + "ticked"))
    offset, uncertainty = clock or (None, None)
    if uncertainty is not None and resolution is not None:
        uncertainty = max(uncertainty, resolution)
    return Measures(
        case_sensitive=_measured(lambda: _case_sensitive(at + "case")),
        longest_name=_measured(lambda: _longest_name(at)),
        resolution=resolution,
        offset=offset,
        uncertainty=uncertainty,
    )


def create(path: str, data: bytes) -> None:
    """A new file, which may be written to later (as none of `files` may). Raises FileExistsError."""
    fd = os.open(path, _NEW, 0o666)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def tick(path: str) -> float:
    """Write a byte in place into `path`, which is there: the time that the filesystem's clock gives it, in seconds."""
    with open(path, "r+b", buffering=0) as file:
        file.write(b"!")
    return changed(path)


def changed(path: str) -> float:
    """When `path` was last written to, by the filesystem's clock."""
    with open(path, "rb") as file:
        return os.fstat(file.fileno()).st_mtime


def _tried(attempt: Callable[[], Probe]) -> Probe:
    try:
        return attempt()
    except OSError as error:
        return Probe(False, because(error))


def _measured(attempt: Callable[[], _T]) -> _T | None:
    try:
        return attempt()
    except OSError:
        return None


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _exclusive_create(path: str) -> Probe:
    create(path, b"first")
    try:
        create(path, b"second")
    except FileExistsError:
        return Probe(True) if _content(path) == b"first" else Probe(False, "refused, but the file has changed")
    return Probe(False, "an existing file was created once more")


def _hard_link(path: str) -> Probe:
    create(path + ".1", b"first")
    create(path + ".2", b"second")
    os.link(path + ".1", path)
    os.unlink(path + ".1")  # On SMB its last second would be in the way: see `_second_name`.
    try:
        os.link(path + ".2", path)
    except FileExistsError:
        return Probe(True) if _content(path) == b"first" else Probe(False, "refused, but the name has another file now")
    return Probe(False, "a second link to the same name was not refused")


def _second_name(path: str) -> Probe:
    create(path + ".1", b"?")
    os.link(path + ".1", path)
    with open(path + ".1", "rb"):
        try:
            with open(path, "rb"):
                return Probe(True)
        except OSError as error:
            return Probe(False, f"a file cannot be open by two names at once: {because(error)}")


def _rename_no_replace(path: str) -> Probe:
    rename = _renaming()
    if rename is None:
        return Probe(None, "this system has no call for it")
    create(path + ".1", b"first")
    create(path + ".2", b"second")
    rename(path + ".1", path)
    try:
        rename(path + ".2", path)
    except FileExistsError:
        return Probe(True) if _content(path) == b"first" else Probe(False, "refused, but the file has changed")
    return Probe(False, "an existing file was replaced")


def _renaming() -> Callable[[str, str], None] | None:
    """The system's rename that never replaces; None: there is none, or the C library does not have it."""
    if sys.platform == "win32":
        return os.rename
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        return None

    def rename(old: str, new: str) -> None:
        if call(_CWD, os.fsencode(old), _CWD, os.fsencode(new), ctypes.c_uint(_NO_REPLACE)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), old, None, new)

    return rename


def _rename_over(path: str) -> Probe:
    """A reader must see a whole file at every moment. On Windows a reader would make the call fail: none looks there."""
    create(path, b"0" * 64)
    create(path + ".new", b"1" * 64)
    os.replace(path + ".new", path)
    if _content(path) != b"1" * 64 or os.path.exists(path + ".new"):
        return Probe(False, "the file was not replaced")
    if sys.platform == "win32":
        return Probe(True)
    seen: list[str] = []
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(path, over, seen), daemon=True)
    watcher.start()
    try:
        until = time.monotonic() + _WATCHED_FOR
        for turn in range(_WATCHED):
            create(path + ".new", b"%d" % (turn % 10) * 64)
            os.replace(path + ".new", path)
            if time.monotonic() > until:
                break
    finally:
        over.set()
        watcher.join()
    return Probe(False, seen[0]) if seen else Probe(True)


def _watch(path: str, over: threading.Event, seen: list[str]) -> None:
    while not over.is_set():
        try:
            data = _content(path)
        except OSError as error:
            seen.append(f"while a file was replaced, its name could not be opened: {because(error)}")
            return
        if len(data) != 64 or len(set(data)) != 1:
            seen.append("while a file was replaced, it was seen half")
            return


def _exclusive_mkdir(path: str) -> Probe:
    os.mkdir(path)
    try:
        os.mkdir(path)
    except FileExistsError:
        return Probe(True)
    return Probe(False, "an existing directory was made once more")


def _case_sensitive(path: str) -> bool:
    create(path + ".a", b"?")
    try:
        create(path + ".A", b"?")
    except FileExistsError:
        return False
    return True


def _longest_name(at: str) -> int | None:
    for length in _LENGTHS:
        path = at + "n" * length
        try:
            create(path, b"?")
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.ENOENT):  # ENOENT: Windows, a long path.
                continue
            raise
        os.unlink(path)
        return length
    return None


def _resolution(path: str) -> float:
    """The unit of the times that the filesystem can keep: the largest that some odd times are multiples of."""
    create(path, b"?")
    kept = []
    for moment in _TIMES:
        os.utime(path, ns=(moment, moment))
        with open(path, "rb") as file:
            kept.append(os.fstat(file.fileno()).st_mtime_ns)
    return next(unit for unit in _UNITS if all(moment % unit == 0 for moment in kept)) / 1e9


def _clock(path: str) -> tuple[float, float]:
    """The filesystem's clock less this host's, and how far that may be wrong; both in seconds."""
    create(path, b"?")
    found = []
    for _ in range(3):
        before = time.time()
        there = tick(path)
        after = time.time()
        found.append((there - (before + after) / 2, (after - before) / 2))
    return min(found, key=lambda each: each[1])
