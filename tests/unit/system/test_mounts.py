"""What mountinfo says, and which of its mounts a path is on."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_fifos, needs_symlinks

from looop_portable.system import mounts
from looop_portable.system.mounts import above, by_numbers, mount_of, parse, real_path
from looop_portable.system.mounts.macos import mount_at, mount_of_answer
from looop_portable.system.mounts.mount import Mount

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


def test_the_later_of_two_at_one_point_hides_the_earlier() -> None:
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
from looop_portable.system.mounts import mount_of
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


@needs_symlinks
def test_a_mount_point_is_found_by_another_of_its_names(tmp_path: Path) -> None:
    """As macOS knows /Volumes/Team by the name of /volumes/team. Here the other name goes by a link."""
    (tmp_path / "Volumes" / "Team" / "claims").mkdir(parents=True)
    (tmp_path / "volumes 2").symlink_to(tmp_path / "Volumes")
    root = Mount(str(tmp_path), "apfs", "/dev/disk3s1s1", ("ro", "local"))
    team = Mount(str(tmp_path / "volumes 2" / "Team"), "apfs", "/dev/disk4", ("rw",))
    for path in ("Volumes/Team/claims", "Volumes/Team", "volumes 2/Team/claims"):
        assert by_numbers(str(tmp_path / path), [root, team]) == team
    assert by_numbers(str(tmp_path / "Volumes"), [root, team]) == root


def test_the_later_of_two_mounts_at_one_point_hides_the_earlier(tmp_path: Path) -> None:
    first, second = Mount(str(tmp_path), "nfs", "a:/x", ()), Mount(str(tmp_path), "apfs", "/dev/disk4", ())
    assert by_numbers(str(tmp_path), [Mount("/", "apfs", "", ()), first, second]) == second


def test_a_mount_that_may_not_answer_is_not_looked_at_unless_the_path_may_be_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looked = os.stat, []

    def stat(path: str, **ways: object) -> os.stat_result:
        looked.append(path)
        return real(path, **ways)  # type: ignore[arg-type]

    hung = [Mount("/net/gone", "nfs", "gone:/x", ()), Mount("/net/auto", "autofs", "auto", ())]
    (tmp_path / "team").mkdir()
    team = Mount(str(tmp_path / "team").upper(), "smbfs", "//server/team", ())  # It may be this one.
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        by_numbers(str(tmp_path / "team"), [Mount("/", "apfs", "", ()), *hung, team])
    assert team.point in looked
    assert not {each.point for each in hung} & {*looked}


def test_what_is_on_a_device_that_is_not_listed_is_not_on_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that the list does not have, say: it would count as the disk of this machine."""
    identities = {str(tmp_path): (7, 1), str(tmp_path.parent): (1, 2)}
    monkeypatch.setattr(mounts, "identity_of", lambda path: identities.get(path, (1, 3)))
    root = Mount(str(tmp_path.parent), "apfs", "/dev/disk3", ())
    assert by_numbers(str(tmp_path), [root]) is None
    assert by_numbers(str(tmp_path.parent), [root]) == root


def test_where_no_point_can_be_looked_at_the_longest_name_is_taken(tmp_path: Path) -> None:
    """A root that is no mount point, as in a chroot: its mount is listed by a name that leads nowhere."""
    nowhere = Mount("/not there", "ext4", "/dev/sda", ())
    assert by_numbers(str(tmp_path), [nowhere]) is None
    assert by_numbers(str(tmp_path), []) is None


def statfs_of(kind: bytes, point: bytes, source: bytes, flags: int) -> bytes:
    """As sys/mount.h lays out a `struct statfs` with 64-bit inode numbers."""
    told = bytearray(2168)
    struct.pack_into("=IiQQQQQiiIIII", told, 0, 4096, 1 << 20, 9, 8, 7, 6, 5, 1, 2, 0, 26, flags, 0)
    for start, text in ((72, kind), (88, point), (1112, source)):
        told[start : start + len(text)] = text
    return bytes(told)


