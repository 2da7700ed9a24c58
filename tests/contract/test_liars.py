"""Backends that lie, each in one point, and the law of the exam that catches each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.beating import BeatingBackend, BeatingSessions, BeatingSigns, DictBackend, DictTickets, NoSigns
from support.capabilities import NativeBackend

from looop_portable.backends.base import Backend, Found, SessionHead, SessionStore
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import Lock, Silence
from looop_portable.protocol.records import Head, Holder, Lease, Registration, shared_lease
from looop_portable.system.clock import elapsed
from looop_portable.system.watch.waking import new_watcher
from looop_portable.testing.exam import BackendExam
from looop_portable.testing.examiner import Reopen
from looop_portable.testing.faults import ONWARD, Fault, Injector, faulty

LONG = 1e9


class TestWhatTheLiarsAreMadeFrom(BackendExam):
    """It passes the exam, whole. So what a liar fails by is its lie."""

    @pytest.fixture
    def reopen(self) -> Reopen:
        backend = BeatingBackend()
        return lambda: backend

    def cut_off(self, backend: Backend) -> Backend:
        return faulty(backend, Injector(Fault(1, ONWARD)))


class _Impatient(BackendExam):
    patience = 0.7


class _DeadAndSilent(NoSigns):
    """The liar that passed the exam of claims: two live holders win with it."""

    def beat(self, session: str, incarnation: str) -> None:
        raise OSError(5, "on purpose")

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        return Silence(LONG, LONG)


class _LongSilent(BeatingSigns):
    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        return Silence(LONG)


class _LongWatched(BeatingSigns):
    """It lies only to those who watch."""

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        return Silence(0.0, LONG if watched else 0.0)


class _NeverLong(BeatingSigns):
    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        return Silence(0.0)


class _NoNumber(BeatingSigns):
    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        return Silence(float("nan"))


class _TwiceAsOld(BeatingSigns):
    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        found = super().silence(registration, watched=watched)
        return Silence(2 * found.seconds + 0.5, found.watched)


class _InMilliseconds(BeatingSigns):
    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        found = super().silence(registration, watched=watched)
        return Silence(1000 * found.seconds, 1000 * found.watched)


class _BeatByALook(BeatingSigns):
    """Whoever is looked for is heard by that."""

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        found = super().silence(registration, watched=watched)
        self.beat(*registration.holder)
        return found


class _OfNoHost(BeatingSigns):
    """It has no heartbeats, and does not say that only this process could ask."""

    def has_beat(self, session: str, incarnation: str) -> bool:
        return False

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        return Silence(0.0)

    def disk(self) -> str:
        return ""


class _FreeLock(BeatingSigns):
    def promise(self, registration: Registration, *, locked: bool) -> Registration:
        return super().promise(registration, locked=locked)._replace(locked=locked)

    def lock(self, registration: Registration) -> Lock:
        return Lock.FREE


class _NeverTakenBack(BeatingSigns):
    def unpromise(self, registration: Registration) -> None:
        """It stays."""


class _QuietlyFailing(BeatingSigns):
    def beat(self, session: str, incarnation: str) -> None:
        """Nothing is given."""


class _Failing(BeatingSigns):
    def beat(self, session: str, incarnation: str) -> None:
        raise OSError(5, "on purpose")


class _Everybodys(BeatingSigns):
    def beat(self, session: str, incarnation: str) -> None:
        self.beats = dict.fromkeys(self.beats, self.clock())


class _OfAnyIncarnation(BeatingSigns):
    def beat(self, session: str, incarnation: str) -> None:
        self.beats.update({holder: self.clock() for holder in self.beats if holder.session == session})


class _SinceItRegistered(BeatingSigns):
    def __init__(self) -> None:
        super().__init__()
        self._registered: dict[Holder, float] = {}

    def promise(self, registration: Registration, *, locked: bool) -> Registration:
        self._registered[registration.holder] = self.clock()
        return super().promise(registration, locked=locked)

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        super().silence(registration, watched=watched)
        return Silence(self.clock() - self._registered[registration.holder])


class _WatchedSinceItWasFirstSeen(BeatingSigns):
    """A beat does not end the watch."""

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        found = super().silence(registration, watched=watched)
        first = self.looks.setdefault((registration.holder, 0.0), self.clock())
        return found._replace(watched=self.clock() - first)


class _DeadIfItNeverBeat(BeatingSigns):
    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        if registration.holder not in self.beats:
            return Silence(self.clock(), self.clock())
        return super().silence(registration, watched=watched)


class _MakingItDead(BeatingSigns):
    """A beat that is missing is made; of the beginning of time."""

    def beat(self, session: str, incarnation: str) -> None:
        known = Holder(session, incarnation) in self.beats
        self.beats[Holder(session, incarnation)] = self.clock() if known else -LONG


class _Forgetful(BeatingSigns):
    def has_beat(self, session: str, incarnation: str) -> bool:
        return False


class _BeatOfNobody(BeatingSigns):
    def has_beat(self, session: str, incarnation: str) -> bool:
        return True


class _OneForAllThreads(BeatingSigns):
    """Whoever beats last is who is heard."""

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        found = super().silence(registration, watched=watched)
        return found if max(self.beats, key=self.beats.__getitem__) == registration.holder else Silence(LONG)


def _among_threads() -> bool:
    """Where it lies who is right as long as nobody else is there."""
    return threading.current_thread() is not threading.main_thread()


class _BothRegister(BeatingSessions):
    def read(self, session: str) -> SessionHead:
        return SessionHead(0, None) if _among_threads() else super().read(session)

    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        return super().advance(session, super().read(session).generation if _among_threads() else expected, registration)


class _OneIncarnation(BeatingSessions):
    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        own = self.read(session).own
        return super().advance(
            session, expected, registration._replace(incarnation=own.incarnation) if own else registration
        )


class _HalfWritten(BeatingSessions):
    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        return super().advance(session, expected, registration._replace(kept=False, disk=""))


class _ForgetsOneOfSeveral(BeatingSessions):
    def ids(self) -> list[str]:
        return super().ids()[:2]


class _ForgetsTheEnded(BeatingSessions):
    def ids(self) -> list[str]:
        return [session for session in super().ids() if not getattr(self.read(session).own, "ended", False)]


class _ListsWhatWasAskedFor(BeatingSessions):
    def read(self, session: str) -> SessionHead:
        return self._heads.setdefault(session, SessionHead(0, None))

    def ids(self) -> list[str]:
        return sorted(self._heads)


class _ForgetsNothing(BeatingSessions):
    def forget(self, session: str) -> None:
        """All stays."""


class _ForgetsAll(BeatingSessions):
    def forget(self, session: str) -> None:
        self._heads.clear()


class _WithTickets(BeatingBackend):
    def __init__(self, tickets: DictTickets) -> None:
        super().__init__()
        self.tickets = tickets


class _LastComeFirst(DictTickets):
    def line(self, claim: str) -> list[str]:
        return super().line(claim)[::-1]


class _InOrderOfText(DictTickets):
    """Right while there are nine."""

    def take(self, claim: str, waiter: Registration) -> str:
        ticket = super().take(claim, waiter)
        mine = self._lines[claim]
        mine[f"{int(ticket)}"] = mine.pop(ticket)
        return f"{int(ticket)}"


class _NeverGone(DictTickets):
    def give_back(self, claim: str, ticket: str) -> None:
        """It stays."""


class _BackAgain(DictTickets):
    """Whoever shows that he waits is in line, also if another has put him out of it."""

    def give_back(self, claim: str, ticket: str) -> None:
        self.gone = self._lines[claim].get(ticket)
        super().give_back(claim, ticket)

    def show(self, claim: str, ticket: str) -> None:
        if self.gone and ticket not in self._lines[claim]:
            self._lines[claim][ticket] = self.gone


class _OneTicketForTwo(DictTickets):
    def take(self, claim: str, waiter: Registration) -> str:
        if _among_threads():
            self._last = 0
        return super().take(claim, waiter)


class _TheSameTicketAgain(DictTickets):
    """Where the line was empty."""

    def take(self, claim: str, waiter: Registration) -> str:
        if not self._lines.get(claim):
            self._last = 0
        return super().take(claim, waiter)


class _ListsOneLine(DictTickets):
    def claims(self) -> list[str]:
        return super().claims()[:1]


class _ForgetsAClaim(BeatingBackend):
    """While others come and go."""

    def scan(self) -> Iterator[Found]:
        found = list(super().scan())
        return iter(found[:-1] if len(found) > 5 else found)


class _BothClaim(BeatingBackend):
    def read(self, claim: str) -> Head:
        return Head(0, None) if _among_threads() else super().read(claim)

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        return super().advance(claim, super().read(claim).generation if _among_threads() else expected, lease)


class _KeepsTheLastReader(BeatingBackend):
    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        kept = shared_lease(lease.name, lease.readers[-1:]) if lease and lease.readers else lease
        return super().advance(claim, expected, kept)


class _NobodyWantsItAlone(DictTickets):
    def waiter(self, claim: str, ticket: str) -> Registration | None:
        found = super().waiter(claim, ticket)
        return found and found._replace(shared=True)


class _DeadAndSilentBackend(DictBackend):
    def __init__(self) -> None:
        super().__init__()
        self.sessions.signs = _DeadAndSilent()


def _signs(signs: Callable[[], BeatingSigns]) -> Callable[[], Backend]:
    return lambda: BeatingBackend(signs())


def _sessions(sessions: Callable[[BeatingSigns], BeatingSessions]) -> Callable[[], Backend]:
    return lambda: BeatingBackend(sessions=sessions(BeatingSigns()))


def _tickets(tickets: Callable[[], DictTickets]) -> Callable[[], Backend]:
    return lambda: _WithTickets(tickets())


NEVER_OLDER = "what is heard is never older than the truth"
KEEPS = "who beats keeps what it holds"
OTHERS = "the beat of another is not ours"
SCAN = "a scan lists what is there and nothing else"
SHARES = "who shares a claim holds it beside those who share it"
LIARS: list[tuple[Callable[[], Backend], str, str]] = [
    (_DeadAndSilentBackend, "what_is_heard_is_never_older_than_the_beat", NEVER_OLDER),
    (_DeadAndSilentBackend, "a_session_that_beats_keeps_what_it_holds", "a session that lives can give a beat"),
    (_signs(_LongSilent), "what_is_heard_is_never_older_than_the_beat", NEVER_OLDER),
    (_signs(_LongWatched), "what_is_heard_is_never_older_than_the_beat", NEVER_OLDER),
    (_signs(_LongWatched), "a_session_that_beats_keeps_what_it_holds", KEEPS),
    (_signs(_NeverLong), "a_silence_grows_while_nobody_beats", "a silence that lasts is heard"),
    (_signs(_NoNumber), "what_is_heard_is_never_older_than_the_beat", NEVER_OLDER),
    (_signs(_TwiceAsOld), "what_is_heard_is_never_older_than_the_beat", NEVER_OLDER),
    (_signs(_InMilliseconds), "what_is_heard_is_never_older_than_the_beat", NEVER_OLDER),
    (_signs(_BeatByALook), "a_silence_grows_while_nobody_beats", "a silence that lasts is heard"),
    (_signs(_OfNoHost), "a_silence_grows_while_nobody_beats", "where other hosts may reach the store, a silence is heard"),
    (_signs(_FreeLock), "a_lock_that_was_promised_is_held_while_its_process_lives", "a lock that was promised is held"),
    (_signs(_NeverTakenBack), "a_beat_makes_what_is_missing_or_says_that_it_cannot", "taken back, is gone"),
    (_signs(_QuietlyFailing), "a_beat_resets_the_silence", NEVER_OLDER),
    (_signs(_Failing), "a_beat_resets_the_silence", "a session that lives can give a beat"),
    (_signs(_Everybodys), "the_beat_of_another_session_is_not_ours", OTHERS),
    (_signs(_OfAnyIncarnation), "the_beat_of_another_incarnation_is_not_ours", OTHERS),
    (_signs(_SinceItRegistered), "a_beat_resets_the_silence", NEVER_OLDER),
    (_signs(_WatchedSinceItWasFirstSeen), "a_beat_resets_the_silence", NEVER_OLDER),
    (_signs(_DeadIfItNeverBeat), "the_silence_of_one_that_never_beat_is_no_death", "no death"),
    (_signs(_MakingItDead), "a_beat_makes_what_is_missing_or_says_that_it_cannot", NEVER_OLDER),
    (_signs(_Forgetful), "a_beat_that_was_given_is_remembered", "a beat that was given is remembered"),
    (_signs(_BeatOfNobody), "the_beat_of_another_session_is_not_ours", OTHERS),
    (_signs(_OneForAllThreads), "each_of_many_threads_is_heard", NEVER_OLDER),
    (_sessions(_BothRegister), "one_of_many_registrations_of_one_id_wins", "of all that register one id at once one wins"),
    (_sessions(_OneIncarnation), "an_ended_one_s_id_starts_anew", "an id whose session has ended starts anew"),
    (_sessions(_HalfWritten), "what_is_read_is_what_was_written_whole", "what is read is what was written, whole"),
    (_sessions(_ForgetsOneOfSeveral), "a_scan_of_sessions_lists_what_is_there_and_nothing_else", SCAN),
    (_sessions(_ForgetsTheEnded), "a_scan_of_sessions_lists_what_is_there_and_nothing_else", SCAN),
    (_sessions(_ListsWhatWasAskedFor), "a_scan_of_sessions_lists_what_is_there_and_nothing_else", SCAN),
    (_sessions(_ForgetsNothing), "forget_removes_an_id_and_nothing_else", "forget removes a made-up id"),
    (_sessions(_ForgetsAll), "forget_removes_an_id_and_nothing_else", "forget removes nothing else"),
    (_KeepsTheLastReader, "those_who_share_a_claim_hold_it_together_and_nobody_alone", SHARES),
    (_KeepsTheLastReader, "one_who_has_ended_keeps_nobody_out_who_shared_it", SHARES),
    (_KeepsTheLastReader, "many_share_a_claim_and_each_is_read_whole", "what is read is what was written, whole"),
    (
        _tickets(_NobodyWantsItAlone),
        "who_waits_to_have_it_alone_is_not_passed_by",
        "nobody joins while one who wants it alone",
    ),
    (_ForgetsAClaim, "a_scan_while_others_come_and_go_lists_all_that_stay", "a scan lists all that stays"),
    (_BothClaim, "exactly_one_of_many_claimers_of_a_free_name_wins", "of all that claim a free name at once one wins"),
    (_tickets(_LastComeFirst), "those_who_wait_are_in_line_in_the_order_in_which_they_came", "whoever comes first"),
    (_tickets(_InOrderOfText), "the_order_stays_in_a_long_line_whoever_takes_a_ticket", "whoever comes first"),
    (_tickets(_NeverGone), "a_ticket_that_is_given_back_leaves_the_others_in_line", "who leaves the line is gone"),
    (_tickets(_BackAgain), "a_waiter_that_another_puts_out_of_the_line_is_gone_for_all", "who leaves the line is gone"),
    (_tickets(_OneTicketForTwo), "many_who_come_at_once_each_have_a_ticket_of_their_own", "no two have one ticket"),
    (_tickets(_TheSameTicketAgain), "a_ticket_is_never_one_that_was_before", "a ticket was never one before"),
    (_tickets(_ListsOneLine), "the_lines_that_are_listed_are_those_that_there_are", "each line is listed"),
]


@pytest.mark.parametrize(("liar", "test", "law"), LIARS, ids=[f"{at}-{test}" for at, (_, test, _) in enumerate(LIARS)])
def test_a_liar_is_caught_by_a_law_that_is_named(liar: Callable[[], Backend], test: str, law: str) -> None:
    backend = liar()
    with pytest.raises(AssertionError, match=f"^law: .*{law}"):
        getattr(_Impatient(), f"test_{test}")(lambda: backend)


class _CoarseClock(BackendExam):
    grain = 0.25


@pytest.mark.parametrize("test", ["what_is_heard_is_never_older_than_the_beat", "a_beat_resets_the_silence"])
def test_a_clock_that_is_coarse_passes_if_the_exam_is_told_how_coarse_it_is(test: str) -> None:
    backend = BeatingBackend(BeatingSigns(lambda: elapsed() // 0.25 * 0.25))
    getattr(_CoarseClock(), f"test_{test}")(lambda: backend)


class _Remembering:
    """An opening that reads each thing once, and remembers it; of a backend, or of its sessions."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._read: dict[str, Any] = {}
        if hasattr(target, "sessions"):
            self.sessions = _Remembering(target.sessions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def read(self, name: str) -> Any:
        return self._read.setdefault(name, self._target.read(name))


@pytest.mark.parametrize("what", ["publishes", "registers"])
def test_an_opening_that_remembers_what_it_has_read_is_caught(what: str) -> None:
    backend = BeatingBackend()
    test = getattr(_Impatient(), f"test_what_one_opening_{what}_another_that_has_read_before_reads")
    with pytest.raises(AssertionError, match=r"^law: what is read is the latest"):
        test(lambda: _Remembering(backend))


class _SayingNo:
    """What cannot be read is nobody's."""

    def __init__(self, backend: Backend) -> None:
        self._backend = faulty(backend, Injector(Fault(1, ONWARD)))
        self.sessions, self.tickets = self._backend.sessions, self._backend.tickets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def read(self, claim: str) -> Head:
        with suppress(Unavailable):
            return self._backend.read(claim)
        return Head(0, None)


class _RaisingOtherwise(_SayingNo):
    def read(self, claim: str) -> Head:
        raise TimeoutError("the server does not answer")


@pytest.mark.parametrize(
    ("liar", "law"),
    [(_SayingNo, "a store that does not answer says so"), (_RaisingOtherwise, "every failure is Unavailable")],
)
def test_a_store_that_says_no_when_it_cannot_be_asked_is_caught(liar: Callable[[Backend], Backend], law: str) -> None:
    class Exam(_Impatient):
        def cut_off(self, backend: Backend) -> Backend:
            return liar(backend)

    backend = BeatingBackend()
    with pytest.raises(AssertionError, match=f"^law: {law}: read"):
        Exam().test_a_store_that_does_not_answer_says_so_and_nothing_else(lambda: backend)


class _DeafBackend(NativeBackend):
    """Whoever waits is subscribed to what never changes."""

    def __init__(self, data_dir: str) -> None:
        super().__init__(data_dir)
        self.tickets.paths = lambda claim, ticket="", *, foreign=False: (self.quiet,)  # type: ignore[method-assign]

    quiet = ""


@pytest.mark.parametrize("test", ["the_one_before_him_leaves", "the_claim_is_released"])
def test_a_backend_that_names_paths_on_which_nothing_changes_is_caught(tmp_path: Path, test: str) -> None:
    (quiet := tmp_path / "quiet").mkdir()
    watcher = new_watcher()
    try:
        if not watcher.watch([str(quiet)]):
            pytest.skip("no kernel tells of changes here")
    finally:
        watcher.close()
    _DeafBackend.quiet = str(quiet)
    name = next(name for name in dir(BackendExam) if name.endswith(test))
    with pytest.raises(AssertionError, match=r"^law: whoever is subscribed is told"):
        getattr(_Impatient(), name)(lambda: _DeafBackend(str(tmp_path / "store")))


class _Asked(_Impatient):
    """Whoever tells the exam how the store is cut off has it look at what becomes of a beat then."""

    def cut_off(self, backend: Backend) -> Backend:
        return _Swallowing(backend)  # type: ignore[return-value]


class _Swallowing:
    """What it is built upon fails, and a beat does not say so."""

    def __init__(self, backend: Backend) -> None:
        self._backend = faulty(backend, Injector(Fault(1, ONWARD)))

    @property
    def sessions(self) -> object:
        return _SwallowingSessions(self._backend.sessions)


class _SwallowingSessions:
    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions
        self.read = sessions.read

    @property
    def signs(self) -> _SwallowingSessions:
        return self

    def beat(self, session: str, incarnation: str) -> None:
        with suppress(OSError, Unavailable):
            self._sessions.signs.beat(session, incarnation)


def test_a_beat_that_fails_quietly_when_the_store_is_cut_off_is_caught() -> None:
    backend = BeatingBackend()
    with pytest.raises(AssertionError, match=r"^law: a beat that fails raises Unavailable"):
        _Asked().test_a_beat_that_cannot_be_given_is_told(lambda: backend)
