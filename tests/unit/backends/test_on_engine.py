"""The adapter on an engine whose calls fail as a test says: replies lost, requests late, clocks that jump."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engines import Fault, Faulty, InProcess

from looop_portable import Claims, Held, Released, Renewed, Unavailable, Won
from looop_portable.backends.base import SessionHead
from looop_portable.backends.engine import CLAIM, SESSION, TICKET, Record, word_in
from looop_portable.backends.on_engine import OnEngine, asking
from looop_portable.backends.on_engine.asking import WITHIN
from looop_portable.backends.on_engine.tickets import EngineTickets
from looop_portable.errors import CannotExclude, InvalidName
from looop_portable.protocol.codec import encode, text_to_be
from looop_portable.protocol.liveness import Here, Liveness, Lock, ProcessState, Silence
from looop_portable.protocol.records import Head, Holder, Lease, Registration
from looop_portable.sessions.registrar import Sessions

LEASE = 30
LOST = [Fault.REFUSED, Fault.UNTOLD]


class Elsewhere:
    """The processes as another host sees them: none of ours."""

    def here(self) -> Here:
        return Here("another boot", "another namespace")

    def start_of(self, pid: int) -> str:
        return f"start of {pid}"

    def state(self, pid: int, start: str) -> ProcessState:
        return ProcessState.GONE


class World:
    """One engine, its clock, the clock of deadlines, and those who use it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.elapsed = 50.0
        self.engine = InProcess(lambda: self.now, lambda: self.elapsed)
        self.engine.local = self.engine.steady = False
        self.faulty = Faulty(self.engine)
        self.backend = OnEngine(self.faulty, "far", clock=lambda: self.elapsed)

    def claims(self) -> Claims:
        """As another host has them, whose calls do not fail."""
        backend = OnEngine(self.engine, "far", clock=lambda: self.elapsed)
        return Claims(backend, sessions=Sessions(backend.sessions, Elsewhere()))

    def fail(self, call: int, fault: Fault) -> None:
        """The `call`th from now on."""
        self.faulty.faults[len(self.faulty.calls) + call] = fault

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.elapsed += seconds


@pytest.fixture
def world() -> World:
    return World()


def lines(backend: OnEngine) -> EngineTickets:
    assert backend.tickets
    return backend.tickets


def lease(session: str = "w1") -> Lease:
    return Lease("n", session, "i1", claimed_at="2026-01-02T03:04:05Z", host="here")


def test_what_is_published_says_the_lease_and_its_number(world: World) -> None:
    assert world.backend.advance("n", 0, lease())
    assert world.backend.read("n") == Head(1, lease()._replace(generation=1))
    assert world.backend.advance("n", 1, None)
    assert world.backend.read("n") == Head(2, None)


@pytest.mark.parametrize("fault", LOST)
def test_a_reply_that_is_lost_once_is_found_out(world: World, fault: Fault) -> None:
    world.fail(1, fault)
    assert world.backend.advance("n", 0, lease())
    assert world.engine.read(CLAIM, "n").number == 1
    world.fail(1, fault)
    assert not world.backend.advance("n", 0, lease("w2"))


@pytest.mark.parametrize("last", LOST)
@pytest.mark.parametrize("first", LOST)
def test_a_reply_that_is_lost_again_is_unavailable(world: World, first: Fault, last: Fault) -> None:
    world.fail(1, first)
    world.fail(2, last)
    with pytest.raises(Unavailable) as raised:
        world.backend.advance("n", 0, lease())
    assert str(raised.value) == "claim n: far://away: no answer (it was advance)"
    assert world.engine.read(CLAIM, "n").number == (0 if {first, last} == {Fault.REFUSED} else 1)


def test_a_claimer_that_may_have_won_and_has_been_followed_is_not_told_that_it_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = world.claims().backend
    calls: list[object] = []
    advance = world.engine.advance

    def followed(*args: object, **options: object) -> object:
        calls.append(args)
        found = advance(*args, **options)  # type: ignore[arg-type]
        if len(calls) == 1:
            assert other.advance("n", 1, None)
        return found

    monkeypatch.setattr(world.engine, "advance", followed)
    world.fail(1, Fault.UNTOLD)
    with pytest.raises(Unavailable, match="others went on before it could be told"):
        world.backend.advance("n", 0, lease())
    assert world.backend.read("n") == Head(2, None)


