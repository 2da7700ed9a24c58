"""`doctor`: its words and codes, that it finds a backend that lets two in, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from looop_portable.doctor import examine, nearest
from looop_portable.doctor.race.arbiter import race
from looop_portable.doctor.workshop import opened
from looop_portable.errors import UsageError
from looop_portable.system.mounts.mount import Mount

Run = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("--seconds", "0.3", "--processes", "2")
NATIVE = "windows" if sys.platform == "win32" else "posix"
KEYS = {
    *("verb", "outcome", "directory", "platform", "filesystem", "primitives", "case_sensitive", "longest_name_bytes"),
    *("mtime_resolution_seconds", "clock_offset_seconds", "clock_uncertainty_seconds", "stamp", "races"),
    *("across_hosts", "recommended_backend", "chosen_by_auto", "objections", "contradictions", "notes", "verdict"),
}
PRIMITIVES = {
    *("exclusive_create", "hard_link", "second_name", "rename_no_replace", "rename_over", "exclusive_mkdir", "flock"),
    "byte_range_lock",
}

BROKEN = """
from looop_portable import Backend
from looop_portable.backends import open_backend

class Broken(Backend):
    '''Every generation that anybody asks for is his, whoever else has it.'''
    name = "broken"

    def __init__(self, data_dir):
        self._real = open_backend("auto", data_dir)
        self.sessions = self._real.sessions
        self._generation = 0

    def read(self, claim):
        from looop_portable.protocol.records import Head
        return Head(self._generation, None)

    def advance(self, claim, expected, lease):
        self._generation = expected + 1
        return True

    def scan(self):
        return iter(())

def dies(data_dir):
    raise RuntimeError("no such engine")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "a place, \u00e9t\u00e9"
    directory.mkdir()
    return directory


