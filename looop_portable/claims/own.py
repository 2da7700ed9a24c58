"""A session of which this process gives the heartbeats: registered, renewed, and ended with all that it holds.

Guarantees: its first heartbeat counts from before it was registered, and is no older than the time from one to the next,
however slow the store was.
Does not guarantee: that anybody is told who is cut off: its `Pulse` does that, or nobody (`keeper`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from looop_portable.claims.gate import Claims
from looop_portable.claims.youth import Youth
from looop_portable.errors import NoSession
from looop_portable.protocol.liveness import interval
from looop_portable.protocol.outcomes import Retired
from looop_portable.protocol.records import Holder, Registration
from looop_portable.system.clock import elapsed
from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from looop_portable.sessions.heartbeats import Pulse


class OwnSession:
    """The session `holder`, or the one that `register` makes. `looks`: others may claim in its name (`Youth`)."""

    def __init__(self, claims: Claims, holder: Holder | None = None, *, looks: bool = False) -> None:
        self._claims = claims
        self.holder = holder or Holder("", "")
        """Without an id: nothing has been registered, and there is nothing to end."""
        self._youth = Youth(claims, looks=looks)

    def register(
        self, pulse: Pulse | None, lease_seconds: int, session: str = "", pid: int = 0, command: str = ""
    ) -> Registration | None:
        """Register it, and start `pulse`. None: it took so long that others have ended it meanwhile.

        What a filesystem has taken long to answer is old when it comes, as just after a partition. Said again, it is new.
        Raises as `Sessions.register` and `Sessions.resume` do; it may be registered then, as `holder`.
        """
        sessions, began = self._claims.sessions, elapsed()
        found = sessions.register(session, pid=pid, lease_seconds=lease_seconds, locked=True, command=command)
        self.holder = found.holder
        if pulse:
            while elapsed() - began > interval(lease_seconds):
                began = elapsed()
                if not sessions.resume(found.holder):
                    return None
            pulse.begins(began)
            pulse.start()
        return found

    def renew(self, after_long_silence: bool, look: Callable[[], Iterable[str]] = list) -> bool:
        """A heartbeat; after a long silence it is published that the session goes on. False: it is over.

        If it goes on, `look` is called, which looks at each claim, and gives the names that are held: they are kept young.
        Raises `Unavailable`: it may or may not have been heard.
        """
        sessions = self._claims.sessions
        goes_on = sessions.resume(self.holder) if after_long_silence else sessions.renew(self.holder)
        if goes_on:
            self._youth.renew(self.holder, look())
        return goes_on

    def stop(self) -> None:
        """As `retire`, where nothing is held. One that somebody has removed has ended."""
        with contextlib.suppress(NoSession):
            self._claims.sessions.stop(*self.holder)
            _forget(self._claims, self.holder)


def retire(claims: Claims, holder: Holder) -> Retired:
    """End a session, release all that it holds, and remove it if its id was made up. Raises as `Claims.retire` does."""
    retired = claims.retire(holder)
    _forget(claims, holder)
    return retired


def _forget(claims: Claims, holder: Holder) -> None:
    claims.sessions.forget(claims.sessions.status(holder.session))
