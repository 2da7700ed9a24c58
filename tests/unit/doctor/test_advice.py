"""From findings to a recommendation and a verdict: a table."""

from __future__ import annotations

from typing import Any

import pytest

from looop_portable.doctor.advice import Outcome, advise, candidates
from looop_portable.doctor.findings import (
    Across,
    Filesystem,
    Findings,
    Measures,
    Primitives,
    Probe,
    Race,
    Stamped,
)

YES, NOT_HERE = Probe(True), Probe(None, "not on this system")
EXT4 = Filesystem("ext4", "/dev/sda1", "/", ("rw",))
NFS = Filesystem("nfs", "server:/x", "/mnt", ("rw", "hard"), network=True)
NOLOCK = NFS._replace(options=("rw", "nolock"), local_guard="nolock")
SMB = Filesystem("cifs", "//server/x", "/mnt", ("rw",), network=True)
ALL = Primitives(YES, YES, YES, YES, YES, YES, YES, YES)
ONE_NAME = ALL._replace(second_name=Probe(False, "Invalid argument"))
NO_LINKS = ALL._replace(hard_link=Probe(False, "Operation not permitted"))
NO_FLOCK = ALL._replace(flock=Probe(False, "granted to two processes at once"))
GOOD = Measures(True, 255, 1e-9, 0.0, 0.001)
POSIX = Race("posix", 4, 2.0, 2310)
ADVISORY = Race("advisory", 4, 2.0, 700)
WINDOWS = Race("windows", 4, 2.0, 90)
NO_POSIX = Race("posix", 4, 2.0, refused="/x: this filesystem has no hard links: use --backend auto or advisory")
NO_ADVISORY = Race("advisory", 4, 2.0, refused="/x/.dirlock: no guard can be held here")
ACROSS = Across("auto", ("host1", "host2"), (200, 149), 8, 2.0, 349)


def found(**fields: Any) -> Findings:
    usual = Findings("/d", EXT4, ALL, GOOD, (POSIX, ADVISORY))
    return usual._replace(**fields)


