"""The units of examples/systemd: as systemd reads them, as their lines run, and in a machine that has booted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import needs_sh, program_or_skip

from .booted import Machine, booted

UNITS = Path(__file__).parents[2] / "examples" / "systemd"
LOOOP = "/usr/local/bin/looop"
HELD_BY_ANOTHER = 75
JOBS = {
    "careful": "trap 'echo told; sleep 0.2; echo has tidied; exit 0' TERM; echo runs; sleep 3600 & wait",
    "plain": "echo runs; sleep 3600 & exec sleep 3600",
    "killed": "echo runs; sleep 3600 & exec sleep 3600",
    "short": 'looop check short --generation "$LOOOP_CLAIM_GENERATION"',
    "failing": "exit 1",
    "second": "echo runs",
}
SOON = "[Timer]\nOnActiveSec=\nOnActiveSec=100ms\nRandomizedDelaySec=0\nAccuracySec=10ms\n"


def settings(unit: str) -> dict[str, list[str]]:
    """What a unit says: each key, and its values in order."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", (UNITS / unit).read_text(encoding="utf-8"), flags=re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.iterdir()))
def test_a_unit_says_what_it_is_and_how_to_install_it(unit: str) -> None:
    head = (UNITS / unit).read_text(encoding="utf-8").partition("\n[Unit]\n")[0]
    assert all(line.startswith("#") or not line for line in head.splitlines())
    assert "install" in head


