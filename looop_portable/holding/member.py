"""This process as a session of each store that it uses, for `hold`: registered once, with heartbeats of its own.

Guarantees: one session at a time per store and length of the lease, whatever threads ask. When it is lost or ended, the
next block makes a new one. A forked child does not share its parent's session. A process that ends in good order leaves no
session behind. The threads that detect a loss, report it and leave are started before the registration. A session that is
idle for some leases leaves, with its threads and descriptors; the next block registers anew. A signal's handler that
raises leaves no session half made, or made and unknown. A handler that claims waits for no lock of what it interrupted:
steps with a lock are made in another thread (`apart`), and the steps of each block have none.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from weakref import WeakSet

from looop_portable.claims.gate import Claims
from looop_portable.config import Config, given
from looop_portable.errors import LooopError, Unavailable
from looop_portable.holding import visits
from looop_portable.holding.blocks import Taker, key_of, parts_of
from looop_portable.holding.options import Options
from looop_portable.holding.own_session import Session
from looop_portable.protocol.outcomes import Held, Renewed, Won
from looop_portable.protocol.records import Holder, Lease
from looop_portable.protocol.standings import is_ours
from looop_portable.system.threads.apart import apart
from looop_portable.system.threads.standby import Standby, Standbys
from looop_portable.system.watch.waking import Watcher
from looop_portable.typed import Any, Protocol, TypeVar

T = TypeVar("T")


class Claimant(Protocol):
    """A block that is about to claim."""

    session: Session | None


class Member:
    """This process in one store: its session (a new one after a loss), and which of its blocks has which claim."""

    def __init__(self, config: Config, lease_seconds: int) -> None:
        self.claims = Claims.open(config.data_dir, given(config.backend))
        self._lease_seconds = lease_seconds
        self._guard = threading.Lock()
        self._taking = threading.RLock()  # A signal's handler that comes in between goes on in the same thread.
        self.current = Session(self.claims, lease_seconds, self._frees)
        self._taken: dict[str, Taker] = {}
        self._missed: dict[str, WeakSet[Watcher]] = {}

    def whole(self, step: Callable[[], T]) -> T:
        """What `step` returns. A step with a guard is not interrupted: the error would keep the guard while it lives."""
        return apart(step) if self.is_guarded else step()

    @property
    def is_guarded(self) -> bool:
        """Whether a step takes a guard."""
        return self.claims.backend.directory is not None and self.claims.backend.directory.is_guarded

    @property
    def holding(self) -> list[str]:
        """The names that blocks of this process have, or are about to claim."""
        return list(self._taken)

    def take(self, name: str, taker: Taker) -> bool:
        """Take `name` among the blocks of this process. False: one has it; its `free` wakes `taker.watcher`."""
        other = self._taken.setdefault(name, taker)  # One step. With two, a signal's handler could come in between.
        if other is taker:
            return True
        other.settle_if_over()
        if taker.watcher is not None:
            with self._taking:
                self._missed.setdefault(name, WeakSet()).add(taker.watcher)
        return self._taken.setdefault(name, taker) is taker  # It may have been released since.

    def taker(self, name: str) -> Taker | None:
        """Which has it."""
        return self._taken.get(name)

    def has_share(self, name: str, taker: Taker) -> bool:
        """Whether the owner of `taker`, a thread or a task, has a share of it by another block."""
        taken = [(parts_of(key), other) for key, other in list(self._taken.items()) if other is not taker]
        return any(has == name and share and other.owner == taker.owner for (has, share), other in taken)

    def respelled(self, name: str) -> Taker | None:
        """Which has it alone, in another spelling: the same claim, where a directory does not tell case apart."""
        folded = name.casefold()
        others = [other for other in list(self._taken) if other != name and other.casefold() == folded]
        return self._taken.get(others[0]) if others else None

    def free(self, name: str) -> None:
        """Let other blocks take `name`. Wake those that asked meanwhile: nothing else would wake them."""
        self._taken.pop(name, None)
        if name in self._missed:
            with self._taking:
                for watcher in list(self._missed.pop(name, ())):
                    watcher.wake()  # Within the guard. Without that, it could be one that has been closed meanwhile.

    def give_back(self, key: str, holder: Holder) -> None:
        """Release what `holder`, a session of this process, has of it, whoever won it. Call it while `key` is taken."""
        name, share = parts_of(key)
        if share:
            self.claims.leave(name, holder, share)
            return
        lease = self.claims.backend.read(name).lease
        # In this order. Without it, one that another block wins in between, in another spelling, would be released.
        if lease and is_ours(lease, holder) and not self.respelled(name):
            self.claims.release_lease(lease)

    @contextlib.contextmanager
    def waking(self, watcher: Watcher) -> Iterator[None]:
        """While `watcher` may be woken; not after that."""
        try:
            yield
        finally:
            with self._taking:
                for watchers in self._missed.values():
                    watchers.discard(watcher)

    def claim(self, block: Claimant, name: str, **told: Any) -> Won | Renewed | Held:
        """For a session that `block` knows before. What one has won that turns out to have ended is let go."""
        while True:
            block.session = session = self.session()
            outcome = self.claims.claim(name, session.holder, **told)
            if isinstance(outcome, Held) or not session.turns_out_ended(outcome):
                return outcome
            self.claims.release_lease(outcome.lease)

    def session(self) -> Session:
        """The one to claim for. What an earlier one holds stays with that one."""
        current = self.current
        current.idleness.used = True
        return apart(self._next_session) if current.is_over or current.has_ended() else current

    def _next_session(self) -> Session:
        with self._guard:
            self.current.idleness.used = True
            current = self.current
            if current.is_over or current.has_ended():
                if not (current.is_over or current.blocks):  # Else the last of them does it, as its pulse tells them.
                    current.leave_when_possible()
                self.current = Session(self.claims, self._lease_seconds, self._frees)
            return self.current

    def _frees(self, session: Session) -> bool:
        """Whether the idle `session` may leave. If so, nobody claims for it from then on.

        A block takes a name first, and then looks whether the session is over; it frees the name after the release. Here
        the session is marked as over first, and then the names are looked at. So at least one of the two sees the other.
        A block that sees the mark waits for the guard until it is decided.
        """
        if not self._guard.acquire(blocking=False):
            return False  # Somebody asks for it just now.
        try:
            session.is_over = True
            if self._taken or session.idleness.used:
                session.is_over = False
            return session.is_over
        finally:
            self._guard.release()


class Process:
    """The memberships of one process, and the guard over them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.guard = threading.Lock()
        self.is_ending = False
        self.standbys = Standbys("looop lost")
        """For those who are to be told that a block is lost."""
        self.members: dict[tuple[Config, int], Member] = {}

    def knows(self, config: Config, lease_seconds: int) -> bool:
        """Whether there is a membership already."""
        return (config, lease_seconds) in self.members

    def member(self, config: Config, lease_seconds: int) -> Member:
        """The one for this store and this length of the lease. Raises `Unavailable`."""
        key = config, lease_seconds
        return self.members.get(key) or apart(lambda: self._new_member(*key))

    def _new_member(self, config: Config, lease_seconds: int) -> Member:
        key = config, lease_seconds
        with self.guard:
            if self.is_ending:  # Nobody would end its session.
                raise Unavailable("this process is ending: claim it earlier")
            if key not in self.members:
                visits.prepare()
                self.members[key] = Member(config, lease_seconds)
            return self.members[key]

    def beside(self, member: Member) -> list[Member]:
        """The others for the same store, whose leases have other lengths."""
        found = sorted(self.members.items(), key=lambda each: each[0][1])
        own = next((config for (config, _), each in found if each is member), None)
        return [each for (config, _), each in found if config == own and each is not member]

    def takers(self, lease: Lease) -> list[Taker]:
        """The blocks of this process that hold this lease, perhaps as a session with another length of the lease."""
        shares = [(Holder(*each[:2]), each.share) for each in lease.readers]
        found: list[Taker | None] = []
        for member in list(self.members.values()):
            for holder, share in shares or [(Holder(lease.session, lease.incarnation), "")]:
                if member.current.holder == holder:
                    found.append(member.taker(key_of(lease.name, share)))
        return [each for each in found if each]


