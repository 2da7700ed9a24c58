"""The rule of evidence, row by row, and for whatever can be seen."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from looop_portable.protocol.inquiry import WORTH, Found, Seen, Sign, Worth, inquiry
from looop_portable.protocol.liveness import (
    Basis,
    Here,
    Liveness,
    Lock,
    ProcessState,
    Silence,
    Verdict,
    interval,
    patience,
    suspicion,
)
from looop_portable.protocol.records import Registration

UNHURRIED = settings(deadline=None)
LEASE = 30
HERE = Here("boot-1", "pid:[1]", pid=1000)
OURS = Registration("s", "i", 42, "7", HERE.boot, HERE.namespace, host="hosta", lease_seconds=LEASE, disk="linux ext4")
SHARED = OURS._replace(disk="")
CONTAINED = OURS._replace(namespace="pid:[2]", locked=True, own=True)
REMOTE = OURS._replace(boot="boot-2", namespace="pid:[2]")
LOOOPS = Registration("s", "42@2026-01-02T03:04:05.123456789Z", 42, foreign=True)
YOUNG, OLD = Silence(1), Silence(LEASE + 1, interval(LEASE) + 1)
UNHEARD = Silence(suspicion(LEASE), suspicion(LEASE))
ENDED = (ProcessState.GONE, ProcessState.ZOMBIE, ProcessState.REUSED)
LIVES = (ProcessState.RUNNING, ProcessState.STOPPED)


def judge(
    registration: Registration | None,
    here: Here = HERE,
    *,
    local: bool = False,
    process: ProcessState | None = None,
    lock: Lock | None = None,
    silence: Silence | None = None,
) -> tuple[Verdict, list[Sign]]:
    """The verdict on what would be found, and where was looked."""
    there: dict[Sign, Found] = {Sign.DISK: local, Sign.PROCESS: process, Sign.LOCK: lock}
    asked = inquiry(registration, here)
    looked: list[Sign] = []
    found: Found = None
    while True:
        try:
            sign = asked.send(found)
        except StopIteration as ended:
            return cast("Verdict", ended.value), looked
        looked.append(sign)
        found = there.get(sign, silence)


def liveness(registration: Registration | None, here: Here = HERE, **found: object) -> Liveness:
    return judge(registration, here, **found)[0].liveness  # type: ignore[arg-type]


def test_no_such_session_is_dead() -> None:
    assert judge(None)[0] == Verdict(Liveness.DEAD, "no such session", Basis.REGISTRATION)


@pytest.mark.parametrize("registration", [OURS, LOOOPS, REMOTE])
def test_a_session_that_says_it_has_ended_is_dead_and_nothing_else_is_looked_at(registration: Registration) -> None:
    verdict, looked = judge(registration._replace(ended=True), process=ProcessState.RUNNING, lock=Lock.HELD, silence=YOUNG)
    assert verdict.dead
    assert not verdict.inferred
    assert looked == []


@pytest.mark.parametrize("registration", [OURS, LOOOPS])
@pytest.mark.parametrize("process", LIVES)
def test_a_process_that_is_there_is_alive_however_long_it_was_not_heard(
    registration: Registration, process: ProcessState
) -> None:
    verdict, _ = judge(registration, local=True, process=process, silence=OLD)
    assert (verdict.liveness, verdict.basis) == (Liveness.ALIVE, Basis.PROCESS)
    assert verdict.evidence == f"pid 42 {process.value}"


@pytest.mark.parametrize("process", LIVES)
def test_a_process_on_a_mount_that_others_can_reach_may_be_another_kernel_s(process: ProcessState) -> None:
    """Machines that were resumed from one snapshot have the same processes. Without this, one would wait for itself."""
    assert liveness(SHARED, process=process, silence=YOUNG) is Liveness.ALIVE
    verdict, _ = judge(SHARED, process=process, silence=OLD)
    assert (verdict.dead, verdict.inferred, verdict.basis) == (True, True, Basis.HEARTBEAT)
    for registration in (SHARED, SHARED._replace(lease_seconds=0)):
        verdict, _ = judge(registration, process=process)
        assert (verdict.liveness, verdict.basis) == (Liveness.ALIVE, Basis.PROCESS)


@pytest.mark.parametrize("process", ENDED)
def test_a_process_that_is_gone_is_a_whole_proof_on_a_local_disk_alone(process: ProcessState) -> None:
    verdict, _ = judge(OURS, local=True, process=process, silence=YOUNG)
    assert (verdict.dead, verdict.inferred, verdict.basis) == (True, False, Basis.PROCESS)
    judged = ((YOUNG, Liveness.ALIVE), (UNHEARD, Liveness.UNKNOWN), (Silence(LEASE, LEASE), Liveness.DEAD))
    for silence, expected in judged:
        verdict, _ = judge(OURS, process=process, silence=silence)
        assert verdict.liveness is expected
        assert verdict.inferred == verdict.dead
        assert process.value in verdict.evidence


@pytest.mark.parametrize("process", ENDED)
def test_looop_s_own_session_is_judged_by_its_process_wherever_it_is(process: ProcessState) -> None:
    assert not judge(LOOOPS, process=process)[0].inferred
    assert liveness(LOOOPS, process=process) is Liveness.DEAD


def test_on_a_local_disk_the_number_of_a_namespace_tells_it_whatever_the_kernels_call_themselves() -> None:
    for boot in ("boot-2", ""):
        other = OURS._replace(boot=boot)
        assert liveness(other, local=True, process=ProcessState.RUNNING) is Liveness.ALIVE
        assert judge(other, local=True, process=ProcessState.GONE)[0][:1] == (Liveness.DEAD,)
        assert Sign.PROCESS not in judge(other, local=False, silence=YOUNG)[1] or not boot
    elsewhere = OURS._replace(boot="boot-2", namespace="pids of darwin")
    assert Sign.PROCESS not in judge(elsewhere, Here("boot-1", "pids of darwin"), local=True, silence=YOUNG)[1]


@pytest.mark.parametrize(
    ("recorded", "asks"),
    [("", "uuid-1"), ("uuid-1", ""), ("mac.local booted at 1764322683", "uuid-1")],
    ids=["who registers is in a sandbox", "who asks is in a sandbox", "made up by an earlier version"],
)
def test_two_kernels_are_told_apart_by_two_identities_of_one_kind_alone(recorded: str, asks: str) -> None:
    """Of a system that has one namespace of pids, and on its local disk: what is there lives, and what is gone is dead."""
    mac, here = OURS._replace(boot=recorded, namespace="pids of darwin"), Here(asks, "pids of darwin", pid=1000)
    assert liveness(mac, here, local=True, process=ProcessState.RUNNING, silence=OLD) is Liveness.ALIVE
    assert liveness(mac._replace(lease_seconds=0), here, local=True, process=ProcessState.GONE) is Liveness.DEAD
    assert liveness(mac._replace(lease_seconds=0), here, local=True, process=None) is Liveness.UNKNOWN
    _, looked = judge(mac, here, local=True, process=ProcessState.UNREADABLE, silence=UNHEARD)
    assert Sign.WATCH not in looked  # No hint of a reboot.
    assert Sign.PROCESS not in judge(mac, here, local=False, silence=YOUNG)[1]
    windows = mac._replace(namespace="pids of win32")  # Which has containers.
    assert Sign.PROCESS not in judge(windows, Here(asks, "pids of win32"), local=True, silence=YOUNG)[1]


def test_a_process_that_cannot_be_examined_leaves_the_question_to_the_next_sign() -> None:
    hidden = OURS._replace(locked=True)
    for process in (ProcessState.UNREADABLE, None):
        assert liveness(hidden, local=True, process=process, lock=Lock.HELD) is Liveness.ALIVE
        assert liveness(hidden, local=True, process=process, lock=Lock.FREE, silence=UNHEARD) is Liveness.DEAD
        assert liveness(OURS, process=process, silence=OLD) is Liveness.DEAD
        assert liveness(OURS, process=process, silence=YOUNG) is Liveness.ALIVE
        assert liveness(OURS._replace(lease_seconds=0), process=process) is Liveness.UNKNOWN


def test_a_process_whose_start_was_not_read_may_be_a_later_one_of_its_id() -> None:
    nameless = OURS._replace(start="")
    assert liveness(nameless, local=True, process=ProcessState.RUNNING, silence=OLD) is Liveness.DEAD
    assert liveness(nameless, local=True, process=ProcessState.RUNNING, silence=YOUNG) is Liveness.ALIVE
    assert not judge(nameless, local=True, process=ProcessState.GONE)[0].inferred


def test_a_lock_that_is_held_is_alive_and_one_that_is_free_is_a_hint() -> None:
    assert liveness(CONTAINED, local=True, lock=Lock.HELD, silence=OLD) is Liveness.ALIVE
    assert liveness(CONTAINED, local=True, lock=Lock.FREE, silence=YOUNG) is Liveness.ALIVE
    verdict, _ = judge(CONTAINED, local=True, lock=Lock.FREE, silence=UNHEARD)
    assert (verdict.dead, verdict.inferred, verdict.basis) == (True, True, Basis.LOCK)


@pytest.mark.parametrize("lock", [Lock.MISSING, Lock.INHERITED, None])
def test_a_lock_that_is_missing_or_a_child_s_proves_nothing(lock: Lock | None) -> None:
    assert liveness(CONTAINED, local=True, lock=lock, silence=UNHEARD) is Liveness.ALIVE
    assert liveness(CONTAINED, local=True, lock=lock, silence=OLD) is Liveness.DEAD
    assert liveness(CONTAINED._replace(lease_seconds=0), local=True, lock=lock) is Liveness.UNKNOWN


HEIRS = OURS._replace(locked=True, heirs=True)
"""As `looop run` registers its command's process."""


