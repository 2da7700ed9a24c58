"""The lines of those who wait, as a backend has them: in the order in which they came."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from looop_portable.protocol.records import Registration
from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from looop_portable.system.watch.waking import Watcher

__all__ = ["Tickets"]


class Tickets(ABC):
    """Where those who wait for a claim line up, first come, first served. Only the order depends on it, and nobody's claim.

    A *ticket* is a word that was never one before. A waiter that has ended, or does not take its turn, loses its
    ticket: the waiter behind it gives it back. If it lives, it lines up anew. Methods raise `Unavailable` when they cannot
    answer.
    """

    keeps: bool = False
    """Whether what a watcher has subscribed to rings until it subscribes to something else. If not, each look asks anew."""

    @abstractmethod
    def take(self, claim: str, waiter: Registration) -> str:
        """A ticket at the end of the line. `waiter` is the process that waits: it need not be a session."""

    @abstractmethod
    def give_back(self, claim: str, ticket: str) -> None:
        """Leave the line, or have somebody leave it. A ticket that is gone is no error."""

    @abstractmethod
    def line(self, claim: str) -> list[str]:
        """The tickets, the first to be served first."""

    @abstractmethod
    def waiter(self, claim: str, ticket: str) -> Registration | None:
        """Who waits with this ticket; None: it has been given back."""

    @abstractmethod
    def show(self, claim: str, ticket: str) -> None:
        """Who has it lives, and waits: `shown` says something else from then on. Nothing if it is gone."""

    @abstractmethod
    def shown(self, claim: str, ticket: str) -> int | None:
        """What tells one `show` from the one before."""

    @abstractmethod
    def claims(self) -> list[str]:
        """The claims that there may be a line for."""

    def subscribe(self, watcher: Watcher, claims: Sequence[str], ticket: str = "", *, foreign: bool = False) -> bool:  # noqa: ARG002 (the interface)
        """Wake `watcher` when this `ticket` is given back or, without one, when one of `claims` is released.

        Whether every such change rings from now on. False where nobody tells of them, as on a network mount: whoever waits
        looks again and again. It ends what this watcher has subscribed to before; with no claims, that is all that it does.
        `foreign`: looop itself holds one of the claims.
        """
        return watcher.watch(())

    def far(self) -> bool:
        """Whether each look goes over a network."""
        return False

    def tidy(self) -> None:
        """Remove what crashed processes left half-made."""
        return
