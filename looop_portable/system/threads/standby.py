"""Threads that are there before they are needed.

Guarantees: what a standby is handed is done, also where no thread can be started any more by then: the limit of processes
(RLIMIT_NPROC, a control group's `pids.max`) counts threads too, and is met when it is least wanted.
Does not guarantee: that there is a processor for it.
How: it waits at a queue (`queue.SimpleQueue`), which takes no more than a few bytes to hand something over. Its end is put
there too, by the interpreter itself, when nobody has the standby any more: one that was interrupted before it could note
which it has been given leaves no thread behind that waits for ever.
"""

from __future__ import annotations

import _thread
import sys
import threading
from _weakref import ref
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType

from looop_portable.errors import Unavailable
from looop_portable.typed import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # `signal` makes names of all the numbers that these calls take and give.
if TYPE_CHECKING or {"gevent", "eventlet"} & sys.modules.keys():  # They may have put their own in its place.
    from queue import SimpleQueue
else:
    from _queue import SimpleQueue  # `queue` has more, and a start would pay for it.

Call = Callable[[], object]
_LOOK = 0.1 if sys.platform == "win32" else 1.0
"""Seconds from one look to the next whether this thread is to be interrupted. On POSIX a signal ends the wait at once."""
T = TypeVar("T")


class Answer(Generic[T]):
    """What came of `work`, which one thread does and another waits for."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self.made: list[T] = []
        self._error: BaseException | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def make(self) -> None:
        try:
            self.made.append(self._work())
        except BaseException as error:  # noqa: BLE001 (whoever waits raises it)
            self._error = error
        self._done.release()

    def wait(self) -> T:
        while not self._done.acquire(timeout=_LOOK):
            continue
        error, self._error = self._error, None
        if error is None:
            return self.made[0]
        try:
            raise error
        finally:
            del error  # Without this, the error and this frame would keep each other.


def is_interruptible() -> bool:
    """Whether this thread runs the handlers of signals, and another could make its steps."""
    if _thread.get_ident() != threading.main_thread().ident:
        return False
    return isinstance(_thread.start_new_thread, BuiltinFunctionType)  # Else all threads are one: gevent's, eventlet's.


def started(work: Call, name: str, *, whole: bool = False) -> threading.Thread:
    """A thread that does `work`, and keeps no process from ending. Raises `Unavailable`.

    `whole`: a signal's handler may raise meanwhile. It takes one thread more for a moment.
    """
    try:
        if not (whole and is_interruptible()):
            return _start(work, name)
        # Where a handler raises within `Thread.start`, it raises something else, and the thread runs all the same.
        answer = Answer(partial(_start, work, name))
        _thread.start_new_thread(answer.make, ())
        return answer.wait()
    except (RuntimeError, MemoryError) as error:
        raise no_thread(error) from error


def _start(work: Call, name: str) -> threading.Thread:
    """It takes no signal of the process: without this, one could be lost to it that `looop run` waits for."""
    thread = threading.Thread(target=work, name=name, daemon=True)  # A sub-interpreter may refuse even that.
    if sys.platform == "win32" or not hasattr(signal, "pthread_sigmask"):
        thread.start()
        return thread
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread


def no_thread(error: Exception) -> Unavailable:
    """What to tell of a thread that could not be started."""
    why = str(error) or "out of memory"
    if "shutdown" in why or "interpreter" in why or sys.is_finalizing():
        remedy = "claim it earlier, or elsewhere"
        return Unavailable(f"a thread that is needed to hold a claim could not be started: {why} ({remedy})")
    return Unavailable(
        f"a thread that is needed to hold a claim could not be started: {why} (raise the limit of processes, as ulimit -u, "
        "TasksMax= or pids.max have it, or that of memory)"
    )


class Standby:
    """A thread that does what it is handed, one call after the other. Making one raises `Unavailable`."""

    def __init__(self, name: str, *, whole: bool = False) -> None:
        self._calls: SimpleQueue[Call | ref[Standby] | None] = SimpleQueue()
        self.put: Callable[[Call], object] = self._calls.put
        """As `do`, in one step of Python."""
        started(partial(_work, self._calls, ref(self, self._calls.put)), name, whole=whole)

    def do(self, call: Call) -> None:
        """Returns at once. A call that raises is the last."""
        self._calls.put(call)

    def dismiss(self) -> None:
        """It ends when it has done what it was handed before."""
        self._calls.put(None)


class Standbys:
    """Standbys of one name that are used again: making a thread for each use would cost more than most uses."""

    def __init__(self, name: str, most: int = 8) -> None:
        self._name = name
        self._most = most
        self._idle: list[Standby] = []

    def take(self) -> Standby:
        """Raises `Unavailable`."""
        try:
            return self._idle.pop()
        except IndexError:
            return Standby(self._name, whole=True)

    def give_back(self, standby: Standby, *, used: bool) -> None:
        """`used`: it was handed something, which may take for ever."""
        if used or len(self._idle) >= self._most:
            standby.dismiss()
        elif standby in self._idle:  # Whoever gave it back was interrupted before he could know it.
            return
        else:
            self._idle.append(standby)


def _work(calls: SimpleQueue[Call | ref[Standby] | None], owner: ref[Standby]) -> None:
    """Until nobody can hand it anything: then its `owner`, which has gone, is in the queue."""
    while (call := calls.get()) is not None and call is not owner:
        call()
        del call  # Without this, what it was handed last would live until the next.
