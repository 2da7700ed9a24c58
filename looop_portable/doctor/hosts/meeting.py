"""Several hosts that have mounted one share, racing for a claim there: `doctor DIR --with-hosts N`, on each at once.

What it proves: in these acquisitions, with these mounts, no two hosts were inside at once, by a count that the share
itself keeps and that uses nothing of the claims but exclusive creation (`turnstile`); the count is exact, and generations
grew with it. If it reports an overlap, there was one.
What it does not prove: that there will never be one. It is a sample, of a time without trouble: no host is cut off, loses
its power or sleeps, no server restarts, and no cache is older than the race. Nor that hosts which did not take part exclude
each other. Nothing here trusts a host's clock, or a connection between hosts.
How: in `DIR/.looop-doctor-hosts`, which everybody makes who does not find it, each host creates a file with a name of its
own, and lists until there are N: NFS remembers for 30 s that a name was not there, and a listing is fresh. Those that have
seen the same N meet in a directory named after all of them, so that whoever has seen others does not disturb. There, each
step (`ready`, `done`) is again one name from each. A name whose maker has been silent for a minute, by the filesystem's
clock, is of a doctor that was killed, and does not count. The last one out removes everything; what the killed leave is
removed after an hour (`workshop`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from looop_portable.config import Chosen
from looop_portable.doctor.findings import Across
from looop_portable.doctor.hosts.tally import report, together
from looop_portable.doctor.probes import create, tick
from looop_portable.doctor.race.arbiter import race
from looop_portable.doctor.workshop import HOSTS, PULSE, age_of, remove
from looop_portable.errors import Unavailable
from looop_portable.protocol.codec import decode, encode
from looop_portable.system.files import OS
from looop_portable.system.opening.private import fresh, put
from looop_portable.system.processes import host

Say = Callable[[str], None]

_HERE = "here-"
_SILENT = 60.0  # Seconds.
_POLL = 0.25
"""Seconds from one look at the others to the next: they are on other hosts."""
_LAST = 60.0  # Seconds that another's last turn may take, beyond its time: see `arbiter`.
_LEAVING = 10.0
_TRIES = 16


def race_across(
    directory: str, backend: Chosen, processes: int, seconds: float, hosts: int, timeout: float, say: Say
) -> Across:
    """This host's part, and the result of all. Raises `Unavailable` if the others do not come, or leave; OSError."""
    with _met(directory, hosts, timeout, say) as meeting:
        say(f"racing with {_listed(meeting.members)} for {seconds:g} s")
        data, turns = meeting.room("data"), meeting.room("turns")
        raced = race(backend, data, processes, seconds, turns=turns, when_ready=lambda: meeting.wait_for("ready", timeout))
        found = raced.race._replace(
            refused=raced.race.refused.replace(data, directory),
            failures=tuple(failure.replace(data, directory) for failure in raced.race.failures),
        )
        meeting.post("done", report(meeting.name, found, raced.turns))
        meeting.wait_for("done", timeout + _LAST)
        try:
            return together([meeting.posted("done", member) for member in meeting.members])
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            raise Unavailable(f"{meeting.path}: another host's report is not as ours: is its version the same?") from error


