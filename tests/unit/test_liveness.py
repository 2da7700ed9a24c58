"""From evidence to a verdict, row by row."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from looop_portable.liveness import Here, Liveness, ProcessState, Registration, Verdict, process_matters, verdict

UNHURRIED = settings(deadline=None)
HERE = Here("boot-1", "pid:[1]")
OURS = Registration("s", "i", 42, start="7", boot=HERE.boot, namespace=HERE.namespace, host="hosta")
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
)


def test_no_such_session_is_dead() -> None:
    assert verdict(None, HERE, None) == Verdict(Liveness.DEAD, "no such session")


@pytest.mark.parametrize("registration", [OURS, LOOOPS])
@pytest.mark.parametrize("process", [None, *ProcessState])
def test_a_session_that_says_it_has_ended_is_dead_whatever_its_process_does(
    registration: Registration, process: ProcessState | None
) -> None:
    ended = registration._replace(ended=True)
    assert verdict(ended, HERE, process).dead
    assert not process_matters(ended, HERE)


def test_every_state_of_a_process_has_a_verdict() -> None:
    assert set(STATES) == set(ProcessState)


@pytest.mark.parametrize("registration", [OURS, LOOOPS])
@pytest.mark.parametrize(("process", "expected"), STATES.items())
def test_on_the_same_kernel_and_in_the_same_namespace_the_process_decides(
    registration: Registration, process: ProcessState, expected: Liveness
) -> None:
    assert process_matters(registration, HERE)
    found = verdict(registration, HERE, process)
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
    assert not process_matters(registration, here)
    found = verdict(registration, here, None)
    assert found.liveness is Liveness.UNKNOWN
    assert why in found.evidence


def test_the_host_of_a_session_that_cannot_be_examined_is_named() -> None:
    assert "pid 42 on hosta" in verdict(OURS._replace(boot="boot-2"), HERE, None).evidence
    assert "an unnamed host" in verdict(OURS._replace(boot="boot-2", host=""), HERE, None).evidence


@UNHURRIED
@given(REGISTRATIONS, st.builds(Here, TEXTS, TEXTS))
def test_without_a_look_at_the_process_only_its_own_word_is_proof_of_death(registration: Registration, here: Here) -> None:
    expected = Liveness.DEAD if registration.ended else Liveness.UNKNOWN
    assert verdict(registration, here, None).liveness is expected


@UNHURRIED
@given(REGISTRATIONS, st.builds(Here, TEXTS, TEXTS))
def test_a_pid_is_looked_up_only_where_it_means_that_process(registration: Registration, here: Here) -> None:
    looked_up = process_matters(registration, here)
    if looked_up and not registration.foreign:
        assert registration.boot == here.boot != ""
        assert registration.namespace == here.namespace != ""
    if looked_up:
        assert registration.pid > 0


@UNHURRIED
@given(st.none() | REGISTRATIONS, st.builds(Here, TEXTS, TEXTS), st.none() | st.sampled_from(ProcessState))
def test_every_verdict_has_its_evidence(
    registration: Registration | None, here: Here, process: ProcessState | None
) -> None:
    assert verdict(registration, here, process).evidence