Teller = tuple[Process, Standby]
_process = Process()


def this_process() -> Process:
    """The memberships of this process. After a fork the child has its own, and none of its parent's.

    Python's fork hooks do not run in a child that a C library forks. In Python's own they run after earlier ones.
    """
    if _process.pid != os.getpid():
        _after_fork()
    return _process


def _after_fork() -> None:
    """A child must not act for its parent's session, nor use its guard, which another thread may have held."""
    global _process
    _process = Process()


def take_teller(options: Options) -> Teller | None:
    """The thread for `on_lost`, if it needs one. Raises `Unavailable`."""
    if not options.on_lost or options.calls_at_once:
        return None
    process = this_process()
    return process, process.standbys.take()


def call_on_lost(options: Options, teller: Teller | None, block: object) -> None:
    if options.on_lost and options.calls_at_once:
        options.on_lost(block)
    elif options.on_lost and teller:
        teller[1].do(functools.partial(options.on_lost, block))


def give_back(teller: Teller | None, *, used: bool) -> None:
    if teller and teller[0] is this_process():  # Else it is that of a parent, and no thread of ours.
        teller[0].standbys.give_back(teller[1], used=used)


def _leave_all() -> None:
    process = this_process()
    for member in list(process.members.values()):
        for block in list(member.current.blocks.values()):
            block.end_with_process()
    with process.guard:
        process.is_ending = True
        members = [process.members.pop(key) for key, member in list(process.members.items()) if not member.holding]
    for member in members:  # Where a thread still holds, the session ends with the process.
        if member.current.is_over:
            continue  # It was idle, and leaves, or has left.
        if member.current.pulse.over:
            continue  # The filesystem may not answer, and whoever can see this process sees that it ends.
        try:
            member.current.leave()
        except LooopError:
            continue  # The process ends now, and that is all the evidence of death that anybody needs.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_leave_all)
