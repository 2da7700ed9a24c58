"""Who may hold: registering sessions, ending them, and telling whether one is alive.

Guarantees: an id whose session is alive, or may be, is not registered again; of two that register one id at once exactly
one succeeds; each registration has an incarnation of its own, so a new session inherits nothing from a dead one of its
name.
Does not guarantee: exclusion against looop itself starting a session of the same id at the same moment.
How: an id's registrations are generations, advanced like a claim's; to end a session is to publish that it has ended.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from looop_portable.backends.base import SessionHead, SessionStore
from looop_portable.errors import (
    InvalidName,
    NoSession,
    NoSuchProcess,
    SessionAlive,
    Unavailable,
    UsageError,
    because,
    told,
)
from looop_portable.files import timestamp
from looop_portable.liveness import FOREIGN, Holder, Liveness, Registration, Verdict, process_matters, verdict
from looop_portable.names import canonical
from looop_portable.processes import SYSTEM, Processes, host

MADE_UP = "auto-"
"""How the ids begin that we make up. Nobody registers one a second time, so that it can be forgotten."""

_TRIES = 64
_TORN = "its metadata are being written by looop, or damaged"


class SessionStatus(NamedTuple):
    """One session, and whether it is alive."""

    registration: Registration
    verdict: Verdict


def _nonce() -> str:
    return os.urandom(8).hex()


class Sessions:
    """The sessions in a store, as this process sees them. Methods raise `Unavailable` when they cannot answer."""

    def __init__(
        self,
        store: SessionStore,
        processes: Processes = SYSTEM,
        nonce: Callable[[], str] = _nonce,
        clock: Callable[[], str] = timestamp,
    ) -> None:
        self._store = store
        self._processes = processes
        self._nonce = nonce
        self._clock = clock

    def register(self, session: str = "", *, pid: int = 0) -> Registration:
        """Register the process `pid` (default: this one) under `session` (default: an id made up, and used this once).

        Raises `SessionAlive`, `NoSuchProcess`, or `InvalidName`.
        """
        pid = pid or os.getpid()
        start = self._start_of(pid)
        here = self._processes.here()
        if session:
            session = canonical(session, "session id")
            if not session.isprintable():
                raise InvalidName(f"invalid session id {session!r}: it has characters that cannot be printed")
            if session.startswith(MADE_UP):
                raise InvalidName(
                    f"invalid session id '{session}': ids that begin with {MADE_UP} are made up, and used once"
                )
        new = Registration(
            session=session or _random_id(pid),
            incarnation=self._nonce(),
            pid=pid,
            start=start,
            boot=here.boot,
            namespace=here.namespace,
            host=host(),
            started_at=self._clock(),
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
            if not (head.own or head.damaged or head.torn):
                if head.foreign:
                    raise UsageError(
                        f"session '{session}' was started by looop itself: end it there (`looop _ kill {session}`)"
                    )
                raise NoSession(f"no such session: '{session}'")
            current = head.own or Registration(session, self._nonce(), 0, started_at=self._clock())
            if current.ended or (incarnation and current.incarnation != incarnation):
                return False
            if self._advance(session, head.generation, current._replace(ended=True)):
                return True
        raise Unavailable(f"session {session}: others register and end it all the time; try again")

    def holder(self, session: str) -> Holder:
        """`session` in its current incarnation, to act for. Not registered: no incarnation."""
        session = canonical(session, "session id")
        found = self._current(self._read(session))
        return Holder(session, found.incarnation if found else "")

    def verdict(self, session: str, incarnation: str) -> Verdict:
        """Whether the session that wrote a lease is alive. Read the lease first: see below.

        A registration is always older than the leases under it. So what is read here, after the lease, is the
        registration that the lease names, or a later one, which proves that one dead. In the other order a session that
        registered in between would be taken for none.
        """
        try:
            head = self._store.read(session)
            missing = incarnation and not head.generation and not incarnation.startswith(FOREIGN)
            if missing and not self._store.absent(session):
                return Verdict(Liveness.UNKNOWN, "its registration is listed, but cannot be opened yet")
        except OSError as error:
            return Verdict(Liveness.UNKNOWN, f"its registration could not be read: {because(error)}")
        except Unavailable as error:
            return Verdict(Liveness.UNKNOWN, f"its registration could not be read: {error}")
        if head.damaged:
            return Verdict(Liveness.UNKNOWN, f"its registration is damaged; `looop session stop {session}` ends it")
        return self._verdict_on(head, incarnation) if incarnation else self._verdict_on_any(head)

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
        found = self._current(head)
        if found:
            return SessionStatus(found, self._examine(found))
        return SessionStatus(nameless, self.verdict(session, "")) if head.damaged or head.torn else None

    def ids(self) -> list[str]:
        """Every id. Raises `Unavailable` if they cannot be enumerated."""
        try:
            return self._store.ids()
        except OSError as error:
            raise Unavailable(f"the sessions cannot be enumerated: {told(error)}") from error

    def forget(self, status: SessionStatus) -> bool:
        """Remove a session that has ended and whose id was made up. Whether it was one, and is gone.

        Only such an id is never registered again; any other may have been, since it was judged.
        """
        session = status.registration.session
        if not (status.verdict.dead and session.startswith(MADE_UP)):
            return False
        try:
            self._store.forget(session)
        except OSError:
            return False  # Another user's, perhaps. It is dead all the same.
        return True

    def tidy(self) -> None:
        """Remove what crashed processes left behind. Raises `Unavailable`."""
        try:
            self._store.tidy()
        except OSError as error:
            raise Unavailable(f"the sessions cannot be tidied: {told(error)}") from error

    def _current(self, head: SessionHead) -> Registration | None:
        """Of our registration and looop's, the one that lives; else ours."""
        if head.own and head.foreign and self._examine(head.own).dead and not self._examine(head.foreign).dead:
            return head.foreign
        return head.own or head.foreign

    def _verdict_on(self, head: SessionHead, incarnation: str) -> Verdict:
        """Of a lease that names its registration: it is that one, or it is over."""
        for found in (head.own, head.foreign):
            if found and found.incarnation == incarnation:
                return self._examine(found)
        if head.torn and incarnation.startswith(FOREIGN):
            return Verdict(Liveness.UNKNOWN, _TORN)
        anew = head.own or head.foreign
        return Verdict(Liveness.DEAD, "its id has been registered anew since" if anew else "no such session")

    def _verdict_on_any(self, head: SessionHead) -> Verdict:
        """Of a lease that names only an id, as looop's do."""
        verdicts = [self._examine(found) for found in (head.own, head.foreign) if found]
        living = [found for found in verdicts if not found.dead]
        if not living and head.torn:
            return Verdict(Liveness.UNKNOWN, _TORN)
        return (living or verdicts or [Verdict(Liveness.DEAD, "no such session")])[0]

    def _examine(self, registration: Registration) -> Verdict:
        here = self._processes.here()
        process = None
        if process_matters(registration, here):
            process = self._processes.state(registration.pid, registration.start)
        return verdict(registration, here, process)

    def _refuse_if_alive(self, session: str, head: SessionHead) -> None:
        """What cannot be read is alive; but where we have a registration, a torn file of looop's is its projection."""
        if head.damaged:
            raise SessionAlive(session, f"its registration is damaged; `looop session stop {session}` ends it")
        found = self._verdict_on_any(head._replace(torn=head.torn and not head.own))
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
            raise Unavailable(f"session {session}: {told(error)}") from error

    def _advance(self, session: str, expected: int, registration: Registration) -> bool:
        try:
            return self._store.advance(session, expected, registration)
        except OSError as error:
            raise Unavailable(f"session {session}: {told(error)}") from error


def _random_id(pid: int) -> str:
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in host())[:30].strip("-") or "host"
    return f"{MADE_UP}{name}-{pid}-{os.urandom(4).hex()}"
