"""From evidence to a verdict, row by row."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from looop_portable.liveness import (
    Basis,
    Here,
    Liveness,
    ProcessState,
    Registration,
    Sign,
    Silence,
    Verdict,
    interval,
    patience,
    verdict,
    where_to_look,
)

UNHURRIED = settings(deadline=None)
HERE = Here("boot-1", "pid:[1]")
OURS = Registration("s", "i", 42, start="7", boot=HERE.boot, namespace=HERE.namespace, host="hosta")
DISK = "linux ext4"
REMOTE = OURS._replace(boot="boot-2", lease_seconds=30)
LOOOPS = Registration("s", "42@2026-01-02T03:04:05.123456789Z", 42, foreign=True)

STATES = {
    ProcessState.RUNNING: Liveness.ALIVE,
    ProcessState.STOPPED: Liveness.ALIVE,
    ProcessState.ZOMBIE: Liveness.DEAD,
    ProcessState.GONE: Liveness.DEAD,
    ProcessState.REUSED: Liveness.DEAD,
    ProcessState.UNREADABLE: Liveness.UNKNOWN,
}
TEXTS = st.sampled_from(["", "a", "b"])
REGISTRATIONS = st.builds(
    Registration,
    session=st.just("s"),
    incarnation=st.just("i"),
    pid=st.integers(-1, 3),
    start=TEXTS,
    boot=TEXTS,
    namespace=TEXTS,
    host=TEXTS,
    foreign=st.booleans(),
    ended=st.booleans(),
    lease_seconds=st.sampled_from([0, 30]),
    disk=TEXTS,
    locked=st.booleans(),
)


def test_no_such_session_is_dead() -> None:
    assert verdict(None, HERE) == Verdict(Liveness.DEAD, "no such session", Basis.REGISTRATION)


@pytest.mark.parametrize("registration", [OURS, LOOOPS])
@pytest.mark.parametrize("process", [None, *ProcessState])
def test_a_session_that_says_it_has_ended_is_dead_whatever_its_process_does(
    registration: Registration, process: ProcessState | None
) -> None:
    ended = registration._replace(ended=True)
    assert verdict(ended, HERE, Sign.PROCESS, process).dead
    assert where_to_look(ended, HERE, "") is Sign.NONE


def test_every_state_of_a_process_has_a_verdict() -> None:
    assert set(STATES) == set(ProcessState)


@pytest.mark.parametrize("registration", [OURS, LOOOPS])
@pytest.mark.parametrize(("process", "expected"), STATES.items())
def test_on_the_same_kernel_and_in_the_same_namespace_the_process_decides(
    registration: Registration, process: ProcessState, expected: Liveness
) -> None:
    assert where_to_look(registration, HERE, "") is Sign.PROCESS
    found = verdict(registration, HERE, Sign.PROCESS, process)
    assert found.basis is Basis.PROCESS
    assert found.liveness is expected
    assert found.dead == (expected is Liveness.DEAD)
    assert "42" in found.evidence
    assert process.value in found.evidence


@pytest.mark.parametrize(
    ("registration", "here", "why"),
    [
        (OURS._replace(boot="boot-2"), HERE, "another kernel"),
        (OURS._replace(namespace="pid:[2]"), HERE, "another pid namespace"),
        (OURS._replace(boot=""), HERE, "the kernel's identity is not known"),
        (OURS._replace(boot=""), Here("", HERE.namespace), "the kernel's identity is not known"),
        (OURS, Here("", HERE.namespace), "the kernel's identity is not known"),
        (OURS, Here(HERE.boot, ""), "pid namespace"),
        (OURS._replace(namespace=""), Here(HERE.boot, ""), "pid namespace"),
        (OURS._replace(pid=0), HERE, "names no process"),
    ],
)
def test_what_cannot_be_examined_from_here_is_unknown_and_says_why(
    registration: Registration, here: Here, why: str
) -> None:
    assert where_to_look(registration, here, "") is Sign.NONE
    found = verdict(registration, here)
    assert found.liveness is Liveness.UNKNOWN
    assert found.basis is Basis.NOTHING
    assert why in found.evidence


def test_the_host_of_a_session_that_cannot_be_examined_is_named() -> None:
    assert "pid 42 on hosta" in verdict(OURS._replace(boot="boot-2"), HERE).evidence
    assert "an unnamed host" in verdict(OURS._replace(boot="boot-2", host=""), HERE).evidence


@pytest.mark.parametrize(
    ("registration", "here", "disk", "expected"),
    [
        (OURS._replace(lease_seconds=30, locked=True, disk=DISK), HERE, DISK, Sign.PROCESS),
        (OURS._replace(namespace="pid:[2]", locked=True, disk=DISK), HERE, DISK, Sign.LOCK),
        (OURS._replace(namespace="pid:[2]", locked=True, disk=DISK), Here(HERE.boot, ""), DISK, Sign.LOCK),
        # A lock is looked at through the same kind of mount only: one of NFS may keep it to itself.
        (OURS._replace(namespace="pid:[2]", locked=True, disk=DISK, lease_seconds=30), HERE, "", Sign.HEARTBEAT),
        (OURS._replace(namespace="pid:[2]", lease_seconds=30), HERE, DISK, Sign.HEARTBEAT),
        (OURS._replace(namespace="pid:[2]"), HERE, DISK, Sign.NONE),
        (REMOTE, HERE, "", Sign.HEARTBEAT),
        (REMOTE, HERE, DISK, Sign.HEARTBEAT),
        (REMOTE._replace(disk=DISK), HERE, "", Sign.HEARTBEAT),
        # A server of a share, and its client: what is local to one is not to the other.
        (REMOTE._replace(disk=""), HERE, DISK, Sign.HEARTBEAT),
        (REMOTE._replace(disk="win32 ntfs"), HERE, DISK, Sign.HEARTBEAT),
        (REMOTE._replace(disk=DISK), HERE, DISK, Sign.KERNEL),
        (REMOTE._replace(disk=DISK, lease_seconds=0), HERE, DISK, Sign.KERNEL),
        (REMOTE._replace(disk=DISK, locked=True), HERE, DISK, Sign.KERNEL),
        (REMOTE._replace(disk="linux tmpfs"), HERE, "linux tmpfs", Sign.HEARTBEAT),
        # $LOOOP_HOST_ID is a person's word, not a kernel's.
        (REMOTE._replace(disk=DISK), HERE._replace(given=True), DISK, Sign.HEARTBEAT),
        (REMOTE._replace(disk=DISK, boot=""), HERE, DISK, Sign.HEARTBEAT),
        (REMOTE._replace(disk=DISK), Here("", HERE.namespace), DISK, Sign.HEARTBEAT),
        (REMOTE._replace(lease_seconds=0), HERE, DISK, Sign.NONE),
    ],
)
def test_the_best_sign_of_life_is_looked_at(registration: Registration, here: Here, disk: str, expected: Sign) -> None:
    assert where_to_look(registration, here, disk) is expected


def test_a_lock_decides_between_namespaces_and_a_reboot_is_proof() -> None:
    other = OURS._replace(namespace="pid:[2]", locked=True, disk=DISK)
    assert verdict(other, HERE, Sign.LOCK, True)[::2] == (Liveness.ALIVE, Basis.LOCK)
    assert verdict(other, HERE, Sign.LOCK, False)[::2] == (Liveness.DEAD, Basis.LOCK)
    assert verdict(REMOTE, HERE, Sign.KERNEL)[::2] == (Liveness.DEAD, Basis.KERNEL)
    assert not verdict(REMOTE, HERE, Sign.KERNEL).inferred


@pytest.mark.parametrize(
    ("seconds", "watched", "expected"),
    [
        (0, 0, Liveness.ALIVE),
        (30, 0, Liveness.ALIVE),
        (30, 99, Liveness.ALIVE),
        (31, 0, Liveness.UNKNOWN),
        (3600, 9.9, Liveness.UNKNOWN),  # The clock may have been set forward.
        (31, 10, Liveness.DEAD),
        (-10, 0, Liveness.ALIVE),
        (-11, 0, Liveness.UNKNOWN),  # The clock has been set back.
        (-3600, 39, Liveness.UNKNOWN),
        (-3600, 40, Liveness.DEAD),
    ],
)
def test_silence_is_death_after_the_lease_and_one_interval_that_was_watched(
    seconds: float, watched: float, expected: Liveness
) -> None:
    found = verdict(REMOTE, HERE, Sign.HEARTBEAT, Silence(seconds, watched))
    assert found.liveness is expected
    assert found.basis is Basis.HEARTBEAT
    assert found.inferred == (expected is Liveness.DEAD)
    assert found.age == max(seconds, watched, 0)
    assert "hosta" in found.evidence


@pytest.mark.parametrize("lease", [3, 10, 30, 3600])
def test_a_session_stops_itself_before_others_may_take_over(lease: int) -> None:
    registration = REMOTE._replace(lease_seconds=lease)
    assert interval(lease) * 2 <= patience(lease) < lease
    for seconds in (0.0, patience(lease), float(lease)):
        assert not verdict(registration, HERE, Sign.HEARTBEAT, Silence(seconds, seconds)).dead
    assert verdict(registration, HERE, Sign.HEARTBEAT, Silence(lease * 1.5, lease * 0.5)).dead


def test_a_heartbeat_that_could_not_be_read_is_unknown() -> None:
    assert verdict(REMOTE, HERE, Sign.HEARTBEAT).liveness is Liveness.UNKNOWN


@UNHURRIED
@given(REGISTRATIONS, st.builds(Here, TEXTS, TEXTS, st.booleans()))
def test_without_a_look_only_its_own_word_is_proof_of_death(registration: Registration, here: Here) -> None:
    expected = Liveness.DEAD if registration.ended else Liveness.UNKNOWN
    assert verdict(registration, here).liveness is expected


@UNHURRIED
@given(REGISTRATIONS, st.builds(Here, TEXTS, TEXTS, st.booleans()), TEXTS)
def test_each_sign_is_looked_at_only_where_it_means_something(registration: Registration, here: Here, disk: str) -> None:
    sign = where_to_look(registration, here, disk)
    if sign is Sign.PROCESS:
        assert registration.pid > 0
        assert registration.foreign or (registration.boot, registration.namespace) == here[:2] != ("", "")
    if sign is Sign.LOCK:
        assert registration.boot == here.boot != ""
        assert registration.locked
    if sign is Sign.KERNEL:
        assert "" != registration.boot != here.boot != ""
    if sign in (Sign.LOCK, Sign.KERNEL):
        assert registration.disk == disk != ""
    if sign is Sign.HEARTBEAT:
        assert registration.lease_seconds


SEEN = (
    st.none() | st.sampled_from(ProcessState) | st.builds(Silence, st.floats(-1e6, 1e6), st.floats(0, 1e6)) | st.booleans()
)


@UNHURRIED
@given(st.none() | REGISTRATIONS, st.builds(Here, TEXTS, TEXTS), st.sampled_from(Sign), SEEN)
def test_every_verdict_has_its_evidence(
    registration: Registration | None, here: Here, sign: Sign, seen: ProcessState | Silence | bool | None
) -> None:
    found = verdict(registration, here, sign, seen)
    assert found.evidence
    assert found.age >= 0


@pytest.mark.parametrize(
    ("basis", "told"),
    [
        (Basis.PROCESS, "why (seen now)"),
        (Basis.LOCK, "why (seen now)"),
        (Basis.KERNEL, "why (seen now)"),
        (Basis.REGISTRATION, "why (read now)"),
        (Basis.HEARTBEAT, "why"),  # Which says when it was heard.
        (Basis.NOTHING, "why"),
    ],
)
def test_evidence_is_told_with_its_age(basis: Basis, told: str) -> None:
    assert Verdict(Liveness.ALIVE, "why", basis, 7.0).told == told
