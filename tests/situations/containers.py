"""Containers that share a directory, each with its own boot id: by hand, by systemd-nspawn, by LXC. And filesystems."""

from __future__ import annotations

import glob
import itertools
import os
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from support.capabilities import PID_NAMESPACE, namespaces_or_skip, program_or_skip, works_or_skip

from .support import ENVIRONMENT, Place

BOOT_ID = "/proc/sys/kernel/random/boot_id"
_BY_HAND = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
_LXC = """
lxc.rootfs.path = dir:{root}
lxc.mount.auto = proc:mixed sys:ro
lxc.net.0.type = none
lxc.uts.name = {name}
"""
_MKFS = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"]}
_numbers = itertools.count()


def by_hand(aside: Path) -> Place:
    """As the others do it: a random file over the boot id, in namespaces of its own."""
    namespaces_or_skip()
    number = aside / f"boot-id-{next(_numbers)}"
    number.write_text(f"{uuid.uuid4()}\n")
    command = ["unshare", "--mount", *PID_NAMESPACE[1:], "sh", "-c", _BY_HAND, str(number)]
    return _tried(Place(f"a container made by hand, {number.name}", command.copy))


def nspawn(aside: Path) -> Place:
    """Without the manager of a systemd, which this machine may not have."""
    program_or_skip("systemd-nspawn")
    binds = [f"--bind{'' if writable else '-ro'}={path}" for path, writable in _seen(aside)]
    options = ["--register=no", "--keep-unit", "--as-pid2", "--console=pipe", "--resolv-conf=off", "--timezone=off"]
    begin = ["systemd-nspawn", "--quiet", *options, *binds]
    return _tried(Place("systemd-nspawn", lambda: [*begin, "-D", str(_root(aside)), "--", *_env()]))


def lxc(aside: Path) -> Place:
    program_or_skip("lxc-execute")
    (aside / "lxc").mkdir(exist_ok=True)
    binds = [
        f"lxc.mount.entry = {path} {path[1:]} none rbind,create=dir,{'rw' if writable else 'ro'} 0 0"
        for path, writable in _seen(aside)
    ]

    def command() -> list[str]:
        root = _root(aside)
        config = aside / f"{root.name}.conf"
        config.write_text("\n".join([_LXC.format(root=root, name=root.name), *binds, ""]))
        return ["lxc-execute", "-P", str(aside / "lxc"), "-n", root.name, "-f", str(config), "--", *_env()]

    return _tried(Place("LXC", command))


def _env() -> list[str]:
    """Inside, nothing of the caller's environment is there."""
    words = {**ENVIRONMENT, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return ["env", *(f"{name}={value}" for name, value in words.items())]


def _root(aside: Path) -> Path:
    """A root of directories that are bound over."""
    root = aside / f"looop-{os.getpid()}-{next(_numbers)}"
    for each in ("usr", "etc", "tmp", "proc", "sys", "dev", "run", "var", "root"):
        (root / each).mkdir(parents=True)
    for each in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{each}"):
            (root / each).symlink_to(os.readlink(f"/{each}"))
        elif os.path.isdir(f"/{each}"):
            (root / each).mkdir()
    (root / "etc" / "os-release").touch()
    return root


def _seen(aside: Path) -> list[tuple[str, bool]]:
    """What is the same in all containers: this Python, this package, and the directory `aside`, in which they can write."""
    paths = {sys.prefix, sys.base_prefix, *(path for path in sys.path if os.path.isdir(path)), str(_package())}
    top = [
        "/usr",
        *(
            f"/{each}"
            for each in ("bin", "sbin", "lib", "lib64")
            if os.path.isdir(f"/{each}") and not os.path.islink(f"/{each}")
        ),
    ]
    paths |= set(filter(os.path.isdir, sysconfig.get_paths().values()))
    outermost = [path for path in sorted(paths) if not any(path.startswith(f"{other}/") for other in [*paths, "/usr"])]
    return [*((path, False) for path in [*top, *outermost]), (str(aside), True)]


def _package() -> Path:
    import looop_portable

    return Path(looop_portable.__file__).parents[1]


def _tried(place: Place) -> Place:
    """Skips where a program cannot be run there."""
    found = works_or_skip(place.called, [*place.prefix(), "cat", BOOT_ID])
    assert found != Path(BOOT_ID).read_text().strip(), "it is to have a boot id of its own"
    return place


def swept(aside: Path) -> None:
    """What systemd-nspawn and LXC leave behind of containers that were killed."""
    for root in aside.glob("looop-*"):
        groups = [*glob.glob(f"/sys/fs/cgroup/lxc*{root.name}"), *glob.glob(f"/sys/fs/cgroup/*/lxc*{root.name}")]
        for left in (f"/run/systemd/nspawn/propagate/{root.name}", *groups):
            with suppress(OSError):
                os.rmdir(left)


@contextmanager
def mounted(kind: str, aside: Path) -> Iterator[Path]:
    """A filesystem of that kind, in a file of this machine's."""
    at = aside / kind
    at.mkdir()
    source, options = "tmpfs", ["-t", "tmpfs"]
    if kind != "tmpfs":
        image = aside / f"{kind}.img"
        with open(image, "wb") as file:
            file.truncate(320 << 20)
        works_or_skip(kind, [*_MKFS[kind], str(image)])
        source, options = str(image), ["-o", "loop"]
    works_or_skip(
        f"a mount of {kind}{' on a loop device' if kind != 'tmpfs' else ''}", ["mount", *options, source, str(at)]
    )
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


Settle = Callable[[Path], Place]


class Situation(NamedTuple):
    """`filesystem`: empty for that of other tests. `container`: what makes one. `heir`, `holder`: "host" or "container"."""

    filesystem: str
    container: Settle
    heir: str
    holder: str = "container"


SITUATIONS = {
    "tmpfs": Situation("tmpfs", by_hand, "host"),
    "ext4": Situation("ext4", by_hand, "container"),
    "xfs": Situation("xfs", by_hand, "host"),
    "btrfs": Situation("btrfs", by_hand, "container"),
    "host": Situation("", by_hand, "container", holder="host"),
    "nspawn": Situation("", nspawn, "container"),
    "LXC": Situation("", lxc, "host"),
}
