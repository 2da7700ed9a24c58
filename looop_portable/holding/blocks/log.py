"""What blocks tell the log of the program: the logger `looop_portable`.

Debug: claimed, released. Info: whom it waits for, after 2 s and then each minute; heartbeats that get through again.
Warning: lost, and heartbeats that do not get through.
Does not guarantee: that a handler which blocks does no harm. It keeps heartbeats from being given, or a block from being
entered: a program that logs to where writing may hang has a `QueueHandler`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from looop_portable.errors import describe_holder
from looop_portable.protocol.outcomes import Held, OnWaiting, Won
from looop_portable.protocol.records import Lease
from looop_portable.waiting.limits import Minutes, still_waiting

_LOG = logging.getLogger("looop_portable")
_LOG.addHandler(logging.NullHandler())


def claimed(lease: Lease, outcome: object) -> None:
    if _LOG.isEnabledFor(logging.DEBUG):
        previous = outcome.previous if isinstance(outcome, Won) else None
        taken = f", taken over from session {previous.session!r}" if previous else ""
        _LOG.debug("claim %s: claimed: generation %d, session %r%s", lease.name, lease.generation, lease.session, taken)


def released(lease: Lease) -> None:
    _LOG.debug("claim %s: released: generation %d", lease.name, lease.generation)


def lost(names: Iterable[str], why: str) -> None:
    for name in names:
        _LOG.warning("claim %s: lost: %s", name, why)


def waiting() -> OnWaiting | None:
    """What to call for each look of one wait. None: nobody would see it."""
    if not _LOG.isEnabledFor(logging.INFO):
        return None
    minutes = Minutes()

    def on_waiting(held: Held, waited: float) -> None:
        lease, verdict = held
        if minutes.is_new(held, waited):
            said = f"held by {describe_holder(lease.session)}; waiting for it ({verdict.description})"
            _LOG.info("claim %s: %s", lease.name, said)
        elif minutes.is_due(waited):
            _LOG.info("claim %s: %s", lease.name, still_waiting(held, waited))

    return on_waiting


class Heartbeats:
    """Of one session. What goes on for long is said once."""

    def __init__(self) -> None:
        self._failing = False

    def fail(self, session: str, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            _LOG.warning("session %s: a heartbeat did not get through: %s", session, str(error) or type(error).__name__)

    def succeed(self, session: str) -> None:
        if self._failing:
            self._failing = False
            _LOG.info("session %s: heartbeats get through again", session)
