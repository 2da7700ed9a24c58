"""Sessions on disk: who registered which id, and with what evidence of life.

Guarantees: an id's registrations are generations of a ledger, so of two that register it at once exactly one wins, and a
crash leaves the old one or the new one, complete.
Compatibility: `sessions/<id>/meta.json` and `status.json` are written for looop, which counts our sessions by them, and
read where looop wrote them (they have no incarnation). For our own sessions they are projections, never the truth.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable

from looop_portable.backends.base import SessionHead, SessionStore
from looop_portable.backends.directory.signs import KEPT, SignFiles
from looop_portable.errors import InvalidName, Unavailable
from looop_portable.ledger.ledger import NOTHING, Ledger
from looop_portable.ledger.spelling import NOT_STORED
from looop_portable.ledger.stamp import Policy
from looop_portable.protocol.codec import decode, for_looop, text
from looop_portable.protocol.names import ONCE_LONGEST, canonical, excerpt, spellings, unspelled
from looop_portable.protocol.records import FOREIGN, Holder, Registration, holder_of, is_damaged, of_looops, registration_in
from looop_portable.system.clock import timestamp
from looop_portable.system.files import Files
from looop_portable.system.files.rooms import clear
from looop_portable.system.opening.ours import PRIVATE_SIGN, PROBE, PROJECTION, SIGN, those
from looop_portable.system.opening.private import fresh, put

_ENDED = ("exited", "killed")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PROJECTIONS = ("status.json", "meta.json")
POLICY = Policy("posix")


class Registry(SessionStore):
    """The `SessionStore` of the file backends: everything below `directory`."""

    signs: SignFiles

    def __init__(
        self,
        directory: str,
        files: Files,
        clock: Callable[[], str] = timestamp,
        policy: Policy = POLICY,
        is_looops: Callable[[], bool] = bool,
    ) -> None:
        """`is_looops`: whether looop itself may have claims beside these sessions."""
        self.directory = directory
        self._is_looops = is_looops
        self.files = files
        self._clock = clock
        self.ledger = Ledger(f"{directory}/.ledger", files, durable=True, policy=policy)
        self.signs = SignFiles(directory, files, self.ledger.ledger_root, self._key)

    def read(self, session: str) -> SessionHead:
        key = self._key(session)
        generation, data = self.ledger.head(key) if key else (0, b"")
        own = registration_in(session, data) if generation and data != NOTHING else None
        foreign, torn = self._foreign(session, key)
        if own is not None and not own.incarnation:
            return SessionHead(generation, None, foreign, damaged=True, torn=torn)
        return SessionHead(generation, own, foreign, torn=torn)

    def refuses(self, registration: Registration) -> str:
        """Looop asks whether process 0 runs, and is told that it does: its own group is called so."""
        if not registration.timed or not self._is_looops():
            return ""
        why = "looop itself may have claims in this directory, and takes a session without a process for alive for ever"
        return f"session '{registration.session}' cannot live by time: {why}"

    def stamp(self, session: str, generation: int) -> int:
        with contextlib.suppress(OSError):
            return self.files.written_at(f"{self.ledger.root}/{self.ledger.spelling.key(session)}/{generation}")
        return 0

    def is_beside(self, path: str) -> bool:
        """Whether `path` has the times of the sessions' own local disk: `claims` may be a link of the user's."""
        mount, here = self.files.mount_of(path), self.signs.disk()
        return mount is not None and bool(here) and mount.disk == here

    def absent(self, session: str) -> bool:
        """Network filesystems remember for a while that a name was not there. A listing does not."""
        return self._key(session) not in self.ledger.names()

    def advance(self, session: str, expected: int, registration: Registration) -> bool:
        try:
            return self._advance(session, expected, registration)
        except FileNotFoundError:
            if not self.ledger.ledger_root.may_repeat():
                raise
        return self._advance(session, expected, registration)

    def _advance(self, session: str, expected: int, registration: Registration) -> bool:
        key = self.ledger.spelling.settle(session)
        self.ledger.ledger_root.shared()
        with self.ledger.ledger_root.guard():
            if not self._publish(key, expected, registration):
                return False
            with contextlib.suppress(
                OSError, Unavailable
            ):  # The registration stands. Where looop has to see it, `show` tells.
                self._project(key, registration)
            return True

    def _publish(self, key: str, expected: int, registration: Registration) -> bool:
        """On a full disk a registration that is to be said again (`Sessions.resume`) is one more name of the same record.

        Without this, a holder that was late once would be lost, though its heartbeats need no room.
        """
        if not self._is_still(registration.session, key, expected):
            return False
        record = registration._asdict()
        if is_damaged(registration.session, record):
            raise InvalidName(f"session {excerpt(registration.session)}: its registration could not be read by anybody")
        try:
            return self.ledger.advance(key, expected, record)
        except OSError as error:
            generation, data = self.ledger.head(key) if error.errno in _FULL else (0, b"")
            again = generation == expected and registration == registration_in(registration.session, data)
            if not (again and self.ledger.ledger_root.make().aliases):
                raise
            return self.ledger.release(key, expected)

    def _is_still(self, session: str, key: str, expected: int) -> bool:
        """Whether registration `expected` is the one that was judged.

        Without this, a session would be ended, or registered over, that has the same number in the store that was put here.
        """
        holder = holder_of(expected)
        if holder is None:
            return True
        data = self.ledger.record(key, expected)
        return data is not None and registration_in(session, data).incarnation == holder[1]

    def show(self, session: str, incarnation: str) -> None:
        """Have looop see this registration, before a lease names it. Raises OSError.

        Without this, a session whose registrar was killed halfway, or could not write, would be none to looop, which would
        take the claims of a live one over.
        """
        key = self.ledger.spelling.key(session)
        meta = decode(self.files.read(f"{self.directory}/{key}/meta.json") or b"")
        if text(meta, "incarnation") == incarnation:
            return
        own = registration_in(session, self.ledger.head(key)[1])
        if own.incarnation == incarnation and not own.ended:
            self._project(key, own)

    def keep_young(self, holder: Holder, older: float) -> None:
        """What a session has here, its heartbeat excepted: see `youth`."""
        key = self.ledger.spelling.key(holder.session)
        self.ledger.keep_young(key, older)
        self.ledger.ledger_root.keep_young(older)
        for name in (*_PROJECTIONS, *(f"{sign}{holder.incarnation}" for sign in KEPT)):
            self.files.keep_young(f"{self.directory}/{key}/{name}", older)

    def forget(self, session: str) -> None:
        key = self.ledger.spelling.key(session)
        try:
            with self.files.room(f"{self.directory}/{key}", 1) as room:
                clear(room, those(room.names(), PROJECTION, SIGN, PRIVATE_SIGN, PROBE))
            with self.files.room(self.directory, 0) as room:
                room.rmdir(key)
        except FileNotFoundError:
            self.ledger.forget(key)
        except OSError:
            return  # Not ours, or something else is kept there: then the ledger's entry may stay as well.
        else:
            self.ledger.forget(key)

    def tidy(self) -> None:
        self.ledger.sweep_root()
        keys = self.ledger.names()
        for key in keys:
            with contextlib.suppress(OSError):  # What is no directory is none of ours, and in nobody's way.
                self.ledger.sweep(key)
        for key in {*keys, *self._directories()}:
            with contextlib.suppress(OSError):
                current = text(decode(self.ledger.head(key)[1]), "incarnation")
                if self.signs.sweep(key, current) and not current:
                    with self.files.room(self.directory, 0) as room:
                        room.rmdir(key)  # Its registrar died before it was published.

    def _directories(self) -> list[str]:
        try:
            return [name for name in self.files.list(f"{self.directory}/.") if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def is_used(self) -> bool:
        """Whether somebody ever registered a session here, of ours or of looop's. Raises OSError."""
        return self.ledger.ledger_root.format() is not None or self.has_looops()

    def has_looops(self) -> bool:
        """Whether looop itself ever started a session here. Raises OSError."""
        return any(self._foreign(name, name)[0] for name in self._directories())

    def ids(self) -> list[str]:
        """No directory means no sessions."""
        found = {unspelled(name, once=True) for name in self._directories()}
        found.update(unspelled(key, once=True) or self._id_recorded(key) for key in self.ledger.names())
        return sorted(name for name in found if name)

    def _id_recorded(self, key: str) -> str | None:
        """An id that is too long to be told from its spelling."""
        try:
            name = text(decode(self.ledger.head(key)[1]), "session")
        except (OSError, Unavailable):
            return None
        try:
            return name if key in spellings(canonical(name, longest=ONCE_LONGEST)) else None
        except InvalidName:
            return None

    def _key(self, session: str) -> str:
        """How an id is spelled on disk; empty for one that is not possible with us."""
        try:
            return self.ledger.spelling.key(canonical(session, "session id", ONCE_LONGEST))
        except InvalidName:
            return ""

    def _project(self, key: str, registration: Registration) -> None:
        status: dict[str, object] = {
            "state": "exited" if registration.ended else "running",
            "child_pid": None,
            "exit_code": None,
            "last_change": self._clock(),
        }
        meta: dict[str, object] = {
            "id": registration.session,
            "cmd": ["looop-portable", "session", registration.session],
            "babysit_pid": registration.pid,
            "started_at": registration.started_at,
            "incarnation": registration.incarnation,
        }
        directory, shared = self.signs.make_room(key), self.files.shared_bits(self.directory)
        for name, content in zip(_PROJECTIONS, (status, meta), strict=True):
            data, private = for_looop(content), fresh(f".{name}-", self.files.nonce)
            with self.files.room(directory, 1) as room:
                put(room, name, data, private, shared=shared)

    def _foreign(self, session: str, key: str) -> tuple[Registration | None, bool]:
        """The session that looop itself started under this id; and whether there may be one that cannot be read.

        Looop makes the directory, then the file, then writes it; and it knows nothing of our spelling.
        """
        for name in dict.fromkeys((key, session)):
            if not _is_file_name(name):
                continue
            data = self._meta(name)
            if data is None:
                continue
            ours, pid, started_at = of_looops(data)
            if ours:
                continue
            if not (pid and started_at):
                return None, True
            status = decode(self.files.read(f"{self.directory}/{name}/status.json") or b"")
            ended = text(status, "state") in _ENDED
            incarnation = f"{FOREIGN}{pid}@{started_at}"
            return Registration(session, incarnation, pid, started_at=started_at, foreign=True, ended=ended), False
        return None, False

    def _meta(self, name: str) -> bytes | None:
        try:
            return self.files.read(f"{self.directory}/{name}/meta.json")
        except OSError as error:
            if error.errno in NOT_STORED:  # Then looop cannot have it either.
                return None
            raise


def _is_file_name(name: str) -> bool:
    """Whether looop could have a directory of that name."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size < 256 and "/" not in name and "\0" not in name and name not in (".", "..")
