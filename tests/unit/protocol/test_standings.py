"""The rules: `judge` against the whole table, and what it may never say."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.records import Holder, Lease, shared_lease
from looop_portable.protocol.shares import Reader
from looop_portable.protocol.standings import NOBODY, TABLE, Standing, advances, is_ours, judge

UNHURRIED = settings(deadline=None)
ALIVE, DEAD, UNKNOWN = Liveness.ALIVE, Liveness.DEAD, Liveness.UNKNOWN
ME = Holder("me", "i2")

IDS = st.sampled_from(["", "me", "you", "ME"])
NONCES = st.sampled_from(["", "i1", "i2"])
LEASES = st.builds(
    Lease,
    name=st.just("repo-x"),
    session=IDS,
    incarnation=NONCES,
    generation=st.integers(0, 3),
    foreign=st.booleans(),
    settled=st.booleans(),
    readers=st.just(()),
)
READERS = st.builds(Reader, st.sampled_from(["me", "you", "ME"]), NONCES, st.integers(1, 3))
SHARED = st.lists(READERS, min_size=1, max_size=3).map(lambda readers: shared_lease("repo-x", tuple(readers)))
HOLDERS = st.one_of(st.just(NOBODY), st.builds(Holder, st.sampled_from(["me", "you", "ME"]), NONCES))
VERDICTS = st.sampled_from(Liveness)


def lease(session: str, incarnation: str = "", generation: int = 7, settled: bool = True) -> Lease:
    return Lease("repo-x", session, incarnation, generation, settled=settled)


@pytest.mark.parametrize("liveness", Liveness)
def test_what_nobody_holds_is_vacant(liveness: Liveness) -> None:
    assert judge(None, ME, liveness) is Standing.VACANT
    assert judge(None, NOBODY, liveness) is Standing.VACANT


@pytest.mark.parametrize("liveness", Liveness)
def test_our_id_and_our_incarnation_is_ours_whatever_was_said_of_us(liveness: Liveness) -> None:
    assert judge(lease("me", "i2"), ME, liveness) is Standing.OURS


@pytest.mark.parametrize("liveness", Liveness)
def test_an_unregistered_session_knows_its_own_lease(liveness: Liveness) -> None:
    assert judge(lease("me"), Holder("me", ""), liveness) is Standing.OURS


@pytest.mark.parametrize(
    ("liveness", "standing"), [(ALIVE, Standing.HELD), (UNKNOWN, Standing.HELD), (DEAD, Standing.ORPHANED)]
)
@pytest.mark.parametrize("me", [ME, Holder("me", ""), NOBODY])
def test_another_incarnation_of_our_id_is_judged_as_any_other_session(
    me: Holder, liveness: Liveness, standing: Standing
) -> None:
    assert judge(lease("me", "i1"), me, liveness) is standing


@pytest.mark.parametrize("liveness", Liveness)
@pytest.mark.parametrize("generation", [0, 7])
def test_a_lease_of_our_id_without_incarnation_is_adopted(liveness: Liveness, generation: int) -> None:
    assert judge(lease("me", generation=generation), ME, liveness) is Standing.ORPHANED


@pytest.mark.parametrize("liveness", Liveness)
def test_a_lease_that_looop_wrote_is_never_simply_ours(liveness: Liveness) -> None:
    assert judge(lease("me")._replace(foreign=True), Holder("me", ""), liveness) is Standing.ORPHANED


@pytest.mark.parametrize(
    ("liveness", "standing"), [(ALIVE, Standing.HELD), (UNKNOWN, Standing.HELD), (DEAD, Standing.ORPHANED)]
)
@pytest.mark.parametrize("incarnation", ["", "i1", "i2"])
@pytest.mark.parametrize("me", [ME, Holder("me", ""), NOBODY])
def test_another_session_holds_until_it_is_proven_dead(
    me: Holder, incarnation: str, liveness: Liveness, standing: Standing
) -> None:
    assert judge(lease("you", incarnation), me, liveness) is standing


@pytest.mark.parametrize("liveness", Liveness)
@pytest.mark.parametrize("me", [ME, Holder("me", ""), NOBODY])
def test_a_lease_without_a_holder_is_debris_once_it_is_settled_and_nobody_lives(me: Holder, liveness: Liveness) -> None:
    assert judge(lease(""), me, liveness) is (Standing.DEBRIS if liveness is DEAD else Standing.HELD)
    assert judge(lease("", settled=False), me, liveness) is Standing.HELD


@UNHURRIED
@given(st.none() | LEASES, HOLDERS, VERDICTS)
@example(lease("", ""), NOBODY, DEAD)
def test_ours_is_said_only_of_a_published_lease_of_exactly_this_registration(
    found: Lease | None, me: Holder, liveness: Liveness
) -> None:
    ours = judge(found, me, liveness) is Standing.OURS
    assert ours == is_ours(found, me)
    assert ours == (
        found is not None
        and not found.foreign
        and me.session != ""
        and (found.session, found.incarnation) == (me.session, me.incarnation)
    )


@UNHURRIED
@given(SHARED, HOLDERS, VERDICTS)
def test_a_shared_claim_is_ours_if_exactly_this_registration_is_one_of_its_readers(
    found: Lease, me: Holder, liveness: Liveness
) -> None:
    ours = judge(found, me, liveness) is Standing.OURS
    assert (
        ours
        == is_ours(found, me)
        == (me.session != "" and (me.session, me.incarnation) in {each[:2] for each in found.readers})
    )


@UNHURRIED
@given(LEASES, HOLDERS, st.sampled_from([ALIVE, UNKNOWN]))
def test_nothing_is_taken_from_another_id_that_is_not_proven_dead(found: Lease, me: Holder, liveness: Liveness) -> None:
    if found.session and found.session != me.session:
        assert judge(found, me, liveness) is Standing.HELD


@UNHURRIED
@given(LEASES, HOLDERS, st.sampled_from([ALIVE, UNKNOWN]))
def test_nothing_is_taken_from_another_incarnation_of_our_id_that_is_not_proven_dead(
    found: Lease, me: Holder, liveness: Liveness
) -> None:
    if found.session == me.session != "" and found.incarnation and found.incarnation != me.incarnation:
        assert judge(found, me, liveness) is Standing.HELD


@UNHURRIED
@given(st.none() | LEASES, VERDICTS)
def test_to_the_reaper_no_lease_is_its_own(found: Lease | None, liveness: Liveness) -> None:
    assert judge(found, NOBODY, liveness) is not Standing.OURS


@UNHURRIED
@given(LEASES, HOLDERS, VERDICTS)
def test_a_lease_that_is_still_being_written_is_left_alone(found: Lease, me: Holder, liveness: Liveness) -> None:
    if not found.session and not found.settled:
        assert judge(found, me, liveness) is Standing.HELD


@UNHURRIED
@given(st.none() | LEASES, HOLDERS, VERDICTS)
def test_every_standing_has_a_row_in_the_table(found: Lease | None, me: Holder, liveness: Liveness) -> None:
    assert judge(found, me, liveness) in TABLE


def test_the_table_has_one_row_for_each_standing() -> None:
    assert set(TABLE) == set(Standing)


def test_a_verb_writes_only_where_nobody_alive_is_in_the_way() -> None:
    writes = {
        (standing, verb) for standing, verbs in TABLE.items() for verb in verbs._fields if advances(getattr(verbs, verb))
    }
    assert writes == {
        (Standing.VACANT, "claim"),
        (Standing.OURS, "unclaim"),
        *((standing, verb) for standing in (Standing.ORPHANED, Standing.DEBRIS) for verb in ("claim", "unclaim", "reap")),
    }
