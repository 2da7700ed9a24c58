"""A session that nobody uses leaves; and whoever enters a block at that moment has one that lives."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.capabilities import NATIVE
from support.clocks import Clock

import looop_portable
from looop_portable import Unavailable, aio, hold
from looop_portable.backends.memory import MemoryBackend
from looop_portable.config import resolve
from looop_portable.holding import own_session
from looop_portable.holding.member import Member, this_process
from looop_portable.holding.own_session import Session
from looop_portable.protocol.liveness import SHORTEST_LEASE
from looop_portable.sessions import idleness
from looop_portable.sessions.idleness import Idleness

PACKAGE = str(Path(looop_portable.__file__).parent)
TRACED = ("hold.py", "entrance.py", "attempting.py", "member.py", os.path.join("aio", "__init__.py"))


def test_it_is_idle_when_nobody_has_used_it_for_some_leases() -> None:
    now = [100.0]
    found = Idleness(30, lambda: now[0])
    assert not found.is_long(in_use=False)
    now[0] += 60
    assert not found.is_long(in_use=False)
    now[0] += 1
    assert found.is_long(in_use=False)
    assert not found.is_long(in_use=True)
    now[0] += 61
    found.used = True
    assert not found.is_long(in_use=False)
    now[0] += 61
    assert found.is_long(in_use=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    with this_process().guard:
        left = this_process().members.pop((resolve(str(tmp_path), NATIVE), 30), None)
    if left and not left.current.is_over:
        left.current.leave()


def member_of(store: str) -> Member:
    """Of blocks as `enter` has them. They have a membership already."""
    with hold("warm", data_dir=store, backend=NATIVE):
        """It registers."""
    return this_process().members[resolve(store, NATIVE), 30]


def heartbeat(session: Session) -> bool:
    """One that finds that it was idle for as long as can be."""
    session.idleness._long = -1.0
    return session._renew(False)


def lives(member: Member, session: Session) -> bool:
    return member.claims.sessions.registration(session.holder) is not None


def sessions_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    """Of a session that was registered since. What this process keeps for the blocks of any session is not of it."""
    names = ("looop heartbeat", "looop watch", "looop leave")
    return [thread for thread in threading.enumerate() if thread not in before and thread.name in names]


def test_one_that_is_idle_leaves_and_the_next_block_registers_anew(store: str) -> None:
    before = set(threading.enumerate())
    member = member_of(store)
    idle, threads = member.current, sessions_threads(before)
    assert len(threads) >= 2
    assert heartbeat(idle)
    assert idle.is_over
    assert member.claims.sessions.statuses() == []
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    with hold("warm", data_dir=store, backend=NATIVE) as block:
        assert block.session != idle.holder.session
        assert block.generation == 3
        block.check()


def test_one_that_has_blocks_or_that_somebody_is_about_to_claim_for_stays(store: str) -> None:
    member = member_of(store)
    session = member.current
    with hold("n", data_dir=store, backend=NATIVE):
        assert heartbeat(session)
        assert not session.is_over
    assert member.take("n", hold("n", data_dir=store, backend=NATIVE)._block.entrance)
    assert heartbeat(session)
    assert not session.is_over
    member.free("n")
    with member._guard:  # Somebody asks for it.
        assert heartbeat(session)
    assert not session.is_over
    assert lives(member, session)


def test_what_fails_is_tried_again_and_nobody_claims_for_it_meanwhile(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    member = member_of(store)
    idle = member.current

    def fails(*_: object) -> None:
        raise Unavailable("no room")

    with monkeypatch.context() as patched:
        patched.setattr(member.claims.sessions, "stop", fails)
        assert heartbeat(idle)
    assert idle.is_over
    assert lives(member, idle)
    with hold("n", data_dir=store, backend=NATIVE) as block:
        assert block.session != idle.holder.session
        assert idle._renew(False)
        assert not lives(member, idle)
        block.check()


def enter(store: str) -> None:
    with hold("n", data_dir=store, backend=NATIVE) as block:
        is_sound(block.session, store)
        block.check()


def enter_waiting(store: str) -> None:
    with hold("n", data_dir=store, backend=NATIVE, timeout=60) as block:
        is_sound(block.session, store)
        block.check()


def enter_in_a_loop(store: str) -> None:
    async def main() -> None:
        async with aio.hold("n", data_dir=store, backend=NATIVE, timeout=60) as block:
            is_sound(block.session, store)
            await block.check()

    asyncio.run(main())


def is_sound(session: str, store: str) -> None:
    claims = this_process().members[resolve(store, NATIVE), 30].claims
    lease = claims.backend.read("n").lease
    assert lease
    assert lease.session == session
    assert claims.sessions.verdict(lease.session, lease.incarnation).liveness.value == "alive"


class BeatsAt:
    """An idle heartbeat comes before line number `at` of the traced modules, in whatever thread that is."""

    def __init__(self, member: Member, at: int) -> None:
        self._member = member
        self._left = at
        self._mine = threading.local()

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if not (name.startswith(PACKAGE) and name.endswith(TRACED)):
            return None
        if event == "line" and not getattr(self._mine, "beats", False):
            self._left -= 1
            if self._left == 0:
                self._mine.beats = True
                heartbeat(self._member.current)
                self._mine.beats = False
        return self

    @property
    def reached(self) -> bool:
        return self._left <= 0


@pytest.mark.parametrize("way", [enter, enter_waiting, enter_in_a_loop])
def test_at_whatever_line_it_comes_the_block_has_a_session_that_lives(store: str, way: Callable[[str], None]) -> None:
    member = member_of(store)
    at, left = 0, 0
    while True:
        at += 1
        before, tracer = member.current, BeatsAt(member, at)
        old = sys.gettrace()
        threading.settrace(tracer)
        sys.settrace(tracer)
        try:
            way(store)
        finally:
            sys.settrace(old)
            threading.settrace(old)
        assert member.holding == []
        assert member.claims.show("n").lease is None
        left += before.is_over
        if not tracer.reached:
            break
    assert at > 50
    assert left > 5  # Before the block, and after it.


def test_its_own_heartbeats_find_that_it_is_idle(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idleness, "LEASES", 0)
    clock, lease = Clock(), SHORTEST_LEASE
    clock.rules(monkeypatch, own_session)
    before = set(threading.enumerate())
    for _ in range(2):
        with hold("n", data_dir=store, backend=NATIVE, lease_seconds=lease) as block:
            member = this_process().members[resolve(store, NATIVE), lease]
            threads = sessions_threads(before)
            assert len(threads) >= 2
            clock.move(lease)
            assert member.current.pulse.renewed_at > 0
            assert not member.current.is_over
            block.check()
        clock.move(lease)
        assert member.claims.sessions.statuses() == []
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


def test_generations_in_memory_go_on(tmp_path: Path) -> None:
    with hold("n", data_dir=tmp_path, backend="memory") as block:
        assert block.generation == 1
    member = this_process().members[resolve(tmp_path, "memory"), 30]
    assert isinstance(member.claims.backend, MemoryBackend)
    assert heartbeat(member.current)
    assert member.current.is_over
    with hold("n", data_dir=tmp_path, backend="memory") as block:
        assert block.generation == 3
