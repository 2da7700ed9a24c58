"""Who may hold: registering sessions, ending them, and telling whether one is alive.

Guarantees: an id whose session is alive, or may be, is not registered again. If two processes register one id at once,
exactly one succeeds. Each registration has an incarnation of its own, so a new session inherits nothing from a dead one.
Does not guarantee: exclusion against looop itself starting a session of the same id at the same moment.
How: an id's registrations are generations, advanced like a claim's. To end a session is to publish that it has ended. A
judge that is about to act on the death of a silent session ends it so. A session that comes back from a long silence
publishes that it goes on. Only one of the two publications wins, so no clock decides between them.
"""

import contextlib
import os
from collections.abc import Callable

from looop_portable.backends.base import HolderSigns, SessionHead, SessionStore
from looop_portable.errors import LooopError, NoSession, SessionAlive, Unavailable, UsageError, answering, unavailable
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.names import canonical
from looop_portable.protocol.outcomes import SessionStatus
from looop_portable.protocol.records import Holder, Judged, Registration
from looop_portable.sessions.evidence import Evidence, standing
from looop_portable.sessions.ids import NOBODYS, chosen, is_made_up, its_process, made_up, refuse_lease
from looop_portable.system.clock import timestamp
from looop_portable.system.opening.nonces import nonce
from looop_portable.system.processes import SYSTEM, Processes, host, start_of, user

__all__ = ["SessionStatus", "Sessions"]

_TRIES = 64
_Seen = HolderSigns | None


