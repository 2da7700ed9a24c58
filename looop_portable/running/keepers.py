"""The keepers of this host: which are there, starting one, ending one, and what they leave behind.

Guarantees: one keeper for one incarnation; a keeper is there exactly if its file is held, which the kernel ends with it; no
other process is ever ended in its place.
Does not guarantee: that a keeper stays. A logout may end all processes of a user; `looop claim` starts the keeper again.
How: each has three files in a directory of this host's and this user's (`state`), named after session and incarnation:
`.lock`, which it holds (`locks/alone`), `.json`, which says who it is, and `.log`. They go when it ends in good order; a
day after a crash another keeper sweeps them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator

from looop_portable.config import BACKEND, Config, given
from looop_portable.errors import Unavailable, answering, unavailable
from looop_portable.protocol.codec import decode, encode, number, text
from looop_portable.protocol.liveness import may_be_nearby
from looop_portable.protocol.names import cut, printable, spelled
from looop_portable.protocol.records import MOST_PID, Holder, Registration
from looop_portable.running import state
from looop_portable.system.clock import timestamp
from looop_portable.system.files import OS, OsFiles
from looop_portable.system.opening.locales import for_children
from looop_portable.system.opening.ours import KEEPER, PROBE, WORD, those
from looop_portable.system.opening.private import fresh, put
from looop_portable.system.processes import SYSTEM, Processes, host
from looop_portable.system.processes.python import KEPT_BY, command, launch
from looop_portable.typed import NamedTuple

LOG_SIZE = 64 * 1024
"""Bytes, after which a log becomes `.log.1`."""

_SUFFIXES = (".json", ".log", ".log.1", ".lock")
"""In the order in which they are removed: as long as there is anything, there is something to be held."""
_OLD = 24 * 3600.0
_ENDING = 5.0
_LOOK = 0.01
"""Seconds."""
_LONGEST, _BEGINNING = 110, 76
"""Bytes of a session's spelling: an incarnation and a suffix have to fit in beside it. Cut, it is no longer."""
_NAME = "keepers"
"""Of their directory, wherever that is."""


class Begun(NamedTuple):
    """`tied`: it ends with the job of the process that started it (Windows)."""

    pid: int
    tied: bool = False