@pytest.mark.parametrize("process", ENDED)
@pytest.mark.parametrize("lock", [Lock.HELD, Lock.INHERITED])
def test_what_a_command_has_started_is_alive_as_long_as_it_has_the_lock(process: ProcessState, lock: Lock) -> None:
    verdict, _ = judge(HEIRS, local=True, process=process, lock=lock, silence=OLD)
    assert (verdict.liveness, verdict.basis) == (Liveness.ALIVE, Basis.LOCK)
    assert judge(HEIRS._replace(heirs=False), local=True, process=process, lock=lock)[0].dead


@pytest.mark.parametrize("process", ENDED)
def test_once_it_has_not_the_command_s_end_is_a_whole_proof(process: ProcessState) -> None:
    verdict, _ = judge(HEIRS, local=True, process=process, lock=Lock.FREE, silence=YOUNG)
    assert (verdict.dead, verdict.inferred) == (True, False)


@pytest.mark.parametrize("lock", [Lock.MISSING, None])
def test_where_that_lock_cannot_be_read_the_command_s_end_is_a_hint(lock: Lock | None) -> None:
    assert liveness(HEIRS, local=True, process=ProcessState.GONE, lock=lock, silence=YOUNG) is Liveness.ALIVE
    verdict, _ = judge(HEIRS, local=True, process=ProcessState.GONE, lock=lock, silence=Silence(LEASE, LEASE))
    assert (verdict.dead, verdict.inferred) == (True, True)
    assert liveness(HEIRS._replace(lease_seconds=0), local=True, process=ProcessState.GONE, lock=lock) is Liveness.UNKNOWN


