"""What is run on guests: for each filesystem which modules of this package, with which faults from outside."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

MOUNTS = ["vfat", "nfs3-nolock", "exfat", "ext4-casefold", "nfs4", "nfs3", "smb"]
SHARES = ["nfs4", "nfs3", "nfs3-nolock", "smb"]
BEGIN = 15
"""Seconds from the start of the command to the first fault: by then host 2 holds, also on a slow machine."""
SET_CLOCK = Path(__file__).with_name("set-clock")


class Job(NamedTuple):
    """One run of guests. `words`: a module of this package and its arguments; `options`: of what boots them."""

    kind: str
    scenario: str
    words: list[str]
    hosts: int = 2
    options: tuple[str, ...] = ()


def jobs(lease: int, seconds: int) -> list[Job]:
    """All. `lease`: of each scenario; `seconds`: of each race."""
    found = [Job(kind, "mount", ["lanes.guests.mount", "--filesystem", kind], 1) for kind in MOUNTS]
    for kind in SHARES:
        found += [Job(kind, "hand-over", ["lanes.guests.handover"]), race(kind, seconds)]
        found += [race(kind, seconds, "--wait", "20", scenario="race-waiting"), *scenarios(kind, lease)]
    return [*found, *(job for kind in ("nfs4", "smb") for job in twins(kind))]


def short() -> list[Job]:
    """What a few minutes are enough for."""
    mounts = [Job(kind, "mount", ["lanes.guests.mount", "--filesystem", kind], 1) for kind in ("vfat", "nfs3-nolock")]
    cut = [job for job in scenarios("nfs4", 12) if job.scenario == "power-cut"]
    return [*mounts, race("nfs4", 20, "--may-see-little"), *cut, *twins("nfs4")[:1]]


def twins(kind: str) -> list[Job]:
    """Two hosts that take themselves for one: by their boot id, and by what they were given for it."""
    return [Job(kind, name, ["lanes.guests.scenario", name, "--lease", "6"]) for name in ("twins", "twins-given")]


def race(kind: str, seconds: int, *more: str, scenario: str = "race") -> Job:
    return Job(kind, scenario, ["lanes.guests.race", "--seconds", str(seconds), "--processes", "4", "--lease", "9", *more])


def scenarios(kind: str, lease: int) -> list[Job]:
    def job(scenario: str, *options: str, name: str = "") -> Job:
        return Job(kind, scenario, ["lanes.guests.scenario", name or scenario, "--lease", str(lease)], 2, options)

    def fault(what: str, until: str, seconds: float) -> list[str]:
        return [f"--{what}-after", str(BEGIN), f"--{until}-after", f"{BEGIN + seconds:g}"]

    found = [
        job("power-cut", "--kill-after", str(BEGIN)),
        job("waiter-cut", "--kill-after", str(BEGIN)),
        job("worker-kill"),
        job("partition", *fault("partition", "heal", 2 * lease)),
        job("short-partition", *fault("partition", "heal", lease / 4)),
        job("freeze", *fault("pause", "resume", 2 * lease)),
        job("freeze-alone", *fault("pause", "resume", 2 * lease)),
        job("ages-ahead", "--clock-skew", "3600", name="ages"),
        job("ages-behind", "--clock-skew", "-3600", name="ages"),
        job("skew-ahead", "--clock-skew", "3600", name="skew"),
        job("skew-behind", "--clock-skew", "-3600", name="skew"),
        job("step"),
    ]
    if kind == "nfs4":
        found.insert(1, job("power-cut-command", "--kill-after", str(BEGIN)))
    if kind == "smb":  # An NFS server runs nothing that could be asked to set its clock.
        found.append(job("step-server", "--smb-conf", f"dfree command = {SET_CLOCK}"))
    return found
