"""Claims in a directory: what the file backends share. They differ in their `Policy`: what they do where.

Guarantees: at most one winner of a generation, whichever backends write there: all of them publish in the format of the
directory's stamp. Without a guard (hard links work, and nobody asked for one) no process waits for another.
Does not guarantee: the same on network filesystems yet. link(2) lets one win there too, but the second look reads listings
that may be old. Without a guard, looop itself may race with us, since it knows no generations. A lease that looop wrote,
also over one of ours whose holder is dead, is respected when it is seen.
Compatibility: a directory whose guard is flock can be shared with looop >= 1.0: see `adoption`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator

from looop_portable.backends.base import Backend, Found
from looop_portable.backends.directory.adoption import NO_SHARING, Adoption, Seen
from looop_portable.backends.directory.projection import Projection
from looop_portable.backends.directory.registry import Registry
from looop_portable.backends.directory.tickets import TicketFiles
from looop_portable.errors import CannotExclude, LooopError, Unavailable, answering, describe_error, unreadable
from looop_portable.ledger.ledger import KEEP, Ledger
from looop_portable.ledger.spelling import recorded, that_say
from looop_portable.ledger.stamp import FLOCK, Policy
from looop_portable.protocol.codec import is_word
from looop_portable.protocol.names import spellings, unspelled
from looop_portable.protocol.outcomes import Sweep
from looop_portable.protocol.records import Head, Holder, Lease, holder_of, is_shared, lease_in, record_of
from looop_portable.protocol.standings import is_of
from looop_portable.system.files import OS, Files
from looop_portable.typed import Self

_OLD = 900.0
"""Seconds, over a network: a heartbeat there is dear enough."""


class DirectoryBackend(Backend):
    """A `Backend` in `data_dir`. Opening it touches nothing; the first `advance` makes what is missing."""

    sessions: Registry
    tickets: TicketFiles

    def __init__(self, data_dir: str, policy: Policy, files: Files = OS, keep: int = KEEP) -> None:
        data_dir = data_dir.replace(os.sep, "/")
        # Looop holds no guard over its sessions, so theirs is for filesystems that need one.
        for_sessions = policy._replace(guard="", holds=tuple({"", *policy.holds}))
        self.policy = policy
        self.ledger = Ledger(f"{data_dir}/claims/.ledger", files, keep, policy=policy, floors=True)
        self.projection = Projection(f"{data_dir}/claims", self.ledger)
        self.sessions = Registry(f"{data_dir}/sessions", files, policy=for_sessions, is_looops=self._may_be_looops)
        self.tickets = TicketFiles(self.ledger, self.projection)
        self._adoption = Adoption(self.ledger, self.projection)
        self._whole: dict[str, Head] = {}  # The leases that are known to have a record, for `Ledger.release`.

    @property
    def name(self) -> str:
        return self.policy.backend

    @property
    def directory(self) -> Self:
        return self

    @property
    def stamps(self) -> str:
        return self.ledger.root

    @property
    def is_guarded(self) -> bool:
        """On Windows also a handle that is no descriptor yet."""
        try:
            return self.policy.windows or self.ledger.ledger_root.is_guarded()
        except OSError:
            return True  # The claim raises the error.

    def for_this_platform(self) -> Self:
        """This backend; raises `CannotExclude` where it is another platform's."""
        if self._wrong_platform():
            raise CannotExclude(self._wrong_platform())
        return self

    def _wrong_platform(self) -> str:
        if self.policy.windows == (sys.platform == "win32"):
            return ""
        platform = "Windows" if self.policy.windows else "POSIX systems"
        return f"the backend '{self.policy.backend}' is for {platform}: use --backend auto"

    def read(self, claim: str) -> Head:
        try:
            return self.read_spelled(self.ledger.spelling.key(claim), claim)
        except OSError as error:
            raise unreadable(error, claim) from error

    def recall(self, claim: str) -> Head | None:
        """The head of `claim` that this process's last release left, and a newer lease of looop's: see `Ledger.recall`."""
        try:
            key = self.ledger.spelling.key(claim)
            generation = self.ledger.recall(key)
            if not generation or self._is_shared_with_looop():
                return None  # What looop did since has to become a generation first.
            return Head(generation, self.projection.foreign(key, claim, generation))
        except OSError:
            return None  # `read` raises the error.

    def advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        try:
            try:
                return self._advance(claim, expected, lease)
            except FileNotFoundError:
                if not self.ledger.ledger_root.may_repeat():
                    raise
            return self._advance(claim, expected, lease)
        except OSError as error:
            raise unreadable(error, claim) from error

    def _advance(self, claim: str, expected: int, lease: Lease | None) -> bool:
        key = self.ledger.spelling.settle(claim) if spellings(claim)[1] else spellings(claim)[0]
        self.ledger.ledger_root.shared()  # From here on it is known which guard there is.
        with self.ledger.ledger_root.guard():
            shared = self._is_shared_with_looop()
            seen = self._adoption.seen(key, claim, expected) if shared else Seen()
            if seen.moved:
                return self.ledger.ledger_root.lost()
            if lease is None:
                return self._release(key, claim, expected, shared)
            if holder_of(expected) and not self._is_still(key, claim, expected):
                return False
            if shared:
                if lease.readers and (self.sessions.has_looops() or self.projection.has_looops()):
                    raise CannotExclude(NO_SHARING.format(claim))
                self.sessions.show(lease.session, lease.incarnation)
            first = seen.nothing and self.projection.is_looops_home()
            won = self.ledger.advance(key, expected, record_of(lease), self.projection.path(key), first=first)
            if won:
                self._whole[key] = Head(expected + 1, lease)
            return won

    def scan(self) -> Iterator[Found]:
        with answering():
            names, known = self.ledger.names(), self.projection.foreign_names()
        for key in sorted({*names, *known}):
            if found := self._head_if_held(key, known.get(key, "")):
                yield found

    def held_by(self, holder: Holder, but: Iterable[str], since: int = 0) -> Iterator[str]:
        ledger, said = self.ledger, holder.incarnation if is_word(holder.incarnation) else ""
        with answering():
            keys, stamped = {*ledger.names()} - {ledger.spelling.key(name) for name in but}, ledger.ledger_root.format()
            is_dated = since and stamped and stamped.links and self.sessions.is_beside(ledger.root)
        there = (key for key in sorted(keys) if not (is_dated and ledger.files.is_untouched(f"{ledger.root}/{key}", since)))
        yield from that_say(said.encode(), there, lambda key: ledger.head(key)[1])

    def strange(self) -> str:
        with answering():
            if self.ledger.ledger_root.format() or self.sessions.is_used():
                return ""
            if not self.projection.foreign_names() or self.projection.has_looops():
                return ""
        return f"{self.projection.directory}: no store: there is no stamp and no session here, so its files are not ours"

    def shown(self, lease: Lease) -> Lease | None:
        return self.projection.shown(lease, self.sessions.signs.disk)

    def tidy(self) -> list[tuple[str, str]]:
        failed: list[tuple[str, str]] = []
        with answering():
            keys = sorted({*self.ledger.names(), *self.projection.foreign_names()})
        for sweep in (self.ledger.sweep_root, self.projection.sweep):
            try:
                sweep()
            except FileNotFoundError:
                return []  # Nobody has ever claimed anything here.
            except OSError as error:
                failed.append(("", describe_error(error)))
        for key in keys:
            try:
                with self.ledger.ledger_root.guard():
                    self.ledger.sweep(key)
                    self._mend(key)
            except OSError as error:
                if not self.ledger.files.in_use(error):  # Else the next sweep does it.
                    failed.append((unspelled(key, once=True) or key, describe_error(error)))
            except LooopError as error:
                failed.append((unspelled(key, once=True) or key, str(error)))
        return failed

    def prune(self, older_than: float, *, dry_run: bool = False, say: Callable[[str], object] = str) -> Sweep:
        from looop_portable.backends.directory.pruning import prune

        return prune(self, older_than, dry_run=dry_run, say=say)

    def keep_young(self, holder: Holder, names: Iterable[str]) -> None:
        older = _OLD if self.tickets.far() else 0
        with answering():
            for key in map(self.ledger.spelling.key, names):
                self.ledger.keep_young(key, older)
                self.ledger.files.keep_young(self.projection.path(key), older)
            self.ledger.ledger_root.keep_young(older)
            self.sessions.keep_young(holder, older)

    def unavailable(self) -> str | None:
        if self._wrong_platform():
            return self._wrong_platform()
        try:
            self.ledger.ledger_root.make()
            with self.ledger.ledger_root.guard():
                return None
        except Unavailable as reason:
            return str(reason)
        except OSError as error:
            return describe_error(error)

    def read_spelled(self, key: str, name: str) -> Head:
        """As `read`, of a name whose spelling is known. Raises OSError."""
        generation, data = (self._adoption if (shared := self._is_shared_with_looop()) else self.ledger).head(key)
        lease = lease_in(data, name, generation) if generation else None
        if lease and lease.session:
            self._whole[key] = Head(generation, lease)
            if shared:
                return Head(generation, lease)
        foreign = self.projection.foreign(key, name, generation)
        if lease is None:
            return Head(generation, foreign)
        # Over ours counts only what looop has finished: whatever else lies there is no lease, and must not hide one.
        return Head(generation, lease, foreign if foreign and foreign.session else None)

    def _is_shared_with_looop(self) -> bool:
        stamped = self.ledger.ledger_root.format()
        return stamped is not None and stamped.guard == FLOCK

    def _may_be_looops(self) -> bool:
        """The same, also of a directory that is yet to be made."""
        return self._is_shared_with_looop() or (not self.ledger.ledger_root.format() and self.policy.guard == FLOCK)

    def _head_if_held(self, key: str, known: str) -> tuple[str, Head | None] | None:
        name = known or unspelled(key, once=True)
        try:
            name = name or recorded(key, self.ledger.head(key)[1], "name")
            if name is None:
                return None
            head = self.read_spelled(key, name)
            lease = head.lease
            none = lease is None or (lease.foreign and not lease.session and self.projection.is_strange(key))
        except (OSError, LooopError):
            return (name, None) if name else None  # `read` says what is wrong with it.
        return None if none else (name, head)

    def _release(self, key: str, claim: str, expected: int, shared: bool) -> bool:
        """Hide the projection first: mostly the holder alone touches it. A release that loses puts it right."""
        known, holder, path = self._whole.pop(key, None), holder_of(expected), self.projection.path(key)
        whole = known is not None and known.generation == expected
        shows = self.projection.shows_what_was_published(path, key, expected)
        sure = shows and (holder is None or (whole and known is not None and is_of(known.lease, holder)))
        try:
            if not (sure or (self._is_still(key, claim, expected) and self.ledger.is_as_published(key, expected))):
                return False
        except OSError as error:
            if not whole or error.errno not in (errno.EMFILE, errno.ENFILE):
                raise  # Else nothing can be opened, and what this process knows of it has to do.
        self.projection.hide(path, key, is_ours=shows)
        if shared:
            # A lease of looop's would otherwise be adopted anew at the next look: released, and held all the same.
            self.projection.remove_looops(key, claim)
        won = False
        try:
            won = self._publish_release(key, expected, whole)
        finally:
            if not won:
                with contextlib.suppress(OSError, LooopError):  # It is not the truth, and the reaper tries again.
                    self._mend(key)
        if won and not whole:
            self.projection.remove_looops(key, claim)  # It was looop's lease that has been released.
        return won

    def _is_still(self, key: str, claim: str, expected: int) -> bool:
        """Whether generation `expected` is whose it was judged to be.

        A store that was swapped may have another holder under the same number, who must not lose the claim.
        """
        holder = holder_of(expected)
        if holder is None:
            return True
        data = self.ledger.record(key, expected)
        lease = lease_in(data, claim, int(expected)) if data is not None else None
        return is_of(lease, holder)

    def _publish_release(self, key: str, expected: int, whole: bool) -> bool:
        if whole and (stamped := self.ledger.ledger_root.format()) and stamped.links:
            try:
                return self.ledger.release(key, expected, moves=is_shared(expected))
            except PermissionError:  # Another user's record. One of our own says it as well.
                return self.ledger.advance(key, expected, record_of(None))
        return self.ledger.advance(key, expected, record_of(None))

    def _mend(self, key: str) -> None:
        if self._is_shared_with_looop():
            self._adoption.settle(key)
        self.projection.mend(key)
