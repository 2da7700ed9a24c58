"""One process under a harness: a session that claims, holds and releases until it is killed, or a reaper that sweeps.

Run by any Python of any system, with nothing but the package on its path. It tells the arbiter, over a loopback socket and
a line at a time, what it believes, and goes on when it has been heard:
  enter NAME GENERATION    after it has won, before it does anything else
  leave NAME GENERATION    before it releases
  tell KIND TEXT           lost, failed: what must not happen. trouble: what a reaper could not do. Others: counts
With --wait it waits for its turn. With --lease it gives heartbeats, so that other hosts take over from it too. One that has
lost its heartbeat says so, and ends with the code FENCED: it stops before others may take over.

Under Wine some calls fail as they could not on Windows, when a Linux process removes the name that they are about. These
are told apart by call and number, and counted (`wine`); the verb that met one is called again, as anybody may do who was
told that the store could not answer. Whatever else fails is a failure, there as elsewhere: the same number from another
call too.
How: Wine 8 opens a file by its name and then asks for the name's real path (server/fd.c, `open_fd`, `set_fd_name`).
  6 (invalid handle)      the name was gone in between: nothing can be done by a file that has none, and nothing has been.
                          Windows would say 2. Of link, replace, rename, stat, lstat
  8 (not enough memory)   it had been renamed, and the new name was gone before it could be asked for: it has been done,
                          and Windows would say nothing. Of replace, rename
All that runs under Wine goes through one server, so neither happens without a process of Linux beside it.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import os
import random
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from looop_portable import Claims, Held, LooopError, Refused, Renewed, Unavailable, Won
from looop_portable.protocol.records import Holder
from looop_portable.sessions.heartbeats import Pulse
from looop_portable.system.clock import elapsed
from looop_portable.waiting.claiming import wait_for

FENCED = 75

WINES = "Wine's own error"
"""How the system's words for such an error begin, once it is marked."""

_NAMELESS, _RENAMED = 6, 8
WINES_BY_CALL = {
    "link": (_NAMELESS,),
    "replace": (_NAMELESS, _RENAMED),
    "rename": (_NAMELESS, _RENAMED),
    "stat": (_NAMELESS,),
    "lstat": (_NAMELESS,),
}

_T = TypeVar("_T")


