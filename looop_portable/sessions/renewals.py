"""Renewals of sessions that live by them alone (`session start --ttl`), as nothing else says that they go on.

Does not guarantee: that such a session is renewed in time where its store does not answer. It is tried again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

from looop_portable.errors import LooopError, Unavailable
from looop_portable.protocol.liveness import interval
from looop_portable.protocol.records import Registration
from looop_portable.sessions.evidence import standing
from looop_portable.sessions.inside import surrounding
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.threads.standby import Standby


class Renewals:
    """Renews sessions from its making until `end`, in a thread of its own. To make it may raise `Unavailable`.

    `sessions` is called in that thread. `report` is told why one could not be renewed.
    """

    def __init__(
        self, sessions: Callable[[], Sessions], found: Iterable[Registration], report: Callable[[str], object]
    ) -> None:
        self._sessions = sessions
        self._found = [each for each in found if each.timed]
        self._report = report
        self._over, self._ended = threading.Event(), threading.Event()
        self._standby = Standby("looop renewals") if self._found else None
        if self._standby:
            self._standby.do(self._go_on)

    @classmethod
    def of_those_around(cls, sessions: Sessions) -> Renewals | None:
        """Of the sessions that this process is inside of. None: none of them lives by its renewals."""
        found = []
        for session in surrounding():
            with contextlib.suppress(LooopError):  # Whoever needs the session looks himself.
                me, head = sessions.look(session)
                found.append(standing(head, me))
        timed = [each for each in found if each and each.timed]
        return cls(lambda: sessions, timed, lambda _: None) if timed else None

    def end(self, patience: float | None = None) -> None:
        """Renew no more; wait until the last renewal is done, but no longer than `patience` seconds."""
        self._over.set()
        if self._standby:
            self._standby.dismiss()
            self._ended.wait(patience)

    def _go_on(self) -> None:
        try:
            pause = min(interval(each.lease_seconds) for each in self._found)
            sessions: Sessions | None = None
            while self._found and not self._over.wait(pause):
                try:
                    sessions = sessions or self._sessions()
                    self._found = [each for each in self._found if sessions.resume(each.holder)]
                except Unavailable as error:
                    self._report(str(error))
        finally:
            self._ended.set()
