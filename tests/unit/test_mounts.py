"""What mountinfo says, and which of its mounts a path is on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from looop_portable.mounts import Mount, above, mount_of, parse

MOUNTINFO = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /mnt/a\040b\011c\134d rw,nosuid shared:2 master:1 - tmpfs with\040space rw,size=1024k
31 22 254:0 /srv/data /mnt/bound ro,relatime - ext4 /dev/vda rw
32 22 0:41 / /mnt/over rw - tmpfs first rw
33 32 0:42 / /mnt/over rw - tmpfs second rw
34 22 0:43 / /mnt/n rw,relatime shared:3 - nfs server:/x rw,vers=3,nolock,local_lock=all,addr=10.0.0.1
35 22 0:44 / /mnt/s rw - cifs //server/x\043y rw,vers=3.1.1,nobrl
36 22 0:45 / /mnt/f rw - fuse.sshfs me@server:/x rw
37 22 0:46 / /mnt/bare rw - autofs none
38 22 0:47 / /mnt/\303\251 rw - tmpfs tmpfs rw
a line that is none
39 22 0:48 / /mnt/short
"""


def on(path: str) -> Mount:
    found = above(path, parse(MOUNTINFO))
    assert found
    return found


def test_lines_that_are_none_are_passed_over() -> None:
    assert [mount.number for mount in parse(MOUNTINFO)] == [22, *range(30, 39)]
    assert parse(b"") == []


def test_what_is_written_in_octal_is_read() -> None:
    found = on("/mnt/a b\tc\\d/below")
    assert (found.type, found.source, found.point) == ("tmpfs", "with space", "/mnt/a b\tc\\d")
    assert found.options == ("rw", "nosuid", "size=1024k")
    assert on("/mnt/s").source == "//server/x#y"


def test_a_bind_mount_is_its_own_and_the_device_is_the_others() -> None:
    found = on("/mnt/bound/x")
    assert (found.point, found.source, found.options) == ("/mnt/bound", "/dev/vda", ("ro", "relatime", "rw"))


def test_of_two_at_one_point_the_later_hides_the_earlier() -> None:
    assert on("/mnt/over/x").source == "second"


def test_a_point_is_no_prefix_of_a_name() -> None:
    assert on("/mnt/overture").point == "/"
    assert on("/mnt/n").type == "nfs"


@pytest.mark.parametrize(
    ("path", "network", "local_guard"),
    [
        ("/", False, ""),
        ("/mnt/n", True, "nolock"),
        ("/mnt/s", True, "nobrl"),
        ("/mnt/f", True, "fuse.sshfs"),
        ("/mnt/bare", False, ""),
    ],
)
def test_what_other_hosts_can_have_and_whether_locks_reach_them(path: str, network: bool, local_guard: str) -> None:
    found = on(path)
    assert (found.network, found.local_guard) == (network, local_guard)


def test_this_directory_is_on_something(tmp_path: Path) -> None:
    found = mount_of(str(tmp_path))
    assert found
    assert found.type
    assert os.path.normcase(os.path.realpath(tmp_path)).startswith(os.path.normcase(found.point))
    assert mount_of(str(tmp_path / "not" / "there")) == found


IN_A_NAMESPACE = """
import os, subprocess, sys
from looop_portable.mounts import mount_of
root = sys.argv[1]
def mount(*args): subprocess.run(["mount", *args], check=True)
for name in ("a", "a/b", "c"):
    os.makedirs(f"{root}/{name}", exist_ok=True)
mount("-t", "tmpfs", "one", f"{root}/a/b")
print(mount_of(f"{root}/a/b").source)
mount("-t", "tmpfs", "two", f"{root}/a")      # Over the parent: one is hidden now.
os.mkdir(f"{root}/a/b")
print(mount_of(f"{root}/a/b").source, mount_of(f"{root}/a/b/new").point == f"{root}/a")
mount("--bind", f"{root}/a/b", f"{root}/c")
print(mount_of(f"{root}/c/x").source, mount_of(f"{root}/c").point == f"{root}/c")
"""


def test_mounts_over_mounts_are_seen_as_the_kernel_sees_them(tmp_path: Path) -> None:
    command = ["unshare", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("unshare --mount is not possible here")
    done = subprocess.run(
        [*command, sys.executable, "-c", IN_A_NAMESPACE, os.path.realpath(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["one", "two True", "two True"]
