"""The parts of the exam about waiting and sharing: who is in line, in which order, and who is told when that changes; and
who shares a claim beside whom.

    class TestWaitingInMine(WaitingExam):
        @pytest.fixture
        def reopen(self, tmp_path):
            return lambda: MyBackend(str(tmp_path))

`BackendExam` has all of it. A backend that cannot order those who wait (`tickets` is None) is not asked for more, nor is
one where nobody is told of changes (`subscribe` says False): whoever waits there looks again and again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from looop_portable.backends.base import Tickets
from looop_portable.claims.gate import Claims
from looop_portable.protocol.outcomes import Held, Released, Renewed, Won
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.clock import elapsed
from looop_portable.system.watch.waking import Watcher, new_watcher
from looop_portable.testing.examiner import ROUNDS, WORKERS, Reopen, at_once, registered, tickets_of, waiter

__all__ = ["SharingExam", "WaitingExam"]

_ORDER = "law: whoever comes first is first in line"
_GONE = "law: who leaves the line is gone, and nobody else"
_TOLD = "law: whoever is subscribed is told"
_SHARES = "law: who shares a claim holds it beside those who share it, and beside nobody else"
_MANY = 25
"""So many share a claim at once."""


class WaitingExam:
    """The laws of `Tickets`."""

    patience = 10.0
    """Seconds for which what must come some time may be waited for."""

    def test_those_who_wait_are_in_line_in_the_order_in_which_they_came(self, reopen: Reopen) -> None:
        tickets = tickets_of(reopen())
        if tickets is None:
            return
        assert tickets.line("repo-x") == []
        taken = [tickets.take("repo-x", waiter(number)) for number in (3, 1, 2)]
        there = tickets_of(reopen())
        assert there
        assert (found := there.line("repo-x")) == taken, f"{_ORDER}: {taken} came, and the line is {found}"
        found_waiters = [there.waiter("repo-x", ticket) for ticket in taken]
        assert found_waiters == [waiter(3), waiter(1), waiter(2)], f"law: a ticket names who waits: {found_waiters}"
        assert there.line("repo-y") == []
        assert there.claims() == ["repo-x"]

    def test_the_order_stays_in_a_long_line_whoever_takes_a_ticket(self, reopen: Reopen) -> None:
        """Numbers get another digit, and those in front leave."""
        taken: list[str] = []
        for number in range(1, 25):
            tickets = tickets_of(reopen())
            if tickets is None:
                return
            taken.append(tickets.take("repo-x", waiter(number)))
            if number % 6 == 0:
                tickets.give_back("repo-x", taken.pop(0))
            found = tickets.line("repo-x")
            assert found == taken, f"{_ORDER}: {taken} came, and the line is {found}"

    def test_a_ticket_that_is_given_back_leaves_the_others_in_line(self, reopen: Reopen) -> None:
        tickets = tickets_of(reopen())
        if tickets is None:
            return
        first, second, third = (tickets.take("repo-x", waiter(number)) for number in (1, 2, 3))
        for _ in range(2):
            tickets.give_back("repo-x", second)
        assert (found := tickets.line("repo-x")) == [first, third], f"{_GONE}: {second} left, and the line is {found}"
        assert tickets.waiter("repo-x", second) is None, f"{_GONE}: {second} left, and is waited with"
        tickets.give_back("repo-x", third)
        again = tickets.take("repo-x", waiter(3))
        assert again not in (second, third), f"law: a ticket was never one before: {again} was"
        assert (found := tickets.line("repo-x")) == [first, again], f"{_GONE}: the line is {found}"

    def test_a_waiter_that_another_puts_out_of_the_line_is_gone_for_all(self, reopen: Reopen) -> None:
        """Also for itself: it shows that it waits, and is not back by that."""
        mine, theirs = tickets_of(reopen()), tickets_of(reopen())
        if mine is None or theirs is None:
            return
        first, second = mine.take("repo-x", waiter(1)), theirs.take("repo-x", waiter(2))
        elsewhere = mine.take("repo-y", waiter(1))
        theirs.give_back("repo-x", first)
        mine.show("repo-x", first)
        for tickets in (mine, theirs, tickets_of(reopen())):
            assert tickets
            assert (found := tickets.line("repo-x")) == [second], f"{_GONE}: {first} left, and the line is {found}"
            assert tickets.waiter("repo-x", first) is None, f"{_GONE}: {first} left, and is waited with"
            assert tickets.line("repo-y") == [elsewhere], f"{_GONE}: the line of another claim is {tickets.line('repo-y')}"
            assert tickets.waiter("repo-x", second) == waiter(2), f"{_GONE}: {second} has lost its waiter"

    def test_a_ticket_is_never_one_that_was_before(self, reopen: Reopen) -> None:
        """Also where the line was empty, and has been swept: whoever takes an old one away would take a new one's turn."""
        taken: list[str] = []
        for _ in range(4):
            tickets = tickets_of(reopen())
            if tickets is None:
                return
            ticket = tickets.take("repo-x", waiter(1))
            assert ticket not in taken, f"law: a ticket was never one before: {ticket} was, of {taken}"
            taken.append(ticket)
            tickets.give_back("repo-x", ticket)
            tickets.tidy()

    def test_a_waiter_that_shows_itself_is_seen(self, reopen: Reopen) -> None:
        """Where anybody is: in one process's memory all that wait are seen anyway."""
        mine, theirs = tickets_of(reopen()), tickets_of(reopen())
        if mine is None or theirs is None:
            return
        first, second = mine.take("repo-x", waiter(1)), theirs.take("repo-x", waiter(2))
        before, others = theirs.shown("repo-x", first), theirs.shown("repo-x", second)
        if before is None:
            return
        began = elapsed()
        while theirs.shown("repo-x", first) == before:
            assert elapsed() - began < self.patience, "law: `show` changes what is `shown`: it does not"
            time.sleep(0.01)
            mine.show("repo-x", first)
        assert theirs.shown("repo-x", second) == others, "law: `show` is of one ticket: another's has changed"

    def test_a_sweep_keeps_those_who_wait(self, reopen: Reopen) -> None:
        backend = reopen()
        tickets = tickets_of(backend)
        if tickets is None:
            return
        living = Sessions(backend.sessions).evidence.this_process()
        gone = living._replace(start=f"{living.start}0")
        taken = [tickets.take("repo-x", process) for process in (gone, living, gone)]
        Claims(backend).reap()
        law = "law: a sweep puts those out of the line who have ended, and nobody else"
        assert (found := tickets.line("repo-x")) == taken[1:2], f"{law}: of {taken} the second lives, and {found} are left"
        tickets.give_back("repo-x", taken[1])
        Claims(backend).reap()
        assert tickets.line("repo-x") == []
        assert tickets.take("repo-x", living)

    def test_many_who_come_at_once_each_have_a_ticket_of_their_own(self, reopen: Reopen) -> None:
        found: list[str] = []

        def work(worker: int) -> None:
            tickets = tickets_of(reopen())
            for _ in range(ROUNDS // 4):
                if tickets:
                    found.append(mine := tickets.take("repo-x", waiter(worker)))
                    assert mine in tickets.line("repo-x"), f"law: who has a ticket is in line: {mine} is not"

        at_once(work)
        tickets = tickets_of(reopen())
        if tickets:
            assert len(set(found)) == WORKERS * (ROUNDS // 4), f"law: no two have one ticket: {sorted(found)}"
            assert sorted(found) == tickets.line("repo-x")

    def test_the_lines_that_are_listed_are_those_that_there_are(self, reopen: Reopen) -> None:
        tickets = tickets_of(reopen())
        if tickets is None:
            return
        assert tickets.claims() == []
        names = ["a", "b c", "con", "50%"]
        for name in names:
            tickets.take(name, waiter(1))
        there = tickets_of(reopen())
        assert there
        assert (found := sorted(there.claims())) == sorted(names), f"law: each line is listed, and nothing else: {found}"

    def test_who_waits_is_told_when_the_one_before_him_leaves(self, reopen: Reopen) -> None:
        mine, theirs = tickets_of(reopen()), tickets_of(reopen())
        if mine is None or theirs is None:
            return
        first = theirs.take("repo-x", waiter(1))
        mine.take("repo-x", waiter(2))
        subscribe = partial(mine.subscribe, claims=["repo-x"], ticket=first)
        self._wakes(mine, subscribe, lambda: theirs.give_back("repo-x", first), f"{first} is given back")
        assert first not in mine.line("repo-x")

    def test_who_is_first_in_line_is_told_when_the_claim_is_released(self, reopen: Reopen) -> None:
        """Also with the answer `foreign`: where looop itself may hold it, more is listened to."""
        claims, other = Claims(reopen()), Claims(reopen())
        tickets = tickets_of(reopen())
        if tickets is None:
            return
        me, her = registered(claims, "me"), registered(other, "her")
        for foreign in (False, True):
            assert isinstance(claims.claim("repo-x", me), Won)
            assert isinstance(other.claim("repo-x", her), Held)
            subscribe = partial(tickets.subscribe, claims=["repo-x"], foreign=foreign)
            self._wakes(tickets, subscribe, partial(claims.release, "repo-x", me), "it is released")
            assert isinstance(other.claim("repo-x", her), Won)
            assert isinstance(other.release("repo-x", her), Released)

    def _wakes(
        self, tickets: Tickets, subscribe: Callable[[Watcher], bool], change: Callable[[], object], what: str
    ) -> None:
        """Subscribe first, then the change, then wait: what happened in between wakes too."""
        watcher = new_watcher()
        try:
            is_watched = subscribe(watcher)
            watcher.forget()
            began = elapsed()
            change()
            if is_watched:
                watcher.wait(self.patience)
                assert elapsed() - began < self.patience, f"{_TOLD}: {what}, and nothing wakes"
        finally:
            tickets.subscribe(watcher, ())
            watcher.close()


class SharingExam:
    """The laws of claims that several share. A backend that writes what `record_of` says of a lease keeps them."""

    def test_those_who_share_a_claim_hold_it_together_and_nobody_alone(self, reopen: Reopen) -> None:
        claims, other = Claims(reopen()), Claims(reopen())
        me, her, alone = (registered(claims, each) for each in ("me", "her", "alone"))
        first, second = claims.claim("repo-x", me, shared=True), other.claim("repo-x", her, shared=True)
        assert isinstance(first, Won), f"{_SHARES}: nobody held it, and {first}"
        assert isinstance(second, Won), f"{_SHARES}: {first} holds it, and {second}"
        assert isinstance(refused := other.claim("repo-x", alone), Held), f"{_SHARES}: two share it, and {refused}"
        for each in (first, second):
            assert claims.check("repo-x", each.generation).is_still(each.lease), f"{_SHARES}: {each} is superseded"
        left = other.release_lease(first.lease)
        assert isinstance(left, Released), f"{_SHARES}: {first} could not leave: {left}"
        assert not claims.check("repo-x", first.generation).current, f"{_SHARES}: {first} has left"
        assert isinstance(found := claims.claim("repo-x", alone), Held), f"{_SHARES}: {second} shares it still, and {found}"
        assert isinstance(claims.release("repo-x", her), Released), f"{_SHARES}: {second} could not leave"
        assert isinstance(last := claims.claim("repo-x", alone), Won), f"{_SHARES}: all have left, and {last}"
        assert last.generation > second.generation, f"law: numbers only grow: {second}, then {last}"
        assert isinstance(found := other.claim("repo-x", me, shared=True), Held), f"{_SHARES}: {last} holds it, and {found}"

    def test_one_who_has_ended_keeps_nobody_out_who_shared_it(self, reopen: Reopen) -> None:
        claims, other = Claims(reopen()), Claims(reopen())
        me, her, alone = (registered(claims, each) for each in ("me", "her", "alone"))
        first, second = claims.claim("repo-x", me, shared=True), other.claim("repo-x", her, shared=True)
        claims.sessions.stop(*me)
        assert [each.lease.session for each in other.reap().reaped] == ["me"], f"{_SHARES}: 'me' has ended"
        assert not isinstance(first, Held)
        assert not isinstance(second, Held)
        assert claims.check("repo-x", second.generation).is_still(second.lease), f"{_SHARES}: the other lives"
        claims.sessions.stop(*her)
        assert isinstance(last := claims.claim("repo-x", alone), Won), f"{_SHARES}: all have ended, and {last}"

    def test_many_share_a_claim_and_each_is_read_whole(self, reopen: Reopen) -> None:
        claims, other = Claims(reopen()), Claims(reopen())
        who = [registered(claims, f"w{number}") for number in range(_MANY)]
        won = [claims.claim("repo-x", each, shared=True, note=f"n\u00e9 {each.session}") for each in who]
        lease = other.backend.read("repo-x").lease
        assert lease is not None, f"{_SHARES}: {_MANY} share it, and nobody holds it"
        told = [(each.session, each.incarnation, each.generation, each.note) for each in lease.readers]
        expected = [(*me, outcome.lease.generation, f"n\u00e9 {me.session}") for me, outcome in zip(who, won, strict=True)]
        assert told == expected, f"law: what is read is what was written, whole: {told}"
        for me in reversed(who):
            assert isinstance(other.release("repo-x", me), Released), f"{_SHARES}: {me} could not leave"
        assert other.backend.read("repo-x").lease is None, f"{_SHARES}: all have left"

    def test_nobody_shares_a_claim_while_another_holds_it_alone(self, reopen: Reopen) -> None:
        """Each of many tries both, again and again; what one has, the others can see at that moment."""
        lock, inside, alone, most = threading.Lock(), [0], [0], [0]
        numbers: list[int] = []

        def enter(who: list[int], number: int) -> None:
            with lock:
                who[0] += 1
                most[0] = max(most[0], inside[0])
                assert alone[0] <= 1, f"{_SHARES}: {alone[0]} hold it alone"
                assert not (alone[0] and inside[0]), f"{_SHARES}: one holds it alone beside {inside[0]} who share it"
                numbers.append(number)

        def work(worker: int) -> None:
            claims = Claims(reopen())
            me = registered(claims, f"w{worker}")
            for number in range(ROUNDS):
                shares = bool((worker + number) % 3)
                outcome = claims.claim("repo-x", me, shared=shares)
                if isinstance(outcome, Held):
                    continue
                who = inside if shares else alone
                enter(who, outcome.generation)
                with lock:
                    who[0] -= 1
                left = claims.release_lease(outcome.lease)
                assert isinstance(left, Released), f"{_SHARES}: {outcome} could not leave: {left}"

        at_once(work)
        assert len(numbers) == len(set(numbers)), f"law: no number is given twice: {sorted(numbers)}"
        assert numbers, f"{_SHARES}: nobody ever had it"

    def test_who_waits_to_have_it_alone_is_not_passed_by(self, reopen: Reopen) -> None:
        claims, other = Claims(reopen()), Claims(reopen())
        tickets = tickets_of(reopen())
        if tickets is None:
            return
        me, her, late = (registered(claims, each) for each in ("me", "her", "late"))
        assert isinstance(claims.claim("repo-x", me, shared=True), Won)
        writer = tickets.take("repo-x", other.sessions.evidence.this_process())
        law = "law: nobody joins while one who wants it alone is the first in line"
        assert isinstance(found := other.claim("repo-x", her, shared=True), Held), f"{law}: {found}"
        assert isinstance(found := claims.claim("repo-x", me, shared=True), Renewed), (
            f"{_SHARES}: it is in already: {found}"
        )
        tickets.give_back("repo-x", writer)
        tickets.take("repo-x", other.sessions.evidence.this_process()._replace(shared=True))
        assert isinstance(found := other.claim("repo-x", late, shared=True), Won), f"{law}: nobody does, and {found}"