def test_a_command_s_lock_that_another_namespace_sees_is_of_its_descendants_too() -> None:
    elsewhere = HEIRS._replace(namespace="pid:[2]")
    assert liveness(elsewhere, local=True, lock=Lock.INHERITED, silence=OLD) is Liveness.ALIVE
    assert liveness(elsewhere._replace(heirs=False), local=True, lock=Lock.INHERITED, silence=OLD) is Liveness.DEAD


def test_a_lock_is_looked_at_on_the_session_s_own_disk_alone() -> None:
    """One of NFS may be kept to a mount."""
    assert Sign.LOCK not in judge(CONTAINED, local=False, lock=Lock.FREE, silence=YOUNG)[1]


def test_another_boot_identity_is_a_hint_on_a_local_disk_and_nothing_elsewhere() -> None:
    assert liveness(REMOTE, local=True, silence=YOUNG) is Liveness.ALIVE
    verdict, _ = judge(REMOTE, local=True, silence=UNHEARD)
    assert (verdict.dead, verdict.inferred, verdict.basis) == (True, True, Basis.KERNEL)
    assert liveness(REMOTE, local=False, silence=UNHEARD) is Liveness.ALIVE
    assert liveness(REMOTE._replace(disk="linux tmpfs"), local=True, silence=UNHEARD) is Liveness.ALIVE
    assert liveness(REMOTE, HERE._replace(given=True), local=True, silence=UNHEARD) is Liveness.ALIVE
    locked = REMOTE._replace(locked=True)
    assert liveness(locked, local=True, lock=Lock.HELD, silence=OLD) is Liveness.ALIVE
    assert liveness(locked, local=True, lock=Lock.INHERITED, silence=UNHEARD) is Liveness.ALIVE
    assert liveness(locked, local=True, lock=Lock.MISSING, silence=UNHEARD) is Liveness.DEAD
    assert liveness(REMOTE._replace(lease_seconds=0), local=True) is Liveness.UNKNOWN


