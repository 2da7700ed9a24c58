"""PostgreSQL 15 or another, and pgbouncer before it, for tests. Debian's programs; PostgreSQL runs as its own user."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from support.servers import PATIENCE, Server

USER = "postgres"
_STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
PASSWORD = "s3cret"
_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def binaries_or_skip() -> Path:
    """Where the programs of a server are; Debian has only those of clients on PATH."""
    if _BINARIES:
        return _BINARIES[-1]
    found = shutil.which("initdb") or pytest.skip("no PostgreSQL: no initdb below /usr/lib/postgresql, and none on PATH")
    return Path(found).resolve().parent


def pgbouncer_or_skip() -> str:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or pytest.skip("no pgbouncer")


class Postgres(Server):
    """`settings`: as in postgresql.conf. The user `postgres` needs no password, every other one does."""

    name = "postgres"

    def __init__(self, *, of: Postgres | None = None, **settings: str) -> None:
        """`of`: it is a standby of that one, which is copied."""
        self.binaries = binaries_or_skip()
        super().__init__(USER)
        self.settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.place),
            "dynamic_shared_memory_type": "mmap",
            "shared_buffers": "16MB",
            "max_wal_size": "64MB",
            "logging_collector": "off",
            **settings,
        }
        data = self.place / "data"
        if of is None:
            self._as_user("cp", "-a", str(_made(self.binaries)), str(data))
        else:
            copy = [str(self.binaries / "pg_basebackup"), "-h", "127.0.0.1", "-p", str(of.port), "-U", USER]
            self._as_user(*copy, "-D", str(data), "-R", "-X", "stream", "-c", "fast")

    def command(self) -> Sequence[str]:
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        return [str(self.binaries / "postgres"), "-D", str(self.place / "data"), "-p", str(self.port), *settings]

    def is_ready(self) -> bool:
        asked = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        return not subprocess.run(asked, check=False).returncode

    def stop(self) -> None:
        """The postmaster alone is told, and by the signal that ends its clients' connections."""
        assert self._process
        os.kill(self._process.pid, signal.SIGINT)
        self._process.wait(PATIENCE)
        self._process = None

    def freeze(self) -> None:
        """The postmaster first: it makes no more processes then. And until each is stopped: one that is not may answer."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        end = time.monotonic() + PATIENCE
        while running := [each for each in self._children() if each.status() not in _STOPPED]:
            for each in running:
                each.suspend()
            assert time.monotonic() < end, f"they are not stopped: {running}"
            time.sleep(0.001)

    def kill(self) -> None:
        """Who has lost the postmaster is no child of it any more: all are looked for before."""
        self.freeze()
        children = self._children()
        super().kill()
        psutil.wait_procs(children, PATIENCE)

    def promote(self) -> None:
        self._as_user(str(self.binaries / "pg_ctl"), "-D", str(self.place / "data"), "promote", "-w", "-s")

    def url(self, user: str = USER, password: str = "", database: str = "postgres", **parameters: str) -> str:
        who = f"{user}:{password}" if password else user
        asked = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{who}@127.0.0.1:{self.port}/{database}" + (f"?{asked}" if asked else "")

    def sql(self, statement: str) -> str:
        """What psql answers, as the user `postgres`."""
        asked = [str(self.binaries / "psql"), "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        return subprocess.run([*asked, "-c", statement], check=True, capture_output=True, text=True).stdout.strip()

    def _signal(self, number: int) -> None:
        """Each of its processes is the first of a group of its own."""
        for process in (psutil.Process(self.pid), *self._children()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def own(self, file: Path) -> None:
        """It is the server's, and nobody else reads it: else it takes no key."""
        if self._user:
            shutil.chown(file, self._user)
        file.chmod(0o600)

    def _as_user(self, *command: str) -> None:
        _run(command, self._user, self.place)


class PgBouncer(Server):
    """Before `server`, in transaction mode unless something else is said."""

    name = "pgbouncer"

    def __init__(self, server: Postgres, **settings: str) -> None:
        self._program = pgbouncer_or_skip()
        super().__init__(USER)
        own = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": str(self.place),
            "auth_type": "trust",
            "auth_file": str(self.place / "users"),
            "pool_mode": "transaction",
            "max_client_conn": "500",
            "default_pool_size": "10",
            **settings,
        }
        lines = [f"{name} = {value}" for name, value in own.items()]
        database = f"* = host=127.0.0.1 port={server.port}"
        (self.place / "ini").write_text("\n".join(["[databases]", database, "[pgbouncer]", *lines, ""]))
        (self.place / "users").write_text(f'"{USER}" ""\n')

    def command(self) -> Sequence[str]:
        return [self._program, str(self.place / "ini")]

    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ.get("PATH", "")}

    def url(self, **parameters: str) -> str:
        asked = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres" + (f"?{asked}" if asked else "")


@functools.cache
def _made(binaries: Path) -> Path:
    """What initdb makes in a second or two, once a worker; each server has a copy of it."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    _place.append(tempfile.TemporaryDirectory(prefix="postgres-made-", dir=where))
    place = Path(_place[0].name)
    user = USER if os.getuid() == 0 else None
    if user:
        shutil.chown(place, user)
    data = place / "data"
    _run([str(binaries / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"], user, place)
    lines = ["local all all trust", *(f"host {what} postgres 127.0.0.1/32 trust" for what in ("all", "replication"))]
    (data / "pg_hba.conf").write_text("\n".join([*lines, "host all all 127.0.0.1/32 scram-sha-256", ""]))
    return data


_place: list[tempfile.TemporaryDirectory[str]] = []


def _run(command: Sequence[str], user: str | None, where: Path) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=where, user=user, extra_groups=[] if user else None
    )
    assert not done.returncode, f"{command[0]}: {done.stderr or done.stdout}"