def marking(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, which is `os`' own called `name`, with words of ours for an error of Wine's.

    A file that was to get another name, and is still there by its old one, has met neither: that is a failure.
    """

    @functools.wraps(call)
    def marked(path: Any, *rest: Any, **options: Any) -> Any:
        try:
            return call(path, *rest, **options)
        except OSError as error:
            number = getattr(error, "winerror", None)
            if number in WINES_BY_CALL[name] and not (rest and os.path.lexists(path)):
                error.strerror = f"{WINES} {number} of {name}"
            raise

    return marked


def tell_wine_apart() -> None:
    """From here on, in this process, if it is under Wine."""
    if sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version"):
        for name in WINES_BY_CALL:
            setattr(os, name, marking(name, getattr(os, name)))


class Arbiter:
    """This process's end of the line. It ends when the other one does."""

    def __init__(self, host: str, port: int, life: int, label: str, first: str = "hello") -> None:
        self._socket = socket.create_connection((host, port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rwb")
        self.say(first, life, label)

    def say(self, *words: object) -> None:
        try:
            self._file.write(" ".join(map(str, words)).replace("\n", " | ").encode() + b"\n")
            self._file.flush()
            heard = self._file.readline()
        except ConnectionError:
            heard = b""
        if not heard:
            raise SystemExit


class Member:
    def __init__(self, claims: Claims, arbiter: Arbiter, given: argparse.Namespace) -> None:
        self.claims, self.arbiter, self.names, self.given = claims, arbiter, given.names, given
        self.random = random.Random(given.seed)
        self.refused = 0

    def work(self) -> None:
        began = elapsed()
        self.me = self.answered(lambda: self.claims.sessions.register(lease_seconds=self.given.lease)).holder
        pulse = self.beat(self.me, began) if self.given.lease else None
        try:
            while True:
                self.once(f"name-{self.random.randrange(self.names)}")
        finally:
            if pulse:
                pulse.stop()

    def beat(self, me: Holder, began: float) -> Pulse:
        def renew(silent: bool) -> bool:
            return self.claims.sessions.resume(me) if silent else self.claims.sessions.renew(me)

        pulse = Pulse(renew, self.given.lease, self.end, began)
        pulse.start()
        return pulse

    def end(self, reason: str) -> None:
        """Nothing of what it believes counts any more: not even an answer that is on its way."""
        print(f"life {self.given.life} is fenced: {reason}", flush=True)
        try:
            Arbiter(self.given.host, self.given.port, self.given.life, self.given.label, "fenced")
        finally:
            os._exit(FENCED)

    def once(self, name: str) -> None:
        outcome = self.answered(lambda: wait_for(self.claims, name, self.me, self.given.wait))
        if isinstance(outcome, Held):
            self.refused += 1
            if self.refused >= 50:
                self.report_refused()
            return
        generation = outcome.lease.generation
        self.arbiter.say("enter", name, generation)
        if self.random.random() < 0.5:
            time.sleep(self.random.random() * self.given.holds)
        if self.random.random() < 0.05:
            again = self.answered(lambda: self.claims.claim(name, self.me))
            if not isinstance(again, Renewed) or not self.answered(lambda: self.claims.check(name, generation)).current:
                self.arbiter.say("tell", "lost", f"{name} {outcome} {again}")
        self.arbiter.say("leave", name, generation)
        self.report_refused()
        assert isinstance(outcome, Won)
        lease = outcome.lease
        by_name = self.random.random() < 0.5
        released = self.answered(
            lambda: self.claims.release(name, self.me) if by_name else self.claims.release_lease(lease)
        )
        if isinstance(released, Refused) or released.previous is None or released.generation != generation + 1:
            self.arbiter.say("tell", "lost", f"{name} {outcome} {released}")

    def answered(self, verb: Callable[[], _T]) -> _T:
        """What `verb` answers, as soon as Wine lets it."""
        while True:
            try:
                return verb()
            except Unavailable as error:
                if WINES not in str(error):
                    raise
                self.arbiter.say("tell", "wine", 1)

    def report_refused(self) -> None:
        if self.refused:
            self.arbiter.say("tell", "refused", self.refused)
            self.refused = 0

    def reap(self) -> None:
        while True:
            found = self.claims.reap()
            self.arbiter.say("tell", "reaped", len(found.reaped))
            for name, why in [*found.failed, *([("", found.skipped)] if found.skipped else [])]:
                wines = WINES in why
                self.arbiter.say("tell", "wine" if wines else "trouble", 1 if wines else f"{name} {why}")
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--port", "--life", "--names"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--holds", type=float, default=0.004, help="seconds, at most")
    parser.add_argument("--wait", type=float, default=0, help="seconds, at most, for a claim")
    parser.add_argument("--lease", type=int, default=0, help="seconds; 0: no heartbeats")
    for option in ("--host", "--label", "--directory", "--backend", "--seed", "--token"):
        parser.add_argument(option, required=True)
    parser.add_argument("--reaper", action="store_true")
    given = parser.parse_args()
    tell_wine_apart()
    arbiter = Arbiter(given.host, given.port, given.life, given.label)
    member = Member(Claims.open(given.directory, given.backend), arbiter, given)
    while True:
        try:
            (member.reap if given.reaper else member.work)()
        except LooopError as error:
            arbiter.say("tell", "failed", f"{type(error).__name__}: {error}")
        except OSError:
            raise
        except Exception:  # noqa: BLE001 (whatever it is, the parent tells)
            arbiter.say("tell", "failed", traceback.format_exc())


if __name__ == "__main__":
    main()