def test_this_process_before_it_executed_another_program_is_dead_once_its_lock_is_free() -> None:
    itself = OURS._replace(pid=HERE.pid, locked=True, own=True)
    found = judge(itself, local=True, process=ProcessState.RUNNING, lock=Lock.FREE, silence=YOUNG)[0]
    assert (found.dead, found.inferred) == (True, False)
    for lock in (Lock.HELD, Lock.INHERITED, Lock.MISSING, None):
        assert liveness(itself, local=True, process=ProcessState.RUNNING, lock=lock) is Liveness.ALIVE
    of_a_parent = itself._replace(own=False)  # The lock is that of `looop run`, and the process its command's.
    assert liveness(of_a_parent, local=True, process=ProcessState.RUNNING, lock=Lock.FREE) is Liveness.ALIVE


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
    found, looked = judge(REMOTE, silence=Silence(seconds, watched))
    assert found.liveness is expected
    assert found.basis is Basis.HEARTBEAT
    assert found.inferred == (expected is Liveness.DEAD)
    assert found.age == max(seconds, watched, 0)
    assert "hosta" in found.evidence
    assert looked[-1] is Sign.HEARTBEAT


@pytest.mark.parametrize(
    ("seconds", "watched", "expected"),
    [
        (0, 0, Liveness.ALIVE),
        (10, 9, Liveness.ALIVE),
        (11, 0, Liveness.UNKNOWN),
        (29, 14.9, Liveness.UNKNOWN),
        (3600, 0, Liveness.UNKNOWN),  # The clock may have been set forward.
        (15, 15, Liveness.DEAD),
        (-3600, 14, Liveness.UNKNOWN),
        (-3600, 15, Liveness.DEAD),
    ],
)
def test_after_a_hint_a_heartbeat_is_watched_from_the_first_look_on(
    seconds: float, watched: float, expected: Liveness
) -> None:
    found, looked = judge(CONTAINED, local=True, lock=Lock.FREE, silence=Silence(seconds, watched))
    assert found.liveness is expected
    assert found.inferred == (expected is Liveness.DEAD)
    assert "its lock is free" in found.evidence
    assert ("dead if it is silent for" in found.evidence) == (not found.dead)
    assert looked[-1] is Sign.WATCH


def test_where_a_server_may_keep_heartbeats_waiting_a_hint_is_believed_after_the_session_has_stopped_itself() -> None:
    for watched, expected in ((patience(LEASE), Liveness.UNKNOWN), (LEASE - 0.1, Liveness.UNKNOWN), (LEASE, Liveness.DEAD)):
        found, looked = judge(SHARED, process=ProcessState.GONE, silence=Silence(watched, watched))
        assert found.liveness is expected
        assert looked[-1] is Sign.WATCH


@pytest.mark.parametrize("lease", [3, 10, 30, 3600])
def test_a_session_stops_itself_before_silence_alone_is_its_end(lease: int) -> None:
    registration = REMOTE._replace(lease_seconds=lease)
    for seconds in (0.0, patience(lease), float(lease)):
        assert liveness(registration, silence=Silence(seconds, seconds)) is not Liveness.DEAD
    assert liveness(registration, silence=Silence(lease * 1.5, lease * 0.5)) is Liveness.DEAD


