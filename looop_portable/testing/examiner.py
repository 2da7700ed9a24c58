"""What the parts of the exam share: sessions to examine with, and the examiner's own clock.

How: what a store says of time is compared with differences of one clock, the examiner's own, and in the safe direction
alone: a silence that is heard may be shorter than the truth, and never longer. Nothing has to be fast.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from looop_portable.backends.base import Backend, SessionStore, Tickets
from looop_portable.claims.gate import Claims
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import SHORTEST_LEASE
from looop_portable.protocol.records import Holder, Lease, Registration
from looop_portable.system.clock import elapsed

Reopen = Callable[[], Backend]

WORKERS, ROUNDS = 6, 40


def lease(name: str, session: str = "w1", incarnation: str = "i1") -> Lease:
    """A lease as a claimer proposes it."""
    return Lease(name, session, incarnation, claimed_at="2026-01-02T03:04:05Z", host="here")


def is_published(backend: Backend, claim: str, expected: int, new: Lease | None) -> bool:
    """As `advance`, but where the store does not say what came of it, by a look: it is as busy as the exam makes it.

    `new` is a lease that nobody else publishes, or None: then the caller has the one that stands.
    """
    try:
        return backend.advance(claim, expected, new)
    except Unavailable:
        head = backend.read(claim)
        if new is None:
            return head.generation > expected or backend.advance(claim, expected, new)
        return head.generation == expected + 1 and head.lease is not None and head.lease[:3] == new[:3]


def tickets_of(backend: Backend) -> Tickets | None:
    """None: it says that it cannot order those who wait, which is no fault."""
    return backend.tickets


def waiter(number: int) -> Registration:
    """A process that waits, as one of another host is seen."""
    return Registration("", "", number, f"start-{number}", "boot", "namespace", "host")


def registered(claims: Claims, session: str) -> Holder:
    """This process as a session of that id."""
    registration = claims.sessions.register(session)
    return registration.holder


def far(session: str, number: int = 1, *, boot: str = "") -> Registration:
    """A session of another host, of which nothing is to be seen but its heartbeat. `boot`: of another kernel, certainly.

    `number` tells its incarnation, which is a word as `Sessions` makes them.
    """
    return Registration(
        session,
        f"{number:016x}",
        pid=4242,
        start="start",
        boot=boot,
        namespace="elsewhere",
        host="elsewhere",
        started_at="2026-01-02T03:04:05Z",
        lease_seconds=SHORTEST_LEASE,
    )


def enter(store: SessionStore, registration: Registration) -> Registration:
    """It is registered, and has promised heartbeats."""
    promised = store.signs.promise(registration, locked=False)
    won = store.advance(promised.session, store.read(promised.session).generation, promised)
    assert won, f"law: a registration that nobody else makes is made: '{promised.session}' was not"
    return promised


def beat(store: SessionStore, session: Registration) -> float:
    """A heartbeat of it, which lives; and when that was begun, by the examiner's clock."""
    began = elapsed()
    try:
        store.signs.beat(*session.holder)
    except (OSError, Unavailable) as error:
        raise AssertionError(f"law: a session that lives can give a beat: {session.holder} could not: {error!r}") from error
    return began


def heard(store: SessionStore, session: Registration, *, watched: bool = False) -> tuple[float, ...]:
    """The seconds without a beat, in each way in which the store tells them."""
    try:
        return tuple(store.signs.silence(session, watched=watched))
    except (OSError, Unavailable) as error:
        raise AssertionError(f"law: a beat that was given is heard: {session.holder} is not: {error!r}") from error


def is_never_older(store: SessionStore, session: Registration, began: float, after: str, grain: float) -> None:
    """What is heard now of `session`, which gave `after` no earlier than `began`. `grain`: see `LifeExam`."""
    for watched in (False, True):
        found = heard(store, session, watched=watched)
        truth = elapsed() - began
        assert all(seconds <= truth + grain for seconds in found), (
            f"law: what is heard is never older than the truth: heard {max(found):g} s after {after} of {truth:.1f} s ago"
            f" ({session.holder}, watched={watched}); who is silent for {SHORTEST_LEASE} s may be taken for dead"
        )


def keeps_beats(store: SessionStore, session: Registration, pause: float) -> bool:
    """Whether the store tells a silence at all. In one process's memory nobody who could ask outlives who is asked for."""
    if store.signs.has_beat(*session.holder):
        return True
    time.sleep(pause)
    return any(heard(store, session))


def starting_line() -> threading.Barrier:
    """Where all that work `at_once` wait for the last of them, as often as they like; and not for ever."""
    return threading.Barrier(WORKERS, timeout=60)


def at_once(work: Callable[[int], None], line: threading.Barrier | None = None) -> None:
    """`work` in WORKERS threads; what the first of them raised is raised. Nobody waits at `line` for one that failed."""
    failures: list[BaseException] = []

    def guarded(worker: int) -> None:
        try:
            work(worker)
        except BaseException as failure:  # noqa: BLE001 (it is raised by whoever waits for the threads)
            failures.append(failure)
            if line:
                line.abort()

    threads = [threading.Thread(target=guarded, args=(worker,)) for worker in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
