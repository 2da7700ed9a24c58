"""The directory of a ledger: its stamp, its guard, and the modes of what is made in it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

from looop_portable.files import Files
from looop_portable.stamp import WINDOWS, Policy, Stamp, Way, refuse_local_guard

_UNGUARDED: AbstractContextManager[None] = contextlib.nullcontext()
_UNKNOWN = Way()


class Place:
    """`root`, as a backend of that `policy` uses it. Nothing is touched before `make`."""

    def __init__(self, root: str, files: Files, policy: Policy) -> None:
        self.root = root
        self.policy = policy
        self._files = files
        self._inside = threading.local()
        self._trusted = False
        self.start_anew()

    def start_anew(self) -> None:
        """Forget what was seen: all of it has been removed."""
        self._stamp = Stamp(self.root, self._files, self.policy)
        self._way: Way | None = None
        self._shared: int | None = None

    def way(self) -> Way | None:
        """How generations are published here; None as long as nobody has published any."""
        if self._way is None:
            self._way = self._stamp.known()
        return self._way

    def make(self) -> Way:
        """There is a directory, and it can exclude. Raises `CannotExclude` if not."""
        return self._way or self._stamp.make()

    def shared(self) -> int:
        """The permissions that new files share. The first call makes the directory."""
        if self._shared is None:
            self._stamp.make()
            self._shared = self._files.shared_bits(self.root)
        return self._shared

    def guard(self) -> AbstractContextManager[None]:
        """The directory's guard, if it has one: held until the block ends. May be nested within a thread.

        Windows processes always hold theirs: without it they would be in each other's way, where a file that is open
        cannot be removed.
        """
        kind = (self.way() or _UNKNOWN).guard or (WINDOWS if self.policy.windows else "")
        if not kind or getattr(self._inside, "held", False):
            return _UNGUARDED
        return self._enter(kind)

    @contextlib.contextmanager
    def _enter(self, kind: str) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._guard(kind))
            except FileNotFoundError:  # All of it has been removed since we looked.
                self.start_anew()
                held.enter_context(self._guard(kind))
            self._inside.held = True
            try:
                yield
            finally:
                self._inside.held = False

    def _guard(self, kind: str) -> AbstractContextManager[None]:
        shared, path = self.shared(), self._stamp.guard_path(kind)
        if not self._trusted:
            refuse_local_guard(self._files, kind, path, stamped=True)
            self._trusted = True
        return self._files.guard(path, shared=shared)

    def sweep(self) -> int:
        """Remove what crashed processes left beside the names. How many there were."""
        return self._stamp.sweep()