LOCAL, READ_ONLY = 0x1000, 0x1


@pytest.mark.parametrize(
    ("kind", "flags", "options", "network", "disk"),
    [
        (b"apfs", LOCAL, ("rw", "local"), False, f"{sys.platform} apfs"),
        (b"apfs", LOCAL | READ_ONLY, ("ro", "local"), False, f"{sys.platform} apfs"),
        (b"smbfs", 0, ("rw", "nonlocal"), True, ""),
        (b"nfs", 0, ("rw", "nonlocal"), True, ""),
        (b"apfs", 0, ("rw", "nonlocal"), True, ""),
        (b"macfuse", 0, ("rw", "nonlocal"), True, ""),
    ],
)
def test_what_macos_tells_of_a_mount(kind: bytes, flags: int, options: tuple[str, ...], network: bool, disk: str) -> None:
    found = mount_of_answer(statfs_of(kind, "/Volumes/T\u00e9am".encode(), b"//me@server/team", flags))
    assert found == Mount("/Volumes/T\u00e9am", kind.decode(), "//me@server/team", options)
    assert (found.network, found.disk) == (network, disk)
    assert found.smb == (kind == b"smbfs")


@pytest.mark.parametrize("answer", [b"", bytes(2168), statfs_of(b"apfs", b"", b"", 0), statfs_of(b"", b"/", b"", 0)])
def test_an_answer_that_is_not_macos_s_is_none(answer: bytes) -> None:
    assert mount_of_answer(answer) is None


class Libc:
    """macOS's on Intel, which has two spellings; the plain one is of another layout."""

    def __init__(self, answer: bytes, **calls: Callable[..., int]) -> None:
        self.answer, self.asked = answer, [""]
        setattr(self, "statfs$INODE64", self.asks)
        self.statfs = lambda *_: pytest.fail("the call of another layout")

    def asks(self, path: bytes, buffer: object) -> int:
        self.asked.append(os.fsdecode(path))
        ctypes.memmove(buffer, self.answer, len(self.answer))  # type: ignore[arg-type]
        return 0 if self.answer else -1


@needs_fifos
def test_nothing_is_opened_to_find_its_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that somebody has planted would hang whoever opens it."""
    libc = Libc(statfs_of(b"smbfs", b"/Volumes/Team", b"//server/team", 0))
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno=False: libc)
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(sys, "platform", "darwin")
    found = mount_of(str(tmp_path / "fifo"))
    assert found
    assert (found.type, found.network) == ("smbfs", True)
    assert libc.asked[-1] == str(tmp_path / "fifo")


def test_where_the_kernel_of_macos_does_not_tell_the_list_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno=False: Libc(b""))
    assert mount_at("/") is None
    root = Mount("/", "apfs", "/dev/disk3s1s1", ("rw", "local"))
    monkeypatch.setattr(mounts, "_listed", lambda: [root])
    monkeypatch.setattr(sys, "platform", "darwin")
    assert mount_of("/") == root


def test_the_links_above_a_path_that_is_too_long_are_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Wine has it. Windows' own AppData, which is another folder to an app, is above."""
    whole = os.path.realpath

    def told(path: str) -> str:
        if len(path) > len(str(tmp_path)) + 20:
            raise OSError(234, "More data available", path)
        return whole(path).replace("given", "real")

    monkeypatch.setattr(os.path, "realpath", told)
    assert real_path(str(tmp_path / "given")) == str(tmp_path / "real")
    assert real_path(str(tmp_path / "given" / ("x" * 30) / "y")) == str(tmp_path / "real" / ("x" * 30) / "y")


def test_a_path_of_which_nothing_can_be_told_is_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: str) -> str:
        raise OSError(234, "More data available", path)

    monkeypatch.setattr(os.path, "realpath", fails)
    assert real_path("here") == os.path.abspath("here")