def test_a_claimer_that_lost_in_the_same_step_is_told_so_after_a_lost_reply(world: World) -> None:
    assert world.claims().backend.advance("n", 0, lease("w2"))
    world.fail(1, Fault.UNTOLD)
    assert not world.backend.advance("n", 0, lease())


def test_the_same_lease_of_another_process_is_not_taken_for_its_own(world: World) -> None:
    assert world.claims().backend.advance("n", 0, lease())
    assert not world.backend.advance("n", 0, lease())


def test_a_request_that_was_held_up_changes_nothing_after_its_time(world: World) -> None:
    for call in (1, 2):
        world.fail(call, Fault.HELD_UP)
    with pytest.raises(Unavailable):
        world.backend.advance("n", 0, lease())
    world.passes(WITHIN + 0.001)
    for late in world.faulty.held_up:
        late()
    assert world.backend.read("n") == Head(0, None)


def test_a_request_that_was_held_up_and_comes_in_time_is_one_and_not_two(world: World) -> None:
    world.fail(1, Fault.HELD_UP)
    assert world.backend.advance("n", 0, lease())
    assert world.backend.advance("n", 1, None)
    world.faulty.held_up[0]()
    assert world.backend.read("n") == Head(2, None)


def test_a_claimer_that_reaches_the_store_too_late_is_not_told_that_another_won(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = world.engine.advance

    def slow(*args: object, **options: object) -> object:
        world.passes(WITHIN + 0.001)
        return advance(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(world.engine, "advance", slow)
    with pytest.raises(Unavailable, match="claim n: the store was reached too late, so nothing was changed"):
        world.backend.advance("n", 0, lease())


def test_what_cannot_exclude_is_said_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> object:
        world.faulty.calls.append("refused")
        raise CannotExclude("a replica cannot exclude: give the address of the primary")

    monkeypatch.setattr(world.engine, "advance", refuse)
    with pytest.raises(CannotExclude, match="give the address"):
        world.backend.advance("n", 0, lease())
    assert world.faulty.calls.count("refused") == 1


@pytest.mark.parametrize(
    "error", [Unavailable("no\n  answer"), ConnectionResetError(104, "no\nanswer"), TimeoutError("no answer")]
)
def test_every_failure_is_one_line_and_says_what_it_is_about(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object, **options: object) -> object:
        raise error

    backend, waiter = world.backend, Registration("", "", 1)
    session = Registration("s", "i", 1, lease_seconds=LEASE)
    for method in ("read", "advance", "scan", "forget", "beat", "heard"):
        monkeypatch.setattr(world.engine, method, fail)
    asked: dict[str, list[Callable[[], object]]] = {
        "claim n": [
            lambda: backend.read("n"),
            lambda: backend.advance("n", 0, None),
            lambda: lines(backend).take("n", waiter),
            lambda: lines(backend).give_back("n", "t"),
            lambda: lines(backend).line("n"),
            lambda: lines(backend).waiter("n", "t"),
            lambda: lines(backend).show("n", "t"),
            lambda: lines(backend).shown("n", "t"),
        ],
        "session s": [
            lambda: backend.sessions.read("s"),
            lambda: backend.sessions.advance("s", 0, session),
            lambda: backend.sessions.absent("s"),
            lambda: backend.sessions.forget("s"),
            lambda: backend.sessions.signs.promise(session, locked=True),
            lambda: backend.sessions.signs.beat("s", "i"),
            lambda: backend.sessions.signs.has_beat("s", "i"),
            lambda: backend.sessions.signs.silence(session),
        ],
        "the claims cannot be enumerated": [lambda: list(backend.claims())],
        "the sessions cannot be enumerated": [backend.sessions.ids],
        "the lines cannot be enumerated": [lines(backend).claims],
    }
    for about, calls in asked.items():
        for call in calls:
            with pytest.raises(Unavailable) as raised:
                call()
            assert str(raised.value) == f"{about}: no answer"
    assert backend.unavailable() == "no answer"


def everything(world: World) -> None:
    """What anybody does with a store; whatever is unavailable is done again, as people do."""

    def done(verb: Callable[[], object]) -> object:
        for _ in range(3):
            with contextlib.suppress(Unavailable):
                return verb()
        raise AssertionError("it does not get well again")

    claims = Claims(world.backend)
    registration = done(lambda: claims.sessions.register("me", lease_seconds=LEASE))
    assert isinstance(registration, Registration)
    me = registration.holder
    assert isinstance(done(lambda: claims.claim("n", me)), Won | Renewed)
    assert done(lambda: claims.sessions.renew(me)) is True
    assert done(lambda: claims.sessions.resume(me)) is True
    assert done(lambda: list(world.backend.claims())) == ["n"]
    tickets = lines(world.backend)
    ticket = done(lambda: tickets.take("n", registration))
    assert isinstance(ticket, str)
    done(lambda: tickets.show("n", ticket))
    assert done(lambda: tickets.line("n")) == [ticket]
    done(lambda: tickets.give_back("n", ticket))
    assert isinstance(done(lambda: claims.release("n", me)), Released)
    assert isinstance(done(lambda: claims.claim("n", me)), Won | Renewed)
    if done(lambda: claims.retire(me).failed):
        claims.retire(me)
    done(lambda: claims.sessions.forget(claims.sessions.status("me")))


@pytest.mark.parametrize("fault", Fault)
def test_wherever_a_call_fails_it_is_repeated_and_nothing_is_done_twice(fault: Fault) -> None:
    whole = World()
    everything(whole)
    for call in range(1, len(whole.faulty.calls) + 1):
        world = World()
        world.fail(call, fault)
        everything(world)
        world.passes(WITHIN + 0.001)
        for late in world.faulty.held_up:
            late()
        other = world.claims()
        assert other.reap().failed == ()
        head = other.backend.read("n")
        assert (head.generation, head.lease) == (4, None), f"call {call}: {world.faulty.calls}"
        assert isinstance(other.claim("n", other.sessions.register("her").holder), Won)
        assert world.engine.scan(TICKET) == []


class TestLife:
    """Of a session on another host: what tells of it is its heartbeat alone."""

    @pytest.fixture
    def me(self, world: World) -> Registration:
        return Claims(world.backend).sessions.register("me", lease_seconds=LEASE)

    def verdict(self, world: World) -> Liveness:
        sessions = world.claims().sessions
        return sessions.verdict("me", sessions.holder("me").incarnation).liveness

    def test_it_lives_for_its_lease_and_is_dead_after_a_third_more_that_was_watched(
        self, world: World, me: Registration
    ) -> None:
        world.passes(LEASE)
        assert self.verdict(world) is Liveness.ALIVE
        world.passes(1)
        assert self.verdict(world) is Liveness.UNKNOWN
        world.passes(LEASE / 3 - 1)
        assert self.verdict(world) is Liveness.UNKNOWN
        world.passes(1)
        assert self.verdict(world) is Liveness.DEAD

    def test_a_heartbeat_voids_all_that_was_watched(self, world: World, me: Registration) -> None:
        world.passes(LEASE + 1)
        assert self.verdict(world) is Liveness.UNKNOWN
        world.backend.sessions.signs.beat(*me.holder)
        assert self.verdict(world) is Liveness.ALIVE
        world.passes(LEASE + 1)
        assert self.verdict(world) is Liveness.UNKNOWN

    @pytest.mark.parametrize("jump", [3600.0, -3600.0])
    def test_a_clock_that_is_set_ends_nobody_who_lives(self, world: World, me: Registration, jump: float) -> None:
        world.now += jump
        for _ in range(5):
            assert self.verdict(world) is not Liveness.DEAD
            world.passes(LEASE / 3 - 0.1)
            world.backend.sessions.signs.beat(*me.holder)
        assert self.verdict(world) is Liveness.ALIVE

    @pytest.mark.parametrize("jump", [3600.0, -3600.0])
    def test_a_clock_that_is_set_keeps_nobody_alive(self, world: World, me: Registration, jump: float) -> None:
        world.now += jump
        assert self.verdict(world) is Liveness.UNKNOWN
        world.passes(LEASE * 4 / 3)
        assert self.verdict(world) is Liveness.DEAD

    def test_a_clock_that_is_set_back_meanwhile_has_it_watched_anew(self, world: World, me: Registration) -> None:
        world.passes(LEASE + 1)
        assert self.verdict(world) is Liveness.UNKNOWN
        world.now -= 3600
        assert self.verdict(world) is Liveness.UNKNOWN
        world.passes(LEASE * 4 / 3)
        assert self.verdict(world) is Liveness.DEAD

    def test_by_a_clock_that_is_never_set_a_silence_needs_no_watch(self, world: World, me: Registration) -> None:
        world.engine.steady = True
        world.passes(LEASE * 4 / 3 - 0.1)
        assert self.verdict(world) is not Liveness.DEAD
        world.passes(0.1)
        assert self.verdict(world) is Liveness.DEAD

    @pytest.mark.parametrize("steady", [True, False])
    def test_one_whose_heartbeat_was_lost_is_judged_by_the_silence_from_then_on(
        self, world: World, me: Registration, steady: bool
    ) -> None:
        world.engine.steady = steady
        world.engine._beats.clear()
        for _ in range(2):
            assert self.verdict(world) is Liveness.ALIVE
            world.passes(LEASE / 2)
        world.passes(1)
        assert self.verdict(world) is Liveness.UNKNOWN
        world.passes(LEASE / 3)
        assert self.verdict(world) is Liveness.DEAD

    def test_the_claim_of_one_that_is_silent_is_taken_over_and_it_is_told(self, world: World, me: Registration) -> None:
        claims, other = Claims(world.backend), world.claims()
        assert isinstance(claims.claim("n", me.holder), Won)
        her = other.sessions.register("her", lease_seconds=LEASE).holder
        for passes in (0, LEASE + 1):
            world.passes(passes)
            assert isinstance(other.claim("n", her), Held)
        world.passes(LEASE / 3)
        assert isinstance(other.claim("n", her), Won)
        assert not claims.sessions.renew(me.holder)
        assert not claims.sessions.resume(me.holder)

    def test_a_process_that_did_not_register_it_can_beat_for_it(self, world: World, me: Registration) -> None:
        keeper = world.claims()
        world.passes(LEASE)
        assert keeper.sessions.renew(me.holder)
        world.passes(LEASE)
        assert self.verdict(world) is Liveness.ALIVE

    def test_another_process_can_beat_for_one_that_is_not_registered_yet_until_it_is_taken_back(self, world: World) -> None:
        signs, others = world.backend.sessions.signs, world.claims().backend.sessions.signs
        promised = signs.promise(Registration("s", "i", 1, lease_seconds=LEASE), locked=False)
        world.passes(LEASE)
        others.beat("s", "i")
        assert signs.silence(promised) == Silence(0.0)
        signs.unpromise(promised)
        assert not others.has_beat("s", "i")
        with pytest.raises(OSError, match="promised no heartbeat"):
            signs.beat("s", "i")

    @pytest.mark.parametrize("holder", [("me", "another"), ("nobody", "i"), ("../me", "i")])
    def test_there_is_no_heartbeat_to_give_of_what_is_not_registered(
        self, world: World, me: Registration, holder: tuple[str, str]
    ) -> None:
        signs = world.claims().backend.sessions.signs
        with pytest.raises(OSError, match="promised no heartbeat"):
            signs.beat(*holder)
        assert not signs.has_beat(*holder)
        assert not world.claims().sessions.renew(Holder(*holder))

    def test_nothing_is_left_of_a_session_that_is_forgotten(self, world: World) -> None:
        sessions = Claims(world.backend).sessions
        made_up = sessions.register(lease_seconds=LEASE)
        sessions.stop(*made_up.holder)
        assert sessions.forget(sessions.status(made_up.session))
        assert world.engine._beats == {}
        assert world.engine.scan(SESSION) == []

    def test_nothing_is_left_of_one_that_was_silent_and_that_somebody_else_forgets(self, world: World) -> None:
        made_up = Claims(world.backend).sessions.register(lease_seconds=LEASE)
        for passes in (LEASE + 1, LEASE / 3):
            world.passes(passes)
            world.claims().reap()
        assert world.engine.scan(SESSION) == []
        assert not world.backend.sessions.signs.has_beat(*made_up.holder)

    def test_a_store_that_one_process_reaches_says_so_and_no_other_does(self, world: World) -> None:
        signs = world.backend.sessions.signs
        assert (signs.disk(), lines(world.backend).far()) == ("", True)
        world.faulty.local = True
        assert signs.disk().endswith(" far://away")
        assert not lines(world.backend).far()
        registration = Registration("s", "i", 1, lease_seconds=LEASE)
        assert signs.promise(registration, locked=True) == registration._replace(disk=signs.disk())
        assert (signs.lock(registration), signs.lock_path(registration)) == (Lock.MISSING, "")
        assert signs.silence(registration) == Silence(0.0)


class TestTickets:
    def test_one_that_may_or_may_not_be_there_is_taken_back(self, world: World) -> None:
        for call in (2, 3):
            world.fail(call, Fault.UNTOLD)
        with pytest.raises(Unavailable):
            lines(world.backend).take("n", Registration("", "", 1))
        assert lines(world.backend).line("n") == []

    def test_each_sign_differs_from_the_one_before_and_what_is_gone_stays_so(self, world: World) -> None:
        tickets, waiter = lines(world.backend), Registration("", "", 7, "start")
        ticket = tickets.take("n", waiter)
        signs = [tickets.shown("n", ticket)]
        for _ in range(3):
            tickets.show("n", ticket)
            signs.append(tickets.shown("n", ticket))
        assert len(set(signs)) == 4
        assert tickets.waiter("n", ticket) == waiter
        tickets.give_back("n", ticket)
        tickets.show("n", ticket)
        assert (tickets.shown("n", ticket), tickets.waiter("n", ticket), tickets.line("n")) == (None, None, [])

    def test_the_lines_are_told_apart_whatever_they_are_called(self, world: World) -> None:
        tickets, names = lines(world.backend), ["n", "n%2F", "N", "x" * 900, "x" * 901, "con"]
        taken = {name: tickets.take(name, Registration("", "", 1)) for name in names}
        assert sorted(tickets.claims()) == sorted(names)
        assert {name: tickets.line(name) for name in names} == {name: [ticket] for name, ticket in taken.items()}


def test_one_scan_tells_what_is_held_and_by_whom(world: World) -> None:
    for name, session in (("a", "w1"), ("b", "w2"), ("c", "w1"), ("d", "w1")):
        assert world.backend.advance(name, 0, lease(session)._replace(name=name))
    assert world.backend.advance("d", 1, None)
    world.faulty.calls.clear()
    assert [(name, head.generation, head.lease and head.lease.session) for name, head in world.backend.scan()] == [
        ("a", 1, "w1"),
        ("b", 1, "w2"),
        ("c", 1, "w1"),
    ]
    assert list(world.backend.held_by(Holder("w1", "i1"), ["a"], 0)) == ["c"]
    assert list(world.backend.held_by(Holder("w1", "i2"), [])) == []
    assert world.faulty.calls == ["scan"] * 3


def test_there_may_be_more_than_one_page_of_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_PAGE", 3)
    for many in range(8):
        assert list(world.backend.claims()) == [f"n{number}" for number in range(many)]
        world.backend.advance(f"n{many}", 0, lease())
    assert world.backend.tidy() == []


def test_keys_are_short_and_have_no_controls(world: World) -> None:
    names = ["\u00e9" * 1000, "tab\there", "a\nb", "con"]
    for name in names:
        assert world.backend.advance(name, 0, lease()._replace(name=name))
        lines(world.backend).take(name, Registration("", "", 1))
        registration = Registration(name, f"i{len(name)}", 1, lease_seconds=LEASE)
        world.backend.sessions.signs.promise(registration, locked=False)
        assert world.backend.sessions.advance(name, 0, registration)
    keys = [key for kind in (CLAIM, SESSION, TICKET) for key, _ in world.engine.scan(kind)]
    keys += [f"{word}/{'x' * 100}" for word in world.engine._beats]
    assert len(keys) == 4 * len(names)
    assert all(key.isprintable() and len(key.encode()) <= 400 for key in keys)
    assert sorted(world.backend.claims()) == sorted(world.backend.sessions.ids()) == sorted(names)


@pytest.mark.parametrize("data", [b"{}", b"nonsense", b'{"session": 7}', b"[" * 10000, b"\xff" * 100])
def test_any_bytes_in_a_record_say_something(world: World, data: bytes) -> None:
    for kind, key in ((CLAIM, "n"), (SESSION, "n"), (TICKET, "n/000000000001-x"), (TICKET, "x%~y")):
        world.engine.advance(kind, key, 0, data, not_after=1e9)
    found = world.backend.read("n").lease
    assert found
    assert found.session == ""
    assert world.backend.sessions.read("n").damaged
    assert list(world.backend.claims()) == world.backend.sessions.ids() == lines(world.backend).claims() == ["n"]
    assert lines(world.backend).waiter("n", "000000000001-x") == Registration("", "", 0)


def test_a_record_without_data_holds_nothing_and_its_number_is_gone_by(world: World) -> None:
    """As in a store whose numbers have leapt: see `engine.Record`."""
    for kind in (CLAIM, SESSION):
        world.engine._records[kind]["n"] = Record(7 << 20, b"")
    assert world.backend.read("n") == Head(7 << 20, None)
    assert world.backend.sessions.read("n") == SessionHead(7 << 20, None)
    assert list(world.backend.claims()) == world.backend.sessions.ids() == []
    claims = world.claims()
    won = claims.claim("n", claims.sessions.register("n").holder)
    assert isinstance(won, Won)
    assert won.lease.generation == (7 << 20) + 1


def test_what_nobody_could_read_is_not_published(world: World) -> None:
    with pytest.raises(InvalidName):
        world.backend.sessions.advance("s", 0, Registration("s", "../x", 1))
    with pytest.raises(InvalidName):
        world.backend.advance("n", 0, lease("x" * (1 << 20)))


@pytest.mark.parametrize("number", [-1, 2**63 - 1, 10**30])
def test_a_number_that_nobody_can_have_is_lost_and_not_asked_for(world: World, number: int) -> None:
    assert not world.backend.advance("n", number, lease())
    assert world.faulty.calls == []


def test_closing_the_backend_closes_the_engine(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(world.faulty, "close", lambda: closed.append(True), raising=False)
    world.backend.close()
    assert closed == [True]


@pytest.mark.parametrize("beats", [False, True])
def test_a_ticket_that_could_not_be_given_back_is_given_back_later(world: World, beats: bool) -> None:
    """By the process that had it, which lives: others would leave each free claim to it for a turn."""
    me = Registration("me", "i1", 1, lease_seconds=LEASE)
    world.backend.sessions.signs.promise(me, locked=False)
    ticket = lines(world.backend).take("n", me)
    world.faulty.is_cut_off = True
    with pytest.raises(Unavailable):
        lines(world.backend).give_back("n", ticket)
    with pytest.raises(Unavailable):
        lines(world.backend).line("n")
    world.faulty.is_cut_off = False
    assert [key for key, _ in world.engine.scan(TICKET)] == [f"n/{ticket}"]
    if beats:
        world.backend.sessions.signs.beat("me", "i1")
        assert world.engine.scan(TICKET) == []
    assert lines(world.backend).line("n") == []
    assert world.engine.scan(TICKET) == []


def test_so_is_one_that_was_taken_and_nobody_was_told(world: World) -> None:
    world.fail(2, Fault.UNTOLD)
    for call in (3, 4, 5):
        world.fail(call, Fault.REFUSED)
    with pytest.raises(Unavailable):
        lines(world.backend).take("n", Registration("me", "i1", 1))
    assert len(world.engine.scan(TICKET)) == 1
    assert lines(world.backend).line("n") == []


_PIECES = st.lists(st.sampled_from(["word", '"', ": ", " ", "a/b", "\\", "{", "}", ", ", "\u00e9", "\n"]), max_size=8)
_TEXTS = _PIECES.map("".join)
_VALUES = st.one_of(_TEXTS, st.integers(), st.booleans(), st.lists(_TEXTS), st.dictionaries(_TEXTS, _TEXTS, max_size=2))


@given(st.dictionaries(st.one_of(_TEXTS, st.just("word")), _VALUES, max_size=4), st.one_of(_TEXTS, st.just("me/0a1b")))
def test_the_word_of_what_is_to_be_published_is_that_of_what_was(fields: dict[str, object], word: str) -> None:
    for record in (fields, {**fields, "word": word}, {"name": "x", "word": word, **fields}):
        assert text_to_be(encode(record), "word") == word_in(encode(record))


@pytest.mark.parametrize(
    "data",
    [b"", b"no JSON", b'{"a": 1, "word": "x/y"', b'{"a": 1, "word": "x/y', b'{"a": {"b": 1, "word": "x"}}\n', b"\xff"],
)
def test_what_is_no_record_of_ours_has_the_same_word_as_well(data: bytes) -> None:
    assert text_to_be(data, "word") == word_in(data)
