"""What is swept: every verb of the library, in every situation that it tells apart.

A verb runs in a forked child, in a store of its own. Its answer goes to the oracle (see oracle.py) as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from looop_portable import Claims
from looop_portable.backends.directory.restamping import restamp
from looop_portable.ledger.stamp import FLOCK
from looop_portable.protocol.records import Holder, Lease
from looop_portable.system.watch.waking import new_watcher
from looop_portable.waiting.claiming import claim_all, wait_for, waiter
from looop_portable.waiting.waits import Pending

from .stores import AGED

_SOON = 0.02
"""Seconds."""


class Stage(NamedTuple):
    """What a verb is given. `backend`: as it is asked for. `paused` is entered for what is not to be counted."""

    claims: Claims
    me: Holder
    root: str
    backend: str
    paused: Callable[[], Any]


Act = Callable[[Stage, Any], object]


class Verb(NamedTuple):
    """`act` is swept. `before` runs first, uncounted; what it returns is given to `act`.

    `right`: which answers, by their types, may follow when the verb is repeated without a fault. `names`: what it is about.
    `ends`: it ends the session `me`, so what that holds is anybody's.
    """

    name: str
    store: str
    act: Act
    right: tuple[str, ...]
    before: Callable[[Stage], object] = lambda _: None
    names: tuple[str, ...] = ("c",)
    ends: bool = False
    targets: tuple[str, ...] = ()
    """Claims of others that it may move: an operator said so."""


class Entered(NamedTuple):
    """A block is entered, and has not been left."""

    leases: tuple[Lease, ...]


class Left(NamedTuple):
    """A block was entered, and left without an error."""

    leases: tuple[Lease, ...]


class Ran(NamedTuple):
    """A command, its exit code and what it said."""

    args: tuple[str, ...]
    code: object
    out: str
    err: str


class Waits(NamedTuple):
    """It is another's turn yet: that of one who did not come to give its ticket back, say."""


class Said(NamedTuple):
    """Any other answer: whether it is a yes."""

    yes: bool


def _claim(stage: Stage, _: object) -> object:
    return stage.claims.claim("c", stage.me)


def _unclaim(stage: Stage, _: object) -> object:
    return stage.claims.release("c", stage.me)


def _claimed(stage: Stage) -> object:
    return stage.claims.claim("c", stage.me)


def _release(stage: Stage) -> object:
    stage.claims.claim("c", stage.me)
    return stage.claims.release("c", stage.me)


def _hand_over(stage: Stage, _: object) -> object:
    """In line, behind a dead waiter, until the holder lets go."""
    watcher = new_watcher()
    try:
        waiting = waiter(stage.claims, "c", stage.me, 0, watcher)
        try:
            found = waiting.look()
            with stage.paused():
                Claims.open(stage.root, stage.backend).release("c", "other")
            return waiting.look() if isinstance(found, Pending) else found
        finally:
            waiting.stop()
    finally:
        watcher.close()


def _wait(stage: Stage, _: object) -> object:
    return wait_for(stage.claims, "c", stage.me, _SOON)


def _registration(stage: Stage, _: object) -> object:
    return stage.claims.sessions.register("new", pid=os.getppid(), lease_seconds=3)


def _own_registration(stage: Stage, _: object) -> object:
    return stage.claims.sessions.register("new", lease_seconds=3, locked=True)


def _in_line(stage: Stage, _: object) -> object:
    found = _hand_over(stage, _)
    return Waits() if isinstance(found, Pending) else found


def _own_session(stage: Stage) -> Holder:
    """Of the child itself, with a lock of its own, and a claim."""
    own = stage.claims.sessions.register("new", lease_seconds=3, locked=True).holder
    stage.claims.claim("c", own)
    return own


def _silent_holder(stage: Stage) -> Holder:
    lease = stage.claims.backend.read("c").lease
    assert lease
    return Holder(lease.session, lease.incarnation)


def _dead_and_made_up(stage: Stage) -> object:
    return next(each for each in stage.claims.sessions.statuses() if each.registration.session.startswith("auto-"))


def _keep_young(stage: Stage, _: object) -> object:
    keep = stage.claims.backend.keep_young  # type: ignore[attr-defined]
    return keep(stage.me, ["c"])


def _broken_at(generation: int) -> Act:
    return lambda stage, _: stage.claims.break_claim("c", generation, "a sweep")


