"""When each session of this process was registered: a name that was not touched since then is not held by it.

Guarantees: the time is before all claims of the session. It is the time of the registration's record, by the filesystem of
a local disk, less what the system's clock may have been set back or slowed down since without being noticed.
Does not guarantee: to notice a clock that was set back, and set right again between two looks. The clock is looked at with
each heartbeat, and when the time is asked for. A claim that is overlooked so belongs to a session that has ended: its next
claimer takes it over.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from looop_portable.backends.base import SessionStore
from looop_portable.protocol.records import Holder, Registration
from looop_portable.system.clock import elapsed
from looop_portable.typed import NamedTuple

_SLACK, _DRIFT = 0.02, 0.001
"""By how many seconds, and by how much of the time that has passed, the system's clock may fall behind: it is slewed."""

_MOST = 100
"""Sessions that are known. When there are more, all are forgotten: their ends read what they could have left unread."""


class _Birth(NamedTuple):
    stamp: int
    wall: float
    even: float


class Births:
    """Of the sessions of this process."""

    def __init__(self, wall: Callable[[], float] = time.time, even: Callable[[], float] = elapsed) -> None:
        self._wall = wall
        self._even = even
        self._known: dict[Holder, _Birth] = {}

    def note(self, store: SessionStore, new: Registration, generation: int) -> None:
        """`new` has been published as `generation`."""
        if not (new.disk and (found := store.stamp(new.session, generation))):
            return
        birth = _Birth(found, self._wall(), self._even())
        if found <= birth.wall * 1e9:  # Else the clock was set back in this very moment.
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[new.holder] = birth

    def look(self, holder: Holder) -> float:
        """By how many seconds the clock may have fallen behind. If it was more, nothing is known of `holder` any more."""
        birth = self._known.get(holder)
        if birth is None:
            return 0.0
        passed = self._even() - birth.even
        behind = _SLACK + _DRIFT * passed
        if self._wall() - birth.wall < passed - behind:
            self._known.pop(holder, None)
        return behind

    def since(self, holder: Holder) -> int:
        """The filesystem's time, in nanoseconds, before which `holder` has claimed nothing; 0: nobody can tell."""
        behind = self.look(holder)
        birth = self._known.get(holder)
        return birth.stamp - int(behind * 1e9) if birth else 0