TABLE = {
    "hard links": (found(), Outcome.USE, "posix", True),
    "no hard links": (found(primitives=NO_LINKS, races=(NO_POSIX, ADVISORY)), Outcome.USE, "advisory", True),
    "no hard links, and flock grants all": (
        found(primitives=NO_LINKS._replace(flock=NO_FLOCK.flock), races=(NO_POSIX, NO_ADVISORY)),
        Outcome.NONE,
        "",
        False,
    ),
    "flock grants all, but links work": (
        found(primitives=NO_FLOCK, races=(POSIX, NO_ADVISORY)),
        Outcome.USE,
        "posix",
        True,
    ),
    "a file opens by one name": (found(primitives=ONE_NAME), Outcome.USE, "posix", True),
    "NFS without locks": (found(filesystem=NOLOCK), Outcome.USE, "posix", True),
    "locks of one host only, and no links": (
        found(filesystem=NOLOCK, primitives=NO_LINKS, races=(NO_POSIX, ADVISORY)),
        Outcome.NONE,
        "",
        False,
    ),
    "Windows": (found(races=(WINDOWS,), windows=True), Outcome.USE, "windows", True),
    "Windows on FAT": (found(races=(WINDOWS,), windows=True, primitives=NO_LINKS), Outcome.USE, "windows", True),
    "its claims are in the engine that is asked for": (
        found(
            asked="floppy", races=(POSIX._replace(backend="floppy"),), stamp=Stamped(backend="floppy"), primitives=NO_LINKS
        ),
        Outcome.USE,
        "floppy",
        False,
    ),
    "an overlap": (found(races=(POSIX._replace(overlaps=1), ADVISORY)), Outcome.NONE, "", False),
    "an overlap with the other one": (found(races=(POSIX, ADVISORY._replace(overlaps=3))), Outcome.NONE, "", False),
    "a generation twice": (found(races=(POSIX._replace(repeats=2), ADVISORY)), Outcome.NONE, "", False),
    "a process died": (
        found(races=(POSIX._replace(failures=("No space left on device",)), ADVISORY._replace(failures=("too",)))),
        Outcome.UNANSWERED,
        "",
        False,
    ),
    "one cannot be raced": (
        found(races=(POSIX._replace(failures=("Input/output error",)), ADVISORY)),
        Outcome.USE,
        "advisory",
        False,
    ),
    "nobody got it": (found(races=(POSIX._replace(acquisitions=0),)), Outcome.UNANSWERED, "", False),
    "one was asked for": (found(asked="advisory", races=(ADVISORY,)), Outcome.USE, "advisory", False),
    "the one that was asked for is refused": (found(asked="posix", races=(NO_POSIX,)), Outcome.NONE, "", False),
    "a plug-in": (found(asked="mine", races=(Race("mine", 2, 1.0, 5),)), Outcome.USE, "mine", False),
    "stamped with links": (found(stamp=Stamped()), Outcome.USE, "posix", True),
    "stamped for looop": (found(stamp=Stamped(True, "flock")), Outcome.USE, "posix", True),
    "stamped without links, which work": (found(stamp=Stamped(False, "flock")), Outcome.USE, "advisory", True),
    "stamped with links, which do not work": (
        found(stamp=Stamped(), primitives=NO_LINKS, races=(NO_POSIX, ADVISORY)),
        Outcome.NONE,
        "",
        False,
    ),
    "stamped with flock, which grants all": (
        found(stamp=Stamped(True, "flock"), primitives=NO_FLOCK, races=(POSIX, NO_ADVISORY)),
        Outcome.NONE,
        "",
        False,
    ),
    "stamped with flock, on a mount without": (
        found(stamp=Stamped(True, "flock"), filesystem=NOLOCK),
        Outcome.NONE,
        "",
        False,
    ),
    "stamped by Windows": (found(stamp=Stamped(False, "windows")), Outcome.NONE, "", False),
    "stamped for looop, on Windows": (
        found(stamp=Stamped(True, "flock"), races=(WINDOWS,), windows=True),
        Outcome.NONE,
        "",
        False,
    ),
    "stamped with another protocol": (
        found(stamp=Stamped(unreadable="/d: written with protocol 9")),
        Outcome.NONE,
        "",
        False,
    ),
    "two hosts": (found(filesystem=NFS, across=ACROSS), Outcome.USE, "posix", True),
    "two hosts that overlap": (found(filesystem=NFS, across=ACROSS._replace(overlaps=1)), Outcome.NONE, "", False),
    "two hosts with one generation": (found(filesystem=NFS, across=ACROSS._replace(repeats=1)), Outcome.NONE, "", False),
    "two hosts, refused": (found(filesystem=NFS, across=ACROSS._replace(refused="host2: no")), Outcome.NONE, "", False),
    "two hosts, one has died": (
        found(filesystem=NFS, across=ACROSS._replace(failures=("host2: EIO",))),
        Outcome.UNANSWERED,
        "",
        False,
    ),
    "two hosts, miscounted": (
        found(filesystem=NFS, across=ACROSS._replace(miscounted="turn 3 of 9 is missing")),
        Outcome.NONE,
        "",
        False,
    ),
    "two hosts, one idle": (
        found(filesystem=NFS, across=ACROSS._replace(per_host=(349, 0))),
        Outcome.UNANSWERED,
        "",
        False,
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_findings_lead_to_a_recommendation(case: str) -> None:
    findings, outcome, backend, by_auto = TABLE[case]
    advice = advise(findings)
    assert (advice.outcome, advice.backend, advice.by_auto) == (outcome, backend, by_auto)
    assert advice.verdict.startswith("verdict: ")
    assert "\n" not in advice.verdict


VERDICTS = {
    "hard links": "use auto (posix): hard links exclude here; 4 processes, 2,310 acquisitions, 0 overlaps",
    "no hard links": (
        "use auto (advisory): no hard links (Operation not permitted), but flock excludes here; "
        "4 processes, 700 acquisitions, 0 overlaps"
    ),
    "Windows on FAT": (
        "use auto (windows): renaming without replacing excludes here, under a guard; "
        "4 processes, 90 acquisitions, 0 overlaps"
    ),
    "an overlap": "do not use /d: 1 overlap seen with the backend posix",
    "an overlap with the other one": "do not use /d: 3 overlaps seen with the backend advisory",
    "a generation twice": "do not use /d: a generation did not grow, 2 times with the backend posix",
    "a process died": "no answer: No space left on device",
    "one was asked for": "use --backend advisory: flock excludes here; 4 processes, 700 acquisitions, 0 overlaps",
    "locks of one host only, and no links": (
        "use another directory than /d, or another backend: /mnt is mounted with 'nolock': a lock keeps nobody out but on "
        "this host"
    ),
    "two hosts": (
        "use auto (posix): hard links exclude here; 4 processes, 2,310 acquisitions, 0 overlaps; "
        "2 hosts, 349 acquisitions, 0 overlaps"
    ),
    "two hosts that overlap": "do not use /d from several hosts: 1 overlap seen between 2 hosts",
    "two hosts, one idle": (
        "no answer about several hosts: host2 never got the claim within 2 s, so that nothing was seen of how the hosts "
        "exclude each other: try again with a larger --seconds"
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_says_why(case: str) -> None:
    assert advise(TABLE[case][0]).verdict == f"verdict: {VERDICTS[case]}"


@pytest.mark.parametrize("case", [case for case in TABLE if case.startswith("stamped")])
def test_what_contradicts_the_stamp_is_named(case: str) -> None:
    advice = advise(TABLE[case][0])
    assert bool(advice.contradictions) == (advice.outcome is Outcome.NONE)
    assert all(contradiction in advice.verdict for contradiction in advice.contradictions)


def test_every_backend_that_is_not_used_has_its_reason() -> None:
    advice = advise(found(primitives=NO_LINKS, races=(NO_POSIX, ADVISORY)))
    assert dict(advice.objections) == {"posix": NO_POSIX.refused}


NOTES = {
    "": (found(), []),
    "nolock": (found(filesystem=NOLOCK), ["advisory is refused here", "list claims/", "--with-hosts"]),
    "nfs": (found(filesystem=NFS), ["blocks the others for longer than 100 s", "list claims/", "--with-hosts"]),
    "nfs4 soft": (
        found(filesystem=NFS._replace(type="nfs4", options=("rw", "soft")), across=ACROSS),
        ["for 90 s", "'soft'", "list claims/"],
    ),
    "smb": (
        found(filesystem=SMB, measures=GOOD._replace(case_sensitive=False)),
        ["longer than 2 minutes", "stall", "closetimeo=0", "file_mode", "differ only in case", "--with-hosts"],
    ),
    "smb, where a file opens by one name": (
        found(filesystem=SMB._replace(options=("rw", "closetimeo=0")), primitives=ONE_NAME, across=ACROSS),
        ["longer than 2 minutes", "records keep one name", "nolease", "file_mode"],
    ),
    "smb closetimeo": (
        found(filesystem=SMB._replace(options=("rw", "closetimeo=0")), across=ACROSS),
        ["longer than 2 minutes", "stall", "file_mode"],
    ),
    "smb nolease": (
        found(filesystem=SMB._replace(options=("rw", "nolease")), across=ACROSS),
        ["longer than 2 minutes", "file_mode"],
    ),
    "few turns": (found(races=(POSIX._replace(acquisitions=9), ADVISORY)), ["9 acquisitions are few"]),
    "few turns of several hosts": (found(across=ACROSS._replace(turns=2)), ["2 acquisitions are few"]),
    "short names": (found(measures=GOOD._replace(longest_name=143)), ["143 bytes"]),
    "clock ahead": (found(measures=GOOD._replace(offset=3600.0)), ["3600.0 s ahead of"]),
    "clock behind": (found(measures=GOOD._replace(offset=-5.5)), ["5.5 s behind"]),
    "clock of two seconds": (found(measures=GOOD._replace(offset=-1.9, uncertainty=2.0)), []),
    "unknown": (found(filesystem=Filesystem()), ["does not tell"]),
    "fuse": (found(filesystem=Filesystem("fuse.mine")), ["up to a program"]),
    "synchronised": (
        found()._replace(kept_by="Syncthing (/home/me/Sync)"),
        ["Syncthing (/home/me/Sync) keeps this directory"],
    ),
    "read-only": (found(filesystem=EXT4._replace(options=("ro",))), ["read-only"]),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_else_is_to_be_known(case: str) -> None:
    findings, words = NOTES[case]
    told = advise(findings).notes
    assert len(told) == len(words)
    assert all(word in note for word, note in zip(words, told, strict=True))


def test_backends_are_raced_in_the_order_of_auto() -> None:
    assert candidates("auto", windows=False) == ("posix", "advisory")
    assert candidates("auto", windows=True) == ("windows",)
    assert candidates("etcd", windows=False) == ("etcd",)
