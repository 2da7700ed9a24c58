"""Claims that any worker can trust: never two live holders, recovery without an operator, and a fencing token.

    with looop_portable.hold("repo-x") as lease:
        deploy(token=lease.generation)

The names below are the public surface.
"""

from typing import TYPE_CHECKING

from looop_portable.backends.base import Backend
from looop_portable.claims import Claims
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
)
from looop_portable.lease import Head, Lease
from looop_portable.liveness import Liveness, Verdict
from looop_portable.outcomes import (
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
from looop_portable.protocol import Standing

if TYPE_CHECKING:
    from looop_portable.holding import Hold, hold

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
    "Won",
    "hold",
]


def __getattr__(name: str) -> object:
    """`hold` and `Hold` are imported when used: the command line needs neither them nor threads."""
    if name not in ("Hold", "hold"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from looop_portable import holding

    return getattr(holding, name)
