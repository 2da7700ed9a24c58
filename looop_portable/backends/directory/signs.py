"""Signs of life on disk: heartbeats, what others saw of them, and locks, in `sessions/<id>/`.

Guarantees: each of these files belongs to one incarnation, is created once and never replaced; ages are by the filesystem's
clock alone, so hosts whose clocks are hours apart agree on them.
Does not guarantee: that a process that can beat still has its session. A server may accept a heartbeat and have given the
session to another. A process that beats therefore also reads its registration (`Sessions.renew`).
"""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable

from looop_portable.backends.base import Signs
from looop_portable.ledger.root import LedgerRoot
from looop_portable.protocol.liveness import Lock, Silence, interval
from looop_portable.protocol.names import spelled
from looop_portable.protocol.records import Registration
from looop_portable.system.files import Files
from looop_portable.system.files.rooms import clear
from looop_portable.system.opening.ours import PRIVATE_SIGN, PROBE, SIGN, those
from looop_portable.system.opening.private import fresh, named

_HEARTBEAT, _LOCK, _SIGHTING = "heartbeat-", "lock-", "sighting-"
BEATEN = (_HEARTBEAT, _LOCK)
"""How the names begin of what belongs to one incarnation, whose name follows. Created once, and never replaced."""
KEPT = (_LOCK,)
"""Those that are never written to, and stay as long as it does."""
_ABANDONED = 3600.0
"""Seconds."""
_COARSE = 2_000_000_000
"""Nanoseconds: FAT tells no more than every second second, so that two heartbeats can have one time there."""


class SignFiles(Signs):
    """The `Signs` of the sessions in `directory`. Their registrations are in `ledger_root`; `key` spells an id."""

    def __init__(self, directory: str, files: Files, ledger_root: LedgerRoot, key: Callable[[str], str] = spelled) -> None:
        self._directory = directory
        self._files = files
        self._ledger_root = ledger_root
        self._key = key

    def make_room(self, key: str) -> str:
        """Make the directory of the session that is spelled so, and return its path."""
        directory = f"{self._directory}/{key}"
        self._ledger_root.shared()
        try:
            shared = self._files.shared_bits(self._directory)
        except FileNotFoundError:
            self._ledger_root.start_anew()
            self._ledger_root.shared()
            shared = self._files.shared_bits(self._directory)
        self._ledger_root.make_room(directory, shared)
        self._files.refuse_link(directory)
        return directory

    def promise(self, registration: Registration, *, locked: bool) -> Registration:
        directory, shared = self.make_room(self._key(registration.session)), self._shared()
        found = registration._replace(disk=self.disk())
        if found.lease_seconds:
            self._files.make_beat(f"{directory}/{_HEARTBEAT}{found.incarnation}", shared=shared)
        if locked and found.disk:
            locked = self._files.keep_lock(f"{directory}/{_LOCK}{found.incarnation}", shared=shared)
            found = found._replace(locked=locked)
        return found

    def unpromise(self, registration: Registration) -> None:
        directory = f"{self._directory}/{self._key(registration.session)}"
        with contextlib.suppress(OSError):  # A close that fails has closed it.
            self._files.let_lock_go(f"{directory}/{_LOCK}{registration.incarnation}")
        with contextlib.suppress(OSError), self._files.room(directory, 1) as room:  # Whatever stays is swept.
            clear(room, those([f"{sign}{registration.incarnation}" for sign in BEATEN], SIGN))

    def beat(self, session: str, incarnation: str) -> None:
        directory = f"{self._directory}/{self._key(session)}"
        self._files.beat(f"{directory}/{_HEARTBEAT}{incarnation}")
        with contextlib.suppress(OSError):  # It is a hint, and the next heartbeat tries again.
            self._files.hold_lock(f"{directory}/{_LOCK}{incarnation}")

    def has_beat(self, session: str, incarnation: str) -> bool:
        return self._files.changed(f"{self._directory}/{self._key(session)}/{_HEARTBEAT}{incarnation}") is not None

    def silence(self, registration: Registration, *, watched: bool = False) -> Silence:
        """Read the clock before the heartbeat: a process paused in between then underestimates the age, the safe side.

        A beat may seem too old, or of the future, only because that clock was set. Such a beat is watched from then on. A
        *sighting*, a file named after the beat, records since when it is the last one. All judges on all hosts use it; the
        next beat makes it useless. `watched`: the beat is watched, however young it is.
        """
        directory, shared = self.make_room(self._key(registration.session)), self._shared()
        now = self._files.now(directory)
        beat = self._files.changed(f"{directory}/{_HEARTBEAT}{registration.incarnation}")
        if beat is None:
            raise FileNotFoundError(errno.ENOENT, "its heartbeat is missing", directory)
        seconds, lease = (now - beat) / 1e9, registration.lease_seconds
        if -interval(lease) <= seconds <= lease and not watched:
            return Silence(seconds)
        sighting = f"{directory}/{_SIGHTING}{registration.incarnation}-{beat}"
        since = self._files.changed(sighting)
        if since is None or (since - now) / 1e9 > interval(lease):  # The clock has been set back while it was watched.
            self._sight(directory, sighting, shared)
            return Silence(seconds)
        coarse = 0 if beat % _COARSE else _COARSE
        return Silence(seconds, max(now - since - coarse, 0) / 1e9)

    def _sight(self, directory: str, sighting: str, shared: int) -> None:
        """Set the sighting's time before its name: on SMB a new file has the client's time, wrong by hours perhaps."""
        private = fresh(f"{directory}/.{_SIGHTING}", self._files.nonce)
        make = functools.partial(self._files.make_beat, shared=shared)
        try:
            named(private, make, lambda made: self._files.replace(made, sighting), self._files.remove)
        except PermissionError:  # Windows: others who look at this moment have made it, and have it open.
            if self._files.changed(sighting) is None:
                raise
        earlier = f"{sighting.rpartition('-')[0]}-".rpartition("/")[2]
        with self._files.room(directory, 1) as room:
            names = those(room.names(), SIGN)
            clear(room, (name for name in names if name.startswith(earlier) and name != sighting.rpartition("/")[2]))

    def lock(self, registration: Registration) -> Lock:
        return self._files.lock_of(self.lock_path(registration), heirs=registration.heirs)

    def lock_path(self, registration: Registration) -> str:
        """The path of its lock, for processes that are to take part in it."""
        return f"{self._directory}/{self._key(registration.session)}/{_LOCK}{registration.incarnation}"

    def disk(self) -> str:
        mount = self._files.mount_of(self._directory)
        return mount.disk if mount else ""

    def sweep(self, key: str, current: str) -> bool:
        """Remove what a crash left half-written, and the signs of other incarnations. Whether there were such signs.

        Signs are made before their registration is published. Young ones stay: they may belong to a registrar at work.
        """
        directory = f"{self._directory}/{key}"
        with self._files.room(directory, 1) as room:
            names = room.names()
            over = [name for name in those(names, SIGN) if not current or current not in name]
            left = clear(room, (name for name in over if (self._files.age(f"{directory}/{name}") or 0) > _ABANDONED))
            clear(room, those(names, PRIVATE_SIGN, PROBE))
        return left > 0

    def _shared(self) -> int:
        return self._files.shared_bits(self._directory)
