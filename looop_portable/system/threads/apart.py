"""Steps that no signal's handler interrupts, for the main thread: another thread makes them.

Does not guarantee: that the main thread is not interrupted while it waits for them; then they are made all the same, and
what they have got is released (`undo`). Nor anything where threads are not the kernel's (gevent, eventlet): there the steps
are made in place.
How: Python runs handlers in the main thread alone, between any two steps of it. So what takes many steps that belong
together is done elsewhere, if it is not so short that the way there would count. Other threads make them in place.
"""

from __future__ import annotations

import _thread
import operator
import os
import sys
from collections.abc import Callable
from functools import partial

from looop_portable.errors import Unavailable
from looop_portable.system.threads.standby import Answer, Standby, Standbys, is_interruptible
from looop_portable.typed import Protocol, TypeVar

T = TypeVar("T")
_call: Callable[..., object] = operator.call


def _undo(answer: Answer[T], undo: Callable[[T], object], over: Callable[[], object], helper: Standby) -> None:
    """After `answer` has been made, in the same thread, which is `helper`."""
    try:
        for made in answer.made:
            undo(made)
    finally:
        over()
        _helpers().give_back(helper, used=False)


class Stop(Protocol):
    """Has work come to an end soon."""

    stops: list[bool]
    """It is to, once there is anything in it."""

    def stop(self) -> None:
        """It is to, and at once."""


class _Never:
    def __init__(self) -> None:
        self.stops: list[bool] = []

    def stop(self) -> None:
        """It ends soon in any case."""


def apart(work: Callable[[], T], stop: Stop | None = None, undo: Callable[[T], object] = lambda _: None) -> T:
    """What `work` gives, made where no handler interrupts it. Raises what it raises, and `Unavailable`.

    Interrupted, the caller does not wait for it any more: `stop` has it come to an end, and then `undo` lets go what it has
    got. That, too, is done elsewhere; this thread waits for it, unless it is interrupted once more.
    """
    if not is_interruptible():
        return work()
    if sys.is_finalizing():
        raise Unavailable("this process is ending, and its other threads do nothing any more: claim it earlier")
    stop = stop or _Never()
    helper, answer, over = _helpers().take(), Answer(work), _thread.allocate_lock()
    over.acquire()
    undone = partial(_undo, answer, undo, over.release, helper)
    # Not made before it is unpacked: then both calls are made in one step of Python, before another handler can raise.
    give_up: map[object] = map(_call, (helper.put, stop.stops.append), (undone, True))
    try:
        helper.put(answer.make)
        made = answer.wait()
        _helpers().give_back(helper, used=False)
    except BaseException:
        _ = [*give_up]
        stop.stop()
        over.acquire()
        raise
    return made


_pools: dict[int, Standbys] = {}
"""By process: a child made by fork has none of its parent's threads."""


def _helpers() -> Standbys:
    pid = os.getpid()
    if pid not in _pools:
        _pools.clear()
    return _pools.setdefault(pid, Standbys("looop helper"))


def spare_helper() -> Standby:
    """One to be used at once, and dropped. Raises `Unavailable`."""
    return _helpers().take()
