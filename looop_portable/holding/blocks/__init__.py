"""What a block of `hold` is to this process's membership."""

from __future__ import annotations

from looop_portable.system.watch.waking import Watcher
from looop_portable.typed import Protocol


def key_of(name: str, share: str = "") -> str:
    """How a process notes that a block of its has `name`, or a `share` of it. No name has a line break in it."""
    return f"{name}\n{share}" if share else name


def parts_of(key: str) -> tuple[str, str]:
    """The name, and the share."""
    name, _, share = key.partition("\n")
    return name, share


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
