"""Who may hold: registering sessions, ending them, and telling whether one is alive.

Guarantees: an id whose session is alive, or may be, is not registered again; of two that register one id at once exactly
one succeeds; each registration has an incarnation of its own, so a new session inherits nothing from a dead one of its
name.
Does not guarantee: exclusion against looop itself starting a session of the same id at the same moment.
How: an id's registrations are generations, advanced like a claim's; to end a session is to publish that it has ended.
"""

import os
from typing import NamedTuple

from looop_portable.backends.base import SessionHead, SessionStore
from looop_portable.errors import NoSession, NoSuchProcess, SessionAlive, Unavailable, UsageError, because
from looop_portable.files import timestamp
from looop_portable.liveness import Liveness, Registration, Verdict, process_matters, verdict
from looop_portable.names import canonical
from looop_portable.processes import SYSTEM, Processes, host
from looop_portable.protocol import Holder

_TRIES = 64


class SessionStatus(NamedTuple):
    """One session, and whether it is alive."""

    registration: Registration
    verdict: Verdict


class Sessions:
    """The sessions in a store, as this process sees them. Methods raise `Unavailable` when they cannot answer."""

    def __init__(self, store: SessionStore, processes: Processes = SYSTEM) -> None:
        self._store = store
        self._processes = processes

    def register(self, session: str = "", *, pid: int = 0, disposable: bool = False) -> Registration:
        """Register the process `pid` (default: this one) under `session` (default: a new random id).

        A `disposable` id is one that nobody will register again; a random one always is. Raises `SessionAlive`, or
        `NoSuchProcess`.
        """
        pid = pid or os.getpid()
        start = self._start_of(pid)
        here = self._processes.here()
        new = Registration(
            session=canonical(session, "session id") if session else _random_id(pid),
            incarnation=os.urandom(8).hex(),
            pid=pid,
            start=start,
            boot=here.boot,
            namespace=here.namespace,
            host=host(),
            started_at=timestamp(),
            disposable=disposable or not session,
        )
        for _ in range(_TRIES):
            head = self._read(new.session)
            self._refuse_if_alive(new.session, head)
            if self._advance(new.session, head.generation, new):
                return new
        raise Unavailable(f"session {new.session}: others register and end it all the time; try again")

    def stop(self, session: str, incarnation: str = "") -> bool:
        """Say that a session has ended; its claims can be taken over at once. False: it has ended already.

        `incarnation` names the registration that is meant (default: the current one). Raises `NoSession` if there is
        none of that id, `UsageError` if looop started it.
        """
        session = canonical(session, "session id")
        for _ in range(_TRIES):
            head = self._read(session)
            if head.own is None and head.readable:
                if head.foreign:
                    raise UsageError(
                        f"session '{session}' was started by looop itself: end it with `looop _ kill {session}`"
                    )
                raise NoSession(f"no such session: '{session}'")
            current = head.own or Registration(session, os.urandom(8).hex(), 0)
            if current.ended or (incarnation and current.incarnation != incarnation):
                return False
            if self._advance(session, head.generation, current._replace(ended=True)):
                return True
        raise Unavailable(f"session {session}: others register and end it all the time; try again")

    def holder(self, session: str) -> Holder:
        """`session` in its current incarnation, to act for. Not registered: no incarnation."""
        session = canonical(session, "session id")
        head = self._read(session)
        known = [found for found in (head.own, head.foreign) if found]
        living = [found for found in known if not self._examine(found).dead]
        found = (living or known or [Registration(session, "", 0)])[0]
        return Holder(session, found.incarnation)

    def verdict(self, session: str, incarnation: str) -> Verdict:
        """Whether the session that wrote a lease is alive. Read the lease first: see below.

        A registration is always older than the leases under it. So what is read here, after the lease, is the
        registration that the lease names, or a later one, which proves that one dead. In the other order a session that
        registered in between would be taken for none.
        """
        if not _possible(session):
            return Verdict(Liveness.DEAD, f"no such session: {session!r} cannot be one")
        try:
            head = self._store.read(session)
            if incarnation and not head.generation and not head.foreign and not self._store.absent(session):
                return Verdict(Liveness.UNKNOWN, "its registration is listed, but cannot be opened yet")
        except OSError as error:
            return Verdict(Liveness.UNKNOWN, f"its registration could not be read: {because(error)}")
        except Unavailable as error:
            return Verdict(Liveness.UNKNOWN, f"its registration could not be read: {error}")
        if not head.readable:
            return Verdict(Liveness.UNKNOWN, f"its registration is damaged; `looop session stop {session}` ends it")
        return self._verdict_on(head, incarnation)

    def statuses(self) -> list[SessionStatus]:
        """All sessions, by id. Raises `Unavailable` if they cannot be enumerated; one that cannot be read is UNKNOWN."""
        return [status for session in self.ids() if (status := self.status(session))]

    def status(self, session: str) -> SessionStatus | None:
        """One session; None if there is none of that id."""
        nameless = Registration(session, "", 0)
        try:
            head = self._read(session)
        except Unavailable as error:
            return SessionStatus(nameless, Verdict(Liveness.UNKNOWN, str(error)))
        if not head.readable:
            return SessionStatus(nameless, self.verdict(session, ""))
        found = head.foreign if head.own is None or (head.own.ended and head.foreign) else head.own
        return SessionStatus(found, self._examine(found)) if found else None

    def ids(self) -> list[str]:
        """Every id. Raises `Unavailable` if they cannot be enumerated."""
        try:
            return self._store.ids()
        except OSError as error:
            raise Unavailable(f"the sessions cannot be enumerated: {because(error)}: {error.filename}") from error

    def forget(self, status: SessionStatus) -> bool:
        """Remove a session that has ended and whose id nobody will use again. Whether it was one, and is gone."""
        registration = status.registration
        if not (status.verdict.dead and registration.disposable):
            return False
        try:
            self._store.forget(registration.session)
        except OSError:
            return False  # Another user's, perhaps. It is dead all the same.
        return True

    def _verdict_on(self, head: SessionHead, incarnation: str) -> Verdict:
        known = [found for found in (head.own, head.foreign) if found]
        if incarnation:
            known = [found for found in known if found.incarnation == incarnation]
            if not known and (head.own or head.foreign):
                return Verdict(Liveness.DEAD, "its id has been registered anew since")
        verdicts = [self._examine(found) for found in known] or [verdict(None, self._processes.here(), None)]
        return next((found for found in verdicts if not found.dead), verdicts[0])

    def _examine(self, registration: Registration) -> Verdict:
        here = self._processes.here()
        process = None
        if process_matters(registration, here):
            process = self._processes.state(registration.pid, registration.start)
        return verdict(registration, here, process)

    def _refuse_if_alive(self, session: str, head: SessionHead) -> None:
        found = self._verdict_on(head, "") if head.readable else self.verdict(session, "")
        if not found.dead:
            raise SessionAlive(session, found.evidence)

    def _start_of(self, pid: int) -> str:
        try:
            start = self._processes.start_of(pid)
        except OSError as error:
            raise NoSuchProcess(f"process {pid} cannot be examined: {because(error)}") from error
        if not start:
            raise NoSuchProcess(f"no such process, or one that cannot be examined: {pid}")
        return start

    def _read(self, session: str) -> SessionHead:
        try:
            return self._store.read(session)
        except OSError as error:
            raise Unavailable(f"session {session}: {because(error)}: {error.filename}") from error

    def _advance(self, session: str, expected: int, registration: Registration) -> bool:
        try:
            return self._store.advance(session, expected, registration)
        except OSError as error:
            raise Unavailable(f"session {session}: {because(error)}: {error.filename}") from error


def _possible(session: str) -> bool:
    try:
        return canonical(session, "session id") == session
    except UsageError:
        return False


def _random_id(pid: int) -> str:
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in host())[:30].strip("-") or "host"
    return f"{name}-{pid}-{os.urandom(4).hex()}"