@pytest.mark.parametrize(
    ("registration", "here", "why"),
    [
        (OURS._replace(boot="boot-2"), HERE, "another kernel"),
        (OURS._replace(namespace="pid:[2]"), HERE, "another pid namespace"),
        (OURS._replace(boot="", namespace="pid:[2]"), HERE, "the kernel's identity is not known"),
        (OURS, Here(HERE.boot, ""), "pid namespace"),
        (OURS._replace(namespace=""), Here(HERE.boot, ""), "cannot be examined"),
        (OURS._replace(pid=0), HERE, "names no process"),
    ],
)
@pytest.mark.parametrize("lease", [0, LEASE])
def test_what_cannot_be_examined_from_here_is_unknown_and_says_why(
    registration: Registration, here: Here, why: str, lease: int
) -> None:
    found, _ = judge(registration._replace(lease_seconds=lease), here)
    assert (found.liveness, found.basis) == (Liveness.UNKNOWN, Basis.NOTHING)
    assert why in found.evidence


def test_the_host_of_a_session_that_cannot_be_examined_is_named() -> None:
    assert "pid 42 on hosta" in judge(REMOTE)[0].evidence
    assert "an unnamed host" in judge(REMOTE._replace(host=""))[0].evidence


TEXTS = st.sampled_from(["", "a", "pid:[1]"])
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
    ended=st.just(False),
    kept=st.just(False),
    lease_seconds=st.sampled_from([0, LEASE]),
    disk=st.sampled_from(["", "linux ext4", "linux tmpfs"]),
    locked=st.booleans(),
    own=st.booleans(),
)
HERES = st.builds(Here, TEXTS, TEXTS, st.booleans(), st.integers(1, 3))
PROCESSES = st.none() | st.sampled_from(ProcessState)
LOCKS = st.none() | st.sampled_from(Lock)
SILENCES = st.none() | st.builds(Silence, st.floats(-1e6, 1e6), st.floats(0, 1e6))


@UNHURRIED
@given(REGISTRATIONS, HERES, st.booleans(), PROCESSES, LOCKS, SILENCES)
def test_every_verdict_has_its_evidence_and_what_cannot_be_read_is_no_death(
    registration: Registration,
    here: Here,
    local: bool,
    process: ProcessState | None,
    lock: Lock | None,
    silence: Silence | None,
) -> None:
    found, looked = judge(registration, here, local=local, process=process, lock=lock, silence=silence)
    assert found.evidence
    assert found.age >= 0
    assert len(looked) <= 8
    if (process, lock, silence) == (None, None, None):
        assert found.liveness is Liveness.UNKNOWN


@UNHURRIED
@given(REGISTRATIONS, HERES, PROCESSES, LOCKS, SILENCES)
def test_where_other_kernels_can_be_only_a_silence_that_was_watched_is_a_death(
    registration: Registration, here: Here, process: ProcessState | None, lock: Lock | None, silence: Silence | None
) -> None:
    ours = registration._replace(foreign=False)
    found, _ = judge(ours, here, local=False, process=process, lock=lock, silence=silence)
    if found.dead:
        assert found.inferred
        assert silence
        assert silence.watched >= interval(LEASE)


@UNHURRIED
@given(REGISTRATIONS, HERES, st.booleans(), PROCESSES, LOCKS, st.floats(-interval(LEASE), suspicion(LEASE) - 0.1))
def test_a_heartbeat_that_is_young_voids_all_but_a_whole_proof(
    registration: Registration, here: Here, local: bool, process: ProcessState | None, lock: Lock | None, seconds: float
) -> None:
    silence = Silence(seconds, max(seconds, 0.0))
    found, _ = judge(registration, here, local=local, process=process, lock=lock, silence=silence)
    assert not (found.dead and found.inferred)
    assert not found.dead or process in (*ENDED, *LIVES)


def test_everything_that_can_be_seen_has_its_worth() -> None:
    assert set(WORTH) == set(Seen)
    assert {seen for seen, worth in WORTH.items() if worth is Worth.PROOF} == {
        Seen.ENDED,
        Seen.FORMER_SELF,
        Seen.GONE_HERE,
    }
