"""This process as a session of each store that it uses, for `hold`: registered once, with heartbeats of its own.

Guarantees: one session at a time per store and length of the lease, whatever threads ask; a new one after that is lost, or
ended; none that a forked child would share with its parent; none left behind when the process ends in good order. The
threads that are needed to find out that it is lost, to tell, and to leave are there before it is registered. One that
nobody uses for some leases leaves, with its threads and descriptors; the next block registers anew. No session is half
made, or made and not known, by a signal's handler that raises; one that takes a claim itself waits for no lock of what it
has interrupted: what has a lock is done apart (`apart`), and what is done for each block has none.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from weakref import WeakSet

from looop_portable import visits
from looop_portable.apart import apart
from looop_portable.bells import Bell
from looop_portable.blocks import Block, Taker
from looop_portable.claims import Claims
from looop_portable.clock import elapsed
from looop_portable.config import Config
from looop_portable.errors import LooopError, NoSession, Unavailable
from looop_portable.idleness import Idleness
from looop_portable.lease import Lease
from looop_portable.liveness import Holder, interval
from looop_portable.pulse import Pulse
from looop_portable.standby import Standby, Standbys
from looop_portable.youth import Youth

T = TypeVar("T")


class Session:
    """This process as one session of a store, its heartbeats, and the blocks that run in its name."""

    def __init__(self, claims: Claims, lease_seconds: int, may_go: Callable[[Session], bool]) -> None:
        """`may_go` is asked when it is idle for long; True: nobody claims for it from then on."""
        self._claims = claims
        self._lease_seconds = lease_seconds
        self._may_go = may_go
        self.idleness = Idleness(lease_seconds)
        self.is_over = False
        """Nobody claims for it any more: it was idle, and leaves, or has left."""
        self.blocks: dict[str, Block] = {}
        self._youth = Youth(claims)
        self.pulse = Pulse(self._renew, lease_seconds, self._lose, elapsed())
        self._leaver = Standby("looop leave")
        try:
            self.pulse.prepare()
            self.pulse.begins(self._register())
            self.pulse.start()
        except BaseException:
            self.pulse.stop()
            self._leaver.dismiss()
            raise

    def _register(self) -> float:
        """When the first heartbeat that counts was begun.

        What a filesystem has taken long to answer is old when it comes, as just after a partition. Said again, it is new.
        """
        sessions, slow = self._claims.sessions, interval(self._lease_seconds)
        while True:
            began = elapsed()
            self.holder = sessions.register(lease_seconds=self._lease_seconds, locked=True).holder
            while elapsed() - began > slow:
                began = elapsed()
                if not sessions.resume(self.holder):
                    break  # Others have not waited so long: another one.
            else:
                return began

    def has_ended(self) -> bool:
        """Whether it is lost, or somebody has ended it. Without asking, all that it claims later would be anybody's."""
        return bool(self.pulse.check()) or self._claims.sessions.has_ended(self.holder)

    def leave(self) -> None:
        """End the session, and remove it: its id is made up, so nobody will ask for it again."""
        self.pulse.stop()
        self._leaver.dismiss()
        with contextlib.suppress(NoSession):  # All of it has been removed, and the registration with it.
            self._claims.sessions.stop(*self.holder)
            self._forget()

    def leave_when_possible(self) -> None:
        """The same, of one that is lost. Without this, to this host it would live, and hold, while this process does."""
        self._leaver.do(self._keep_leaving)
        self._leaver.dismiss()

    def _keep_leaving(self) -> None:
        """Until it has ended. What it holds is let go as soon as that is possible, which may be before."""
        self.pulse.stop()
        while True:
            try:
                self._claims.retire(self.holder)
                return self._forget()
            except NoSession:
                return None  # Somebody has removed it.
            except Exception:  # noqa: BLE001 (no memory, no descriptor: whatever it is, it may be over the next time)
                time.sleep(interval(self._lease_seconds))

    def _forget(self) -> None:
        sessions = self._claims.sessions
        status = sessions.status(self.holder.session)
        if status:
            sessions.forget(status)

    def _leaves(self) -> bool:
        """Whether it leaves because nobody uses it. What fails is tried again when the next heartbeat is due."""
        is_long = self.idleness.is_long(in_use=bool(self.blocks))
        if not (self.is_over or (is_long and self._may_go(self))):
            return False
        with contextlib.suppress(LooopError):
            with contextlib.suppress(NoSession):
                self._claims.sessions.stop(*self.holder)
                self._forget()
            self.pulse.stop()
            self._leaver.dismiss()
        return True

    def _renew(self, after_long_silence: bool) -> bool:
        """A heartbeat, and then a look at each claim: to be able to write does not prove that others still count on us."""
        if self._leaves():
            return True
        sessions = self._claims.sessions
        goes_on = sessions.resume(self.holder) if after_long_silence else sessions.renew(self.holder)
        if goes_on:
            for block in list(self.blocks.values()):
                block.look_again()
            self._youth.renew(self.holder, list(self.blocks))
        return goes_on

    def _lose(self, reason: str) -> None:
        failed: Exception | None = None
        for block in list(self.blocks.values()):
            try:
                block.lose(reason)
            except Exception as error:  # noqa: BLE001 (the others are told all the same, and this one again)
                failed = error
        if failed:
            raise failed


