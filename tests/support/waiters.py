"""Processes that wait for a claim, and the line that they stand in, as it is seen on the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from looop_portable import Claims, Held, Renewed, Won, claim_all, hold, wait_for
from looop_portable.protocol.names import spelled
from support.crew import Meet, Recruit, Work, register, until

PATIENCE = 60.0
"""Seconds after which what has to come is missed. Nothing is taken for having happened because time has passed."""


class Line:
    """Who waits for `name` in `directory`."""

    def __init__(self, directory: str | Path, name: str) -> None:
        self.path = Path(directory) / "claims" / ".queue" / spelled(name)

    def tickets(self) -> list[str]:
        """The first to be served first."""
        try:
            return sorted(ticket for ticket in os.listdir(self.path) if not ticket.startswith("."))
        except FileNotFoundError:
            return []

    def grows(self, before: list[str]) -> str:
        """The ticket that has come since."""
        assert until(lambda: set(self.tickets()) - set(before)), f"nobody has come to {before}"
        (ticket,) = set(self.tickets()) - set(before)
        return ticket


def waiter_of(backend: str, directory: str, session: str = "") -> Recruit:
    """A session that does what it is told: `wait`, `release`, `turn` (both; answers the generation), `turns`, `all`."""
    return partial(_waiter, backend, directory, session)


def _waiter(backend: str, directory: str, session: str, meet: Meet) -> Work:
    claims = Claims.open(directory, backend)
    me = register(claims, session)

    def wait(name: str, timeout: float | None = None, slots: int = 0) -> Won | Renewed | Held:
        return wait_for(claims, name, me, timeout, slots)

    def turn(name: str, slots: int = 0) -> int:
        outcome = wait(name, None, slots)
        assert isinstance(outcome, Won), outcome
        claims.release_lease(outcome.lease)
        return outcome.generation

    def turns(number: int, name: str, slots: int, inside: str) -> tuple[int, set[str]]:
        """How many were inside at once, ourselves included; and the slots that were ours."""
        mine, most, used = os.path.join(inside, me.session), 0, set()
        for _ in range(number):
            outcome = wait(name, PATIENCE, slots)
            assert isinstance(outcome, Won), outcome
            Path(mine).touch()
            most = max(most, len(os.listdir(inside)))
            used.add(outcome.lease.name)
            os.remove(mine)
            claims.release_lease(outcome.lease)
        return most, used

    def take_all(number: int, *names: str) -> int:
        """How often it had them all."""
        done = 0
        for _ in range(number):
            outcome = claim_all(claims, names, me, PATIENCE)
            if isinstance(outcome, Held):
                return done
            for each in outcome:
                claims.release_lease(each.lease)
            done += 1
        return done

    verbs: dict[str, Callable[..., object]] = {
        "wait": wait,
        "release": lambda name: claims.release(name, me),
        "turn": turn,
        "turns": turns,
        "all": take_all,
    }
    return lambda verb, *args: verbs[verb](*args)


def blocks_of(backend: str, directory: str, counter: str, threads: int, rounds: int) -> Recruit:
    """Threads that each enter a block so many times, and count in a file, which nothing but the claim guards."""
    return partial(_blocks, backend, directory, counter, threads, rounds)


def _blocks(backend: str, directory: str, counter: str, threads: int, rounds: int, meet: Meet) -> Work:
    def count(generations: list[int]) -> None:
        for _ in range(rounds):
            with hold("repo-x", data_dir=directory, backend=backend, timeout=PATIENCE) as block:
                seen = int(Path(counter).read_text())
                block.check()
                Path(counter).write_text(str(seen + 1))
                generations.append(block.generation)

    def work() -> list[list[int]]:
        meet()
        found: list[list[int]] = [[] for _ in range(threads)]
        running = [threading.Thread(target=count, args=(generations,)) for generations in found]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        return found

    return work
