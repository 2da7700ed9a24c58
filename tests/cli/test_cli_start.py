"""What keeps the command from running at all is no answer: exit 3, and not Python's own 1, which says "held by another"."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import needs_dev_full, needs_sh

import looop_portable
from looop_portable import Claims

PACKAGE = str(Path(looop_portable.__file__).parents[1])
FAULTS = {
    "not installed": 'raise ModuleNotFoundError("No module named \'click\'", name="click")',
    "no memory": "raise MemoryError",
    "no descriptor": 'raise OSError(24, "Too many open files", "click")',
    "damaged": "def (",
    "of another version": "",
    "with a message of several lines": 'raise RuntimeError("one\\ntwo\\u2028\\ud800")',
}


@pytest.fixture(params=list(FAULTS.values()), ids=list(FAULTS))
def faulty(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment in which a dependency cannot be imported."""
    (tmp_path / "click.py").write_text(request.param)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), PACKAGE]), "LOOOP_DATA_DIR": str(tmp_path / "data")}


def started(environment: dict[str, str], *args: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "looop_portable", *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_the_command_says_in_one_line_why_it_could_not_be_started(faulty: dict[str, str]) -> None:
    found = started(faulty, "claims")
    assert (found.returncode, found.stdout) == (3, "")
    assert found.stderr.startswith("looop: could not be started: ")
    assert found.stderr.count("\n") == 1


PLAIN = {
    "claim n --session s": 0,
    "claim n --session s --json -v --note x --wait 5s --timeout=1m --slots 2": 0,
    "claim -q held --session s": 1,
    "unclaim n --session s": 0,
    "check n --generation 1": 1,
    "-q show n": 1,
    "run --claim n --lease 0 -- {python} -c pass": 0,
    "run -nxE 7 --claim held --lease 0 {python} -c pass": 7,
}


@pytest.mark.parametrize("line", PLAIN)
def test_what_is_plain_needs_no_click(faulty: dict[str, str], line: str) -> None:
    data_dir = faulty["LOOOP_DATA_DIR"]
    Claims.open(data_dir).sessions.register("alive", pid=os.getpid())
    Claims.open(data_dir).claim("held", "alive")
    done = started(faulty, *(word.format(python=sys.executable) for word in line.split()))
    assert done.returncode == PLAIN[line], done.stderr


def test_with_v_it_shows_where(faulty: dict[str, str]) -> None:
    found = started(faulty, "-v", "claims")
    assert found.returncode == 3
    assert "Traceback" in found.stderr


def test_with_json_it_is_an_object(faulty: dict[str, str]) -> None:
    found = started(faulty, "--json", "claims")
    assert (found.returncode, found.stderr) == (3, "")
    said = json.loads(found.stdout)
    assert (said["outcome"], said["code"]) == ("error", "internal")


@needs_sh
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_an_internal_error_exits_with_3_whichever_stream_is_closed(faulty: dict[str, str], closed: str) -> None:
    command = f'"{sys.executable}" -m looop_portable --json claims {closed}'
    assert subprocess.run(["sh", "-c", command], env=faulty, capture_output=True, check=False).returncode == 3


def test_a_way_out_is_told_where_something_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(FAULTS["not installed"])
    found = started({**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), PACKAGE])}, "claims")
    assert "pip install looop-portable" in found.stderr


INTERRUPTED = """
import sys
from looop_portable.__main__ import main
from looop_portable.cli.root import looop
from looop_portable.errors import Interrupted

def speak_and_fail(*args, **options):
    sys.stdout.write("half a line")
    sys.stderr.write("half a line")
    raise {error}

looop.main = speak_and_fail
main()
"""


@pytest.fixture(params=["a closed pipe", pytest.param("a full disk", marks=needs_dev_full)])
def nowhere(request: pytest.FixtureRequest) -> Iterator[int]:
    """What nothing can be written to."""
    if request.param == "a full disk":
        writer = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, writer = os.pipe()
        os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(("error", "code"), [("KeyboardInterrupt", 130), ("Interrupted(1)", 129), ("Interrupted(15)", 143)])
def test_who_is_interrupted_amid_a_line_that_nobody_hears_ends_with_its_own_code(
    nowhere: int, error: str, code: int
) -> None:
    """A terminal that hangs up sends a signal, too."""
    command = [sys.executable, "-c", INTERRUPTED.format(error=error)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"} | {"PYTHONPATH": PACKAGE}
    assert subprocess.run(command, env=environment, stdout=nowhere, stderr=nowhere, check=False).returncode == code


@pytest.mark.parametrize("args", [("claims",), ("--json", "claims")], ids=" ".join)
def test_an_internal_error_that_nobody_hears_exits_with_3(
    faulty: dict[str, str], nowhere: int, args: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "looop_portable", *args]
    faulty.pop("PYTHONUNBUFFERED", None)
    assert subprocess.run(command, env=faulty, stdout=nowhere, stderr=nowhere, check=False).returncode == 3
