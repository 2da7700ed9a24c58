"""What a session relies on is kept young. Records are written once, and what cleans directories up (systemd-tmpfiles,
tmpreaper, somebody's cron job) removes files by their age: the claim of a holder who lives, but for his heartbeat.

Does not guarantee: anything of what nobody gives heartbeats for; nor where files are removed sooner than the next heartbeat
comes (on network mounts: than a quarter of an hour). A store belongs where nothing is removed by age.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from looop_portable.claims.gate import Claims
from looop_portable.errors import LooopError
from looop_portable.protocol.records import Holder
from looop_portable.protocol.standings import is_ours
from looop_portable.system.clock import elapsed

_BUDGET = 0.05
"""Seconds of each heartbeat for looking for claims: who gives it must not be kept from that."""
_ROUND = 900.0
"""Seconds from one round through all claims to the next: what removes files by age waits for longer."""


class Youth:
    """Of one session. `looks`: others may claim in its name, so what it holds is looked for, a few names a heartbeat."""

    def __init__(self, claims: Claims, *, looks: bool = False, clock: Callable[[], float] = elapsed) -> None:
        self._backend = claims.backend
        self._looks = looks
        self._clock = clock
        self._names: Iterator[str] = iter(())
        self._next_round = 0.0

    def renew(self, holder: Holder, names: Iterable[str] = ()) -> None:
        """With each heartbeat of `holder`, which holds `names`. What fails is done with the next one."""
        if self._backend.directory is None:
            return
        try:
            self._backend.directory.keep_young(holder, [*names, *(self._found(holder) if self._looks else ())])
        except LooopError:
            self._names, self._next_round = iter(()), 0.0

    def _found(self, holder: Holder) -> Iterator[str]:
        """A part of a round, which goes on with the next heartbeat."""
        now = self._clock()
        end = now + _BUDGET
        for again in range(2):
            for name in self._names:
                lease = self._backend.read(name).lease
                if is_ours(lease, holder):
                    yield name
                if self._clock() > end:
                    return
            if again or now < self._next_round:
                return
            self._names, self._next_round = self._backend.claims(), now + _ROUND
