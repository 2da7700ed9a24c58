"""The directory of a ledger: its stamp, its guard, and the modes of what is made in it."""

from __future__ import annotations

import _thread
import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

from looop_portable.ledger.stamp import NAME, Format, Policy, Stamp, refuse_local_guard
from looop_portable.system.files import Files

FLOORS, COMMON = ".floors", ".pruned"
"""See `floors`, and `pruning`."""

_UNGUARDED: AbstractContextManager[None] = contextlib.nullcontext()
_UNKNOWN = Format()


class LedgerRoot:
    """`root`, as a backend of that `policy` uses it. Nothing is touched before `make`."""

    def __init__(self, root: str, files: Files, policy: Policy) -> None:
        self.root = root
        self.policy = policy
        self._files = files
        self._inside = _thread._local()
        self.start_anew()

    def start_anew(self) -> None:
        """Forget what was seen: all of it has been removed, or is another directory now."""
        self._forget_stamp()
        self._shared: int | None = None
        self._trusted = False

    def _forget_stamp(self) -> None:
        self._stamp = Stamp(self.root, self._files, self.policy)
        self._format: Format | None = None
        self._kind: str | None = None

    def format(self) -> Format | None:
        """How generations are published here; None as long as nobody has published any."""
        stamped = self._format
        if stamped is None:
            stamped = self._format = self._stamp.known()
        return stamped

    def make(self) -> Format:
        """Make the directory, which can exclude, if it is missing. Raises `CannotExclude` if it cannot."""
        return self._format or self._stamp.make()

    def read_anew(self) -> Format | None:
        """What the stamp says by now. What was read before stands."""
        return Stamp(self.root, self._files, self.policy).known()

    def change(self, fmt: Format) -> None:
        """Change the stamp. Here the old one stands until `start_anew`."""
        self._stamp.change(fmt)

    def try_guard(self, guard: str) -> None:
        """Raises `CannotExclude` where it would keep nobody out."""
        self._stamp.try_guard(guard, self.shared())

    def shared(self) -> int:
        """The permissions that new files share. The first call makes the directory."""
        shared = self._shared
        if shared is None:
            self._stamp.make()
            shared = self._shared = self._files.shared_bits(self.root)
        return shared

    def refuse_links(self, key: str) -> None:
        """Where others can write, refuse a link that was planted for the root, or for `key` in it.

        Does not guarantee that none is planted in the next moment. What prevents harm to removals: see `pruning`.
        """
        if self.shared():
            for path in (self.root, f"{self.root}/{key}"):
                with contextlib.suppress(FileNotFoundError):
                    self._files.refuse_link(path)

    def make_room(self, directory: str, shared: int) -> None:
        """Make `directory`, in the root or beside it. If those have been removed, make them again."""
        try:
            self._files.mkdir(directory, shared=shared)
        except FileNotFoundError:  # All of it has been removed since we looked.
            self.start_anew()
            self.shared()
            self._files.mkdir(directory, shared=self._files.shared_bits(directory.rpartition("/")[0]))

    def may_repeat(self) -> bool:
        """Whether to try a step again that did not find its directory and changed nothing.

        Not with the guard held: it is the guard of the directory that has been removed.
        """
        return self._format is None and not getattr(self._inside, "held", False)

    def guard(self) -> AbstractContextManager[None]:
        """The directory's guard, if it has one: held until the block ends. May be nested within a thread."""
        kind = self._kind
        if kind is None:
            kind = self._found_kind()
        if not kind or getattr(self._inside, "held", False):
            return _UNGUARDED
        return self._enter(kind)

    def lost(self) -> bool:
        """False, for who has lost a step: it may have been restamped while he slept, so he reads the stamp again."""
        self._forget_stamp()
        return False

    def within(self, guard: str) -> AbstractContextManager[None]:
        """As `guard`, whatever the stamp says."""
        return _UNGUARDED if getattr(self._inside, "held", False) else self._enter(guard)

    def is_guarded(self) -> bool:
        """Whether it has a guard, or may yet be given one."""
        return self.format() is None or bool(self._found_kind())

    def _found_kind(self) -> str:
        stamped = self.format()
        kind = (stamped or _UNKNOWN).guard
        if stamped is not None:
            self._kind = kind
        return kind

    @contextlib.contextmanager
    def _enter(self, kind: str) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._guard(kind))
            except FileNotFoundError:  # All of it has been removed since we looked.
                self.start_anew()
                self.make()
                if kind := self._found_kind():  # What was made in its place may have another, or none.
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

    def keep_young(self, older: float) -> None:
        """What is in the root, and its guard: see `youth`."""
        for path in (
            f"{self.root}/{NAME}",
            f"{self.root}/{FLOORS}",
            *(self._stamp.guard_path(kind) for kind in [self._found_kind()] if kind),
        ):
            self._files.keep_young(path, older)
        with contextlib.suppress(OSError):  # Mostly there is none.
            for name in self._files.list(f"{self.root}/{COMMON}"):
                self._files.keep_young(f"{self.root}/{COMMON}/{name}", older)

    def sweep(self) -> int:
        """Remove what crashed processes left beside the names. How many there were."""
        return self._stamp.sweep()
