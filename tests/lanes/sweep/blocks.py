"""What is swept: blocks (`hold`, `hold_all`, `aio.hold`), and the command line, run in the same process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from looop_portable import aio, hold, hold_all
from looop_portable.cli import main
from looop_portable.holding import member
from looop_portable.holding.hold import Hold

from .verbs import Act, Entered, Left, Ran, Stage, Verb

_SOON, _LATER = 0.02, 0.2
"""Seconds."""
_BLOCK = ("Left",)


def _in_and_out(block: Callable[[Stage], AbstractContextManager[Any]]) -> Act:
    def act(stage: Stage, _: object) -> object:
        with block(stage) as held:
            leases = tuple(each.lease for each in _each(held))
        return Left(leases)

    return act


def _in(block: Callable[[Stage], AbstractContextManager[Any]]) -> Act:
    def act(stage: Stage, _: object) -> object:
        return Entered(tuple(each.lease for each in _each(block(stage).__enter__())))

    return act


def _each(held: Hold | tuple[Hold, ...]) -> tuple[Hold, ...]:
    return held if isinstance(held, tuple) else (held,)


def _hold(stage: Stage, timeout: float = 0) -> Hold:
    return hold("c", data_dir=stage.root, backend=stage.backend, timeout=timeout)


def _hold_slot(stage: Stage) -> Hold:
    return hold("c", data_dir=stage.root, backend=stage.backend, slots=2)


def _hold_all(stage: Stage) -> Any:
    return hold_all("a", "b", "c", data_dir=stage.root, backend=stage.backend)


def _second(stage: Stage) -> None:
    """This process has its session already."""
    with _hold(stage):
        pass


def _aio(timeout: float) -> Act:
    def act(stage: Stage, _: object) -> object:
        async def block() -> Left:
            async with aio.hold("c", data_dir=stage.root, backend=stage.backend, timeout=timeout) as held:
                lease = held.lease
            return Left((lease,))

        return asyncio.run(block())

    return act


def _leave(stage: Stage, _: object) -> object:
    """What `atexit` does."""
    member._leave_all()
    return None


def _runs(*args: str) -> Act:
    def act(stage: Stage, _: object) -> object:
        out, err = io.StringIO(), io.StringIO()
        code: object = None
        given = [stage.root if arg == "ROOT" else str(os.getppid()) if arg == "PARENT" else arg for arg in args]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(["--data-dir", stage.root, "--backend", stage.backend, *given])
            except SystemExit as ended:
                code = ended.code
        return Ran(args, code, out.getvalue(), err.getvalue())

    return act


_RAN = ("Ran",)
_ALL = ("a", "b", "c")
_START = ("session", "start", "new", "--pid", "PARENT", "--lease", "0")
BLOCKS = (
    Verb("hold", "vacant", _in_and_out(_hold), _BLOCK),
    Verb("hold fresh", "fresh", _in_and_out(_hold), _BLOCK),
    Verb("hold and stay", "vacant", _in(_hold), ("Entered", "ClaimHeld")),
    Verb("hold again", "vacant", _in_and_out(_hold), _BLOCK, _second),
    Verb("hold, waiting", "vacant", _in_and_out(lambda stage: _hold(stage, _LATER)), _BLOCK),
    Verb("hold orphaned", "silent", _in_and_out(_hold), _BLOCK),
    Verb("hold held", "held", _in_and_out(_hold), ("ClaimHeld",)),
    Verb("hold held, waiting", "waited_for", _in_and_out(lambda stage: _hold(stage, _SOON)), ("WaitedTooLong",)),
    Verb("hold a slot", "vacant", _in_and_out(_hold_slot), _BLOCK, names=("c#1", "c#2")),
    Verb("hold_all", "vacant", _in_and_out(_hold_all), _BLOCK, names=_ALL),
    Verb("hold_all, one held", "held", _in_and_out(_hold_all), ("ClaimHeld",), names=_ALL),
    Verb("aio.hold", "vacant", _aio(0), _BLOCK),
    Verb("aio.hold, waiting", "vacant", _aio(_LATER), _BLOCK),
    Verb("leave", "vacant", _leave, ("NoneType",), _second),
)
COMMANDS = (
    Verb("$ claim", "vacant", _runs("claim", "c", "--session", "me"), _RAN),
    Verb("$ claim held", "held", _runs("claim", "c", "--session", "me"), _RAN),
    Verb("$ claim several", "vacant", _runs("claim", "a", "b", "c", "--session", "me"), _RAN, names=_ALL),
    Verb("$ unclaim", "ours", _runs("unclaim", "c", "--session", "me"), _RAN),
    Verb("$ check", "ours", _runs("check", "c", "--generation", "1"), _RAN),
    Verb("$ show", "held", _runs("show", "c"), _RAN),
    Verb("$ claims", "littered", _runs("claims"), _RAN, names=_ALL),
    Verb("$ break", "held", _runs("break", "c", "--generation", "1", "--reason", "x"), _RAN, targets=("c",)),
    Verb("$ reap", "littered", _runs("reap"), _RAN, names=_ALL),
    Verb("$ session start", "vacant", _runs(*_START), _RAN),
    Verb("$ session stop", "ours_all", _runs("session", "stop", "me"), _RAN, names=_ALL, ends=True),
    Verb("$ session list", "littered", _runs("session", "list"), _RAN),
    Verb("$ run", "vacant", _runs("run", "--claim", "c", "--", "true"), _RAN),
    Verb("$ run held", "held", _runs("run", "--claim", "c", "--", "true"), _RAN),
    Verb("$ events", "vacant", _runs("events"), _RAN),
)
