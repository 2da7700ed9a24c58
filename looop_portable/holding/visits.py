"""Whether a `with` block still runs, also where its `__exit__` was never called, or was interrupted.

A signal's handler that raises (a time limit, Ctrl-C) may do so before the first step of `__exit__`, within it, and before
the block has begun. Then nothing of ours is called any more, and the block would hold for as long as the process lives.

Guarantees: when a `with` statement is over and its block has not been left in good order, its visit is settled: by the
thread that ran it, if that is possible at once; else by a thread of its own; at the latest by whoever wants the same
claim.
Does not guarantee: anything of a block that is entered in another way (`__enter__` called by hand, `contextlib.ExitStack`):
nobody can tell when that is over.
How: a `with` statement looks `__exit__` up before it calls `__enter__`, and keeps what it has found on its stack until it
is over, however that comes about. So it is given an object of its own each time (`Exit`), whose end tells of the
statement's: a weak reference to it calls back. Two do. One puts the visit into a queue; that is done by the interpreter
itself, in no steps that could be interrupted or would have to wait for a lock. The other, which comes first, settles it
at once; interrupted, or called where this thread was within something of ours, it leaves it to the other.
"""

from __future__ import annotations

import _thread
import contextlib
import opcode
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from types import CodeType, FrameType
from weakref import ref

from looop_portable.errors import LooopError
from looop_portable.system.threads.apart import spare_helper
from looop_portable.system.threads.standby import is_interruptible, started
from looop_portable.typed import Any, Protocol

Leave = partial[Any]

_PATIENCE = 2.0
"""Seconds for which a thread waits for its visit to be settled: not for ever, as a filesystem may not answer."""
_OURS = __name__.partition(".")[0]
_WITH = {opcode.opmap.get("BEFORE_WITH"), opcode.opmap.get("LOAD_SPECIAL")} - {None}
_MOST = 10_000


class Settles(Protocol):
    """What a visit has entered."""

    def settle(self, visit: Visit) -> object:
        """Let go what is held for `visit`. Repeated, it does nothing. Raises `LooopError`."""


class Visit:
    """One run of a block, or of several at once, from before it is entered until it has been left."""

    __slots__ = ("_anchors", "entrances", "is_over")

    def __init__(self) -> None:
        self.entrances: list[Settles] = []
        self.is_over = False
        """The `with` statement has gone."""
        self._anchors: tuple[object, ...] = ()

    def follow(self, leave: Leave) -> None:
        """It is over when `leave` is no more."""
        last = _Anchor(leave, _leavings().put)
        first = _Anchor(leave, _settle_now)
        last.visit = first.visit = self
        first.owner = _thread.get_ident()
        self._anchors = last, first

    def done(self, entrance: Settles) -> None:
        """`entrance` has been left. When all have, its end tells nothing."""
        if len(self.entrances) == 1:
            self._anchors = ()
        elif entrance in self.entrances:
            self.entrances.remove(entrance)

    def look(self) -> bool:
        """Whether it is over."""
        anchors = self._anchors
        self.is_over = self.is_over or any(anchor() is None for anchor in anchors)  # type: ignore[operator]
        return self.is_over

    def settle(self) -> None:
        """What cannot be done now stays with this process, whose next block has it."""
        for entrance in reversed(list(self.entrances)):
            with contextlib.suppress(LooopError):
                entrance.settle(self)


class _Anchor(ref[Leave]):
    """Ends with a `with` statement."""

    __slots__ = ("owner", "visit")
    visit: Visit
    owner: int


class Visited(Protocol):
    """A block whose `__exit__` is an `Exit`."""

    _visits: dict[int, Visit]
    """The next one, by the thread that is about to enter."""


class Exit:
    """The `__exit__` of a class: what `leave` does, and an object that tells when the `with` statement is over."""

    def __init__(self, leave: Callable[..., object]) -> None:
        self._leave = leave

    def __get__(self, block: Visited | None, owner: type | None = None) -> Callable[..., Any]:
        if block is None:
            return self._leave
        leave = partial(self._leave, block)
        if _is_with(sys._getframe(1)):
            visit = Visit()
            visit.follow(leave)
            block._visits[_thread.get_ident()] = visit
        return leave


def visit_of(block: Visited) -> Visit:
    """The one that begins now, in this thread."""
    visit = block._visits.pop(_thread.get_ident(), None)
    return Visit() if visit is None or visit.look() else visit


_sites: dict[tuple[int, int], tuple[CodeType, bool]] = {}


def _is_with(frame: FrameType) -> bool:
    """Whether it is a `with` statement that looks something up. Whoever does it by hand may drop what he has found."""
    code, at = frame.f_code, frame.f_lasti
    known = _sites.get((id(code), at))
    if known is None:
        if len(_sites) >= _MOST:
            _sites.clear()
        known = _sites[id(code), at] = code, code.co_code[at] in _WITH
    return known[1]


class _Leavings:
    """The queue of those visits of this process that are over, and the thread that settles them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.queue: SimpleQueue[_Anchor] = SimpleQueue()
        self.thread: threading.Thread | None = None


_here = _Leavings()


def _leavings() -> SimpleQueue[_Anchor]:
    global _here
    if _here.pid != os.getpid():
        _here = _Leavings()
    return _here.queue


def prepare() -> None:
    """The thread that settles is there. Before anything is claimed. Raises `Unavailable`."""
    _leavings()
    if _here.thread is None:
        _here.thread = started(partial(_settle_all, _here.queue), "looop settle")


def _settle_all(queue: SimpleQueue[_Anchor]) -> None:
    while True:
        visit = queue.get().visit
        visit.is_over = True
        try:
            spare_helper().do(visit.settle)  # Another: one store may not answer, while others do.
        except LooopError:
            visit.settle()


def _settle_now(anchor: _Anchor) -> None:
    """When a `with` statement has ended, or whenever the interpreter finds that it has."""
    visit = anchor.visit
    visit.is_over = True
    if not visit.entrances or sys.is_finalizing() or anchor.owner != _thread.get_ident() or _is_within():
        return
    if not is_interruptible():
        return
    over = _thread.allocate_lock()
    over.acquire()
    helper = spare_helper()
    helper.do(visit.settle)
    helper.do(over.release)
    over.acquire(timeout=_PATIENCE)


def _is_within() -> bool:
    """Whether this thread is in the middle of something of ours, which whoever settles may have to wait for."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == _OURS:
            return True
        frame = frame.f_back
    return False


def is_interruption(error: BaseException) -> bool:
    """Whether a signal's handler may have raised it: whatever we do not raise, also where it was taken for the system's."""
    if not isinstance(error, LooopError):
        return True
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno is None  # `TimeoutError("...")`: the system's have a number.
