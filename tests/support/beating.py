"""A backend in memory that keeps heartbeats, honestly: what the liars of `contract/test_liars.py` are made from."""

from __future__ import annotations

import errno
from collections.abc import Callable

from looop_portable.backends.memory import MemoryBackend, MemorySessions, NoSigns
from looop_portable.protocol.liveness import Holder, Registration, Silence
from looop_portable.system.clock import elapsed


class BeatingSigns(NoSigns):
    """Heartbeats by one clock, which nobody sets."""

    def __init__(self, clock: Callable[[], float] = elapsed) -> None:
        self.clock = clock
        self.beats: dict[Holder, float] = {}
        self.looks: dict[tuple[Holder, float], float] = {}
        """When a heartbeat was first seen by somebody who watches."""

    def promise(self, registration: Registration, *, locked: bool) -> Registration:
        self.beats[registration.holder] = self.clock()
        return super().promise(registration, locked=locked)

    def unpromise(self, registration: Registration) -> None:
        self.beats.pop(registration.holder, None)

    def beat(self, session: str, incarnation: str) -> None:
        if Holder(session, incarnation) not in self.beats:
            raise FileNotFoundError(errno.ENOENT, "its heartbeat is missing", session)
        self.beats[Holder(session, incarnation)] = self.clock()

    def has_beat(self, session: str, incarnation: str) -> bool:
        return Holder(session, incarnation) in self.beats

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        holder, now = registration.holder, self.clock()
        if holder not in self.beats:
            raise FileNotFoundError(errno.ENOENT, "its heartbeat is missing", registration.session)
        beat = self.beats[holder]
        if not watched and now - beat <= registration.ttl:
            return Silence(now - beat)
        return Silence(now - beat, now - self.looks.setdefault((holder, beat), now))


class BeatingSessions(MemorySessions):
    signs: BeatingSigns

    def __init__(self, signs: BeatingSigns) -> None:
        super().__init__()
        self.signs = signs

    def forget(self, session: str) -> None:
        super().forget(session)
        for holder in [holder for holder in self.signs.beats if holder.session == session]:
            del self.signs.beats[holder]


class BeatingBackend(MemoryBackend):
    """What is to lie is given instead: signs, or sessions with theirs."""

    sessions: BeatingSessions

    def __init__(self, signs: BeatingSigns | None = None, sessions: BeatingSessions | None = None) -> None:
        super().__init__()
        self.sessions = sessions or BeatingSessions(signs or BeatingSigns())
