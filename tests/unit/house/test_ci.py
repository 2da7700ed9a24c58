"""`.ci/run` tells the truth: whichever lane fails, it ends with an error and says which. With a tox that does nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.capabilities import needs_modes

pytestmark = needs_modes  # To run a script by its name.

RUN = Path(__file__).parents[3] / ".ci" / "run"

PYTHON = """#!/bin/sh
case "$*" in *venv*) mkdir -p "$3/bin" && cp "$STUBS/tox" "$3/bin/tox" && cp "$STUBS/true" "$3/bin/python" ;; esac
"""
TOX = """#!/bin/sh
case "$*" in
*run-parallel*) lane=checks ;;
*interleavings*) lane=interleavings ;; *windows*) lane=windows ;; *netfs*) lane=netfs ;; *disguise*) lane=disguise ;;
*engines*) lane=engines ;;
*) lane=posix ;;
esac
grep -q "^SigIgn:.*[2367abef]$" /proc/self/status 2>/dev/null && echo "$lane ignores SIGINT"
echo "$lane: closing line"
[ "$lane" != "$FAILS" ]
"""


APT_GET = """#!/bin/sh
echo "$*" >>"$STUBS/apt-get.txt"
echo "no package can be had" >&2
exit 100
"""
PROGRAMS = ["unshare", "systemd-nspawn", "lxc-execute", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs"]
PROGRAMS += ["redis-server", "etcd", "pg_ctlcluster", "pgbouncer", "openssl", "faketime"]
USED = "bash cat chmod cp dirname env grep mkdir mktemp nice readlink rm sed sh sort tail".split()  # noqa: SIM905 (one line)


class World:
    """All that the script calls is a stub; `there` are the lanes besides posix that this machine can run."""

    def __init__(
        self,
        directory: Path,
        there: tuple[str, ...] = ("windows", "disguise", "netfs"),
        lacks: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        stubs = {"python3.11": PYTHON, "tox": TOX, "apt-get": APT_GET, "true": "#!/bin/sh\n"}
        for name, text in {**stubs, **dict.fromkeys(set(PROGRAMS) - {*lacks}, "#!/bin/sh\n")}.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        for name in USED:  # Of all that is on PATH only these, so that what is to be lacking is.
            if (found := shutil.which(name)) and not (directory / name).exists():
                (directory / name).symlink_to(found)
        paths = {lane: str(directory / "true" if lane in there else directory / "none") for lane in ("windows", "netfs")}
        (directory / "sitecustomize.py").touch()
        self.environment = {
            **os.environ,
            "PATH": str(directory),
            "PYENV_ROOT": str(directory / "no pyenv"),
            "STUBS": str(directory),
            "WINDOWS_PYTHON": paths["windows"],
            "NETFS_RUN": paths["netfs"],
            "DARWIN_DISGUISE": str(directory if "disguise" in there else directory / "none"),
        }

    def run(self, *arguments: str, fails: str = "") -> tuple[int, list[str]]:
        environment = {**self.environment, "FAILS": fails}
        done = subprocess.run([RUN, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert not done.stderr
        assert "ignores SIGINT" not in done.stdout
        return done.returncode, done.stdout.splitlines()


@pytest.fixture
def world(tmp_path: Path) -> World:
    if not RUN.exists() or not shutil.which("bash"):
        pytest.skip("there is no .ci/run here, or no bash to run it")
    return World(tmp_path)


VERDICTS = ("lanes: posix", "lanes: Windows", "lanes: macOS", "lanes: servers", "lanes: guests")


def lanes(said: list[str]) -> list[str]:
    told = [line.partition("; ran: ")[0] for line in said if line.startswith(VERDICTS)]
    return [line.partition(": ")[2].partition(" (")[0] for line in told]


WORDS = "none one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905 (one line)
ALL = ["checks", "posix", "windows", "interleavings", "disguise", "engines", "netfs"]
NAMES = {
    "posix": "posix",
    "windows": "Windows under Wine",
    "disguise": "macOS in disguise",
    "engines": "servers",
    "netfs": "guests with network filesystems",
}


@pytest.mark.parametrize(
    ("fails", "run", "verdicts"),
    [
        ("", ALL, ["passed"] * 5),
        ("checks", ALL[:1], ["failed", *["not run"] * 4]),
        ("posix", ALL[:2], ["failed", *["not run"] * 4]),
        ("interleavings", ALL[:5], ["failed", "passed", "passed", "not run", "not run"]),
        ("windows", ALL[:5], ["passed", "failed", "passed", "not run", "not run"]),
        ("disguise", ALL[:5], ["passed", "passed", "failed", "not run", "not run"]),
        ("engines", ALL[:6], ["passed", "passed", "passed", "failed", "not run"]),
        ("netfs", ALL, ["passed", "passed", "passed", "passed", "failed"]),
    ],
)
def test_a_lane_that_fails_fails_the_run_and_is_told(world: World, fails: str, run: list[str], verdicts: list[str]) -> None:
    code, said = world.run(fails=fails)
    assert [line for line in said if "closing line" in line] == [f"{lane}: closing line" for lane in run]
    assert lanes(said) == [f"{name}: {verdict}" for name, verdict in zip(NAMES.values(), verdicts, strict=True)]
    assert (code != 0) == bool(fails)


def test_where_there_is_neither_windows_nor_a_guest_the_rest_is_run(world: World, tmp_path: Path) -> None:
    code, said = World(tmp_path, there=()).run()
    assert [line for line in said if "closing line" in line] == [
        f"{lane}: closing line" for lane in ("checks", "posix", "interleavings", "engines")
    ]
    assert lanes(said)[0] == "posix: passed"
    assert all(": skipped: " in verdict for verdict in lanes(said)[1:] if not verdict.startswith("servers: passed"))
    assert code == 0


@pytest.mark.parametrize("fails", ["", "posix"])
def test_arguments_are_tox_s_and_nothing_else_is_run(world: World, fails: str) -> None:
    code, said = world.run("-e", "py312", fails=fails)
    assert [line for line in said if "closing line" in line] == ["posix: closing line"]
    assert lanes(said)[0] == ("posix: failed" if fails else "posix: passed: tox -e py312")
    assert (code != 0) == bool(fails)


def test_environments_that_are_missing_are_installed(tmp_path: Path) -> None:
    """Once, and quietly. If they cannot be had, that is told and the rest is run: their tests skip."""
    world = World(tmp_path, lacks=("lxc-execute", "mkfs.xfs"))
    code, said = world.run("-e", "py312")
    assert (tmp_path / "apt-get.txt").read_text().splitlines() == ["update -q"]
    assert said[0] == "not installed: lxc xfsprogs: no package can be had"
    assert lanes(said)[0] == "posix: passed: tox -e py312"
    assert code == 0


def test_which_environments_were_tried_is_told_once_each(world: World) -> None:
    tells = 'echo "ran exec" >>"$SITUATIONS"; echo "ran boot ids (LXC)" >>"$SITUATIONS"\n'
    (world.directory / "tox").write_text(TOX + 2 * tells + 'echo "skipped boot ids (xfs): no mkfs.xfs" >>"$SITUATIONS"\n')
    _, said = world.run("-e", "py312")
    assert "lanes: real environments: ran: boot ids (LXC), exec; skipped: boot ids (xfs): no mkfs.xfs" in said


def test_where_no_environment_was_tried_none_is_told(world: World) -> None:
    _, said = world.run("-e", "py312")
    assert "lanes: real environments: ran: none; skipped: none" in said


def test_which_servers_were_tried_is_told_once_each(world: World) -> None:
    tells = 'echo "ran redis" >>"$SERVERS"; echo "ran etcd" >>"$SERVERS"\n'
    (world.directory / "tox").write_text(TOX + 2 * tells + 'echo "skipped objects: no azurite-blob" >>"$SERVERS"\n')
    _, said = world.run()
    told = next(line for line in said if line.startswith("lanes: servers: "))
    assert told.startswith("lanes: servers: passed (")
    assert told.endswith("; the exams whole); ran: etcd, redis; skipped: objects: no azurite-blob")


def test_the_parts_of_lanes_that_are_told_are_those_that_are_run(world: World) -> None:
    (world.directory / "tox").write_text(TOX.replace("#!/bin/sh\n", '#!/bin/sh\necho "$*" >>"$STUBS/asked.txt"\n'))
    _, said = world.run()
    asked = (world.directory / "asked.txt").read_text().splitlines()
    for lane in ("windows", "disguise", "engines"):
        (run,) = {part for line in asked if f"-e {lane} " in line for part in re.findall(r"--part (\d+)", line)}
        told = next(line for line in said if line.startswith(f"lanes: {NAMES[lane]}: "))
        assert re.findall(r"one test of (\w+)", told) == [WORDS[int(run)]], told
