"""`with hold("repo-x") as lease:` for programs: a claim for as long as a block runs.

Guarantees: nobody else alive holds the claim inside the block, in another process or in another thread of this one. Where
the claim is lost all the same (this host is cut off, or slept; somebody broke it), `Hold.lost` is set before others may
take over for this host's silence, and `on_lost` is called.
Does not guarantee: that the block stops by itself. It looks at `lost`, or calls `check`, as often as it matters; and it
hands the generation to what it writes to.
How: the first `hold` registers this process as a session, once per store, which gives heartbeats from threads of its own
(`heartbeats`). A child made by fork is another process: it registers its own, and leaving a block that its parent entered
does nothing there.
Interrupted: a signal's handler may raise at any step. Entering, waiting or leaving then ends with its exception, and the
claim is released. Repeated signals only delay the release: `visits` says which thread settles it then.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from looop_portable.config import PathLike
from looop_portable.holding.blocks.functions import guarded
from looop_portable.holding.blocks.one_claim import OneClaim
from looop_portable.holding.options import Options, options_of
from looop_portable.holding.visits import Exit, Visit, visit_of
from looop_portable.protocol.liveness import DEFAULT_TTL
from looop_portable.protocol.records import Lease
from looop_portable.waiting.limits import CancelEvent

__all__ = ["Hold", "hold"]

P = ParamSpec("P")
R = TypeVar("R")


class Hold:
    """A claim, held from entering the `with` block until leaving it. Made by `hold`, and entered once at a time.

    Within the block:

    - `lost`: set as soon as the claim is known to be lost. Look at it as often as it matters.
    - `check()`: read the claim afresh; raises `ClaimLost` if it is lost.
    - `generation`: the fencing token, for what is written to. Every later holder's is greater.

    Also `name`, `session`, `joined` and `lease`: what is published. Without a block: `acquire()` and `release()`. Before a
    function, as its decorator: each call is in a block of its own.
    """

    def __init__(self, name: str, options: Options) -> None:
        on_lost = options.on_lost
        self._options = options
        self._block = OneClaim(name, options._replace(on_lost=(lambda _: on_lost(self)) if on_lost else None))
        self._visits: dict[int, Visit] = {}

    def __repr__(self) -> str:
        return f"<Hold {self.name!r} {self._block}>"

    @property
    def lost(self) -> threading.Event:
        """Set as soon as the claim is known to be lost."""
        return self._block.lost

    def check(self) -> None:
        """Read the claim afresh. Raises `ClaimLost` if it is lost, or another's: in a forked child, always."""
        self._block.check()

    @property
    def generation(self) -> int:
        """The fencing token: every later holder's is greater. Raises `ClaimLost` outside of the block, as the next two."""
        return self._block.lease.generation

    @property
    def lease(self) -> Lease:
        """What is published."""
        return self._block.lease

    @property
    def session(self) -> str:
        """The id of this process's session."""
        return self._block.lease.session

    @property
    def name(self) -> str:
        """What was asked for. With slots, `lease.name` is ours."""
        return self._block.name

    @property
    def joined(self) -> bool:
        """Whether the session of $LOOOP_SESSION_ID holds the claim, or one around that. Then leaving releases nothing."""
        return self._block.joined

    def acquire(self) -> Self:
        """Enter without a block, as for `setUp`. Raises as entering one does, and waits as long.

        It is held until `release`, or until the process ends. Interrupted, it is not held; but nothing is released by
        itself where whoever has acquired it is interrupted afterwards, or forgets it.
        """
        self._block.enter_within(self._block.options.timeout, Visit(), by_hand=True)
        return self

    def release(self) -> None:
        """Leave what `acquire` has entered, in any thread. Raises `ClaimLost` if it was lost, or is not held."""
        self._block.leave()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """As a decorator: each call of `function` enters a block of its own. Raises `UsageError` for an async one."""
        return guarded(functools.partial(Hold, self.name, self._options), function)

    def __enter__(self) -> Self:
        self._block.enter_within(self._block.options.timeout, visit_of(self))
        return self

    def _leave(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._block.leave(error)

    if TYPE_CHECKING:

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...

    else:
        __exit__ = Exit(_leave)


def block_of(hold: Hold) -> OneClaim:
    """For `hold_all`, which enters in its own way."""
    return hold._block


def hold(
    name: str,
    *,
    data_dir: PathLike | None = None,
    backend: str | None = None,
    lease_seconds: int = DEFAULT_TTL,
    on_lost: Callable[[Hold], object] | None = None,
    timeout: float | None = 0,
    slots: int = 0,
    max_hold: float | None = None,
    note: str = "",
    cancel_check: Callable[[], bool] | None = None,
    cancel: CancelEvent | None = None,
    shared: bool = False,
) -> Hold:
    """Claim `name` for this process while a `with` block runs.

    `data_dir` and `backend` default as on the command line. `lease_seconds`: for how long other hosts wait for a sign of
    life of this one before they may take the claim over; after two thirds of it without being heard this one counts itself
    as lost. `on_lost` is then called with the `Hold`, once, in a thread of its own.
    `timeout`: for how many seconds entering waits if another holds the claim, another thread of this process included;
    None or -1: without end. First come, first served. `slots`: how many may hold it at once; `lease.name` is then our slot.
    `shared`: beside all who share it, in this process too, while nobody has it alone; not with `slots`. Whoever waits to
    have it alone is not passed by.
    `cancel` ends the wait as soon as it is set. `cancel_check` is asked twice a second, and ends it with True, or with what
    it raises; where the main thread waits, it is called in another thread.
    `max_hold`: seconds, after which the block is lost, and the claim released, though the block may go on: `lost` tells it.
    `note`: what others are to know who are refused, or list what is held.
    Entering raises `ClaimHeld` if another holds the claim (`WaitedTooLong` if it did so until `timeout` was over,
    `WaitCancelled` if the wait was ended),
    `Unavailable` if nobody can tell; leaving raises `ClaimLost` if it was lost, or somebody else was given the claim
    meanwhile.
    """
    options = options_of(
        data_dir, backend, lease_seconds, on_lost, timeout, slots, max_hold, note, cancel_check, cancel, shared=shared
    )
    return Hold(name, options)
