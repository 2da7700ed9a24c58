"""What is measured on one server: transitions, refusals, hand-overs, and what those who wait cost."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from crowd import WAITERS, cores
from figures import Spread, hand_overs, spread
from handover import HOLDS, one_round
from setting import Setting, in_turns
from troupe import Troupe

from engines.contenders import HOLD, MAKERS
from engines.stages import Stage
from engines.trips import Between, counted
from looop_portable import Claims, Held, Holder, Settling, Won

ROUNDS, QUICK = 40, 8
HAND_OVERS, FEW = 6, 3
CROWD, CROWD_QUICK = 30, 10
STILL, STILL_QUICK = 5.0, 2.0
MEMBER = ("-m", "engines.member")

BARE, CYCLE, LOGGED, REFUSED, ALIEN = "bare", "cycle", "logged", "refused", "alien"
"""ALIEN: refused by a holder of another host, who is judged by its heartbeat; REFUSED: by one whose process is seen."""


class Crowd(NamedTuple):
    """Those who wait are many. CPU in cores, of them and of the server, while one holds."""

    latency: Spread
    still: float
    server: float


def opened(url: str) -> Claims:
    """When what is new there has settled."""
    claims = Claims.open(backend=url)
    me = claims.sessions.register("warm", lease_seconds=3).holder
    while True:
        try:
            claims.claim("warm", me)
        except Settling as error:
            time.sleep(error.seconds)
        else:
            claims.retire(me)
            return claims


def transitions(stage: Stage, setting: Setting) -> dict[str, list[float]]:
    """Seconds, round by round, of each in turns."""
    claims, theirs = Claims.open(backend=stage.url), Claims.open(backend=stage.url)
    me, they = (each.sessions.register(who, lease_seconds=3600).holder for each, who in ((claims, "me"), (theirs, "they")))
    alien = _of_another_host(theirs)
    theirs.claim("theirs", they)
    theirs.claim("aliens", alien)

    def cycle(claims: Claims, name: str) -> Callable[[], object]:
        def run() -> None:
            outcome = claims.claim(name, me)
            assert isinstance(outcome, Won)
            claims.release_lease(outcome.lease)

        return run

    def refused(name: str) -> Callable[[], object]:
        def run() -> None:
            assert isinstance(claims.claim(name, me), Held)

        return run

    silent = Claims(claims.backend, None, claims.sessions)
    runs: dict[str, Callable[[], object]] = {BARE: stage.bare(stage.url), CYCLE: cycle(silent, "silent")}
    runs |= {LOGGED: cycle(claims, "logged"), HOLD: _cycle_of(HOLD, stage.url)}
    runs |= {REFUSED: refused("theirs"), ALIEN: refused("aliens")}
    runs |= {name: _cycle_of(name, where) for name, where in stage.others().items()}
    return in_turns(runs, setting.few(ROUNDS, QUICK))


def _of_another_host(claims: Claims) -> Holder:
    """One whose process cannot be seen from here."""
    found = claims.sessions.register("alien", lease_seconds=3600)
    head = claims.backend.sessions.read("alien")
    elsewhere = found._replace(boot="another", namespace="another", host="elsewhere")
    assert claims.backend.sessions.advance("alien", head.generation, elsewhere)
    return found.holder


def _cycle_of(name: str, url: str) -> Callable[[], object]:
    contender = MAKERS[name](url)

    def run() -> None:
        assert contender.attempt()
        contender.release()

    return run


def trips(stage: Stage) -> dict[str, int]:
    """By the name of what is asked. It is another server, as far as our directory knows."""
    between, own = Between(stage.port), os.environ["LOOOP_DATA_DIR"]
    os.environ["LOOOP_DATA_DIR"] = f"{own}-counted"
    try:
        return counted(stage.url.replace(f":{stage.port}", f":{between.port}", 1), between)
    finally:
        os.environ["LOOOP_DATA_DIR"] = own


@contextmanager
def _troupe(name: str, where: str, size: int) -> Iterator[Troupe]:
    troupe = Troupe(name, where, size, MEMBER)
    try:
        troupe.ready()
        troupe.hold()
        troupe.gather(range(1, size))
        yield troupe
    finally:
        troupe.end()


def handed_over(rows: dict[str, str], setting: Setting) -> dict[str, list[float]]:
    """Seconds of the hand-overs of each row, whose troupes take turns. `rows`: names of contenders, and where."""
    with ExitStack() as stack:
        troupes = [stack.enter_context(_troupe(name, where, 2)) for name, where in rows.items()]
        for number in range(setting.few(HAND_OVERS, FEW)):
            for troupe in troupes:
                one_round(troupe, random.Random(number))
        return {troupe.name: hand_overs(troupe.turns) for troupe in troupes}


def crowd(name: str, where: str, stage: Stage | None, setting: Setting) -> Crowd:
    chance = random.Random(0)
    with _troupe(name, where, WAITERS + 1) as troupe:
        time.sleep(2.0)  # Whoever has just lined up looks again.
        before, began = stage.cpu() if stage else 0.0, time.monotonic()
        still = cores(troupe, lambda: time.sleep(STILL_QUICK if setting.quick else STILL))
        server = ((stage.cpu() if stage else 0.0) - before) / (time.monotonic() - began)
        for _ in range(setting.few(CROWD, CROWD_QUICK)):
            time.sleep(chance.uniform(*HOLDS))
            troupe.hand_over()
        return Crowd(spread(hand_overs(troupe.turns)), still, server)
