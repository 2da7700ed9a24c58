"""What `hold` was told, as it applies here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from looop_portable.config import Config, PathLike, resolve
from looop_portable.errors import UsageError
from looop_portable.protocol.liveness import DEFAULT_TTL, SHORTEST_LEASE
from looop_portable.protocol.names import excerpt
from looop_portable.sessions.ids import refuse_lease


class Options(NamedTuple):
    """What `hold` was told: see there."""

    config: Config
    ttl: int = DEFAULT_TTL
    on_lost: Callable[[Any], object] | None = None
    timeout: float | None = 0
    slots: int = 0
    calls_at_once: bool = False
    """`on_lost` keeps nobody waiting, and needs no thread of its own."""


def options_of(
    data_dir: PathLike | None,
    backend: str | None,
    ttl: int,
    on_lost: Callable[[Any], object] | None,
    timeout: float | None,
    slots: int,
) -> Options:
    """The same, as they apply here. Raises `UsageError`."""
    if type(ttl) is int and ttl < SHORTEST_LEASE:
        raise UsageError(
            f"a lease of {excerpt(ttl)} s is too short to be kept on a slow filesystem: {SHORTEST_LEASE} or more"
        )
    refuse_lease(ttl)
    return Options(resolve(data_dir, backend), ttl, on_lost, timeout, slots)
