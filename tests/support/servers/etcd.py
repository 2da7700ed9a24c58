"""An etcd for a test: one member alone, or three that are a cluster."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.servers import PATIENCE, Server, free_port

BINARY = shutil.which(os.environ.get("ETCD_BINARY", "etcd")) or ""
"""The server; another one by ETCD_BINARY."""


def etcd_or_skip() -> str:
    """Where the server is."""
    return BINARY or pytest.skip("no etcd on PATH (Debian: etcd-server), and ETCD_BINARY names none")


class Etcd(Server):
    """A member. `members`: those of its cluster, with itself; empty: it is alone."""

    name = "etcd"

    def __init__(self, *options: str, tls: bool = False) -> None:
        super().__init__()
        etcd_or_skip()
        self.peer = free_port()
        self.members: Sequence[Etcd] = (self,)
        self.scheme = "https" if tls else "http"
        self.asks_for_certificates = False
        self._options = options

    @property
    def called(self) -> str:
        return f"m{self.port}"

    def command(self) -> Sequence[str]:
        client, peer = f"{self.scheme}://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer}"
        cluster = ",".join(f"{each.called}=http://127.0.0.1:{each.peer}" for each in self.members)
        named = [f"--name={self.called}", f"--data-dir={self.place / 'data'}", f"--initial-cluster={cluster}"]
        clients = [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        peers = [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        return [BINARY, *named, *clients, *peers, *self._options]

    def is_ready(self) -> bool:
        if self.scheme == "https" or len(self.members) > 1:
            return super().is_ready()
        return self.ask("/health").get("health") == "true"

    def freeze(self) -> None:
        """Until none of its threads runs any more: what is sent before that may be answered."""
        super().freeze()
        tasks = Path(f"/proc/{self.pid}/task")
        while tasks.exists() and any(_state(each) != "T" for each in tasks.iterdir()):
            time.sleep(0.001)

    def ask(self, path: str, body: object = None) -> dict[str, object]:
        """What its gateway answers, without TLS and users."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data, timeout=5) as answer:
            found: dict[str, object] = json.loads(answer.read())
            return found


def _state(task: Path) -> str:
    """T: it is stopped, or has ended meanwhile."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "T"


@contextmanager
def cluster(*options: str) -> Iterator[list[Etcd]]:
    """Three members, ready."""
    members = [Etcd(*options) for _ in range(3)]
    try:
        for each in members:
            each.members = members
        starts = [threading.Thread(target=each.start) for each in members]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        yield members
    finally:
        for each in members:
            each.close()


def leader_of(members: Sequence[Etcd]) -> Etcd:
    """Who leads them, and so all who run agree."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(OSError):
            found = [each.ask("/v3/maintenance/status", {}) for each in members]
            leaders = {str(each.get("leader", "0")) for each in found}
            for member, status in zip(members, found, strict=True):
                header = status["header"]
                assert isinstance(header, dict)
                if leaders == {header["member_id"]}:
                    return member
        time.sleep(0.05)
    raise AssertionError("nobody leads the cluster")