@pytest.mark.parametrize("unit", ["looop-reap.service", "looop-reap.timer", "looop-job@nightly.service"])
def test_systemd_finds_nothing_to_say_of_a_unit(tmp_path: Path, unit: str) -> None:
    program_or_skip("systemd-analyze")
    (tmp_path / "looop").write_text("#!/bin/sh\n")
    (tmp_path / "looop").chmod(0o755)
    for path in UNITS.iterdir():
        text = path.read_text(encoding="utf-8").replace(LOOOP, str(tmp_path / "looop"))
        (tmp_path / path.name.replace("@.", "@nightly.")).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", str(tmp_path / unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def started(unit: str, tmp_path: Path, instance: str = "") -> subprocess.CompletedProcess[str]:
    """What ExecStart= runs, by hand, in the environment that the unit gives it."""
    said = settings(unit)
    words = said["ExecStart"][0].replace("%i", instance).replace("/etc/looop/jobs/", f"{tmp_path}/").split()
    environment = dict(each.replace("%S", str(tmp_path / "lib")).split("=", 1) for each in said["Environment"])
    assert words[0] == LOOOP
    return subprocess.run(
        [sys.executable, "-m", "looop_portable", *words[1:]],
        env={**os.environ, **environment, "LOOOP_SESSION_ID": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_sh
def test_the_lines_of_the_units_run_by_hand(tmp_path: Path) -> None:
    for name in ("nightly", "failing"):
        (tmp_path / name).write_text("#!/bin/sh\necho runs\n" if name == "nightly" else "#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    job = "looop-job@.service"
    done = started(job, tmp_path, "nightly")
    assert (done.returncode, done.stdout) == (0, "runs\n")
    assert started(job, tmp_path, "failing").returncode == 1
    assert started("looop-reap.service", tmp_path).returncode == 0
    there = ["--data-dir", str(tmp_path / "lib" / "looop")]
    claim = ["claim", "nightly", "--session", "other", "--ttl", "30m"]
    subprocess.run([sys.executable, "-m", "looop_portable", *there, *claim], check=True)
    done = started(job, tmp_path, "nightly")
    assert (done.returncode, done.stdout) == (HELD_BY_ANOTHER, "")
    assert str(HELD_BY_ANOTHER) in settings(job)["SuccessExitStatus"][0].split()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    aside = tmp_path_factory.mktemp("machine")
    files = {f"etc/systemd/system/{path.name}": path.read_text(encoding="utf-8") for path in UNITS.iterdir()}
    files["etc/systemd/system/looop-reap.timer.d/soon.conf"] = SOON
    files |= {f"etc/looop/jobs/{name}": f"#!/bin/sh\n{text}\n" for name, text in JOBS.items()}
    with booted(aside, files) as machine:
        yield machine


def is_held(machine: Machine, name: str) -> bool:
    return machine.run("looop", "show", "-q", name).returncode == 0


def runs(machine: Machine, name: str) -> str:
    """The unit of a job that has begun."""
    unit = f"looop-job@{name}.service"
    before = machine.journal(unit).count("runs")
    machine.succeed("systemctl", "start", unit)
    machine.wait(lambda: machine.journal(unit).count("runs") > before, unit)
    assert machine.shown(unit, "ActiveState") == ["active"]
    assert is_held(machine, name)
    return unit


@pytest.mark.parametrize("name", ["careful", "plain"])
def test_stop_ends_a_job_and_all_that_it_has_started_and_then_lets_go(machine: Machine, name: str) -> None:
    unit = runs(machine, name)
    machine.succeed("systemctl", "stop", unit)
    assert machine.shown(unit, "ActiveState", "Result") == ["inactive", "success"]
    said = machine.journal(unit).splitlines()
    assert [line for line in said if line in ("told", "has tidied")] == (
        ["told", "has tidied"] if name == "careful" else []
    ), said
    assert "SIGKILL" not in machine.journal(unit)
    assert not is_held(machine, name)
    ended = "released" if name == "careful" else "ended by signal 15"
    assert ended in machine.succeed("looop", "events", "--claim", name, "--tail", "1")


def test_a_job_that_was_killed_is_free_for_the_next(machine: Machine) -> None:
    unit = runs(machine, "killed")
    machine.succeed("systemctl", "kill", "--signal=KILL", "--kill-who=main", unit)
    machine.wait(lambda: machine.shown(unit, "Result") == ["signal"], unit)
    machine.wait(lambda: machine.run("looop", "claim", "killed", "--session", "next", "--ttl", "1h").returncode == 0, unit)
    machine.succeed("looop", "session", "stop", "next")


def test_a_job_whose_claim_another_holds_is_not_run_and_has_not_failed(machine: Machine) -> None:
    unit = "looop-job@second.service"
    machine.succeed("looop", "claim", "second", "--session", "other", "--ttl", "30m")
    machine.succeed("systemctl", "start", unit)
    machine.until(unit, "inactive")
    assert machine.shown(unit, "Result") == ["success"]
    said = machine.journal(unit)
    assert "held by live session 'other'" in said
    assert "runs" not in said


def test_a_job_has_its_generation_and_its_store(machine: Machine) -> None:
    unit = "looop-job@short.service"
    machine.succeed("systemctl", "start", unit)
    machine.until(unit, "inactive")
    assert machine.shown(unit, "Result") == ["success"]
    assert "is current, held by" in machine.journal(unit)
    assert not is_held(machine, "short")


def test_a_job_that_fails_has_failed(machine: Machine) -> None:
    unit = "looop-job@failing.service"
    machine.succeed("systemctl", "start", unit)
    machine.until(unit, "failed")
    assert machine.shown(unit, "Result", "ExecMainStatus") == ["exit-code", "1"]


def test_the_timer_has_the_claims_of_the_dead_released_and_of_nobody_else(machine: Machine) -> None:
    pids = {name: machine.process("sleep", "3600") for name in ("living", "dead")}
    for name, pid in pids.items():
        machine.succeed("looop", "session", "start", name, "--pid", str(pid), "--lease", "0")
        machine.succeed("looop", "claim", f"of-{name}", "--session", name)
    machine.succeed("kill", "-9", str(pids["dead"]))
    machine.succeed("systemctl", "start", "looop-reap.timer")
    machine.wait(lambda: "reaped" in machine.succeed("looop", "events", "--claim", "of-dead"), "looop-reap.service")
    machine.until("looop-reap.service", "inactive")
    assert machine.shown("looop-reap.service", "Result") == ["success"]
    assert is_held(machine, "of-living")
    assert "reaped of-dead" in machine.journal("looop-reap.service")
    machine.succeed("systemctl", "stop", "looop-reap.timer")
    machine.succeed("kill", "-9", str(pids["living"]))
