"""Stores to begin from: each is made once, kept in memory, and put back for each point of a sweep."""

from __future__ import annotations

import os
import shutil
import stat
import time
from typing import NamedTuple

from looop_portable import Claims
from looop_portable.protocol.records import Holder, Registration

LEASE = 3
"""Seconds, of the sessions that give heartbeats."""
_LONG_AGO = 10_000
AGED = 20
"""So many generations that the oldest have been pruned."""


class Image(NamedTuple):
    """All that is in a directory: directories and their modes, files with data, mode and time, further names of files."""

    directories: tuple[tuple[str, int], ...]
    files: tuple[tuple[str, bytes, int, int], ...]
    names: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, root: str) -> Image:
        directories, files, names = [], [], []
        first: dict[int, str] = {}
        for where, _, inside in os.walk(root):
            directories.append((where, stat.S_IMODE(os.stat(where).st_mode)))
            for path in (f"{where}/{name}" for name in inside):
                found = os.stat(path)
                if found.st_ino in first:
                    names.append((first[found.st_ino], path))
                    continue
                first[found.st_ino] = path
                with open(path, "rb") as file:
                    old = found.st_mtime_ns if time.time() - found.st_mtime > LEASE else 0
                    files.append((path, file.read(), stat.S_IMODE(found.st_mode), old))
        return cls(tuple(directories), tuple(files), tuple(names))

    def put_back(self) -> None:
        """Where it was, instead of whatever is there now."""
        shutil.rmtree(self.directories[0][0], ignore_errors=True)
        for path, mode in self.directories:
            os.mkdir(path, mode)
        for path, data, mode, changed in self.files:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            os.write(fd, data)
            os.close(fd)
            if changed:
                os.utime(path, ns=(changed, changed))
        for path, name in self.names:
            os.link(path, name)


class Store(NamedTuple):
    """A store in which `c` is as its name says, and what the sweep needs to know of it."""

    image: Image
    me: Holder
    live: frozenset[str]
    """The sessions that live, whatever happens: their process is that of the sweep."""


class Maker:
    """Makes stores at `root`. `gone` is a process id that is nobody's any more."""

    def __init__(self, root: str, backend: str, gone: int) -> None:
        self.root = root
        self.backend = backend
        self.gone = gone
        self._made: dict[str, Store] = {}

    def store(self, kind: str) -> Store:
        """Made once; whoever wants it at `root` puts it back."""
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        return self._made[kind]

    def _make(self, kind: str) -> Store:
        shutil.rmtree(self.root, ignore_errors=True)
        os.mkdir(self.root)
        claims = self.open()
        if kind == "fresh":
            return Store(Image.of(self.root), Holder("me", ""), frozenset({"me"}))
        me = claims.sessions.register("me", pid=os.getpid(), lease_seconds=LEASE).holder
        for session in ("other", "rival"):
            claims.sessions.register(session, pid=os.getpid())
        getattr(self, f"_{kind}")(claims, me)
        return Store(Image.of(self.root), me, frozenset({"me", "other", "rival"}))

    def open(self) -> Claims:
        return Claims.open(self.root, self.backend)

    def _vacant(self, claims: Claims, me: Holder) -> None:
        claims.claim("d", "other")
        claims.claim("c", "other")
        claims.release("c", "other")

    def _ours(self, claims: Claims, me: Holder) -> None:
        claims.claim("d", "other")
        claims.claim("c", me)

    def _ours_all(self, claims: Claims, me: Holder) -> None:
        for name in "abc":
            claims.claim(name, me)
        claims.claim("d", "other")

    def _held(self, claims: Claims, me: Holder) -> None:
        claims.claim("c", "other")

    def _aged(self, claims: Claims, me: Holder) -> None:
        for _ in range(AGED // 2):
            claims.claim("c", "other")
            claims.release("c", "other")

    def _pruned(self, claims: Claims, me: Holder) -> None:
        self._aged(claims, me)
        assert claims.prune(0).pruned

    def _aged_ours(self, claims: Claims, me: Holder) -> None:
        self._aged(claims, me)
        claims.claim("c", me)

    def _orphaned(self, claims: Claims, me: Holder) -> None:
        claims.sessions.register("ghost", pid=os.getpid())
        claims.claim("c", "ghost")
        claims.claim("d", "other")
        ghost = claims.sessions.holder("ghost")
        _live_by(claims, ghost, self.gone)

    def _silent(self, claims: Claims, me: Holder) -> None:
        """A session of another host, of which nothing has been heard for long."""
        claims.claim("d", "other")
        ghost = self._far_away(claims, "ghost")
        claims.claim("c", ghost)
        self._grow_silent(claims, ghost)

    def _far_away(self, claims: Claims, session: str) -> Holder:
        registered = claims.sessions.register(session, pid=os.getpid(), lease_seconds=LEASE)
        _say(claims, registered._replace(boot="another", namespace="another", disk="another", pid=self.gone, own=False))
        return registered.holder

    def _grow_silent(self, claims: Claims, ghost: Holder) -> None:
        directory = f"{self.root}/sessions/{ghost.session}"
        long_ago = time.time() - _LONG_AGO
        os.utime(f"{directory}/heartbeat-{ghost.incarnation}", (long_ago, long_ago))
        claims.sessions.verdict(*ghost)
        for name in os.listdir(directory):
            if name.startswith("sighting-"):
                os.utime(f"{directory}/{name}", (long_ago, long_ago))

    def _littered(self, claims: Claims, me: Holder) -> None:
        """Orphans, debris, and what crashes leave behind."""
        self._orphaned(claims, me)
        made_up = claims.sessions.register(pid=os.getpid()).holder
        claims.claim("b", made_up)
        _live_by(claims, made_up, self.gone)
        claims.claim("a", "other")
        claims.release("a", "other")
        with open(f"{self.root}/claims/.ledger/a/3", "wb") as debris:
            debris.write(b"no lease\n")
        for path in ("claims/.ledger/c/.9-x-0", "claims/.ledger/.stamp-x", "sessions/ghost/.meta", "claims/.age-x"):
            with open(f"{self.root}/{path}", "wb") as left:
                left.write(b"?")
        os.mkdir(f"{self.root}/claims/.ledger/.dir-x")
        self._line_up(claims)

    def _waited_for(self, claims: Claims, me: Holder) -> None:
        """A dead waiter is before whoever comes next."""
        claims.claim("c", "other")
        self._line_up(claims)

    def _line_up(self, claims: Claims) -> None:
        assert claims.backend.tickets
        claims.backend.tickets.take("c", claims.sessions.evidence.this_process()._replace(pid=self.gone, start="1"))


def _live_by(claims: Claims, holder: Holder, pid: int) -> None:
    """As if it had been registered for that process."""
    registration = claims.sessions.registration(holder)
    assert registration
    _say(claims, registration._replace(pid=pid, start="1", own=False))


def _say(claims: Claims, registration: Registration) -> None:
    store = claims.backend.sessions
    assert store.advance(registration.session, store.read(registration.session).generation, registration)