class Member:
    """This process in one store: its session, the next one after that is lost, and which of its blocks has which claim."""

    def __init__(self, config: Config, lease_seconds: int) -> None:
        self.claims = Claims.open(config.data_dir, config.backend)
        self._lease_seconds = lease_seconds
        self._guard = threading.Lock()
        self._taking = threading.RLock()  # A signal's handler that comes in between goes on in the same thread.
        self.current = Session(self.claims, lease_seconds, self._lets_go)
        self._taken: dict[str, Taker] = {}
        self._missed: dict[str, WeakSet[Bell]] = {}

    def whole(self, step: Callable[[], T]) -> T:
        """What `step` gives. Nothing comes in between where it holds a guard, which an error would keep while it lives."""
        return apart(step) if self.is_guarded else step()

    @property
    def is_guarded(self) -> bool:
        """Whether a step takes a guard."""
        return bool(getattr(self.claims.backend, "is_guarded", False))

    @property
    def holding(self) -> list[str]:
        """The names that blocks of this process have, or are about to claim."""
        return list(self._taken)

    def take(self, name: str, taker: Taker) -> bool:
        """Keep the other blocks of this process from `name`. False: one has it; `taker.bell` rings when it lets go."""
        other = self._taken.setdefault(name, taker)  # One step. With two, a signal's handler could come in between.
        if other is taker:
            return True
        other.settle_if_over()
        if taker.bell is not None:
            with self._taking:
                self._missed.setdefault(name, WeakSet()).add(taker.bell)
        return self._taken.setdefault(name, taker) is taker  # It may have been let go since.

    def taker(self, name: str) -> Taker | None:
        """Which has it."""
        return self._taken.get(name)

    def respelled(self, name: str) -> Taker | None:
        """Which has it in another spelling: the same claim, where a directory does not tell case apart."""
        folded = name.casefold()
        others = [other for other in list(self._taken) if other != name and other.casefold() == folded]
        return self._taken.get(others[0]) if others else None

    def let_go(self, name: str) -> None:
        """The others may have it. Those who have asked in between are woken: nothing else would tell them."""
        self._taken.pop(name, None)
        if name in self._missed:
            with self._taking:
                for bell in list(self._missed.pop(name, ())):
                    bell.ring()  # Within the guard. Without that, it could be one that has been closed meanwhile.

    @contextlib.contextmanager
    def ringing(self, bell: Bell) -> Iterator[None]:
        """While `bell` may be rung; not after that."""
        try:
            yield
        finally:
            with self._taking:
                for bells in self._missed.values():
                    bells.discard(bell)

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
                self.current = Session(self.claims, self._lease_seconds, self._lets_go)
            return self.current

    def _lets_go(self, session: Session) -> bool:
        """Whether `session`, which is idle, may leave; nobody claims for it from then on.

        Whoever claims takes the name first, then looks whether the session is over, and lets go of the name when the claim is
        let go. Here it is over first, and then it is looked whether a name is taken. So of the two one sees the other; and
        who sees that it is over waits for the guard, until it is certain.
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

    def taker(self, lease: Lease) -> Taker | None:
        """Which block holds this lease: one of another length of the lease, say, as another session of this process."""
        holder = Holder(lease.session, lease.incarnation)
        found = (member.taker(lease.name) for member in list(self.members.values()) if member.current.holder == holder)
        return next(found, None)


_process = Process()


def this_process() -> Process:
    """The memberships of this process; another's, after a fork, are not.

    Python's hooks run in no child that a C library forks, and in one of Python's own only after those registered before.
    """
    if _process.pid != os.getpid():
        _after_fork()
    return _process


def _after_fork() -> None:
    """Without this, a child would act for its parent's session, with a guard that another thread may have held."""
    global _process
    _process = Process()


def _leave_all() -> None:
    process = this_process()
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
