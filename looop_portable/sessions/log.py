"""What is told to the event log of sessions: that one has started, has ended, or has died, and on what evidence.

Does not guarantee: an event for each. A session that is seen to be dead by a whole proof is published to nobody, but taken
over from: then the event of the claim has the evidence.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from looop_portable.protocol.records import Holder, Registration


class Log(Protocol):
    """As `Events`. Never raises."""

    def emit(self, event: str, claim: str | None, **fields: str | int) -> None: ...


class End(NamedTuple):
    """How a holder came to its end that has not let go itself, as the events of its claims say it: `died`, `lost`."""

    event: str
    evidence: str


class SessionLog:
    """What `Sessions` tells. `events`: None where nothing is logged.

    `ends`: of those who have died, or lost what they held, before somebody in this process ends their sessions.
    """

    def __init__(self) -> None:
        self.events: Log | None = None
        self.ends: dict[Holder, End] = {}

    def started(self, registration: Registration) -> None:
        self._say("session_started", registration)

    def ended(self, registration: Registration) -> None:
        end = self.ends.get(registration.holder)
        if end:
            self.died(registration, end.evidence)
        else:
            self._say("session_ended", registration)

    def died(self, registration: Registration, evidence: str) -> None:
        self._say("session_died", registration, evidence=evidence)

    def _say(self, event: str, registration: Registration, **more: str) -> None:
        if self.events:
            who = {"incarnation": registration.incarnation, "host": registration.host}
            self.events.emit(event, None, session=registration.session, pid=registration.pid, **who, **more)
