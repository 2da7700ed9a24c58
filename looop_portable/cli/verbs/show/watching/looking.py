"""A thread that looks at all claims again and again, so that a store which does not answer keeps no key waiting.

Guarantees: what is known is told after each look; an error is told with it, and the next look comes all the same. However
many claims there are, the looks take a hundredth of a processor's time while nothing changes, and a tenth while something
does.
Does not guarantee: that a change is seen at once: with many claims, and where the kernel tells of none, it may take as long
as a look takes a hundred times.
How: a whole look lists all claims. In between, one looks at the sessions alone, and whether names came or went. The kernel
tells of claims that are made, and of what happens to the first hundred.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

from looop_portable.claims.gate import Claims
from looop_portable.errors import LooopError, describe_error
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.records import Holder, Registration
from looop_portable.system.clock import elapsed
from looop_portable.system.watch.waking import ThreadWatcher, new_watcher
from looop_portable.typed import NamedTuple

_IDLE, _BUSY = 100, 10
"""How many times as long as it took it is until the next look: if nothing seems to have changed, and if something has."""
_SOONEST = 0.05
"""Seconds from one look to the next, at least."""
_WATCHED = 100
"""So many claims are watched one by one: each costs a descriptor on some systems."""


class Seen(NamedTuple):
    """What is known. `verdicts`: on the sessions, which may be later than `found`. `trouble`: why it may be out of date."""

    found: list[Status]
    verdicts: dict[Holder, Verdict]
    trouble: str = ""
    since: float = 0.0
    """From when on there was trouble, by `elapsed`."""

    def judged(self, status: Status) -> Status:
        """With the latest verdict."""
        verdict = self.verdicts.get(_holder(status))
        return status._replace(verdict=verdict) if verdict else status


class Looker:
    """`tell` is called in the thread, whenever `seen` has become something else."""

    def __init__(self, claims: Claims, interval: float, tell: Callable[[], object]) -> None:
        self.seen: Seen | None = None
        self.failed: BaseException | None = None
        """It looks no more: the first look failed, or there is a fault of ours."""
        self.looks_since: float | None = None
        """Since when it waits for the store."""
        self._claims = claims
        self._interval = interval
        self._tell = tell
        directory = claims.backend.directory
        self._stamps = directory.stamps if directory else ""
        self._had_stamps = False
        self._shown = os.path.dirname(self._stamps)
        self._changed: int | None = None
        self._looked, self._took, self._took_sessions = 0.0, 0.0, 0.0
        self._thread = threading.Thread(target=self._run, name="looop watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            watcher = new_watcher()
            while True:
                watcher.forget()
                self._look(watcher)
                self._tell()
                self._wait(watcher)
        except BaseException as error:  # noqa: BLE001 (told to the main thread, which raises it)
            self.failed = error
            self._tell()

    def _look(self, watcher: ThreadWatcher) -> None:
        began, self.looks_since = time.thread_time(), elapsed()
        self._changed = self._last_change()
        try:
            self._refuse_what_has_vanished()
            found = self._claims.list()
        except (LooopError, OSError) as error:
            if self.seen is None:
                raise
            self._note(error)
        else:
            verdicts = {_holder(status): status.verdict for status in found if status.verdict and _is_named(status)}
            self.seen = Seen(found, verdicts)
            self._subscribe(watcher, found)
        self.looks_since, self._looked, self._took = None, elapsed(), time.thread_time() - began

    def _wait(self, watcher: ThreadWatcher) -> None:
        """Until a whole look is due."""
        while (since := elapsed() - self._looked) < max(self._interval, _IDLE * self._took):
            if _woken_within(watcher, self._interval) or self._has_changed() or self._sessions_have_changed():
                time.sleep(max(_SOONEST, _BUSY * self._took - since))
                return

    def _sessions_have_changed(self) -> bool:
        """Whether one has died, say: a whole look tells of it, or that the store has gone. Else the evidence is told."""
        seen = self.seen
        if seen is None or seen.trouble or elapsed() - self._looked < _IDLE * self._took_sessions:
            return bool(seen and seen.trouble)
        began = time.thread_time()
        try:
            verdicts = {holder: self._claims.sessions.verdict(*holder) for holder in seen.verdicts}
        except (LooopError, OSError):
            return True
        finally:
            self._took_sessions = time.thread_time() - began
        if any(verdicts[holder].liveness is not verdict.liveness for holder, verdict in seen.verdicts.items()):
            return True
        self.seen = seen._replace(verdicts=verdicts)
        self._tell()
        return False

    def _has_changed(self) -> bool:
        return self._last_change() != self._changed

    def _last_change(self) -> int | None:
        """When a claim was last shown to people, or not any more. None: nobody knows."""
        try:
            return os.stat(self._shown).st_mtime_ns if self._shown else None
        except OSError:
            return None

    def _refuse_what_has_vanished(self) -> None:
        """Without this, a disk that is not mounted any more would look as if all claims had been released."""
        if not self._stamps:
            return
        is_there = os.path.isdir(self._stamps)
        if self._had_stamps and not is_there:
            raise FileNotFoundError(f"{self._stamps} is not there any more")
        self._had_stamps = is_there

    def _note(self, error: Exception) -> None:
        assert self.seen
        reason = describe_error(error) if isinstance(error, OSError) and error.errno else str(error)
        self.seen = self.seen._replace(trouble=reason, since=self.seen.since or elapsed())

    def _subscribe(self, watcher: ThreadWatcher, found: list[Status]) -> None:
        tickets = self._claims.backend.tickets
        if tickets is None:
            return
        try:
            tickets.subscribe(_Beside(watcher, self._shown), [status.name for status in found[:_WATCHED]] or ["-"])
        except (LooopError, OSError):
            return  # It looks again in any case.


class _Beside:
    """A watcher that is asked for more: also for `path`, where it is asked for anything."""

    def __init__(self, watcher: ThreadWatcher, path: str) -> None:
        self._watcher = watcher
        self._path = path

    def watch(self, paths: Iterable[str]) -> bool:
        wanted = list(paths)
        return self._watcher.watch([*wanted, self._path] if wanted and self._path else wanted)

    def follow(self, process: Registration | None) -> bool:
        return self._watcher.follow(process)

    def forget(self) -> None:
        self._watcher.forget()

    def wake(self) -> None:
        self._watcher.wake()


def _woken_within(watcher: ThreadWatcher, seconds: float) -> bool:
    """Whether it woke, or seems to have: an early look does no harm."""
    began = elapsed()
    watcher.wait(seconds)
    return elapsed() - began < seconds * 0.99


def _holder(status: Status) -> Holder:
    lease = status.lease
    return Holder(lease.session, lease.incarnation) if lease else Holder("", "")


def _is_named(status: Status) -> bool:
    return bool(status.lease and status.lease.session)
