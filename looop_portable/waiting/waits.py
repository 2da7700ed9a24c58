"""What somebody who waits does, one look at a time, whatever it waits for. Who drives it waits between two looks."""

from __future__ import annotations

from looop_portable.protocol.outcomes import Held
from looop_portable.protocol.records import FOREIGN, Lease
from looop_portable.typed import NamedTuple, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Pending(NamedTuple):
    """Not yet. `held`: who holds it, if somebody does; look again when the watcher wakes, or after `pause` seconds."""

    held: Held | None
    pause: float


class Waits(Protocol[T_co]):
    """`stop` is called in any case, and may be called twice."""

    def look(self) -> T_co | Pending: ...
    def last_look(self) -> T_co: ...
    def stop(self) -> None: ...


def is_looops(lease: Lease) -> bool:
    """Whether looop itself holds it, which publishes no generation when it releases."""
    return lease.foreign or lease.incarnation.startswith(FOREIGN)