class Sessions:
    """The sessions in a store, as this process sees them. Methods raise `Unavailable` when they cannot answer."""

    def __init__(
        self,
        store: SessionStore,
        processes: Processes = SYSTEM,
        nonce: Callable[[], str] = nonce,
        clock: Callable[[], str] = timestamp,
    ) -> None:
        self._store = store
        self._processes = processes
        self.evidence = Evidence(store, processes)
        self._nonce = nonce
        self._clock = clock
        self.tell: Callable[[str, Registration, str], object] = lambda *_: None  # For the event log: see `Events`.

    def register(
        self,
        session: str = "",
        *,
        pid: int = 0,
        lease_seconds: int = 0,
        locked: bool = False,
        kept: bool = False,
        timed: bool = False,
        command: str = "",
    ) -> Registration:
        """Register the process `pid` (default: this one) under `session` (default: an id made up, and used this once).

        `lease_seconds` promises heartbeats: `renew`, every third of it. `locked`: this process is the session's, and has
        a lock of its own where containers need one; or it runs `pid`, and all that this starts has a part in the lock.
        `kept`: a keeper gives the heartbeats. `timed`: there is no process. `command`: its program, for people.
        Raises `SessionAlive`, `NoSuchProcess`, `InvalidName`, or `UsageError`.
        """
        refuse_lease(lease_seconds)
        pid = pid or os.getpid()
        process = NOBODYS if timed else its_process(self._processes, pid)
        new = process._replace(
            session=chosen(session) if session else made_up(pid),
            incarnation=self._nonce(),
            host=host(),
            started_at=self._clock(),
            lease_seconds=lease_seconds,
            kept=kept,
            timed=timed,
            user=user(),
            command=command,
        )
        with answering(f"session {new.session}"):
            if reason := self._store.refuses(new):
                raise UsageError(reason)
            head = self._store.begin(new)
        tried = False
        try:
            self._refuse_if_alive(new.session, head)
            with answering(f"session {new.session}"):
                new = self._store.signs.promise(new, locked=locked)
            new = new._replace(heirs=new.locked and not new.own)
            for _ in range(_TRIES):
                tried = True
                if self._advance(new.session, Judged(head.generation, head.own), new):
                    self.evidence.births.note(self._store, new, head.generation + 1)
                    self.tell("session_started", new, "")
                    return new
                tried = False
                head = self._read(new.session)
                self._refuse_if_alive(new.session, head)
            raise Unavailable(f"session {new.session}: others register and end it all the time; try again")
        except BaseException as error:
            with contextlib.suppress(Unavailable):
                if tried and isinstance(error, Unavailable) and self.registration(new.holder):
                    return new  # What failed came after the deed.
            gone = not tried or self._is_gone(new.holder)
            self._store.signs.unpromise(new)
            if not gone and isinstance(error, Unavailable):
                error.args = (f"{error}; it may be registered all the same: `looop session stop {new.session}` ends it",)
            raise

    def _is_gone(self, holder: Holder) -> bool:
        """End what was registered and is not answered for: its id would live as long as its process. False: who knows?"""
        try:
            self.stop(*holder)
        except LooopError as error:
            return isinstance(error, NoSession | UsageError)
        return True

    def stop(self, session: str, incarnation: str = "") -> bool:
        """Say that a session has ended; its claims can be taken over at once. False: it has ended already.

        `incarnation` names the registration that is meant (default: the current one). Raises `NoSession` if there is
        none of that id, `UsageError` if looop started it.
        """
        session = canonical(session, "session id")
        known = self._store.recall(session) if incarnation else None
        recalled = known if known and standing(known, Holder(session, incarnation)) else None
        for _ in range(_TRIES):
            head, recalled = recalled or self._read(session), None
            if not (head.own or head.damaged or head.torn):
                if head.foreign:
                    raise UsageError(f"session '{session}' was started by looop itself: end it by `looop _ kill {session}`")
                raise NoSession(f"no such session: '{session}'")
            current = head.own or Registration(session, self._nonce(), 0, started_at=self._clock())
            over = current.ended or bool(incarnation and current.incarnation != incarnation)
            if over or self._advance(session, Judged(head.generation, head.own), current._replace(ended=True)):
                # Its lock, if it is this process's: without this, one would stay open for each session that came and went.
                self._store.signs.unpromise(current._replace(incarnation=incarnation or current.incarnation))
                if not over:
                    self.tell("session_ended", current, "")
                return not over
        raise Unavailable(f"session {session}: others register and end it all the time; try again")

    def renew(self, holder: Holder) -> bool:
        """Give a heartbeat of a session that goes on. False: it is over, or has been registered anew.

        The registration is read after the beat: a process that can still write may have lost its session. Raises
        `Unavailable`: the beat may or may not have been stored.
        """
        self.evidence.births.look(holder)
        try:
            head = self._store.renew(*holder)
        except OSError as error:
            if self.registration(holder) is None:
                return False
            raise unavailable(error, f"session {holder.session}: no heartbeat could be given") from error
        return standing(head or self._read(holder.session), holder) is not None

    def resume(self, holder: Holder, lease_seconds: int = 0) -> bool:
        """As `renew`, of a session that has been silent for so long that others may be about to end it.

        It publishes that it goes on, with another lease if there is one. Whoever judged its silence before loses, and
        judges anew: see `conclude`.
        """
        for _ in range(_TRIES):
            if not self.renew(holder):
                return False
            own = standing(head := self._read(holder.session), holder)
            new = own._replace(lease_seconds=lease_seconds or own.lease_seconds) if own else None
            if own and new and self._advance(holder.session, Judged(head.generation, own), new):
                return True
        raise Unavailable(f"session {holder.session}: others register and end it all the time; try again")

    def hand_over(self, holder: Holder, pid: int) -> bool:
        """Make `pid` the session's process from now on. False: it is over, or has been registered anew.

        It stays the same incarnation, so it holds what it held. Raises `NoSuchProcess`.
        """
        start = start_of(self._processes, pid)
        for _ in range(_TRIES):
            head = self._read(holder.session)
            if not (head.own and head.own.holder == holder and not head.own.ended):
                return False
            if self._advance(holder.session, Judged(head.generation, head.own), head.own._replace(pid=pid, start=start)):
                return True
        raise Unavailable(f"session {holder.session}: others register and end it all the time; try again")

    def conclude(self, holder: Holder) -> bool:
        """End a session whose death is not fully proven, before anybody acts on it. False: it lives after all.

        A session that comes back at the last moment would otherwise hold beside the one that takes over. The registration
        is read before the heartbeat: a session that resumes in between takes the number, and this fails.
        """
        head = self._read(holder.session)
        own = head.own
        if own is None and not head.generation and holder.incarnation:  # What had registered it has been removed.
            return self._advance(holder.session, 0, Registration(*holder, 0, started_at=self._clock(), ended=True))
        if own is None or own.ended or (holder.incarnation and own.holder != holder):
            return True  # Somebody else has ended it, or there is a later one of that id.
        found = self.evidence.examine(own)
        if not found.inferred:
            return found.dead
        ended = self._advance(holder.session, Judged(head.generation, head.own), own._replace(ended=True))
        if ended:
            self.tell("session_died", own, found.evidence)
        return ended

    def holder(self, session: str) -> Holder:
        """`session` in its current incarnation, to act for. Not registered: no incarnation."""
        return self.look(session)[0]

    def look(self, session: str) -> tuple[Holder, SessionHead]:
        session = canonical(session, "session id")
        head = self._read(session)
        found = self.evidence.current(head)
        return Holder(session, found.incarnation if found else ""), head

    def registration(self, holder: Holder) -> Registration | None:
        """What `holder` registered; None if it has ended, or its id has been registered anew."""
        return standing(self._read(holder.session), holder)

    def has_ended(self, holder: Holder) -> bool:
        """Whether the caller's own session `holder` was ended by others.

        As `verdict`, without a look at the process, which is the caller. A session that cannot be read has not ended.
        """
        try:
            head = self._store.read(holder.session)
            if head.own is None:
                return not head.generation and self._store.absent(holder.session)
        except (OSError, Unavailable):
            return False
        return head.own.ended or head.own.incarnation != holder.incarnation

    def verdict(self, session: str, incarnation: str, known: SessionHead | None = None, seen: _Seen = None) -> Verdict:
        """Whether the session that wrote a lease is alive. Read the lease first: see `Evidence.verdict`."""
        return self.evidence.verdict(session, incarnation, known, seen)

    def statuses(self) -> list[SessionStatus]:
        """All sessions, by id. Raises `Unavailable` if they cannot be enumerated; one that cannot be read is UNKNOWN."""
        with answering("the sessions cannot be enumerated"):
            return [status for found in self._store.survey() if (status := self.status(*found))]

    def status(self, session: str, known: SessionHead | None = None, seen: _Seen = None) -> SessionStatus | None:
        """One session; None if there is none of that id. `known`: what was read of it. `seen`: with its heartbeats."""
        nameless = Registration(session, "", 0)
        try:
            head = known or self._read(session)
        except Unavailable as error:
            return SessionStatus(nameless, Verdict(Liveness.UNKNOWN, str(error)))
        if found := self.evidence.current(head):
            return SessionStatus(found, self.evidence.examine(found, seen.silence if seen and found is head.own else None))
        return SessionStatus(nameless, self.evidence.verdict(session, "")) if head.damaged or head.torn else None

    def ids(self) -> list[str]:
        """Every id. Raises `Unavailable` if they cannot be enumerated."""
        with answering("the sessions cannot be enumerated"):
            return self._store.ids()

    def forget(self, status: SessionStatus | None) -> bool:
        """Remove a session that has ended and whose id was made up. Whether it was one, and is gone.

        Any other id may have been registered again since it was judged; one that was made up never is.
        """
        if not (status and status.verdict.dead and is_made_up(status.registration.session)):
            return False
        try:
            if status.verdict.inferred and not self.conclude(status.registration.holder):
                return False
            self._store.forget(status.registration.session)
        except (OSError, Unavailable):
            return False  # Another user's, perhaps. It is dead all the same.
        return True

    def lock_path(self, registration: Registration) -> str:
        """The path of the lock in which its heirs take part; empty: it has none."""
        return self._store.signs.lock_path(registration) if registration.heirs else ""

    def tidy(self) -> None:
        """Remove what crashed processes left behind. Raises `Unavailable`."""
        with answering("the sessions cannot be tidied"):
            self._store.tidy()

    def _refuse_if_alive(self, session: str, head: SessionHead) -> None:
        """Refuse a session that may live. Beside a registration of ours, a torn file of looop's is its projection."""
        if head.damaged:
            raise SessionAlive(session, f"its registration is damaged; `looop session stop {session}` ends it")
        found = self.evidence.verdict_on_any(head._replace(torn=head.torn and not head.own))
        if not found.dead:
            raise SessionAlive(session, found.description)

    def _read(self, session: str) -> SessionHead:
        with answering(f"session {session}"):
            return self._store.read(session)

    def _advance(self, session: str, expected: int, registration: Registration) -> bool:
        with answering(f"session {session}"):
            return self._store.advance(session, expected, registration)
