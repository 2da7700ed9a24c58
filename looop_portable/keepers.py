"""The keepers of this host: which are there, starting one, ending one, and what they leave behind.

Guarantees: one keeper for one incarnation; a keeper is there exactly if its file is held, which the kernel ends with it; no
other process is ever ended in its place.
Does not guarantee: that a keeper stays. Whoever logs a user out may end all his processes; `looop claim` starts it again.
How: each has three files in a directory of this host's and this user's, named after session and incarnation: `.lock`, which
it holds (`files_alone`), `.json`, which says who it is, and `.log`. They go when it ends in good order; a day after a crash
another keeper sweeps them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import IO

from looop_portable.config import Config
from looop_portable.errors import Unavailable, told
from looop_portable.files import OS, OsFiles, timestamp
from looop_portable.lease import decode, encode, number, text
from looop_portable.liveness import Holder, Registration
from looop_portable.names import cut, spelled
from looop_portable.processes import SYSTEM, Processes, host

LOG_SIZE = 64 * 1024
"""Bytes, after which a log becomes `.log.1`."""
KEPT_BY = "kept by "
"""What a keeper says when it is there; its process id follows."""

_SUFFIXES = (".json", ".log", ".log.1", ".lock")
"""In the order in which they are removed: as long as there is anything, there is something to be held."""
_OLD = 24 * 3600.0
_PATIENCE = 30.0
_ENDING = 5.0
_LOOK = 0.01
"""Seconds."""
_LONGEST = 180
"""Bytes of a session's spelling: an incarnation and a suffix have to fit in beside it."""


