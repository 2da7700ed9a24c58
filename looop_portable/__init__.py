"""Claims that any worker can trust: never two live holders, recovery without an operator, and a fencing token.

    with looop_portable.hold("repo-x") as lease:
        deploy(token=lease.generation)

The names below are the public surface.
"""

from looop_portable.backends.base import Backend
from looop_portable.claims.gate import Claims
from looop_portable.claims.sharing import Share
from looop_portable.errors import (
    BackendNotInstalled,
    CannotExclude,
    ClaimHeld,
    ClaimLost,
    InvalidName,
    LooopError,
    NoSession,
    NoSuchBackend,
    NoSuchProcess,
    NotEnded,
    SessionAlive,
    SessionEnded,
    Settling,
    Unavailable,
    UnknownProtocol,
    UsageError,
    WaitCancelled,
    WaitedTooLong,
    WrongBackend,
)
from looop_portable.protocol.liveness import Basis, Liveness, Verdict
from looop_portable.protocol.outcomes import (
    Broken,
    Checked,
    Held,
    Reaped,
    Refused,
    Released,
    Renewed,
    Retired,
    SessionStatus,
    Status,
    Superseded,
    Sweep,
    Won,
)
from looop_portable.protocol.records import Head, Holder, Lease, Registration
from looop_portable.protocol.shares import Reader
from looop_portable.protocol.standings import Standing
from looop_portable.sessions.registrar import Sessions
from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from looop_portable.holding.hold import Hold, hold
    from looop_portable.holding.hold_all import HoldAll, hold_all
    from looop_portable.waiting.claiming import claim_all, wait_for
    from looop_portable.waiting.limits import CancelEvent

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "BackendNotInstalled",
    "Basis",
    "Broken",
    "CancelEvent",
    "CannotExclude",
    "Checked",
    "ClaimHeld",
    "ClaimLost",
    "Claims",
    "Head",
    "Held",
    "Hold",
    "HoldAll",
    "Holder",
    "InvalidName",
    "Lease",
    "Liveness",
    "LooopError",
    "NoSession",
    "NoSuchBackend",
    "NoSuchProcess",
    "NotEnded",
    "Reader",
    "Reaped",
    "Refused",
    "Registration",
    "Released",
    "Renewed",
    "Retired",
    "SessionAlive",
    "SessionEnded",
    "SessionStatus",
    "Sessions",
    "Settling",
    "Share",
    "Standing",
    "Status",
    "Superseded",
    "Sweep",
    "Unavailable",
    "UnknownProtocol",
    "UsageError",
    "Verdict",
    "WaitCancelled",
    "WaitedTooLong",
    "Won",
    "WrongBackend",
    "claim_all",
    "hold",
    "hold_all",
    "wait_for",
]

_LATER = {
    "CancelEvent": "waiting.limits",
    "Hold": "holding.hold",
    "HoldAll": "holding.hold_all",
    "hold": "holding.hold",
    "hold_all": "holding.hold_all",
    "claim_all": "waiting.claiming",
    "wait_for": "waiting.claiming",
}
"""Imported when used: the command line needs neither them nor threads."""

if not TYPE_CHECKING:  # Without this, a type checker would take any name for a public one.

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"looop_portable.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
