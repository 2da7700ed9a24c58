"""Faults at the calls of a backend, or of what is below it: call number n fails, or its reply is lost, or all ends there.

    def fresh():
        url = an_empty_store()
        return Store(lambda: MyBackend(url), lambda injector: faulty(MyBackend(url), injector))

    assert sweep(fresh)

`sweep` runs each verb with each fault at each of its calls, in a fresh store each time, and looks for untruth: whoever was
told that it holds does, no two hold, and whoever was told nothing is told the truth by the next who asks.
`faulty` wraps any object: the backend itself, or (better) the client, or the files, that it talks to its store by.
Does not see: faults of what is not wrapped, and the two halves of one call. Nor is a death that is simulated one of the
process: its threads, locks and descriptors are still there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar, cast

from looop_portable.backends.base import Backend
from looop_portable.claims.gate import Claims
from looop_portable.errors import LooopError, SessionAlive, Unavailable
from looop_portable.protocol.liveness import DEFAULT_TTL
from looop_portable.protocol.outcomes import Held, Refused, Released, Renewed, Sweep, Won
from looop_portable.protocol.records import Holder, Registration
from looop_portable.testing.examiner import Reopen, registered

BEFORE, AFTER = "fails before it does anything", "does it, and its reply is lost"
KILLED_BEFORE, KILLED_AFTER = "is never made, as its process dies", "is the last one of its process"
ONWARD = "fails, and so do all after it"
RIVAL = "is made after another has come and claimed"
KINDS = (BEFORE, AFTER, KILLED_BEFORE, KILLED_AFTER, ONWARD, RIVAL)
"""`RIVAL` is for a backend that is wrapped whole: below it a guard may be held, for which the other would wait for ever."""
NAME = "repo-x"

_WITHIN = ("sessions", "signs", "tickets")
"""What a backend consists of: calls of these are calls of it."""

T = TypeVar("T")


class Killed(BaseException):
    """The process ends here. Not an `Exception`: nobody who goes on after a failure goes on after this."""


class Fault(NamedTuple):
    """What becomes of call number `at`; 0: nothing ever happens."""

    at: int
    kind: str = BEFORE


class Injector:
    """Counts the calls of what is wrapped with it, while it is `armed`, and has `fault` happen. Not for several threads.

    `error` makes what a call that fails raises: what the wrapped object raises when it cannot answer.
    """

    def __init__(self, fault: Fault = Fault(0), error: Callable[[str], Exception] = Unavailable) -> None:  # noqa: B008
        self.fault = fault
        self.calls: list[str] = []
        self.armed = True
        self.rival: Callable[[], object] = bool
        self._error = error

    @property
    def fired(self) -> bool:
        """Whether the fault has happened."""
        return 0 < self.fault.at <= len(self.calls)

    def call(self, name: str, deed: Callable[[], Any]) -> Any:
        """One call. After a death nothing is done any more, also by what cleans up."""
        if not self.armed:
            return deed()
        at, kind = self.fault
        if self.fired and kind in (KILLED_BEFORE, KILLED_AFTER):
            raise Killed
        self.calls.append(name)
        now = len(self.calls) == at
        if (now and kind == BEFORE) or (kind == ONWARD and 0 < at <= len(self.calls)):
            raise self._error(f"call {len(self.calls)}, {name}: failed on purpose")
        if now and kind == KILLED_BEFORE:
            raise Killed
        if now and kind == RIVAL:
            self.armed = False
            self.rival()
            self.armed = True
        found = deed()
        if now and kind == KILLED_AFTER:
            raise Killed
        if now and kind == AFTER:
            raise self._error(f"call {at}, {name}: its reply was lost on purpose")
        return found


def faulty(target: T, injector: Injector) -> T:
    """`target`, each of whose methods is a call of `injector`; also those of its `sessions`, `signs` and `tickets`."""
    return cast("T", _Faulty(target, injector))


class _Faulty:
    def __init__(self, target: object, injector: Injector) -> None:
        self._target = target
        self._injector = injector

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name in _WITHIN and found is not None:
            return _Faulty(found, self._injector)
        if not callable(found):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            return self._injector.call(name, lambda: _whole(found(*args, **kwargs)))

        return called


def _whole(found: Any) -> Any:
    """What is told one after the other is told at once: else the call would be over before it is made."""
    return iter(list(found)) if isinstance(found, Iterator) else found


class Store(NamedTuple):
    """A fresh store: how to open it soundly, and how to open it so that its calls are the injector's."""

    reopen: Reopen
    with_faults: Callable[[Injector], Backend]


class Verb(NamedTuple):
    """`prepare` makes what `run` finds, soundly. Both act for a session, which lives; `run` may be repeated.

    `ends`: that session has ended if `run` was told True, and goes on else.
    """

    name: str
    run: Callable[[Claims, Holder], object]
    prepare: Callable[[Claims, Holder], object] = lambda claims, me: None
    ends: bool = False


def _a_dead_one_s(claims: Claims, me: Holder) -> None:
    claims.claim(NAME, dead := registered(claims, "dead"))
    claims.sessions.stop(*dead)


def _mine(claims: Claims, me: Holder) -> None:
    claims.claim(NAME, me)


def _anew(claims: Claims, me: Holder) -> object:
    try:
        return claims.sessions.register("late")
    except SessionAlive:
        return claims.sessions.holder("late")  # The reply was lost, and it is registered: whoever asks is told so.