WON = ("Won", "Renewed")
LIBRARY = (
    Verb("claim fresh", "fresh", _claim, WON),
    Verb("claim vacant", "vacant", _claim, WON),
    Verb("claim held", "held", _claim, ("Held",)),
    Verb("claim orphaned", "orphaned", _claim, WON),
    Verb("claim silent", "silent", _claim, WON),
    Verb("claim ours", "ours", _claim, WON),
    Verb("claim recalled", "vacant", _claim, WON, _release),
    Verb("claim aged", "aged", _claim, WON),
    Verb("claim pruned", "pruned", _claim, WON),
    Verb("claim a slot", "vacant", lambda s, _: wait_for(s.claims, "c", s.me, 0, 2), WON, names=("c#1", "c#2")),
    Verb("claim all", "vacant", lambda s, _: claim_all(s.claims, "abc", s.me), ("list",), names=("a", "b", "c")),
    Verb("claim all, one held", "held", lambda s, _: claim_all(s.claims, "abc", s.me), ("Held",), names=("a", "b", "c")),
    Verb("wait for vacant", "vacant", _wait, WON),
    Verb("wait for held", "held", _wait, ("Held",)),
    Verb("wait in line", "waited_for", _in_line, (*WON, "Waits"), targets=("c",)),
    Verb("unclaim ours", "ours", _unclaim, ("Released",)),
    Verb("unclaim won", "vacant", _unclaim, ("Released",), _claimed),
    Verb("unclaim aged", "aged_ours", _unclaim, ("Released",)),
    Verb("unclaim aged and won", "aged", _unclaim, ("Released",), _claimed),
    Verb("unclaim held", "held", _unclaim, ("Refused",)),
    Verb("unclaim free", "vacant", _unclaim, ("Released",)),
    Verb("unclaim orphaned", "orphaned", _unclaim, ("Released",)),
    Verb("release_lease", "vacant", lambda s, won: s.claims.release_lease(won.lease), ("Released",), _claimed),
    Verb("check", "ours", lambda s, _: s.claims.check("c", 1), ("Checked",)),
    Verb("show", "held", lambda s, _: s.claims.show("c"), ("Status",)),
    Verb("show orphaned", "silent", lambda s, _: s.claims.show("c"), ("Status",)),
    Verb("list", "littered", lambda s, _: s.claims.list(), ("list",), names=("a", "b", "c")),
    Verb("break", "held", _broken_at(1), ("Broken", "Superseded"), targets=("c",)),
    Verb("break aged", "aged_ours", _broken_at(AGED + 1), ("Broken", "Superseded"), targets=("c",)),
    Verb("break superseded", "aged_ours", _broken_at(3), ("Superseded",)),
    Verb("reap", "littered", lambda s, _: s.claims.reap(), ("Sweep",), names=("a", "b", "c")),
    Verb("reap silent", "silent", lambda s, _: s.claims.reap(), ("Sweep",)),
    Verb("reap dry", "littered", lambda s, _: s.claims.reap(dry_run=True), ("Sweep",), names=("a", "b", "c")),
    Verb("prune", "aged", lambda s, _: s.claims.prune(0), ("Sweep",)),
    Verb("prune dry", "aged", lambda s, _: s.claims.prune(0, dry_run=True), ("Sweep",)),
    Verb("adopt", "aged", lambda s, _: restamp(s.claims.backend, FLOCK, tuple), ("Restamped", "CannotExclude")),  # type: ignore[arg-type]
    Verb("register", "vacant", _registration, ("Registration", "SessionAlive")),
    Verb("register fresh", "fresh", _registration, ("Registration", "SessionAlive")),
    Verb("register this", "vacant", _own_registration, ("Registration", "SessionAlive")),
    Verb("renew", "ours", lambda s, _: Said(s.claims.sessions.renew(s.me)), ("Said",)),
    Verb("resume", "ours", lambda s, _: Said(s.claims.sessions.resume(s.me)), ("Said",)),
    Verb("conclude", "silent", lambda s, h: Said(s.claims.sessions.conclude(h)), ("Said",), _silent_holder),
    Verb("hand_over", "ours", lambda s, _: Said(s.claims.sessions.hand_over(s.me, os.getppid())), ("Said",)),
    Verb("stop", "ours", lambda s, _: Said(s.claims.sessions.stop(*s.me)), ("Said",), ends=True),
    Verb("stop this", "vacant", lambda s, own: Said(s.claims.sessions.stop(*own)), ("Said",), _own_session),
    Verb("retire this", "vacant", lambda s, own: s.claims.retire(own), ("Retired",), _own_session),
    Verb("retire", "ours_all", lambda s, _: s.claims.retire(s.me), ("Retired",), names=("a", "b", "c"), ends=True),
    Verb("status", "ours", lambda s, _: s.claims.sessions.status("me"), ("SessionStatus",)),
    Verb("statuses", "littered", lambda s, _: s.claims.sessions.statuses(), ("list",)),
    Verb("forget", "littered", lambda s, x: Said(s.claims.sessions.forget(x)), ("Said",), _dead_and_made_up),
    Verb("keep_young", "ours", _keep_young, ("NoneType",)),
    Verb("acting", "ours", lambda s, _: s.claims.acting("me"), ("Holder",)),
)
