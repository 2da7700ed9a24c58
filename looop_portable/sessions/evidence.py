"""Whether a session is alive: the evidence, gathered where it can be seen from here, for `liveness` to judge.

Guarantees: what cannot be read is UNKNOWN, never an error and never a death.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING, cast

from looop_portable.backends.base import SessionHead, SessionStore
from looop_portable.errors import Unavailable, because
from looop_portable.protocol.inquiry import Found, Sign, inquiry
from looop_portable.protocol.liveness import DEFAULT_TTL, Basis, Liveness, ProcessState, Verdict, is_nearby, may_be_nearby
from looop_portable.protocol.records import FOREIGN, Holder, Registration
from looop_portable.system.clock import timestamp
from looop_portable.system.processes import Processes, host

if TYPE_CHECKING:
    from looop_portable.sessions.births import Births

_TORN = "its metadata are being written by looop, or damaged"


class Evidence:
    """What the sessions in a store, and this system's processes, tell of a session."""

    def __init__(self, store: SessionStore, processes: Processes) -> None:
        self._store = store
        self._processes = processes
        self._this_process: Registration | None = None

    @functools.cached_property
    def births(self) -> Births:
        """Of the sessions that this process has registered: mostly a verb has none, and imports nothing for it."""
        from looop_portable.sessions.births import Births

        return Births()

    def verdict(self, session: str, incarnation: str, known: SessionHead | None = None) -> Verdict:
        """Whether the session that wrote a lease is alive. Read the lease first: see below. `known`: what was read of it.

        A registration is always older than the leases under it. So what is read here, after the lease, is the
        registration that the lease names, or a later one, which proves that one dead. In the other order a session that
        registered in between would be taken for none.
        """
        try:
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
        """This process as evidence, though it is no session: for others to see whether it has ended.

        Where they cannot see it, on other hosts and in other containers, they know nothing of it.
        """
        here, pid = self._processes.here(), os.getpid()
        if self._this_process and self._this_process.pid == pid:  # Not its parent's, after a fork.
            return self._this_process
        try:
            start, disk = self._processes.start_of(pid), self._store.signs.disk()
        except OSError:  # Asked again the next time: a process without its start could be taken for a later one of its id.
            return Registration("", "", pid, "", here.boot, here.namespace, host())
        self._this_process = Registration("", "", pid, start, here.boot, here.namespace, host(), disk=disk)
        return self._this_process

    def process_of(self, session: str, incarnation: str) -> Registration | None:
        """The process that a session lives by, if it can be seen from here; whose end is the session's."""
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
        """Of a lease whose registration is not there: forgotten after its end, unless it was removed while it still beats.

        Without the last, what clears old files away would give a live holder's claim to the next who asks.
        """
        if not self._store.absent(holder.session):
            return Verdict(Liveness.UNKNOWN, "its registration is listed, but cannot be opened yet")
        if self._store.signs.has_beat(*holder):
            return self.examine(Registration(*holder, pid=0, lease_seconds=DEFAULT_TTL))
        return Verdict(Liveness.DEAD, "no such session", Basis.REGISTRATION)

    def _verdict_on(self, head: SessionHead, incarnation: str) -> Verdict:
        """Of a lease that names its registration: it is that one, or it is over."""
        for found in (head.own, head.foreign):
            if found and found.incarnation == incarnation:
                return self.examine(found)
        if head.torn and incarnation.startswith(FOREIGN):
            return Verdict(Liveness.UNKNOWN, _TORN)
        anew = head.own or head.foreign
        return Verdict(Liveness.DEAD, "its id has been registered anew since" if anew else "no such session")

    def verdict_on_any(self, head: SessionHead) -> Verdict:
        """Of a lease that names only an id, as looop's do."""
        verdicts = [self.examine(found) for found in (head.own, head.foreign) if found]
        living = [found for found in verdicts if not found.dead]
        if not living and head.torn:
            return Verdict(Liveness.UNKNOWN, _TORN)
        return (living or verdicts or [Verdict(Liveness.DEAD, "no such session")])[0]

    def examine(self, registration: Registration) -> Verdict:
        """Of this registration, from what can be seen of it from here."""
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
                    known[sign] = self._look(sign, registration)
                except (OSError, Unavailable) as error:
                    why = because(error) if isinstance(error, OSError) else str(error)
            found = known[sign]

    def has_left(self, waiter: Registration) -> bool:
        """Whether somebody who waits has ended, as far as it can be seen. Nobody's claim depends on it."""
        if not self.is_seen(waiter):
            return self.examine(waiter).dead
        return self._processes.state(waiter.pid, waiter.start) in _ENDED

    def _look(self, sign: Sign, registration: Registration) -> Found:
        signs = self._store.signs
        if sign is Sign.PROCESS:
            return self._processes.state(registration.pid, registration.start)
        if sign is Sign.DISK:
            return self._is_this_disk(registration)
        if sign is Sign.LOCK:
            return signs.lock(registration)
        return signs.silence(registration, watched=sign is Sign.WATCH)

    def _is_this_disk(self, registration: Registration) -> bool:
        """What tells a disk begins with the system (`Mount.disk`). Another system's is never ours.

        Without this, each look at such a session is a look at all mounts, or on Windows at the volume.
        """
        return registration.disk.startswith(f"{sys.platform} ") and self._store.signs.disk() == registration.disk


def standing(head: SessionHead, holder: Holder) -> Registration | None:
    """What `holder` registered; None if it has ended, or its id has been registered anew."""
    own = head.own
    return own if own is not None and own.holder == holder and not own.ended else None


_ENDED = (ProcessState.ZOMBIE, ProcessState.GONE, ProcessState.REUSED)
