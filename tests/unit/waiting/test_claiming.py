"""Several claims, all or none; and waiting, interrupted at every step: nothing is ours then that was not before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import NATIVE
from support.steps import Steps

from looop_portable import Claims, Held, InvalidName, Renewed, Unavailable, Won, claim_all, wait_for
from looop_portable.errors import UsageError
from looop_portable.protocol.records import Holder, Lease, Registration
from looop_portable.protocol.shares import in_order, slots_of
from looop_portable.waiting.attempts import claim_any, ours_of

PATIENCE = 60  # Seconds, after which something is taken for hanging.


@pytest.fixture(params=[NATIVE, "memory"])
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Claims:
    opened = Claims.open(str(tmp_path), request.param)
    opened.sessions.register("me")
    opened.sessions.register("other")
    return opened


@pytest.fixture
def me(claims: Claims) -> Holder:
    return claims.sessions.holder("me")


def held(claims: Claims) -> dict[str, str]:
    """By whom."""
    return {status.name: status.lease.session for status in claims.list() if status.lease}


def line(claims: Claims, name: str) -> list[str]:
    tickets = claims.backend.tickets
    assert tickets
    return tickets.line(name)


def test_everybody_takes_them_in_one_order() -> None:
    assert in_order(["b", "a", "B", "a", "C", "e\u0301", "\u00e9"]) == ["a", "B", "b", "C", "\u00e9"]
    assert in_order([]) == []
    with pytest.raises(InvalidName):
        in_order(["a", "b/c"])


def test_slots_are_claims_of_their_own() -> None:
    assert slots_of("n", 0) == ["n"]
    assert slots_of("n", 2) == ["n#1", "n#2"]
    assert len(slots_of("n", 10_000)) == 10_000
    for number in (-1, 10_001):
        with pytest.raises(UsageError, match="slots: 1 to 10000"):
            slots_of("n", number)


def test_a_session_has_one_slot_and_no_second_one(claims: Claims, me: Holder) -> None:
    wanted = slots_of("n", 2)
    assert isinstance(claims.claim("n#1", "other"), Won)
    won = claim_any(claims, wanted, me)
    assert isinstance(won, Won)
    assert won.lease.name == "n#2"
    claims.release("n#1", "other")
    assert claim_any(claims, wanted, me) == Renewed(won.lease)
    claims.claim("n#1", "other")
    assert ours_of(claims, ["n", "m"], 2, "me") == ["n#2"]
    claims.release("n#2", "me")
    claims.claim("n#2", "other")
    refused = claim_any(claims, wanted, me)
    assert isinstance(refused, Held)
    assert refused.lease.name == "n#1"


class TestAll:
    def test_all_are_won_in_order_and_each_once(self, claims: Claims, me: Holder) -> None:
        won = claim_all(claims, ["b", "a", "b"], me)
        assert isinstance(won, list)
        assert [outcome.lease.name for outcome in won] == ["a", "b"]
        assert held(claims) == {"a": "me", "b": "me"}
        assert claim_all(claims, [], me) == []

    def test_when_one_is_held_none_is_won_and_what_was_ours_stays_so(self, claims: Claims, me: Holder) -> None:
        claims.claim("b", "me")
        claims.claim("d", "other")
        outcome = claim_all(claims, ["e", "d", "c", "b", "a"], me)
        assert isinstance(outcome, Held)
        assert (outcome.lease.name, outcome.lease.session) == ("d", "other")
        assert held(claims) == {"b": "me", "d": "other"}

    def test_a_bad_name_is_found_before_anything_is_claimed(self, claims: Claims, me: Holder) -> None:
        with pytest.raises(InvalidName):
            claim_all(claims, ["a", "b/c"], me)
        with pytest.raises(UsageError):
            claim_all(claims, ["a"], me, slots=-1)
        assert held(claims) == {}

    def test_each_has_a_slot_or_none_has(self, claims: Claims, me: Holder) -> None:
        for name in ("b#1", "b#2"):
            claims.claim(name, "other")
        assert isinstance(claim_all(claims, ["a", "b"], me, slots=2), Held)
        assert held(claims) == {"b#1": "other", "b#2": "other"}
        claims.release("b#2", "other")
        assert isinstance(claim_all(claims, ["a", "b"], me, slots=2), list)
        assert held(claims) == {"a#1": "me", "b#1": "other", "b#2": "me"}

    def test_one_that_cannot_be_released_does_not_keep_the_others(
        self, claims: Claims, me: Holder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release = Claims.release_lease

        def fails(self: Claims, lease: Lease) -> object:
            if lease.name == "b":
                raise Unavailable("on purpose")
            return release(self, lease)

        claims.claim("d", "other")
        monkeypatch.setattr(Claims, "release_lease", fails)
        with pytest.raises(Unavailable, match="on purpose"):
            claim_all(claims, ["a", "b", "c", "d"], me)
        assert held(claims) == {"b": "me", "d": "other"}

    def test_the_time_is_for_all_of_them(self, claims: Claims, me: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
        now, waits = [100.0], list[float | None]()

        def wait(claims: Claims, name: str, me: Holder, *rest: Any) -> Won:
            attempts, timeout = rest[1], rest[2]
            waits.append(timeout)
            now[0] += 4
            found: Won = attempts()
            return found

        monkeypatch.setattr("looop_portable.waiting.claiming.elapsed", lambda: now[0])
        monkeypatch.setattr("looop_portable.waiting.claiming._wait", wait)
        assert isinstance(claim_all(claims, ["a", "b", "c"], me, timeout=6), list)
        assert waits == [6, 2, 0]


ERRORS = [KeyboardInterrupt(), Unavailable("on purpose")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ERRORS, ids=["interrupted", "unavailable"])
class TestEveryStep:
    """An error at each call of the backend in turn, until there are no more."""

    def every_step(
        self, claims: Claims, work: Callable[[Claims], object], error: BaseException, after: bool, *, steps: int
    ) -> None:
        before, step = held(claims), 0
        while (at := self.interrupted_at(step := step + 1, claims, work, error, after=after)) or step == 1:
            for name in held(claims).keys() - before.keys():
                claims.release(name, "me")
            tickets = claims.backend.tickets
            assert tickets
            for name in tickets.claims():
                left = tickets.line(name)
                assert left == [] or at in ("take", "give_back")  # Then nobody knows which it is, or could remove it.
                for ticket in left:
                    tickets.give_back(name, ticket)
        assert step > steps

    def interrupted_at(
        self, step: int, claims: Claims, work: Callable[[Claims], object], error: BaseException, *, after: bool
    ) -> str:
        """The call at which it was; empty: there are no more."""
        before = held(claims)
        interrupted = Steps(claims.backend, error, step, after=after)
        try:
            outcome = work(Claims(interrupted, sessions=claims.sessions))  # type: ignore[arg-type]
        except BaseException as found:
            if found is not error:
                raise
            assert held(claims) == before
        else:
            assert not interrupted.at or isinstance(
                error, Unavailable
            )  # That a ticket cannot be given back does not count.
            assert not isinstance(outcome, Held) or held(claims) == before
        return interrupted.at

    def test_of_claiming_all(self, claims: Claims, me: Holder, error: BaseException, after: bool) -> None:
        claims.claim("b", "me")
        self.every_step(claims, lambda view: claim_all(view, ["a", "b", "c"], me), error, after, steps=5)

    def test_of_claiming_all_with_one_that_is_held(
        self, claims: Claims, me: Holder, error: BaseException, after: bool
    ) -> None:
        claims.claim("b", "me")
        claims.claim("d", "other")
        self.every_step(claims, lambda view: claim_all(view, ["a", "b", "c", "d"], me), error, after, steps=7)

    def test_of_claiming_slots_of_all(self, claims: Claims, me: Holder, error: BaseException, after: bool) -> None:
        claims.claim("a#1", "other")
        claims.claim("b#2", "me")
        self.every_step(claims, lambda view: claim_all(view, ["a", "b"], me, slots=2), error, after, steps=6)

    def test_of_waiting(self, claims: Claims, me: Holder, error: BaseException, after: bool) -> None:
        def work(view: Claims) -> object:
            assert isinstance(claims.claim("n", "other"), Won | Renewed)
            watcher.view = claims
            return wait_for(view, "n", me)

        with pytest.MonkeyPatch.context() as patched:
            watcher = _Releasing()
            patched.setattr("looop_portable.system.watch.waking.new_watcher", lambda: watcher)
            claims.claim("n", "other")
            try:
                self.every_step_of_waiting(claims, work, error, after)
            finally:
                claims.release("n", "other")

    def every_step_of_waiting(
        self, claims: Claims, work: Callable[[Claims], object], error: BaseException, after: bool
    ) -> None:
        def then_released(view: Claims) -> object:
            try:
                return work(view)
            finally:
                claims.release("n", "other")

        claims.release("n", "other")
        self.every_step(claims, then_released, error, after, steps=9)


class _Releasing:
    """A watcher that wakes as soon as it is waited for: the holder lets go then."""

    view: Claims

    def watch(self, paths: Iterator[str]) -> bool:
        return bool(list(paths))

    def follow(self, process: Registration | None) -> bool:
        return process is not None

    def forget(self) -> None:
        """Nothing wakes but when it is waited for."""

    def wake(self) -> None:
        """Nobody sleeps."""

    def wait(self, seconds: float) -> None:
        self.view.release("n", "other")

    def close(self) -> None:
        """Nothing is open."""


class TestWaiting:
    def test_it_is_won_when_it_is_released(self, claims: Claims, me: Holder) -> None:
        claims.claim("n", "other")
        outcomes: list[object] = []
        waiting = threading.Thread(target=lambda: outcomes.append(wait_for(claims, "n", me)))
        waiting.start()
        while not line(claims, "n"):
            assert waiting.is_alive()
        claims.release("n", "other")
        waiting.join(PATIENCE)
        assert [type(outcome) for outcome in outcomes] == [Won]
        assert line(claims, "n") == []

    def test_what_is_ours_is_renewed_and_stays_so_when_it_is_interrupted(
        self, claims: Claims, me: Holder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claims.claim("n", "me")
        assert isinstance(wait_for(claims, "n", me), Renewed)
        monkeypatch.setattr(Claims, "claim", _raises)
        with pytest.raises(KeyboardInterrupt):
            wait_for(claims, "n", me)
        assert held(claims) == {"n": "me"}

    def test_without_time_it_does_not_wait(self, claims: Claims, me: Holder) -> None:
        claims.claim("n", "other")
        for timeout in (0, 0.001):
            assert isinstance(wait_for(claims, "n", me, timeout), Held)
        assert line(claims, "n") == []

    def test_interrupted_when_all_is_done_it_has_not_won(
        self, claims: Claims, me: Holder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Interrupting(_Releasing):
            view = claims

            def close(self) -> None:
                raise KeyboardInterrupt

        claims.claim("n", "other")
        monkeypatch.setattr("looop_portable.system.watch.waking.new_watcher", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            wait_for(claims, "n", me)
        assert held(claims) == {}

    @pytest.mark.parametrize("waits", [True, False], ids=["waiting", "asking"])
    def test_one_of_ours_that_has_won_meanwhile_keeps_it_when_the_other_is_interrupted(
        self, claims: Claims, me: Holder, monkeypatch: pytest.MonkeyPatch, waits: bool
    ) -> None:
        """Both act for one session, as two commands of one shell do."""

        class Interrupting(_Releasing):
            def wait(self, seconds: float) -> None:
                claims.release("n", "other")
                assert isinstance(claims.claim("n", me), Won)
                if waits:
                    raise KeyboardInterrupt
                monkeypatch.setattr(Claims, "claim", _raises)

        claims.claim("n", "other")
        monkeypatch.setattr("looop_portable.system.watch.waking.new_watcher", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            wait_for(claims, "n", me)
        assert held(claims) == {"n": "me"}


def _raises(*_: object) -> Won:
    raise KeyboardInterrupt
