"""What is told to the event log of sessions: that one has started, has ended, or has died, and on what evidence.

Does not guarantee: an event for each. A session that is seen to be dead by a whole proof is published to nobody, but taken
over from: then the event of the claim has the evidence.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from looop_portable.protocol.records import Registration


class Log(Protocol):
    """As `Events`. Never raises."""

    def emit(self, event: str, claim: str | None, **fields: str | int) -> None: ...


class End(NamedTuple):
    """How a holder came to its end, as the event of each of its claims says it: `released`, `died` or `lost`."""

    event: str = "released"
    evidence: str = ""


LET_GO = End()
"""It has released what it held, or ended its session, itself; or somebody has who spoke for it."""


def say(log: Log | None, event: str, registration: Registration, evidence: str = "") -> None:
    """`log`: None where nothing is logged."""
    if log:
        more = {"evidence": evidence} if evidence else {}
        fields = {"incarnation": registration.incarnation, "host": registration.host, **more}
        log.emit(event, None, session=registration.session, pid=registration.pid, **fields)


def say_ended(log: Log | None, registration: Registration, end: End) -> None:
    say(log, "session_ended" if end == LET_GO else "session_died", registration, end.evidence)
