"""Registering one session id at once, on a scripted filesystem: all interleavings, a crash at every point."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from looop_portable.backends.directory.registry import Registry
from looop_portable.errors import SessionAlive
from looop_portable.ledger.ledger import Ledger
from looop_portable.ledger.publishing import Publisher
from looop_portable.protocol.codec import encode
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.mounts.mount import Mount
from looop_portable.testing.explorer.scripted import Recorded, ScriptedProcesses
from looop_portable.testing.explorer.search import Actor, Explorer, Found, Report, run
from looop_portable.testing.explorer.world import ROBBED, STUCK, TWO_HOLDERS, Violation, World

PREEMPTIONS = int(os.environ.get("EXPLORER_PREEMPTIONS", "2"))
EMPTY = World(dirs=frozenset({"/d", "/d/sessions", "/d/sessions/.ledger"}))


LOCAL = Mount("/", "ext4", "disk", ())


def sessions_of(files: Recorded) -> Sessions:
    files.mount = LOCAL
    registry = Registry("/d/sessions", files, clock=lambda: "then")
    return Sessions(registry, ScriptedProcesses(files), nonce=files.nonce, clock=lambda: "then")


def registrant(name: str, pid: int, *, stops: bool) -> Actor:
    """Registers the id `w1`, and ends it again."""

    def body(files: Recorded) -> None:
        sessions = sessions_of(files)
        try:
            found = sessions.register("w1", pid=pid)
        except SessionAlive:
            return
        files.ask("registered", f"pid {pid}")
        if sessions.verdict("w1", found.incarnation).dead:
            files.ask("robbed", f"pid {pid}")
        if stops:
            files.ask("leaves", f"pid {pid}")
            sessions.stop("w1", found.incarnation)

    return Actor(name, body, (f"pid {pid}",))


CORPSE = run(registrant("C", 1, stops=False), EMPTY._replace(alive=frozenset({"pid 1"})))
"""The id is registered by a process that has died."""


def id_can_be_registered(world: World) -> None:
    """When all is over and everybody is dead, the id is free."""
    seen: list[object] = []

    def body(files: Recorded) -> None:
        seen[:] = [sessions_of(files).register("w1", pid=9)]

    try:
        run(Actor("P", body), world._replace(alive=frozenset({"pid 9"})))
    except SessionAlive as error:
        raise Violation(STUCK, str(error)) from error


def explore(crashes: int) -> Report:
    actors = (registrant("A", 2, stops=True), registrant("B", 3, stops=False))
    world = CORPSE._replace(alive=frozenset({"pid 2", "pid 3"}), holders=frozenset())
    return Explorer(actors, id_can_be_registered, PREEMPTIONS + 1).explore(world, crashes)


def test_exactly_one_of_two_that_race_for_one_id_wins() -> None:
    report = explore(crashes=1)
    print(f"registering: at most {PREEMPTIONS + 1} preemptions and 1 crash: {report}")
    assert report.schedules >= {0: 100, 1: 1_000}.get(PREEMPTIONS, 20_000)


def test_registering_with_replace_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(self: Publisher, written: list[str], public: str, data: bytes, private: str) -> str:
        self._files.replace(private, public)
        return private

    monkeypatch.setattr(Publisher, "_publish", replace)
    with pytest.raises(Found) as found:
        explore(crashes=0)
    assert found.value.kind in {TWO_HOLDERS, ROBBED}


def test_registering_by_remove_and_create_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove_then_create(self: Ledger, key: str, expected: int, record: Mapping[str, object], shown_as: str = "") -> bool:
        path = f"{self.root}/{key}/{expected or 1}"
        self.files.remove(path)
        try:
            self.files.create(path, encode(record))
        except FileExistsError:
            return False
        return True

    monkeypatch.setattr(Ledger, "advance", remove_then_create)
    with pytest.raises(Found) as found:
        explore(crashes=0)
    assert found.value.kind in {TWO_HOLDERS, ROBBED}