class Keepers:
    """Those whose files are in `directory`."""

    def __init__(self, directory: str, files: OsFiles = OS, processes: Processes = SYSTEM) -> None:
        self.directory = directory
        self._files = files
        self._processes = processes

    def is_for(self, registration: Registration) -> bool:
        """Whether it is kept, and may be from here: its process is of this kernel, and of this pid namespace.

        Where neither kernel is known, only the namespaces are compared, which all kernels number alike: the caller has to
        know otherwise that there is one kernel. Without a known namespace the answer is False.
        """
        here = self._processes.here()
        same = here[:2] == (registration.boot, registration.namespace)
        return registration.kept and bool(here.namespace) and same

    def may_be_for(self, registration: Registration) -> bool:
        """As `is_for`, where one of the two kernels is known and the other is not, as in a sandbox."""
        here = self._processes.here()
        return registration.kept and bool(here.boot) != bool(registration.boot) and may_be_nearby(registration, here)

    def is_there(self, holder: Holder) -> bool:
        """Whether `holder` has a keeper. Raises OSError."""
        return self._files.taken(f"{self.base(holder)}.lock")

    def pid(self, holder: Holder) -> int:
        """The process id that its keeper has, or had; 0 if it did not come to say so."""
        return number(self._record(self.base(holder)), "pid", MOST_PID)

    def wait_for_pid(self, holder: Holder) -> int:
        """The same, of one that is there and may be about to say so. Raises OSError."""
        self._wait_until(lambda: self.pid(holder) > 0, "has not said who it is")
        return self.pid(holder)

    def was_killed(self, holder: Holder) -> bool:
        """Whether the keeper of `holder` was here, on this host, and ended in no good order. Raises OSError."""
        record = self._record(self.base(holder))
        return number(record, "pid", MOST_PID) > 0 and self._is_of_here(record) and not self.is_there(holder)

    def base(self, holder: Holder) -> str:
        """The path of its files, without what each ends with."""
        key = spelled(holder.session)
        if len(key.encode()) > _LONGEST:
            key = cut(holder.session, key, _BEGINNING)
        return f"{self.directory}/{key}-{holder.incarnation}"

    def begin(self, holder: Holder) -> int | None:
        """In the keeper: be the one of `holder`, until this descriptor is released. None: there is one. Raises OSError."""
        self._files.make_private(self.directory)
        base = self.base(holder)
        taken = self._files.take(f"{base}.lock")
        if taken is None:
            return None
        pid = os.getpid()
        start, boot = self._processes.start_of(pid), self._processes.here().boot
        record = {"pid": pid, "start": start, "host": host(), "boot": boot, "since": timestamp()}
        private = fresh(f"{self.directory}/.", self._files.nonce)
        put(self._files, f"{base}.json", encode({**record, **holder._asdict()}), private)
        return taken

    def log_of(self, holder: Holder) -> str:
        """The path of its log."""
        return f"{self.base(holder)}.log"

    def log(self, holder: Holder, line: str) -> None:
        """Append a line, whatever names are in it. A log that cannot be written does not stop the keeper."""
        with contextlib.suppress(OSError):
            self._files.append(self.log_of(holder), f"{timestamp()} {printable(line)}\n".encode(), LOG_SIZE)

    def remove(self, holder: Holder, *, log: bool = True) -> None:
        """Its files, by the keeper in its end, or after it has ended. Raises OSError. `log`: its log too."""
        for suffix in _SUFFIXES:
            if log or ".log" not in suffix:
                self._files.remove(f"{self.base(holder)}{suffix}")

    def sweep(self) -> None:
        """Remove what keepers of this host left behind that were killed. Raises OSError."""
        names = self._files.list(self.directory)
        kept = those(names, KEEPER)
        bases = {name.removesuffix(suffix) for suffix in _SUFFIXES for name in kept if name.endswith(suffix)}
        for base in sorted(f"{self.directory}/{name}" for name in bases):
            record = self._record(base)
            if self._is_old(base) and (not text(record, "host") or self._is_of_here(record)):
                self._sweep_one(base)
        for name in those(names, WORD, PROBE):
            if (self._files.age(f"{self.directory}/{name}") or 0) > _OLD:
                self._files.remove(f"{self.directory}/{name}")

    def start(self, config: Config, holder: Holder, *, known: bool = False) -> Begun:
        """Start the keeper of `holder`; that one, or the one that is there. Raises `Unavailable`.

        It is there when this returns. `known`: the caller has seen the session's process in its own namespace.
        """
        try:
            self._files.make_private(self.directory)
            said, tied = launch(self._command(config, holder, known=known), {BACKEND: given(config.backend)})
            pid = said.removeprefix(KEPT_BY)
            if pid == said or not pid.isdigit():
                raise Unavailable(f"the keeper of session '{holder.session}' could not be started: {said}")
            if not self.is_there(holder):
                raise Unavailable(
                    f"the keeper of session '{holder.session}' has ended again at once (log: {self.log_of(holder)})"
                )
        except OSError as error:
            found = unavailable(error, f"the keeper of session '{holder.session}' could not be started")
            if isinstance(error, BlockingIOError):
                found.args = (f"{found} (no more processes can be made here: see pids.max of the cgroup, and ulimit -u)",)
            raise found from error
        return Begun(int(pid), tied)

    def end(self, holder: Holder) -> bool:
        """End the keeper of `holder`, and remove its files. Whether there was one. Raises `Unavailable`."""
        from looop_portable.system.processes.handle import Watch

        with answering(f"the keeper of session '{holder.session}' could not be ended"):
            if not self.is_there(holder):
                self.remove(holder)
                return False
            record = self._record(self.base(holder))
            pid = number(record, "pid", MOST_PID)
            if not (pid and text(record, "start")):  # To a system, 0 is all processes of our own group.
                raise OSError(errno.ESRCH, "its process cannot be told from others of its id")
            if self._is_of_here(record):
                keeper = Watch(pid, text(record, "start"), self._processes)
                try:
                    keeper.end()
                finally:
                    keeper.close()
            self._wait_until(lambda: not self.is_there(holder), "has not ended")
            self.remove(holder)
        return True

    def _wait_until(self, over: Callable[[], bool], why: str) -> None:
        began = time.monotonic()
        while not over():
            if time.monotonic() - began > _ENDING:
                raise TimeoutError(f"it {why} after {_ENDING:.0f} s")
            time.sleep(_LOOK)

    def _command(self, config: Config, holder: Holder, *, known: bool) -> list[str]:
        before = command("-m", "looop_portable", "--data-dir", config.data_dir)
        after = ["--incarnation", holder.incarnation, "--state", self.directory, "--foreground"]
        return [*before, "session", "keep", *after, *(["--known"] if known else []), "--", for_children(holder.session)]

    def _record(self, base: str) -> dict[str, object]:
        return decode(self._files.read(f"{base}.json") or b"")

    def _is_of_here(self, record: dict[str, object]) -> bool:
        """Whether a keeper was of this host: by its kernel, as names change with the network; or by the host's name."""
        boot = text(record, "boot")
        return text(record, "host") == host() or bool(boot and boot == self._processes.here().boot)

    def _is_old(self, base: str) -> bool:
        ages = [self._files.age(f"{base}{suffix}") for suffix in _SUFFIXES]
        return all(age > _OLD for age in ages if age is not None)

    def _sweep_one(self, base: str) -> None:
        """Held meanwhile. Without this, a keeper that begins now would hold a file that is not there any more."""
        taken = self._files.take(f"{base}.lock")
        if taken is None:
            return
        try:
            for suffix in _SUFFIXES:
                self._files.remove(f"{base}{suffix}")
        finally:
            self._files.unlock(taken)


def choose() -> tuple[Keepers, str]:
    """Where a keeper can begin, and why that is not the state directory (empty if it is). Raises `Unavailable`."""
    chosen = state.choose(_NAME)
    return Keepers(chosen.directory), chosen.description


def everywhere() -> Iterator[Keepers]:
    """All directories for keepers of this user on this host: a keeper may have begun in another environment."""
    return map(Keepers, state.places(_NAME))


def where_is(holder: Holder) -> Keepers | None:
    """The place in which `holder` has a keeper; None: it has none on this host."""
    for keepers in everywhere():
        with contextlib.suppress(OSError):  # No keeper could have begun there.
            if keepers.is_there(holder):
                return keepers
    return None


def was_killed(holder: Holder) -> bool:
    """Whether a keeper of `holder` was anywhere on this host, and ended in no good order."""
    for keepers in everywhere():
        with contextlib.suppress(OSError):
            if keepers.was_killed(holder):
                return True
    return False
