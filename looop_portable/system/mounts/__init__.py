"""What filesystem a path is on, as this host has mounted it.

Does not guarantee: that the mount does what its type and its options say, nor that another host mounts the same share in
the same way. It tells where not to trust; what works is found out by trying (see `stamp`, `doctor`).
How: the kernel is asked; names of mount points are not compared with a path, as one directory has many names (another
case, another normal form, a firmlink). On Linux it tells which mount an open directory is on (`mnt_id` in
/proc/self/fdinfo, proc(5)), which is right under bind mounts and mounts over mounts; its line is in /proc/self/mountinfo.
On macOS: statfs(2) (`mounts/macos`); on Windows the volume of the path (`mounts/windows`). Elsewhere, and where that is not
told: of a list of mounts (psutil's, or mountinfo) the one whose point is the directory, or the nearest one above it on the
same device, by their numbers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from looop_portable.system.mounts.mount import Mount
from looop_portable.system.opening.locales import read_back

_MOUNTINFO, _FDINFO = "/proc/self/mountinfo", "/proc/self/fdinfo"
_PATH = getattr(os, "O_PATH", 0)  # A descriptor that neither reads nor writes.


def mount_of(path: str) -> Mount | None:
    """The mount that `path`, or the nearest of its parents that is there, is on; None if the system does not tell."""
    if sys.platform == "win32":
        from looop_portable.system.mounts.windows import volume_of

        return volume_of(real_path(path))
    here = _nearest(path)
    if sys.platform == "linux":
        return _by_mountinfo(here)
    if sys.platform == "darwin":
        from looop_portable.system.mounts.macos import mount_at

        if found := mount_at(here):
            return found
    return by_numbers(here, _listed())


def _by_mountinfo(here: str) -> Mount | None:
    try:
        with open(_MOUNTINFO, "rb") as file:
            mounts = file.read()
    except OSError:
        return None
    number = _number(here)
    own = [line for line in mounts.split(b"\n") if number and line.startswith(b"%d " % number)]
    told = parse(own[0]) if own else []
    return told[0] if told else by_numbers(here, parse(mounts))


def _nearest(path: str) -> str:
    here = os.path.abspath(path)
    while not os.path.exists(here) and here != os.path.dirname(here):
        here = os.path.dirname(here)
    return here


def _number(here: str) -> int:
    """The kernel's number of the mount that `here` is on; 0 if it does not tell."""
    try:
        fd = os.open(here, _PATH)
        try:
            with open(f"{_FDINFO}/{fd}", "rb") as file:
                found = [line.removeprefix(b"mnt_id:").strip() for line in file if line.startswith(b"mnt_id:")]
        finally:
            os.close(fd)
    except OSError:
        return 0
    return int(found[0]) if found and found[0].isdigit() else 0


def _listed() -> list[Mount]:
    """All mounts, by psutil."""
    import psutil

    try:
        found = psutil.disk_partitions(all=True)
    except (psutil.Error, OSError):
        return []
    return [Mount(at.mountpoint, at.fstype.lower(), at.device, tuple(at.opts.split(","))) for at in found]


def by_numbers(here: str, mounts: list[Mount]) -> Mount | None:
    """The one of `mounts` whose point is `here`, or the nearest above it on its own device, by device and inode.

    Of several at one point the last hides the others. None if there is none: without this, what is on a share that is not
    listed would count as being on the disk that it is mounted on. Where no point at all can be looked at, it is the longest
    name.
    """
    real = read_back(os.fsencode(os.path.realpath(here)))
    above_it = list(with_parents(real))
    identities = [identity for path in above_it if (identity := identity_of(path))]
    points = {identity: mount for mount in _that_answer(mounts, above_it) if (identity := identity_of(mount.point))}
    if not points:
        return above(real, mounts)
    own = [identity for identity in identities if identity[0] == identities[0][0]]
    return next((points[identity] for identity in own if identity in points), None)


def with_parents(path: str) -> Iterator[str]:
    """A path, and the directories above it."""
    yield path
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        yield path


def identity_of(path: str) -> tuple[int, int] | None:
    """Device and inode; None if there is nothing."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _that_answer(mounts: list[Mount], parents: list[str]) -> list[Mount]:
    """Without those of which a look may take for ever, or mounts something, and whose name none of `parents` has."""
    names = set(map(_folded, parents))
    return [each for each in mounts if not (each.network or each.type == "autofs") or _folded(each.point) in names]


def _folded(path: str) -> str:
    """The last name of it, in whatever case and normal form."""
    import unicodedata

    return unicodedata.normalize("NFC", os.path.basename(path.rstrip("/"))).casefold()


def real_path(path: str) -> str:
    """`path` without links. Where that cannot be told of all of it (Wine: beyond 260 characters), the rest is as it is."""
    try:
        return os.path.realpath(path)
    except OSError:
        above, name = os.path.split(os.path.abspath(path))
        return os.path.join(real_path(above), name) if name else above


def parse(mountinfo: bytes) -> list[Mount]:
    """The mounts in /proc/PID/mountinfo, in its order; a line that is not as proc(5) has it is passed over."""
    mounts = []
    for line in mountinfo.decode("utf-8", "surrogateescape").split("\n"):
        own, dash, filesystem = line.partition(" - ")
        fields, about = own.split(" "), filesystem.split(" ")
        if not dash or len(fields) < 6 or len(about) < 2:
            continue
        options = dict.fromkeys([*fields[5].split(","), *(about[2].split(",") if len(about) > 2 else ())])
        number = int(fields[0]) if fields[0].isascii() and fields[0].isdigit() else 0
        mounts.append(Mount(_plain(fields[4]), _plain(about[0]), _plain(about[1]), tuple(map(_plain, options)), number))
    return mounts


def _plain(word: str) -> str:
    """Spaces, tabs, newlines and backslashes are written in octal."""
    if "\\" not in word:
        return word
    import re

    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def above(path: str, mounts: list[Mount]) -> Mount | None:
    """The mount of the longest point that is `path` or above it. Of several at one point the last hides the others."""
    best = None
    for mount in mounts:
        point = os.path.normcase(mount.point.rstrip("/\\"))
        inside = os.path.normcase(path) == point or os.path.normcase(path).startswith(point + os.sep) or not point
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best
