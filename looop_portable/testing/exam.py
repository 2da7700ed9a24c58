"""The exam that every backend passes, ours and a plug-in's: a class of pytest tests to inherit.

    class TestMine(BackendExam):
        @pytest.fixture
        def reopen(self, tmp_path):
            return lambda: MyBackend(str(tmp_path))

        def cut_off(self, backend):
            return MyBackend(where_nobody_answers)  # Optional: see `exam_life`.

`reopen` is a fixture that gives a function; each call of it opens the same store anew, as another process would. A backend
that lives in one process may give the same object each time.
Here are the laws of claims. `exam_life` and `exam_sessions` have those of sessions, `exam_waiting` those of waiting and
of sharing. What fails says which law was broken, and how. `faults` looks for untruth after a reply that was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier

from looop_portable.claims.gate import Claims
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.names import spelled
from looop_portable.protocol.outcomes import Held, Refused, Released, Renewed, Won
from looop_portable.protocol.records import Head
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.clock import elapsed
from looop_portable.testing.exam_life import LifeExam
from looop_portable.testing.exam_waiting import SharingExam, WaitingExam
from looop_portable.testing.examiner import (
    ROUNDS,
    WORKERS,
    Reopen,
    at_once,
    far,
    is_published,
    lease,
    registered,
    starting_line,
    waiter,
)

__all__ = ["BackendExam", "LifeExam", "Reopen", "SharingExam", "WaitingExam"]

ODD_NAMES = (
    "con",
    "a.",
    "a b",
    "50%",
    "%41",
    "x" * 300,
    spelled("x" * 300),
    "\u00e9t\u00e9",
    'q"<>|*?:',
    "tab\there",
    "-",
    "~",
    "json.json",
)


_STALE = "law: who advances from a number that is not the latest loses, and changes nothing"
_RELEASE = "law: a release leaves no lease, and keeps the number"
_SCAN = "law: a scan lists the names that are held and nothing else"


class BackendExam(LifeExam, WaitingExam, SharingExam):
    """The laws of a `Backend`: of its claims, and all others."""

    def test_it_can_be_used_here(self, reopen: Reopen) -> None:
        reason = reopen().unavailable()
        assert reason is None, f"law: a backend that is examined can be used here: {reason}"

    def test_a_name_that_nobody_claimed_is_at_generation_0(self, reopen: Reopen) -> None:
        backend = reopen()
        assert (found := backend.read("repo-x")) == Head(0, None), f"law: what nobody claimed is at generation 0: {found}"
        assert list(backend.claims()) == [], "law: what is listed as held is held: nothing was claimed"

    def test_advance_publishes_the_next_generation_as_proposed(self, reopen: Reopen) -> None:
        assert reopen().advance("repo-x", 0, lease("repo-x"))
        found, wanted = reopen().read("repo-x"), Head(1, lease("repo-x")._replace(generation=1))
        assert found == wanted, f"law: the next generation is published as proposed: {found} instead of {wanted}"

    def test_advance_from_another_generation_loses_and_changes_nothing(self, reopen: Reopen) -> None:
        backend = reopen()
        assert backend.advance("repo-x", 0, lease("repo-x"))
        head = backend.read("repo-x")
        for late in (lease("repo-x", "w2"), None):
            assert not backend.advance("repo-x", 0, late), f"{_STALE}: it won with {late}"
        assert (found := reopen().read("repo-x")) == head, f"{_STALE}: {head} is {found}"

    def test_what_one_opening_publishes_another_that_has_read_before_reads(self, reopen: Reopen) -> None:
        backend, other = reopen(), reopen()
        for number in range(4):
            wanted = None if number % 2 else lease("repo-x", f"w{number}")
            assert other.read("repo-x").generation == number
            assert backend.advance("repo-x", number, wanted)
            found, law = other.read("repo-x"), "law: what is read is the latest that is published"
            assert found == Head(number + 1, wanted and wanted._replace(generation=number + 1)), f"{law}: it is {found}"
            assert list(other.claims()) == ([] if number % 2 else ["repo-x"]), law

    def test_a_store_that_does_not_answer_says_so_and_nothing_else(self, reopen: Reopen) -> None:
        """A no that nobody said would make a claim free, or a session dead, that are not."""
        backend = reopen()
        me = registered(Claims(backend), "me")
        assert backend.advance("repo-x", 0, lease("repo-x", *me))
        cut_off = self.cut_off(backend)
        if cut_off is None:
            return
        sessions, tickets = cut_off.sessions, cut_off.tickets
        asked: dict[str, Callable[[], object]] = {
            "read": lambda: cut_off.read("repo-x"),
            "advance": lambda: cut_off.advance("repo-x", 1, None),
            "claims": lambda: list(cut_off.claims()),
            "sessions.read": lambda: sessions.read("me"),
            "sessions.advance": lambda: sessions.advance("w2", 0, far("w2")),
            "sessions.ids": sessions.ids,
        }
        if tickets:
            asked["tickets.take"] = lambda: tickets.take("repo-x", waiter(1))
            asked["tickets.line"] = lambda: tickets.line("repo-x")
        for what, ask in asked.items():
            try:
                found = ask()
            except (Unavailable, OSError) as error:
                failure: Exception = error
            else:
                raise AssertionError(f"law: a store that does not answer says so: {what} said {found!r}")
            is_reported = isinstance(failure, Unavailable) or what.startswith("sessions.")
            assert is_reported, f"law: every failure is Unavailable: {what} raised {failure!r}"
            assert "\n" not in str(failure), f"law: an error is one line: {failure}"
        assert Sessions(sessions).verdict(*me).liveness is Liveness.UNKNOWN, "law: who cannot be asked for is UNKNOWN"
        assert reopen().read("repo-x").generation == 1

    def test_generations_only_grow_across_release_and_takeover(self, reopen: Reopen) -> None:
        seen = []
        for turn in range(40):
            backend = reopen()
            generation = backend.read("repo-x").generation
            assert backend.advance("repo-x", generation, lease("repo-x", f"w{turn}") if turn % 3 else None)
            seen.append(backend.read("repo-x").generation)
        assert seen == list(range(1, 41)), f"law: numbers grow by one and never restart: {seen}"

    def test_a_release_leaves_no_lease_and_keeps_the_number(self, reopen: Reopen) -> None:
        backend = reopen()
        assert backend.advance("repo-x", 0, lease("repo-x"))
        assert backend.advance("repo-x", 1, None)
        assert (found := reopen().read("repo-x")) == Head(2, None), f"{_RELEASE}: {found}"
        assert not reopen().advance("repo-x", 1, lease("repo-x", "w2")), f"{_STALE}: it won"

    def test_a_release_by_another_who_has_only_read_it_is_the_same(self, reopen: Reopen) -> None:
        assert reopen().advance("repo-x", 0, lease("repo-x"))
        assert reopen().advance("repo-x", 1, None)
        assert (found := reopen().read("repo-x")) == Head(2, None), f"{_RELEASE}: {found}"

    def test_a_very_old_view_never_wins(self, reopen: Reopen) -> None:
        backend = reopen()
        for generation in range(60):
            assert backend.advance("repo-x", generation, lease("repo-x", f"w{generation}"))
        head = backend.read("repo-x")
        for old in range(60):
            assert not backend.advance("repo-x", old, lease("repo-x", "late")), f"{_STALE}: it won from {old} of 60"
        assert (found := reopen().read("repo-x")) == head, f"{_STALE}: {head} is {found}"

    def test_claims_are_the_names_that_are_held(self, reopen: Reopen) -> None:
        backend = reopen()
        for name in ("a", "b", "c"):
            assert backend.advance(name, 0, lease(name))
        assert backend.advance("b", 1, None)
        assert (found := sorted(reopen().claims())) == ["a", "c"], f"{_SCAN}: {found} instead of a, c"

    def test_any_name_can_be_claimed_and_is_told_apart(self, reopen: Reopen) -> None:
        for name in ODD_NAMES:
            assert reopen().advance(name, 0, lease(name, f"holder of {name[:20]}".replace("\t", " ")))
        assert (found := sorted(reopen().claims())) == sorted(ODD_NAMES), f"{_SCAN}: {found}"
        for name in ODD_NAMES:
            held, wanted = reopen().read(name), lease(name, f"holder of {name[:20]}".replace("\t", " "))
            assert held == Head(1, wanted._replace(generation=1)), f"law: names are told apart: {name!r} is {held}"

    def test_many_workers_that_fight_never_win_the_same_generation(self, reopen: Reopen) -> None:
        """Everybody builds upon everybody at once, as no claimer does: each lease has one winner at most.

        A release that comes when its number has long been used and pruned may be told as done: it ends nothing.
        """
        won: list[int] = []
        released: list[int] = []
        start = starting_line()

        def work(worker: int) -> None:
            backend = reopen()
            start.wait()
            for _ in range(ROUNDS):
                generation = backend.read("counter").generation
                if backend.advance("counter", generation, lease("counter", f"w{worker}") if generation % 2 else None):
                    (won if generation % 2 else released).append(generation + 1)

        at_once(work)
        assert len(set(won)) == len(won), f"law: of all that advance from one number exactly one wins: {sorted(won)}"
        assert len(won) + len(released) >= ROUNDS
        assert reopen().read("counter").generation >= max(won + released)

    def test_many_workers_incrementing_through_it_count_exactly(self, reopen: Reopen) -> None:
        """A counter that only its holder touches, in steps that anybody else could come between."""
        counter = [0]
        start = starting_line()

        def work(worker: int) -> None:
            backend = reopen()
            start.wait()
            done, began = 0, elapsed()
            while done < ROUNDS:
                assert elapsed() - began < 6 * self.patience, f"law: of those who claim somebody wins: {done} times"
                head = backend.read("counter")
                mine = lease("counter", f"w{worker}", f"{worker} {done}")
                if head.lease or not is_published(backend, "counter", head.generation, mine):
                    continue
                seen = counter[0]
                backend.read("counter")  # Time for others to come in, if anybody could.
                counter[0] = seen + 1
                done += 1
                assert is_published(backend, "counter", head.generation + 1, None)

        at_once(work)
        told = f"{WORKERS * ROUNDS} turns were won, and {counter[0]} were one after the other"
        assert counter == [WORKERS * ROUNDS], f"law: no two hold: {told}"
        assert reopen().read("counter") == Head(2 * WORKERS * ROUNDS, None)

    def test_exactly_one_of_many_claimers_of_a_free_name_wins(self, reopen: Reopen) -> None:
        for turn in range(20):
            outcomes: list[object] = []
            start = starting_line()

            def work(worker: int, turn: int = turn, outcomes: list[object] = outcomes, start: Barrier = start) -> None:
                claims = Claims(reopen())
                me = registered(claims, f"w{turn}-{worker}")
                start.wait()
                outcomes.append(claims.claim(f"name-{turn}", me))

            at_once(work, start)
            found = sorted(type(outcome).__name__ for outcome in outcomes)
            law = "law: of all that claim a free name at once one wins"
            assert found == ["Held"] * (WORKERS - 1) + ["Won"], f"{law}: {found}"

    def test_the_verbs_answer_by_the_table(self, reopen: Reopen) -> None:
        claims, other = Claims(reopen()), Claims(reopen())
        me, her = registered(claims, "me"), registered(other, "her")
        assert isinstance(claims.release("repo-x", me), Released)
        won = claims.claim("repo-x", me)
        assert isinstance(won, Won)
        assert isinstance(claims.claim("repo-x", me), Renewed)
        assert isinstance(found := other.claim("repo-x", her), Held), f"law: no two hold: {won}, and {found}"
        assert isinstance(told := other.release("repo-x", her), Refused), f"law: only who holds lets go: {told}"
        assert other.reap().reaped == ()
        assert other.check("repo-x", won.generation).current
        assert isinstance(claims.release("repo-x", me), Released)
        assert not other.check("repo-x", won.generation).current

    def test_the_claim_of_an_ended_session_is_taken_over_at_once(self, reopen: Reopen) -> None:
        claims, other = Claims(reopen()), Claims(reopen())
        me, her = registered(claims, "me"), registered(other, "her")
        first = claims.claim("repo-x", me)
        assert isinstance(first, Won)
        assert other.sessions.stop("me")
        second = other.claim("repo-x", her)
        assert isinstance(second, Won), f"law: what an ended session held is free: {second}"
        assert second.generation > first.generation
        assert second.previous is not None
        assert second.previous.session == "me"

    def test_a_session_of_the_same_id_inherits_nothing(self, reopen: Reopen) -> None:
        claims = Claims(reopen())
        old = registered(claims, "me")
        assert isinstance(claims.claim("repo-x", old), Won)
        claims.sessions.stop("me")
        new = registered(claims, "me")
        assert new != old
        outcome = Claims(reopen()).claim("repo-x", new)
        assert isinstance(outcome, Won), f"law: a new session inherits nothing from a dead one of its id: {outcome}"

    def test_the_reaper_releases_what_ended_sessions_held_and_nothing_else(self, reopen: Reopen) -> None:
        claims = Claims(reopen())
        dead, alive = registered(claims, "dead"), registered(claims, "alive")
        for name in ("a", "b"):
            claims.claim(name, dead)
        claims.claim("c", alive)
        claims.sessions.stop("dead")
        assert {found.lease.name for found in Claims(reopen()).reap(dry_run=True).reaped} == {"a", "b"}
        assert sorted(reopen().claims()) == ["a", "b", "c"]
        sweep = Claims(reopen()).reap()
        law = "law: the reaper releases what ended sessions held, and nothing else"
        assert {found.lease.name for found in sweep.reaped} == {"a", "b"}, f"{law}: {sweep}"
        assert sweep.kept == 1, f"{law}: {sweep}"
        assert not sweep.failed
        assert list(reopen().claims()) == ["c"]
        assert reopen().read("a") == Head(2, None)
