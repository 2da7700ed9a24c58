"""The words and the times of liveness."""

import pytest

from looop_portable.protocol.liveness import (
    Basis,
    Here,
    Liveness,
    Verdict,
    interval,
    is_nearby,
    patience,
    resumes_after,
    suspicion,
)
from looop_portable.protocol.records import Registration

HERE = Here("boot-1", "pid:[1]")
OURS = Registration("s", "i", 42, start="7", boot=HERE.boot, namespace=HERE.namespace, host="hosta")


@pytest.mark.parametrize("lease", [3, 10, 30, 3600])
def test_a_session_says_that_it_goes_on_before_a_hint_is_believed_and_stops_before_silence_is_its_end(lease: int) -> None:
    assert interval(lease) < resumes_after(lease) < suspicion(lease) < patience(lease) < lease


@pytest.mark.parametrize(
    ("registration", "here", "expected"),
    [
        (OURS, HERE, True),
        (OURS._replace(boot="boot-2"), HERE, False),
        (OURS._replace(namespace="pid:[2]"), HERE, False),
        (OURS._replace(namespace=""), Here(HERE.boot, ""), False),
        (OURS._replace(boot=""), Here("", HERE.namespace), True),
        (OURS._replace(pid=0), HERE, False),
        (OURS._replace(boot="", namespace="", foreign=True), HERE, True),
        (OURS._replace(boot="", namespace="", foreign=True), Here(HERE.boot, ""), False),
    ],
)
def test_a_process_is_nearby_where_the_identities_of_kernel_and_namespace_are_ours(
    registration: Registration, here: Here, expected: bool
) -> None:
    assert is_nearby(registration, here) is expected


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
    assert Verdict(Liveness.ALIVE, "why", basis, 7.0).description == told
