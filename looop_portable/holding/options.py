"""What `hold` was told, as it applies here."""

from __future__ import annotations

import math
from collections.abc import Callable

from looop_portable.config import Config, PathLike, resolve
from looop_portable.errors import UsageError
from looop_portable.protocol.liveness import DEFAULT_TTL, SHORTEST_LEASE
from looop_portable.protocol.names import as_note, excerpt
from looop_portable.protocol.shares import refuse_both
from looop_portable.sessions.ids import refuse_lease
from looop_portable.typed import Any, NamedTuple
from looop_portable.waiting.limits import CancelEvent, limit
from looop_portable.waiting.stopping import Cancel


class Options(NamedTuple):
    """What `hold` was told: see there."""

    config: Config
    lease_seconds: int = DEFAULT_TTL
    on_lost: Callable[[Any], object] | None = None
    timeout: float | None = 0
    slots: int = 0
    note: str = ""
    cancel: Cancel | None = None
    """What ends a wait."""
    calls_at_once: bool = False
    """`on_lost` keeps nobody waiting, and needs no thread of its own."""
    max_hold: float | None = None
    shared: bool = False


def options_of(
    data_dir: PathLike | None,
    backend: str | None,
    lease_seconds: int,
    on_lost: Callable[[Any], object] | None,
    timeout: float | None,
    slots: int,
    max_hold: float | None = None,
    note: str = "",
    cancel_check: Callable[[], bool] | None = None,
    cancel: CancelEvent | None = None,
    *,
    shared: bool = False,
) -> Options:
    """The same, as they apply here. Raises `UsageError`."""
    if type(lease_seconds) is int and lease_seconds < SHORTEST_LEASE:
        raise UsageError(
            f"a lease of {excerpt(lease_seconds)} s is too short to be kept on a slow filesystem: {SHORTEST_LEASE} or more"
        )
    refuse_lease(lease_seconds)
    if max_hold is not None and (type(max_hold) not in (int, float) or not 0 < max_hold < math.inf):
        raise UsageError(f"max_hold is a number of seconds above 0, or None to hold without end, not {excerpt(max_hold)}")
    note = as_note(note) if note != "" else ""
    ends = Cancel.of(cancel_check, cancel)
    config = resolve(data_dir, backend)
    refuse_both(slots, shared)
    return Options(config, lease_seconds, on_lost, limit(timeout), slots, note, ends, max_hold=max_hold, shared=shared)
