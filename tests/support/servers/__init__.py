"""A real server for a test: on a free port of loopback, in a directory of its own, ended by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 60.0
"""Seconds, after which a server that is not ready is taken for broken."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One process, or a group of them, that listens on `port`. A subclass says how it is started, and when it is ready.

    Does not guarantee: that the port is still free when it starts: a test that starts one anew has the same port again.
    """

    name = "server"
    end_by = signal.SIGTERM
    """What ends it as an operator would, whoever is connected."""

    def __init__(self, user: str | None = None) -> None:
        """`user`: whom it runs as, where it refuses to run as root."""
        self.place = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=_memory()))
        self.port = free_port()
        self._user = user if os.getuid() == 0 else None
        if self._user:
            shutil.chown(self.place, self._user)
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def is_ready(self) -> bool:
        """Whether it answers. OSError says no as well."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Until it is ready."""
        with (self.place / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.place,
                env=dict(self.environment()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._user,
                extra_groups=[] if self._user else None,
            )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if self.is_ready():
                    return
            except OSError:
                pass
            assert self._process.poll() is None, f"{self.name} has ended: {self.log()[-2000:]}"
            assert time.monotonic() < end, f"{self.name} is not ready: {self.log()[-2000:]}"
            time.sleep(0.01)

    def stop(self) -> None:
        """As an operator ends it."""
        self._end(self.end_by)

    def kill(self) -> None:
        """All of its processes, at once."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It answers nobody, and its connections stay."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)  # Until all of its threads are stopped.

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """At the end of the test. Nothing is left."""
        if self._process:
            self.kill()
        shutil.rmtree(self.place, ignore_errors=True)

    def log(self) -> str:
        return (self.place / "log").read_text(errors="replace")

    def _end(self, number: int) -> None:
        assert self._process
        self._signal(number)
        self._signal(signal.SIGCONT)
        self._process.wait(PATIENCE)
        self._process = None

    def _signal(self, number: int) -> None:
        assert self._process
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return


def _memory() -> str | None:
    """Where files are not written to a disk, where there is that."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