class Meeting:
    """Those who have met, and where. `members` are their ids, sorted; `name` is how we are told."""

    def __init__(self, directory: str, root: str, me: str, members: Sequence[str], shared: int) -> None:
        self.directory = directory
        self.root = root
        self.me = me
        self.members = members
        self.path = f"{root}/{hashlib.sha256(' '.join(members).encode()).hexdigest()[:16]}"
        self._shared = shared
        OS.mkdir(self.path, shared=shared)

    @property
    def name(self) -> str:
        return _name(self.me)

    def room(self, name: str) -> str:
        """A directory of all."""
        OS.mkdir(f"{self.path}/{name}", shared=self._shared)
        return f"{self.path}/{name}"

    def post(self, step: str, record: Mapping[str, object]) -> None:
        """Our record of that step, whole as soon as it has its name."""
        private = fresh(f"{self.path}/.{step}-", OS.nonce)
        put(OS, f"{self.path}/{step}-{self.me}", encode(record), private, shared=self._shared)

    def posted(self, step: str, member: str) -> dict[str, object]:
        return decode(OS.read(f"{self.path}/{step}-{member}") or b"")

    def wait_for(self, step: str, timeout: float) -> None:
        """Come to that step, and wait until all have. Raises `Unavailable` if somebody does not."""
        if f"{step}-{self.me}" not in OS.list(self.path):
            self.post(step, {})
        until = time.monotonic() + timeout
        left: set[str] = set()
        while True:
            here, steps = OS.list(self.root), OS.list(self.path)  # In this order: who has left had done all before.
            missing = {member for member in self.members if f"{step}-{member}" not in steps}
            if not missing:
                return
            if left & missing:  # Seen twice: one listing may be older than the other.
                raise Unavailable(f"{self.root}: {_listed(left & missing)} has left before it was {step}", self.root)
            left = {member for member in missing if _HERE + member not in here}
            if time.monotonic() > until:
                raise Unavailable(f"{self.root}: {_listed(missing)} was not {step} within {timeout:g} s", self.root)
            _live(self.root, self.me)
            time.sleep(_POLL)

    def leave(self, patience: float) -> None:
        """Go; and remove everything if nobody of the others is here, or will be within `patience` seconds."""
        OS.remove(f"{self.root}/{_HERE}{self.me}")
        until = time.monotonic() + patience
        while not self._cleared():
            if time.monotonic() > until:
                return  # Whoever is still here does it.
            time.sleep(_POLL)

    def _cleared(self) -> bool:
        try:
            if any(_HERE + member in OS.list(self.root) for member in self.members):
                return False
            remove(self.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False  # Another is removing it too.
        _close(self.root)
        return True


@contextlib.contextmanager
def _met(directory: str, hosts: int, timeout: float, say: Say) -> Iterator[Meeting]:
    root, shared = f"{directory}/{HOSTS}", OS.shared_bits(directory)
    me = f"{re.sub(r'[^A-Za-z0-9.]+', '.', host())[:60] or 'host'}-{os.getpid()}-{OS.nonce()}"
    try:
        _arrive(root, me, shared)
        meeting = Meeting(directory, root, me, _gather(directory, root, me, hosts, timeout, say), shared)
    except BaseException:
        with contextlib.suppress(OSError):  # What went wrong is told already.
            OS.remove(f"{root}/{_HERE}{me}")
            _close(root)
        raise
    patience = 0.0
    try:
        yield meeting
        patience = _LEAVING
    finally:
        meeting.leave(patience)


def _arrive(root: str, me: str, shared: int) -> None:
    """Our name is there, and its time is by the filesystem's clock."""
    for _ in range(_TRIES):
        try:
            OS.mkdir(root, shared=shared)
            with contextlib.suppress(FileExistsError):
                create(f"{root}/{PULSE}", b"?")
            create(f"{root}/{_HERE}{me}", b"?")
        except FileNotFoundError:
            continue  # The last one of others has just gone out.
        return
    raise Unavailable(f"{root}: it vanishes as often as it is made; try again", root)


def _gather(directory: str, root: str, me: str, hosts: int, timeout: float, say: Say) -> list[str]:
    """The ids of all `hosts`, ours included."""
    until = time.monotonic() + timeout
    silent: dict[str, bool] = {me: False}  # Looked at once: SMB may show one who looks often an old time.
    count = 0
    while True:
        now = _live(root, me)
        names = [name.removeprefix(_HERE) for name in OS.list(root) if name.startswith(_HERE)]
        for name in names:
            if name not in silent:
                silent[name] = age_of(f"{root}/{_HERE}{name}", now) > _SILENT
        here = sorted({me, *(name for name in names if not silent[name])})
        if len(here) == hosts:
            return here
        known = _listed(here)
        if len(here) > hosts:
            raise Unavailable(
                f"{root}: {len(here)} hosts are here ({known}), and {hosts} were expected: wait until the others are done; "
                f"one that was killed counts for {_SILENT:.0f} s",
                root,
            )
        if len(here) != count:
            count = len(here)
            say(f"{count} of {hosts} hosts are here ({known}); on each: looop doctor {directory} --with-hosts {hosts}")
        if time.monotonic() > until:
            raise Unavailable(
                f"{root}: {hosts - len(here)} of {hosts} hosts did not come within {timeout:g} s (here: {known}): run "
                f"looop doctor --with-hosts {hosts} on each of them at the same time, in the same directory",
                root,
            )
        time.sleep(_POLL)


def _live(root: str, me: str) -> float:
    """Give a sign of life. The filesystem's time."""
    with contextlib.suppress(OSError):  # It is another user's, and for those who sweep: ours is what counts here.
        tick(f"{root}/{PULSE}")
    return tick(f"{root}/{_HERE}{me}")


def _name(member: str) -> str:
    """An id without what makes it unique in time."""
    return member.rpartition("-")[0]


def _listed(members: Iterable[str]) -> str:
    return ", ".join(sorted(map(_name, members)))


def _close(root: str) -> None:
    """Remove the meeting place, unless somebody is there."""
    with contextlib.suppress(OSError):  # Somebody has come, or removed it.
        if set(OS.list(root)) <= {PULSE}:
            OS.remove(f"{root}/{PULSE}")
            OS.rmdir(root)