class Keepers:
    """Those whose files are in `directory`."""

    def __init__(self, directory: str, files: OsFiles = OS, processes: Processes = SYSTEM) -> None:
        self.directory = directory
        self._files = files
        self._processes = processes

    def is_for(self, registration: Registration) -> bool:
        """Whether it is kept, and from here: its process is of this kernel, and of this pid namespace."""
        here = self._processes.here()
        return registration.kept and bool(here.boot) and here[:2] == (registration.boot, registration.namespace)

    def is_there(self, holder: Holder) -> bool:
        """Whether `holder` has a keeper. Raises OSError."""
        return self._files.taken(f"{self.base(holder)}.lock")

    def pid(self, holder: Holder) -> int:
        """The process id that its keeper has, or had; 0 if it did not come to say so."""
        return number(self._record(self.base(holder)), "pid")

    def base(self, holder: Holder) -> str:
        """The path of its files, without what each ends with."""
        key = spelled(holder.session)
        if len(key.encode()) > _LONGEST:
            key = cut(holder.session, key)
        return f"{self.directory}/{key}-{holder.incarnation}"

    def begin(self, holder: Holder) -> int | None:
        """In the keeper: be the one of `holder`, until this descriptor is let go. None: there is one. Raises OSError."""
        self._files.make_private(self.directory)
        base = self.base(holder)
        taken = self._files.take(f"{base}.lock")
        if taken is None:
            return None
        pid = os.getpid()
        record = {"pid": pid, "start": self._processes.start_of(pid), "host": host(), "since": timestamp()}
        private = f"{self.directory}/.{self._files.token()}"
        self._files.create(private, encode({**record, **holder._asdict()}))
        self._files.replace(private, f"{base}.json")
        return taken

    def log(self, holder: Holder, line: str) -> None:
        """One more line. Where nothing can be written, the keeper does its work all the same."""
        with contextlib.suppress(OSError):
            self._files.append(f"{self.base(holder)}.log", f"{timestamp()} {line}\n".encode(), LOG_SIZE)

    def remove(self, holder: Holder, *, log: bool = True) -> None:
        """Its files, by the keeper in its end, or after it has ended. Raises OSError. `log`: its log too."""
        for suffix in _SUFFIXES:
            if log or ".log" not in suffix:
                self._files.remove(f"{self.base(holder)}{suffix}")

    def sweep(self) -> None:
        """Remove what keepers of this host left behind that were killed. Raises OSError."""
        names = self._files.list(self.directory)
        bases = {name.removesuffix(suffix) for suffix in _SUFFIXES for name in names if name.endswith(suffix)}
        for base in sorted(f"{self.directory}/{name}" for name in bases):
            if self._is_old(base) and text(self._record(base), "host") in ("", host()):
                self._sweep_one(base)
        for name in names:
            if name.startswith(".") and (self._files.age(f"{self.directory}/{name}") or 0) > _OLD:
                self._files.remove(f"{self.directory}/{name}")

    def start(self, config: Config, holder: Holder) -> int:
        """Start the keeper of `holder`; its process id, or that of the one that is there. Raises `Unavailable`."""
        try:
            self._files.make_private(self.directory)
            said = _launch(self._command(config, holder))
        except OSError as error:
            raise Unavailable(f"the keeper of session '{holder.session}' could not be started: {told(error)}") from error
        pid = said.removeprefix(KEPT_BY)
        if pid == said or not pid.isdigit():
            raise Unavailable(f"the keeper of session '{holder.session}' could not be started: {said}")
        return int(pid)

    def end(self, holder: Holder) -> bool:
        """End the keeper of `holder`, and remove its files. Whether there was one. Raises `Unavailable`."""
        from looop_portable.watching import Watch

        try:
            if not self.is_there(holder):
                self.remove(holder)
                return False
            record = self._record(self.base(holder))
            if text(record, "start") and text(record, "host") == host():
                keeper = Watch(number(record, "pid"), text(record, "start"), self._processes)
                try:
                    keeper.end()
                finally:
                    keeper.close()
            self._wait_until(lambda: not self.is_there(holder))
            self.remove(holder)
        except OSError as error:
            raise Unavailable(f"the keeper of session '{holder.session}' could not be ended: {told(error)}") from error
        return True

    def _wait_until(self, over: Callable[[], bool]) -> None:
        began = time.monotonic()
        while not over():
            if time.monotonic() - began > _ENDING:
                raise TimeoutError(f"it has not ended after {_ENDING:.0f} s")
            time.sleep(_LOOK)

    def _command(self, config: Config, holder: Holder) -> list[str]:
        before = [sys.executable, "-P", "-m", "looop_portable", "--data-dir", config.data_dir, "--backend", config.backend]
        after = ["--incarnation", holder.incarnation, "--state", self.directory, "--foreground", "--", holder.session]
        return [*before, "session", "keep", *after]

    def _record(self, base: str) -> dict[str, object]:
        return decode(self._files.read(f"{base}.json") or b"")

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
            self._files.let_go(taken)


def _launch(command: list[str]) -> str:
    """A process that has nothing to do with ours, nor with the terminal; the first line that it says, or why there is none.

    It outlives us, and holds nothing of ours open. Windows: with a console that nobody sees and not without one, as a
    virtual environment's launcher starts another Python, which would be given one that is seen.
    """
    import subprocess
    import threading

    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    child = subprocess.Popen(  # noqa: S603 (this Python, and this package)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=os.path.abspath(os.sep),
        env=_environment(),
        start_new_session=True,
        creationflags=flags,
    )
    assert child.stdout
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
    reader.start()
    reader.join(_PATIENCE)
    if reader.is_alive():
        child.kill()
        return f"it said nothing for {_PATIENCE:.0f} s"
    child.stdout.close()
    if lines and lines[-1].startswith(KEPT_BY):
        child.returncode = 0  # It goes on without us. Without this, Python would complain of that.
        return lines[-1]
    code = child.wait()
    return lines[-1].removeprefix("looop: ") if lines else f"it ended with code {code}"


def _read(stream: IO[bytes], lines: list[str]) -> None:
    """Until it is there, or has ended: a launcher may hold the pipe open for as long as it lives."""
    for line in iter(stream.readline, b""):
        lines.append(line.decode(errors="replace").strip())
        if lines[-1].startswith(KEPT_BY):
            return


def _environment() -> dict[str, str]:
    """Ours, in which the package is found from anywhere."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if os.path.basename(package) not in ("site-packages", "dist-packages"):
        paths.append(package)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)} if paths else dict(os.environ)
