"""Whether a session is alive: the evidence, gathered where it can be seen from here, for `liveness` to judge.

Guarantees: what cannot be read is UNKNOWN, never an error and never a death.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

from looop_portable.backends.base import HolderSigns, SessionHead, SessionStore
from looop_portable.errors import Unavailable, because
from looop_portable.protocol.inquiry import Found, Sign, inquiry
from looop_portable.protocol.liveness import (
    DEFAULT_TTL,
    Basis,
    Liveness,
    ProcessState,
    Silence,
    Verdict,
    is_nearby,
    may_be_nearby,
)
from looop_portable.protocol.records import FOREIGN, Holder, Registration
from looop_portable.system.clock import timestamp
from looop_portable.system.processes import Processes, host, user
from looop_portable.typed import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from looop_portable.sessions.births import Births

Silences = Callable[[Registration], Silence]

_TORN = "its metadata are being written by looop, or damaged"


class Evidence:
    """The evidence about sessions: from the sessions of a store, and from the processes of this system."""

    def __init__(self, store: SessionStore, processes: Processes) -> None:
        self._store = store
        self._processes = processes
        self._this_process: Registration | None = None
        self.examined: Registration | None = None
        """The last one that was: who tells people of a verdict need not read its registration once more."""

    @functools.cached_property
    def births(self) -> Births:
        """The births of this process's sessions. Most verbs register none, and import nothing for this."""
        from looop_portable.sessions.births import Births

        return Births()

    def verdict(
        self, session: str, incarnation: str, known: SessionHead | None = None, seen: HolderSigns | None = None
    ) -> Verdict:
        """Whether the session that wrote a lease is alive. Read the lease first: see below. `known`: what was read of it.
        `seen`: what a look at its claim has told.

        A registration is always older than the leases under it. So the registration that is read here, after the lease, is
        the one that the lease names; or a later one, which proves the older one dead. In the other order, a session that
        registers in between would seem never registered.
        """
        try:
            if seen and seen.session.own and seen.session.own.holder == (session, incarnation):
                return self.examine(seen.session.own, seen.silence)
            return self._verdict_by(known or self._store.read(session), session, incarnation)
        except OSError as error:
            return Verdict(Liveness.UNKNOWN, f"its registration could not be read: {because(error)}")
        except Unavailable as error:
            return Verdict(Liveness.UNKNOWN, f"its registration could not be read: {error}")

    def _verdict_by(self, head: SessionHead, session: str, incarnation: str) -> Verdict:
        if incarnation and not head.generation and not incarnation.startswith(FOREIGN):
            return self._verdict_on_none(Holder(session, incarnation))
        if head.damaged:
            return Verdict(Liveness.UNKNOWN, f"its registration is damaged; `looop session stop {session}` ends it")
        return self._verdict_on(head, incarnation) if incarnation else self.verdict_on_any(head)

    def this_process(self) -> Registration:
        """This process as evidence, though it is no session: others look whether it has ended.

        Other hosts and other containers cannot see it, and know nothing of it.
        """
        here, pid = self._processes.here(), os.getpid()
        if self._this_process and self._this_process.pid == pid:  # Not its parent's, after a fork.
            return self._this_process
        try:
            start, disk = self._processes.start_of(pid), self._store.signs.disk()
        except OSError:  # Asked again the next time: a process without its start could be taken for a later one of its id.
            return Registration("", "", pid, "", here.boot, here.namespace, host())
        self._this_process = Registration(*("", "", pid, start, here.boot, here.namespace, host()), disk=disk, user=user())
        return self._this_process

    def process_of(self, session: str, incarnation: str) -> Registration | None:
        """The process whose end is the session's end, if it can be seen from here."""
        try:
            head = self._store.read(session)
        except (OSError, Unavailable):
            return None
        for found in (head.own, head.foreign):
            if found and incarnation in ("", found.incarnation) and self.is_seen(found):
                over = found.heirs and self._processes.state(found.pid, found.start) in _ENDED
                return None if over else found  # Without this, who waits would hear it end again and again.
        return None

    def is_seen(self, registration: Registration) -> bool:
        """Whether its process is one of those that are to be seen from here."""
        here = self._processes.here()
        if registration.ended or is_nearby(registration, here):
            return not registration.ended
        try:
            return may_be_nearby(registration, here) and self._is_this_disk(registration)
        except (OSError, Unavailable):
            return False

    def current(self, head: SessionHead) -> Registration | None:
        """Of our registration and looop's, the one that lives; else ours."""
        if head.own and head.foreign and self.examine(head.own).dead and not self.examine(head.foreign).dead:
            return head.foreign
        return head.own or head.foreign

    def _verdict_on_none(self, holder: Holder) -> Verdict:
        """Judge a lease whose registration is missing: it was forgotten after its end, unless it still beats.

        A program that clears old files away may remove the registration of a live holder. The holder keeps its claim.
        """
        if not self._store.absent(holder.session):
            return Verdict(Liveness.UNKNOWN, "its registration is listed, but cannot be opened yet")
        if self._store.signs.has_beat(*holder):
            return self.examine(Registration(*holder, pid=0, lease_seconds=DEFAULT_TTL))
        return Verdict(Liveness.DEAD, "no such session", Basis.REGISTRATION)

    def _verdict_on(self, head: SessionHead, incarnation: str) -> Verdict:
        """Judge a lease that names its registration. If another one is current, the session is over."""
        for found in (head.own, head.foreign):
            if found and found.incarnation == incarnation:
                return self.examine(found)
        if head.torn and incarnation.startswith(FOREIGN):
            return Verdict(Liveness.UNKNOWN, _TORN)
        anew = head.own or head.foreign
        return Verdict(Liveness.DEAD, "its id has been registered anew since" if anew else "no such session")

    def verdict_on_any(self, head: SessionHead) -> Verdict:
        """Judge a lease that names only an id, as looop's leases do."""
        verdicts = [self.examine(found) for found in (head.own, head.foreign) if found]
        living = [found for found in verdicts if not found.dead]
        if not living and head.torn:
            return Verdict(Liveness.UNKNOWN, _TORN)
        return (living or verdicts or [Verdict(Liveness.DEAD, "no such session")])[0]

    def examine(self, registration: Registration, silence: Silences | None = None) -> Verdict:
        """Judge this registration, by what can be seen of it from here. `silence`: what tells of its heartbeats."""
        self.examined = registration
        asked = inquiry(registration, self._processes.here())
        found: Found = None
        known: dict[Sign, Found] = {}
        why = ""
        while True:
            try:
                sign = asked.send(found)
            except StopIteration as ended:
                judged = cast("Verdict", ended.value)
                if judged.left is not None:
                    judged = judged._replace(until=timestamp(max(judged.left, 0.0)))
                unread = bool(why) and judged.basis is Basis.NOTHING
                return judged._replace(evidence=f"{judged.evidence}: {why}") if unread else judged
            if sign not in known:
                known[sign] = None
                try:
                    known[sign] = self._look(sign, registration, silence)
                except (OSError, Unavailable) as error:
                    why = because(error) if isinstance(error, OSError) else str(error)
            found = known[sign]

    def has_left(self, waiter: Registration) -> bool:
        """Whether a waiter has ended, as far as can be seen from here. No claim depends on it."""
        if not self.is_seen(waiter):
            return self.examine(waiter).dead
        return self._processes.state(waiter.pid, waiter.start) in _ENDED

    def _look(self, sign: Sign, registration: Registration, silence: Silences | None) -> Found:
        signs = self._store.signs
        if sign is Sign.PROCESS:
            return self._processes.state(registration.pid, registration.start)
        if sign is Sign.DISK:
            return self._is_this_disk(registration)
        if sign is Sign.LOCK:
            return signs.lock(registration)
        if silence and sign is not Sign.WATCH:
            return silence(registration)
        return signs.silence(registration, watched=sign is Sign.WATCH)

    def _is_this_disk(self, registration: Registration) -> bool:
        """Whether its disk is ours. The identity of a disk begins with the system's name (`Mount.disk`), which is cheap
        to compare: a session of another system costs no look at all mounts, or at the volume on Windows.
        """
        return registration.disk.startswith(f"{sys.platform} ") and self._store.signs.disk() == registration.disk


def standing(head: SessionHead, holder: Holder) -> Registration | None:
    """What `holder` registered; None if it has ended, or its id has been registered anew."""
    own = head.own
    return own if own is not None and own.holder == holder and not own.ended else None


_ENDED = (ProcessState.ZOMBIE, ProcessState.GONE, ProcessState.REUSED)
