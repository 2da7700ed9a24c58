"""Claims that any worker can trust: never two live holders, recovery without an operator, and a fencing token.

    with looop_portable.hold("repo-x") as lease:
        deploy(token=lease.generation)

The names below are the public surface.
"""

from typing import TYPE_CHECKING

from looop_portable.backends.base import Backend
from looop_portable.claims.gate import Claims
from looop_portable.errors import (
    CannotExclude,
    ClaimHeld,
    ClaimLost,
    InvalidName,
    LooopError,
    NoSession,
    NoSuchBackend,
    SessionAlive,
    Unavailable,
    WaitedTooLong,
)
from looop_portable.protocol.lease import Head, Lease
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import (
    Broken,
    Checked,
    Held,
    Reaped,
    Refused,
    Released,
    Renewed,
    Retired,
    Status,
    Superseded,
    Sweep,
    Won,
)
from looop_portable.protocol.standings import Standing

if TYPE_CHECKING:
    from looop_portable.holding.hold import Hold, hold
    from looop_portable.holding.hold_all import hold_all
    from looop_portable.waiting.claiming import claim_all, wait_for

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "Broken",
    "CannotExclude",
    "Checked",
    "ClaimHeld",
    "ClaimLost",
    "Claims",
    "Head",
    "Held",
    "Hold",
    "InvalidName",
    "Lease",
    "Liveness",
    "LooopError",
    "NoSession",
    "NoSuchBackend",
    "Reaped",
    "Refused",
    "Released",
    "Renewed",
    "Retired",
    "SessionAlive",
    "Standing",
    "Status",
    "Superseded",
    "Sweep",
    "Unavailable",
    "Verdict",
    "WaitedTooLong",
    "Won",
    "claim_all",
    "hold",
    "hold_all",
    "wait_for",
]

_LATER = {
    "Hold": "holding.hold",
    "hold": "holding.hold",
    "hold_all": "holding.hold_all",
    "claim_all": "waiting.claiming",
    "wait_for": "waiting.claiming",
}
"""Imported when used: the command line needs neither them nor threads."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"looop_portable.{_LATER[name]}"), name)