@pytest.fixture
def plug_ins(tmp_path: Path) -> dict[str, str]:
    """An environment in which the backends `broken` and `dies` are installed."""
    libraries = tmp_path / "libraries"
    about = libraries / "broken-1.dist-info"
    about.mkdir(parents=True)
    (libraries / "broken.py").write_text(BROKEN, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(
        "[looop_portable.backends]\nbroken = broken:Broken\ndies = broken:dies\n", encoding="utf-8"
    )
    path = os.pathsep.join(filter(None, [str(libraries), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def left(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_the_last_line_is_the_verdict_and_nothing_stays(looop: Run, place: Path) -> None:
    done = looop("doctor", str(place), *SHORT)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1].startswith(f"verdict: use auto ({NATIVE}): hard links exclude here; 2 processes, ")
    assert lines[-1].endswith(" acquisitions, 0 overlaps")
    assert [line.split()[0] for line in lines[:4]] == ["directory", "filesystem", "measured", "stamp"]
    assert left(place) == []


def test_json_is_one_object_with_everything(looop: Run, place: Path) -> None:
    done = looop("--json", "doctor", str(place), *SHORT)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    found = json.loads(done.stdout)
    assert set(found) == KEYS
    assert set(found["primitives"]) == PRIMITIVES
    assert all(set(probe) == {"works", "reason"} for probe in found["primitives"].values())
    assert found["primitives"]["exclusive_create"] == {"works": True, "reason": None}
    assert found["primitives"]["byte_range_lock"] == {"works": True, "reason": None}
    assert (found["verb"], found["outcome"], found["recommended_backend"]) == ("doctor", "use", NATIVE)
    assert found["chosen_by_auto"] is True
    assert found["races"][0]["backend"] == NATIVE
    for each in found["races"]:
        assert each["acquisitions"] > 0
        assert (each["overlaps"], each["repeats"], each["refused"], each["failures"]) == (0, 0, None, [])
    assert abs(found["clock_offset_seconds"]) <= found["clock_uncertainty_seconds"] + 0.5
    assert set(found["filesystem"]) == {"type", "source", "mount_point", "options", "network", "local_guard"}
    assert found["stamp"] is None
    assert found["across_hosts"] is None


def test_a_folder_that_is_kept_on_several_machines_is_told(looop: Run, place: Path) -> None:
    (place / ".stfolder").mkdir()
    done = looop("doctor", str(place), *SHORT)
    assert done.returncode == 0
    assert "note: Syncthing (" in done.stdout  # The path is written as the pipe can take it.
    assert "keeps this directory on several machines" in done.stdout


def test_what_was_written_to_is_not_called_read_only(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS's `/` is, and a list of mounts may have nothing else above what is on another volume."""
    sealed = Mount("/", "apfs", "/dev/disk3s1s1", ("ro", "local", "rootfs"))
    monkeypatch.setattr("looop_portable.doctor.mount_of", lambda directory: sealed)
    report = examine(str(place), backend=NATIVE, processes=2, seconds=0.1)
    assert report.findings.filesystem.options == ("local", "rootfs")
    assert not [note for note in report.advice.notes if "read-only" in note]


def test_one_backend_may_be_asked_for(looop: Run, place: Path) -> None:
    done = looop("--json", "--backend", NATIVE, "doctor", str(place), *SHORT)
    found = json.loads(done.stdout)
    assert [each["backend"] for each in found["races"]] == [NATIVE]
    assert (done.returncode, found["recommended_backend"], found["chosen_by_auto"]) == (0, NATIVE, False)


def test_without_a_directory_it_is_the_store_or_what_is_there_above_it(looop: Run, data_dir: Path) -> None:
    above = json.loads(looop("--json", "doctor", *SHORT).stdout)
    assert Path(above["directory"]) == data_dir.parent
    assert not data_dir.exists()
    looop("claim", "repo-x", "--session", "w1")
    before = left(data_dir)
    done = looop("--json", "doctor", *SHORT)
    there = json.loads(done.stdout)
    assert (done.returncode, Path(there["directory"])) == (0, data_dir)
    assert (there["stamp"]["links"], there["contradictions"]) == (True, [])
    assert left(data_dir) == before


def test_a_stamp_that_contradicts_is_told(looop: Run, data_dir: Path) -> None:
    ledger = data_dir / "claims" / ".ledger"
    ledger.mkdir(parents=True)
    (ledger / ".protocol.json").write_text('{"protocol": 99}\n', encoding="utf-8")
    done = looop("--json", "doctor", *SHORT)
    found = json.loads(done.stdout)
    assert (done.returncode, found["outcome"], found["recommended_backend"]) == (1, "none", None)
    assert "protocol 99" in found["verdict"]
    assert found["verdict"].endswith(found["contradictions"][0])


def test_a_backend_that_lets_two_in_is_caught(looop: Run, place: Path, plug_ins: dict[str, str]) -> None:
    done = looop("--json", "--backend", "broken", "doctor", str(place), "--seconds", "1", env=plug_ins)
    found = json.loads(done.stdout)
    (raced,) = found["races"]
    assert raced["overlaps"] > 0
    assert raced["repeats"] > 0
    assert (done.returncode, found["outcome"], found["recommended_backend"]) == (1, "none", None)
    assert found["verdict"].startswith(f"verdict: do not use {found['directory']}: {raced['overlaps']:,} overlap")
    assert left(place) == []


def test_a_backend_that_dies_is_no_answer(looop: Run, place: Path, plug_ins: dict[str, str]) -> None:
    done = looop("--backend", "dies", "doctor", str(place), *SHORT, env=plug_ins)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "verdict: no answer: RuntimeError: no such engine"
    assert left(place) == []


def test_a_backend_that_is_none_is_usage(looop: Run, place: Path) -> None:
    for name in ("nonsense", "memory"):
        done = looop("--backend", name, "doctor", str(place), *SHORT)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert name in done.stderr
    assert left(place) == []


@pytest.mark.parametrize("kind", ["nothing", "a file", "below a file"])
def test_what_is_no_directory_is_usage_and_not_made(run: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind != "nothing":
        path.write_text("?")
    path = path / "y" if kind == "below a file" else path
    done = run("doctor", str(path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert str(path.name) in done.stderr
    assert path.exists() == (kind == "a file")


def test_a_store_that_would_be_below_a_file_is_usage(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("?")
    done = run("--data-dir", str(tmp_path / "x" / "y"), "doctor")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    with pytest.raises(UsageError):
        nearest(str(tmp_path / "x" / "y"))


@pytest.mark.parametrize(
    "option",
    [
        ("--processes", "1"),
        ("--seconds", "0"),
        ("--seconds", "nan"),
        ("--seconds", "x"),
        ("--with-hosts", "1"),
        ("--timeout", "nan"),
    ],
)
def test_numbers_that_make_no_race_are_usage(run: Run, place: Path, option: tuple[str, str]) -> None:
    done = run("doctor", str(place), *option)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.fixture
def unwritable(place: Path) -> Iterator[Path]:
    """Not to be written in by us: as root, because it is a read-only mount's (sysfs refuses new names)."""
    place.chmod(0o555)
    try:
        if not os.access(place, os.W_OK):
            yield place
        elif os.path.isdir("/sys/kernel"):
            yield Path(os.path.abspath("/sys/kernel"))
        else:
            pytest.skip("there is no directory that this user cannot write in")
    finally:
        place.chmod(0o755)


def test_where_nothing_can_be_written_there_is_no_answer(run: Run, unwritable: Path) -> None:
    done = run("doctor", str(unwritable))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert done.stderr.startswith(f"looop: cannot try anything in {unwritable.as_posix()}: ")


def start(place: Path) -> subprocess.Popen[str]:
    """A doctor in the middle of its race."""
    command = [sys.executable, "-m", "looop_portable", "-v", "doctor", str(place), "--seconds", "60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    stderr = process.stderr
    assert stderr
    await_line(stderr, "racing 4 processes")
    deadline = time.monotonic() + 60
    while not list(place.glob(".looop-doctor-*/race-*/claims")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def await_line(stream: IO[str], word: str) -> None:
    for line in stream:
        if word in line:
            return
    raise AssertionError(f"no line with '{word}'")


@pytest.mark.skipif(os.name != "posix", reason="a process cannot be sent a signal here, only ended")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", -15), ("SIGHUP", -1)])
def test_interrupted_in_the_middle_it_leaves_nothing(place: Path, name: str, code: int) -> None:
    process = start(place)
    racers = psutil.Process(process.pid).children()
    assert racers
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (code, "", "")
    assert left(place) == []
    assert not psutil.wait_procs(racers, timeout=30)[1]


def test_a_killed_doctor_s_racers_end_and_the_next_removes_what_it_left(place: Path, looop: Run) -> None:
    process = start(place)
    racers = psutil.Process(process.pid).children()
    process.kill()
    process.communicate(timeout=60)
    assert not psutil.wait_procs(racers, timeout=60)[1]
    (debris,) = left(place)
    assert looop("doctor", str(place), *SHORT).returncode == 0
    assert left(place) == [debris]  # It may still be in use, for all that anybody knows.
    hours_ago = time.time() - 3700
    os.utime(place / debris / "pulse", (hours_ago, hours_ago))
    assert looop("doctor", str(place), *SHORT).returncode == 0
    assert left(place) == []


def test_debris_without_a_pulse_is_as_old_as_its_directory(place: Path) -> None:
    old, new = (f".looop-doctor-{word}0123456789abcde" for word in "0f")
    for name in (old, new, "mine"):
        (place / name).mkdir()
    hours_ago = time.time() - 3700
    for name in (old, "mine"):
        os.utime(place / name, (hours_ago, hours_ago))
    with opened(str(place)):
        assert old not in left(place)
    assert left(place) == [new, "mine"]


def test_an_error_leaves_nothing(place: Path) -> None:
    def fail() -> None:
        with opened(str(place)) as shop:
            shop.room("one")
            (Path(shop.path) / "one" / "file").write_text("?")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert left(place) == []


def test_a_racer_that_nobody_releases_is_told(place: Path) -> None:
    raced = race("nonsense", str(place), 2, 0.1).race
    assert raced.acquisitions == 0
    assert raced.failures[0].startswith("no such backend: 'nonsense'")


def together(place: Path, *options: str, backend: str = "auto", env: dict[str, str] | None = None) -> list[Any]:
    """Two doctors at once, as on two hosts: each one's exit code, and its object."""
    command = [sys.executable, "-m", "looop_portable", "--json", "--backend", backend, "doctor", str(place), *options]
    pipe = subprocess.PIPE
    doctors = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", env=env) for _ in range(2)]
    said = [each.communicate(timeout=120) for each in doctors]
    assert [err for _, err in said] == ["", ""]
    return [(each.returncode, json.loads(out)) for each, (out, _) in zip(doctors, said, strict=True)]


def test_two_hosts_find_each_other_exclude_each_other_and_leave_nothing(place: Path) -> None:
    answers = together(place, "--with-hosts", "2", "--seconds", "1", "--processes", "2")
    for code, found in answers:
        across = found["across_hosts"]
        assert (code, found["outcome"]) == (0, "use")
        assert (across["overlaps"], across["repeats"], across["miscounted"], across["failures"]) == (0, 0, None, [])
        assert sum(across["per_host"]) == across["turns"] > 0
        assert found["verdict"].endswith(f"; 2 hosts, {across['turns']:,} acquisitions, 0 overlaps")
    assert answers[0][1]["across_hosts"] == answers[1][1]["across_hosts"]
    assert left(place) == []


def test_a_backend_that_lets_two_hosts_in_is_caught_by_the_share_s_count(place: Path, plug_ins: dict[str, str]) -> None:
    options = ("--with-hosts", "2", "--seconds", "1", "--processes", "2")
    for code, found in together(place, *options, backend="broken", env=plug_ins):
        assert (code, found["outcome"]) == (1, "none")
        assert found["across_hosts"]["overlaps"] > 0
        assert found["across_hosts"]["repeats"] > 0
    assert left(place) == []


def test_a_host_that_waits_alone_says_so_and_gives_up(looop: Run, place: Path) -> None:
    done = looop("doctor", str(place), "--with-hosts", "2", "--timeout", "1", *SHORT)
    waiting, given_up = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (3, "")
    assert waiting.startswith("1 of 2 hosts are here (")
    assert "1 of 2 hosts did not come within 1 s" in given_up
    assert left(place) == []


@pytest.mark.skipif(os.name != "posix", reason="a process cannot be sent a signal here, only ended")
def test_interrupted_while_it_waits_for_others_it_leaves_nothing(place: Path) -> None:
    command = [sys.executable, "-m", "looop_portable", "doctor", str(place), "--with-hosts", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stderr
    await_line(process.stderr, "1 of 2 hosts are here")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert (process.returncode, left(place)) == (130, [])


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is missing")
def test_root_s_powers_are_not_needed(looop: Run, place: Path) -> None:
    less = "-dac_override,-dac_read_search"
    wrapper = ("setpriv", f"--bounding-set={less}", f"--inh-caps={less}") if os.geteuid() == 0 else ()
    done = looop("doctor", str(place), *SHORT, wrapper=wrapper)
    if "setpriv" in done.stderr:
        pytest.skip(f"capabilities cannot be dropped here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")
    assert left(place) == []
