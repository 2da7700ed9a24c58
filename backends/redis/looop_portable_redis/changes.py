"""Who is to be told of which record's changes: one connection and one thread for all of a process, while there is anybody.

Guarantees: once `subscribe` has returned, each change rings, and so does a connection that was lost, and one that is there
again: what happened meanwhile is not told. A forked child has a connection of its own.
Does not guarantee: that a ring means a change. That the connection ends with the last subscription: it does within twice
the timeout. A server that says nothing any more is noticed after twice the timeout.
How: the thread alone uses the connection. Others put what they want into a queue, and wake it: so there is no lock that a
signal's handler could wait for in vain. A thread whose last subscriber leaves refuses what comes later, and ends.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from looop_portable.backends.engine import NONSENSE, Record, Ring, tell
from looop_portable.errors import LooopError, Unavailable
from looop_portable.system.clock import elapsed
from looop_portable_redis.replies import Lost, packed
from looop_portable_redis.wire import Wire

__all__ = ["Changes"]

Connect = Callable[[], Wire]

PAUSE = 1.0
"""Seconds until a server is tried again that could not be reached."""


class _Subscription:
    """`answered` once `failure` says what came of it. `refused`: by a thread that ends."""

    def __init__(self, channel: str, ring: Ring) -> None:
        self.channel = channel
        self.ring = ring
        self.answered = threading.Event()
        self.failure: LooopError | None = None
        self.refused = False


class Changes:
    """The subscriptions of one engine."""

    def __init__(self, where: str, connect: Connect, timeout: float) -> None:
        self._where = where
        self._connect = connect
        self._timeout = timeout
        self._guard = threading.RLock()
        self._listener: _Listener | None = None

    def subscribe(self, channel: str, ring: Ring) -> Callable[[], None]:
        """What ends it is returned. Raises `Unavailable`."""
        end = elapsed() + self._timeout
        while (left := end - elapsed()) > 0:
            listener, subscription = self._current(), _Subscription(channel, ring)
            listener.put(subscription, wanted=True)
            is_answered = not listener.is_over and subscription.answered.wait(left)
            if subscription.failure:
                raise subscription.failure
            if is_answered and not subscription.refused:
                return lambda: listener.end(subscription)
            listener.put(subscription, wanted=False)
        raise Unavailable(f"{self._where}: it has not confirmed a subscription within {self._timeout:g} s")

    def close(self) -> None:
        if self._listener and self._listener.pid == os.getpid():
            self._listener.close()

    def _current(self) -> _Listener:
        """A handler that comes in between may make another one: then there are two for a while, and each is whole."""
        listener = self._listener
        if listener and listener.pid == os.getpid() and not listener.is_over:
            return listener
        if listener and listener.pid != os.getpid():
            self._guard = threading.RLock()  # The parent's may be held by a thread that is not here.
        with self._guard:
            if self._listener is listener:
                self._inherited, self._listener = listener, _Listener(self._connect, self._timeout)
            assert self._listener
            return self._listener


class _Listener:
    """A thread, and what it listens to. `is_over` is set before it looks into its queue for the last time."""

    def __init__(self, connect: Connect, timeout: float) -> None:
        self.pid = os.getpid()
        self.is_over = False
        self._connect = connect
        self._timeout = timeout
        self._queue: SimpleQueue[tuple[_Subscription | None, bool]] = SimpleQueue()
        self._wakes, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._wakes.setblocking(False)
        self._wanted: dict[str, list[_Subscription]] = {}
        self._asked: Counter[str] = Counter()
        """How often each channel was subscribed to without an answer yet."""
        self._connection: Wire | None = None
        self._is_closing = False
        threading.Thread(target=self._run, name="looop-redis-changes", daemon=True).start()

    def put(self, subscription: _Subscription | None, *, wanted: bool) -> None:
        if self.pid != os.getpid():
            return
        self._queue.put((subscription, wanted))
        with suppress(OSError):  # It is full, so it wakes; or closed.
            self._waker.send(b"x")

    def end(self, subscription: _Subscription) -> None:
        """It rings no more. The thread lets go of it when it wakes next, which is within the timeout.

        A thread that was woken for this would take its turn of Python from one that has just won a claim.
        """
        subscription.ring = _nothing
        if self.pid == os.getpid():
            self._queue.put((subscription, False))

    def close(self) -> None:
        self.put(None, wanted=False)

    def _run(self) -> None:
        try:
            while self._goes_on():
                self._listen()
        finally:
            self.is_over = True
            self._answer_rest()
            self._wakes.close()
            self._waker.close()

    def _goes_on(self) -> bool:
        """Whether anybody is there, after what is in the queue. The first one is waited for."""
        if not self._wanted:
            self._take(self._queue.get())
        self._take_all()
        return bool(self._wanted) and not self._is_closing

    def _listen(self) -> None:
        """Until nobody subscribes, or the connection is lost: all are rung then."""
        try:
            connection = self._connection = self._connect()
        except LooopError as error:
            self._fail_new(error)
            self._pause()
            return
        try:
            for channel in self._wanted:
                self._ask("SUBSCRIBE", channel)
            self._hear(connection)
        except (Lost, OSError, *NONSENSE):  # The last: its socket is closed, or what it tells makes no sense.
            pass
        finally:
            self._connection = None
            self._asked.clear()
            connection.disconnect()
            for subscriptions in self._wanted.values():
                for each in subscriptions:
                    each.ring()

    def _hear(self, connection: Wire) -> None:
        is_asked = False
        with selectors.DefaultSelector() as selector:
            selector.register(connection.line, selectors.EVENT_READ)
            selector.register(self._wakes, selectors.EVENT_READ)
            while self._wanted and not self._is_closing:
                ready = [key.fileobj for key, _ in selector.select(self._timeout)]
                if not ready:
                    if is_asked:
                        return
                    connection.say(packed(("PING",)), elapsed() + self._timeout)
                    is_asked = True
                is_woken = self._wakes in ready
                while connection.line in ready or connection.has_more:
                    ready = []
                    self._told(connection.reply(elapsed() + self._timeout))
                    is_asked = False
                if is_woken or not self._queue.empty():  # Else whom it has rung has its turn of Python the sooner.
                    self._take_all()

    def _told(self, reply: object) -> None:
        if not isinstance(reply, list) or len(reply) < 3:
            return
        what, channel = reply[0], bytes(reply[1] or b"").decode("utf-8", "replace")
        if what == b"subscribe":
            self._asked[channel] -= 1
        record = _record_in(reply[2]) if what == b"message" else None
        if what == b"message" or (what == b"subscribe" and not self._asked[channel]):
            for each in self._wanted.get(channel, []):
                is_new = not each.answered.is_set()  # Nothing can have been hidden from it: it looks after this.
                each.answered.set()
                if what == b"message" or not is_new:
                    if record:
                        tell(each.ring, record)
                    each.ring()

    def _take_all(self) -> None:
        with suppress(OSError):
            while self._wakes.recv(4096):
                pass
        with suppress(Empty):
            while True:
                self._take(self._queue.get_nowait())

    def _take(self, item: tuple[_Subscription | None, bool]) -> None:
        subscription, wanted = item
        if subscription is None:
            self._is_closing = True
            return
        channel = subscription.channel
        known = self._wanted.setdefault(channel, [])
        if wanted:
            known.append(subscription)
            if len(known) == 1:
                self._ask("SUBSCRIBE", channel)
            elif self._connection and not self._asked[channel]:
                subscription.answered.set()
        elif subscription in known:
            known.remove(subscription)
        if not known:
            del self._wanted[channel]
            if not wanted:
                self._ask("UNSUBSCRIBE", channel)

    def _ask(self, what: str, channel: str) -> None:
        if self._connection:
            self._asked[channel] += what == "SUBSCRIBE"
            self._connection.say(packed((what, channel)), elapsed() + self._timeout)

    def _fail_new(self, failure: LooopError) -> None:
        """Who is not confirmed yet is told at once that the server cannot be reached. Others are rung later."""
        for channel, subscriptions in list(self._wanted.items()):
            for each in [each for each in subscriptions if not each.answered.is_set()]:
                subscriptions.remove(each)
                each.failure = failure
                each.answered.set()
            if not subscriptions:
                del self._wanted[channel]

    def _pause(self) -> None:
        end = elapsed() + PAUSE
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakes, selectors.EVENT_READ)
            while self._wanted and not self._is_closing and (left := end - elapsed()) > 0:
                selector.select(left)
                self._take_all()

    def _answer_rest(self) -> None:
        with suppress(Empty):
            while True:
                subscription, _ = self._queue.get_nowait()
                if subscription:
                    self._refuse(subscription)
        for subscriptions in self._wanted.values():
            for each in subscriptions:
                self._refuse(each)

    def _refuse(self, subscription: _Subscription) -> None:
        """One that was confirmed long ago is rung for the last time."""
        subscription.refused = True
        subscription.answered.set()
        subscription.ring()


def _nothing() -> None:
    """What an ended subscription rings."""


def _record_in(said: bytes) -> Record | None:
    """Where it is small, a record is told with its change."""
    number, gap, data = said.partition(b" ")
    return Record(int(number), data) if gap and number.isdigit() else None
