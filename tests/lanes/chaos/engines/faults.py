"""Faults, put back: what the harness is there to find. Each is put into this process, before holders are forked."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from looop_portable.backends.engine import CLAIM, Heard, Record, Step
from looop_portable.backends.on_engine import asking
from looop_portable.backends.on_engine.signs import EngineSigns
from looop_portable.protocol.liveness import Silence
from looop_portable.protocol.records import Registration
from looop_portable.sessions import heartbeats

from .witness import LEASE


def _between(change: Callable[[Any, Any], Any]) -> None:
    """Each engine's `advance` is what `change` makes of it."""
    made = asking.Store.__init__

    def init(store: asking.Store, engine: Any, *rest: Any) -> None:
        made(store, engine, *rest)
        engine.advance = change(engine, engine.advance)

    setattr(asking.Store, "__init__", init)  # noqa: B010 (types are of the real one)


def last_write_wins() -> None:
    """Whoever writes last has won, whatever stands there."""

    def change(engine: Any, advance: Any) -> Any:
        def changed(kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
            step: Step = advance(kind, key, after, data, not_after=not_after)
            while kind == CLAIM and not step.won and step.now.data != data:
                step = advance(kind, key, step.now.number, data, not_after=not_after)
            return Step(step.won, Record(after + 1, data)) if step.now.data == data else step

        return changed

    _between(change)


def no_nonces() -> None:
    """Whoever finds the number taken that it wanted takes the record for its own."""

    def change(engine: Any, advance: Any) -> Any:
        def changed(kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
            step: Step = advance(kind, key, after, data, not_after=not_after)
            return Step(False, Record(after + 1, data)) if step.now.number == after + 1 else step

        return changed

    _between(change)


def no_nonces_when_repeated() -> None:
    """The same, only after a reply that was lost: one in a hundred is, here."""
    count = 0

    def change(engine: Any, advance: Any) -> Any:
        def changed(kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
            nonlocal count
            count += 1
            step: Step = advance(kind, key, after, data, not_after=not_after)
            if count % 10 == 0 and kind == CLAIM:
                time.sleep(0.01)
                step = advance(kind, key, after, data, not_after=not_after)
                return Step(False, Record(after + 1, data)) if step.now.number == after + 1 else step
            return step

        return changed

    _between(change)


def repeated() -> None:
    """No fault: each tenth is asked twice, as after a reply that was lost."""

    def change(engine: Any, advance: Any) -> Any:
        count = 0

        def changed(kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
            nonlocal count
            count += 1
            if count % 3 == 0:
                advance(kind, key, after, data, not_after=not_after)
            return advance(kind, key, after, data, not_after=not_after)  # type: ignore[no-any-return]

        return changed

    _between(change)


def no_grace() -> None:
    """Redis: after a run that lost something, claims are granted at once."""
    _rewrite("ADVANCE", "if left > 0 then return {'settling', now, left} end", "")


def no_leap() -> None:
    """Redis: numbers go on from what is left of them."""
    _rewrite("STAMP", "  floor = whole(math.max(time[1] * 1048576, floor + 16777216))\n", "")


def no_stamp() -> None:
    """Redis: neither."""
    no_grace()
    no_leap()


def no_fencing() -> None:
    """A holder whose heartbeats do not get through believes on."""
    setattr(heartbeats, "patience", lambda lease: 3600.0)  # noqa: B010


def impatience() -> None:
    """A silence of a third of the time between two heartbeats is taken for death."""
    real = EngineSigns.silence_after

    def silence_after(signs: EngineSigns, heard: Heard | None, registration: Registration, **options: bool) -> Silence:
        found = real(signs, heard, registration, **options)
        return Silence(3600.0, 3600.0) if found.seconds > LEASE / 9 else found

    setattr(EngineSigns, "silence_after", silence_after)  # noqa: B010


def _rewrite(script: str, old: str, new: str) -> None:
    engine, link, scripts = (
        importlib.import_module(f"looop_portable_redis.{each}") for each in ("engine", "link", "scripts")
    )
    text = getattr(scripts, script)
    assert old in text, old
    for module in (scripts, engine, link):
        if hasattr(module, script):
            setattr(module, script, scripts.Script(text.replace(old, new)))


FAULTS: dict[str, Callable[[], None]] = {
    "last-write-wins": last_write_wins,
    "no-nonces": no_nonces,
    "no-nonces-when-repeated": no_nonces_when_repeated,
    "repeated": repeated,
    "no-grace": no_grace,
    "no-leap": no_leap,
    "no-stamp": no_stamp,
    "no-fencing": no_fencing,
    "impatience": impatience,
}
