"""What a block of `hold` is to this process's membership."""

from __future__ import annotations

from looop_portable.system.watch.waking import Watcher
from looop_portable.typed import Protocol


class Taker(Protocol):
    """A block that has a name, or wants it."""

    owner: object
    """The thread or task that runs it."""
    watcher: Watcher | None
    """What wakes for it, while it waits."""

    def settle_if_over(self) -> None:
        """It lets go what it has, if its block has ended without that."""


class Block(Protocol):
    """A block that runs in a session's name."""

    def look_again(self) -> None:
        """Whether its claim is still its own, read afresh."""

    def lose(self, reason: str) -> None:
        """It is lost."""

    def forget(self) -> None:
        """It has been left, by somebody else."""

    def end_with_process(self) -> None:
        """The process ends: it is left, if nobody else is to leave it."""


def superseded(head: int) -> str:
    """How a claim was lost whose latest generation is `head`."""
    return f"was superseded (it is at {head}): broken, or ended" if head else "is gone: the claim's directory was removed"