VERBS = (
    Verb("claim a free name", lambda claims, me: claims.claim(NAME, me)),
    Verb("claim a dead session's", lambda claims, me: claims.claim(NAME, me), _a_dead_one_s),
    Verb("claim one's own", lambda claims, me: claims.claim(NAME, me), _mine),
    Verb("release", lambda claims, me: claims.release(NAME, me), _mine),
    Verb("release a dead session's", lambda claims, me: claims.release(NAME, me), _a_dead_one_s),
    Verb("reap", lambda claims, me: claims.reap(), _a_dead_one_s),
    Verb("register", _anew),
    Verb("renew", lambda claims, me: claims.sessions.renew(me), _mine),
    Verb("end a session", lambda claims, me: claims.sessions.stop(*me), _mine, ends=True),
)


def sweep(
    fresh: Callable[[], Store],
    verbs: tuple[Verb, ...] = VERBS,
    kinds: tuple[str, ...] = KINDS,
    error: Callable[[str], Exception] = Unavailable,
) -> int:
    """How many faults were tried: each of `kinds` at each call of each of `verbs`. Raises AssertionError for an untruth."""
    tried = 0
    for verb in verbs:
        for kind in kinds:
            at = 1
            while _is_tried(fresh(), verb, Injector(Fault(at, kind), error)):
                at += 1
            tried += at - 1
    return tried


def _is_tried(store: Store, verb: Verb, injector: Injector) -> bool:
    """One fault. False: the verb makes fewer calls than that."""
    injector.armed = False
    sound, rival = Claims(store.reopen()), Claims(store.reopen())
    me, her = sound.sessions.register("me", lease_seconds=DEFAULT_TTL).holder, registered(rival, "her")
    verb.prepare(sound, me)
    claims = Claims(store.with_faults(injector))
    rivals: list[Won | Renewed | Held] = []
    injector.rival = lambda: rivals.append(rival.claim(NAME, her))
    injector.armed = True
    told = _answer(claims, verb, me)
    injector.armed = False
    if not injector.fired:
        assert not isinstance(told, Unavailable), f"law: a store that answers is not unavailable: '{verb.name}': {told!r}"
        return False
    where = f"'{verb.name}', whose call {injector.fault.at} ({injector.calls[injector.fault.at - 1]}) {injector.fault.kind}"
    for outcome in rivals:
        if isinstance(outcome, Won):
            lease = sound.backend.read(NAME).lease
            assert lease == outcome.lease, (
                f"law: no two hold: {where}: told {told}, and another {outcome}; {lease} stands there"
            )
    _look(sound, me, told, verb, where)
    if isinstance(told, Exception):
        stood = sound.backend.read(NAME)
        again = _answer(sound, verb, me)
        assert not isinstance(again, Unavailable), f"law: after a fault a store answers again: {where}, and then {again!r}"
        _look(sound, me, again, verb, f"{where}, and once more")
        if isinstance(again, Renewed | Held):
            assert sound.backend.read(NAME) == stood, f"law: a lost reply is looked up: {where}: {stood} has changed"
    _one_holds(sound, rival, me, her, where)
    return True


def _answer(claims: Claims, verb: Verb, me: Holder) -> object:
    try:
        return verb.run(claims, me)
    except (LooopError, OSError, Killed) as error:
        return error


def _look(sound: Claims, me: Holder, told: object, verb: Verb, where: str) -> None:
    """What was told is so."""
    law = f"law: what is told is so: {where}: told {told}"
    lease = sound.backend.read(NAME).lease
    is_mine = lease is not None and (lease.session, lease.incarnation) == me
    if isinstance(told, Won | Renewed):
        assert lease == told.lease, f"{law}, and {lease} stands there"
    elif isinstance(told, Held | Refused):
        assert lease == told.lease, f"{law}, and {lease} stands there"
        assert not is_mine, f"{law}, by itself"
    elif isinstance(told, Released):
        assert not is_mine, f"{law}, and {lease} stands there"
    elif isinstance(told, Sweep):
        assert lease not in [reaped.lease for reaped in told.reaped], f"{law}, and {lease} stands there"
    elif isinstance(told, Registration | Holder):
        holder = told.holder if isinstance(told, Registration) else told
        assert sound.sessions.registration(holder), f"{law}, and no such session stands there"
    elif told is True:
        has_ended = sound.sessions.registration(me) is None
        assert has_ended == verb.ends, f"{law}, and the session {'has ended' if has_ended else 'goes on'}"


def _one_holds(sound: Claims, rival: Claims, me: Holder, her: Holder, where: str) -> None:
    """Another claims it, while the first lives, and after its end."""
    lease = sound.backend.read(NAME).lease
    lives = sound.sessions.registration(me) is not None
    mine = lives and lease is not None and (lease.session, lease.incarnation) == me
    outcome = rival.claim(NAME, her)
    wanted = Held if mine else (Won, Renewed)
    law = "law: no two hold" if mine else "law: whoever claims what nobody alive holds has it"
    assert isinstance(outcome, wanted), f"{law}: {where}; {lease} stood there, and then another was told {outcome}"
    if lives:
        sound.sessions.stop(*me)
    outcome = rival.claim(NAME, her)
    assert isinstance(outcome, Won | Renewed), f"law: what a dead one held is free: {where}; another was told {outcome}"
