"""`.ci/run` tells the truth: whichever lane fails, it ends with an error and says which. With a tox that does nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from capabilities import needs_modes

pytestmark = needs_modes  # To run a script by its name.

RUN = Path(__file__).parents[2] / ".ci" / "run"

PYTHON = """#!/bin/sh
case "$*" in *venv*) mkdir -p "$3/bin" && cp "$STUBS/tox" "$3/bin/tox" && cp "$STUBS/true" "$3/bin/python" ;; esac
"""
TOX = """#!/bin/sh
case "$*" in
*interleavings*) lane=interleavings ;; *windows*) lane=windows ;; *netfs*) lane=netfs ;; *) lane=posix ;;
esac
grep -q "^SigIgn:.*[2367abef]$" /proc/self/status 2>/dev/null && echo "$lane ignores SIGINT"
echo "$lane: closing line"
[ "$lane" != "$FAILS" ]
"""


class World:
    """All that the script calls is a stub; `there` are the lanes besides posix that this machine can run."""

    def __init__(self, directory: Path, there: tuple[str, ...] = ("windows", "netfs")) -> None:
        for name, text in (("python3.11", PYTHON), ("tox", TOX), ("true", "#!/bin/sh\n"), ("unshare", "#!/bin/sh\n")):
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        paths = {lane: str(directory / "true" if lane in there else directory / "none") for lane in ("windows", "netfs")}
        self.environment = {
            **os.environ,
            "PATH": f"{directory}{os.pathsep}{os.environ['PATH']}",
            "STUBS": str(directory),
            "WINDOWS_PYTHON": paths["windows"],
            "NETFS_RUN": paths["netfs"],
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


def lanes(said: list[str]) -> list[str]:
    return [line.partition(": ")[2].partition(" (")[0] for line in said if line.startswith("lanes: ")][:3]


ALL = ["posix", "windows", "interleavings", "netfs"]


@pytest.mark.parametrize(
    ("fails", "run", "verdicts"),
    [
        ("", ALL, ["posix: passed", "Windows under Wine: passed", "guests with network filesystems: passed"]),
        ("posix", ALL[:1], ["posix: failed", "Windows under Wine: not run", "guests with network filesystems: not run"]),
        (
            "interleavings",
            ALL[:3],
            ["posix: failed", "Windows under Wine: passed", "guests with network filesystems: not run"],
        ),
        ("windows", ALL[:3], ["posix: passed", "Windows under Wine: failed", "guests with network filesystems: not run"]),
        ("netfs", ALL, ["posix: passed", "Windows under Wine: passed", "guests with network filesystems: failed"]),
    ],
)
def test_a_lane_that_fails_fails_the_run_and_is_told(world: World, fails: str, run: list[str], verdicts: list[str]) -> None:
    code, said = world.run(fails=fails)
    assert [line for line in said if "closing line" in line] == [f"{lane}: closing line" for lane in run]
    assert lanes(said) == verdicts
    assert (code != 0) == bool(fails)


def test_where_there_is_neither_windows_nor_a_guest_the_rest_is_run(world: World, tmp_path: Path) -> None:
    code, said = World(tmp_path, there=()).run()
    assert [line for line in said if "closing line" in line] == ["posix: closing line", "interleavings: closing line"]
    assert lanes(said)[0] == "posix: passed"
    assert all(": skipped: " in verdict for verdict in lanes(said)[1:])
    assert code == 0


@pytest.mark.parametrize("fails", ["", "posix"])
def test_arguments_are_tox_s_and_nothing_else_is_run(world: World, fails: str) -> None:
    code, said = world.run("-e", "py312", fails=fails)
    assert [line for line in said if "closing line" in line] == ["posix: closing line"]
    assert lanes(said)[0] == ("posix: failed" if fails else "posix: passed: tox -e py312")
    assert (code != 0) == bool(fails)
