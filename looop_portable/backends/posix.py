"""Claims in a directory of a POSIX system, lock-free: a generation is published by link(2).

Guarantees: at most one winner of a generation on local filesystems with hard links. No kernel lock is used, so none has to
be trusted.
Does not guarantee: the same on network filesystems yet: link(2) lets one win there too, but the second look rests on
listings that may be old. Nor freedom of races with looop itself, which knows no generations: a lease that it wrote, also
over one of ours whose holder is dead, is respected when it is seen.
Compatibility: every file backend writes this ledger, so hosts with different ones may share a directory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from looop_portable.errors import InvalidName, LooopError, Unavailable, told
from looop_portable.files import OS, Files
from looop_portable.lease import Head, Lease, decode, lease_in, record_of, text
from looop_portable.ledger import KEEP, Ledger
from looop_portable.names import canonical, spelled, unspelled
from looop_portable.projection import Projection
from looop_portable.registry import Registry


class PosixBackend:
    """A `Backend` in `data_dir`. Opening it touches nothing; the first `advance` makes what is missing."""

    name = "posix"

    def __init__(self, data_dir: str, files: Files = OS, keep: int = KEEP) -> None:
        self.ledger = Ledger(f"{data_dir}/claims/.ledger", files, keep)
        self.projection = Projection(f"{data_dir}/claims", self.ledger)
        self.sessions = Registry(f"{data_dir}/sessions", files)
        self._whole: dict[str, int] = {}  # The generations whose records are known to be leases, for `Ledger.repeat`.

    def read(self, claim: str) -> Head:
        key = spelled(claim)
        try:
            generation, data = self.ledger.head(key)
            lease = lease_in(data, claim, generation) if generation else None
            if lease and lease.session:
                self._whole[key] = generation
            foreign = self.projection.foreign(key, claim, generation)
            if lease is None:
                return Head(generation, foreign)
            # Over ours counts only what looop has finished: whatever else lies there is no lease, and must not hide one.
            return Head(generation, lease, foreign if foreign and foreign.session else None)
        except OSError as error:
            raise unreadable(error, claim) from error

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        key = spelled(claim)
        try:
            if lease is None:
                return self._release(key, expected)
            won = self.ledger.advance(key, expected, record_of(lease), shown_as=self.projection.path(key))
            if won:
                self._whole[key] = expected + 1
            return won
        except OSError as error:
            raise unreadable(error, claim) from error

    def claims(self) -> Iterator[str]:
        try:
            keys = sorted({*self.ledger.names(), *self.projection.foreign_keys()})
        except OSError as error:
            raise unreadable(error, "") from error
        for key in keys:
            name = self._name_if_held(key)
            if name:
                yield name

    def tidy(self) -> list[tuple[str, str]]:
        try:
            keys = sorted({*self.ledger.names(), *self.projection.foreign_keys()})
            self.ledger.sweep_root()
            self.projection.sweep()
        except FileNotFoundError:
            return []  # Nobody has ever claimed anything here.
        except OSError as error:
            raise unreadable(error, "") from error
        failed = []
        for key in keys:
            try:
                self.ledger.sweep(key)
                self.projection.mend(key)
            except OSError as error:
                failed.append((unspelled(key) or key, str(unreadable(error, ""))))
            except LooopError as error:
                failed.append((unspelled(key) or key, str(error)))
        return failed

    def unavailable(self) -> str | None:
        try:
            self.ledger.shared()
        except Unavailable as reason:
            return str(reason)
        except OSError as error:
            return str(unreadable(error, ""))
        return None

    def _name_if_held(self, key: str) -> str | None:
        name = unspelled(key)
        try:
            generation, data = self.ledger.head(key)
            name = name or self._name_recorded(key, data)
            if name is None:
                return None
            lease = lease_in(data, name, generation) if generation else None
            return name if lease or self.projection.foreign(key, name, generation) else None
        except (OSError, Unavailable):
            return name  # Whoever asks for it by name is told what is wrong with it.

    def _name_recorded(self, key: str, data: bytes) -> str | None:
        """A name that is too long to be told from its spelling; what a record says is taken only if it is spelled so."""
        name = text(decode(data), "name")
        try:
            return name if canonical(name) == name and spelled(name) == key else None
        except InvalidName:
            return None

    def _release(self, key: str, expected: int) -> bool:
        """The projection goes first: while somebody holds, mostly he alone touches it. Whoever loses puts it right."""
        whole = self._whole.pop(key, None) == expected
        self.projection.hide(key)
        won = False
        try:
            won = self._publish_release(key, expected, whole)
        finally:
            if not won:
                self._mend(key)
        if won and not whole:
            self.projection.hide(key, looops=True)  # It was looop's lease that has been released.
        return won

    def _publish_release(self, key: str, expected: int, whole: bool) -> bool:
        if whole:
            with contextlib.suppress(PermissionError):  # Another user's record. One of our own says it as well.
                return self.ledger.repeat(key, expected)
        return self.ledger.advance(key, expected, record_of(None))

    def _mend(self, key: str) -> None:
        try:
            self.projection.mend(key)
        except (OSError, LooopError):
            return  # It is not the truth, and the reaper tries again.


def unreadable(error: OSError, claim: str) -> Unavailable:
    """The error that says which path could not be used, and why."""
    about = f"claim {claim}: " if claim else ""
    return Unavailable(f"{about}{told(error)}", str(error.filename2 or error.filename or ""))
