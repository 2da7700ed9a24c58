"""A password in the URL of a real server, right or wrong: in no output, no file, and no process's command line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.servers import Server, free_port

SECRET = "s3cret-of-ours/+ü"
SPELLED = urllib.parse.quote(SECRET, safe="")
PARTS = ("s3cret-of-ours", SPELLED)
WRONG = "wr0ng-of-ours"
VERBS = [
    ("session", "start", "w1", "--pid", "PID", "--lease", "3"),
    ("claim", "x", "--session", "w1", "--note", "why"),
    ("claim", "x", "--session", "w2", "--ttl", "30s"),
    ("claim", "x", "--session", "w2", "--wait", "100ms"),
    ("show", "x"),
    ("claims",),
    ("queue", "x"),
    ("session", "list"),
    ("run", "--claim", "y", "--lease", "3", "--", sys.executable, "-c", "pass"),
    ("unclaim", "x", "--session", "w1"),
    ("reap",),
    ("session", "stop", "w1"),
    ("events",),
    ("paths",),
    ("doctor", "--seconds", "200ms", "--processes", "2"),
]


def redis_server() -> tuple[Server, str]:
    redis = pytest.importorskip("redis", reason="there is no redis client (pip install redis)")
    from support.servers.redis import ALWAYS, PROGRAMS, Redis

    if not PROGRAMS["redis"]:
        pytest.skip("there is no redis-server")
    server = Redis(*ALWAYS, "--requirepass", SECRET)
    server.start()
    with redis.Redis(port=server.port, password=SECRET) as client:
        while client.info("server")["uptime_in_seconds"] < 3:  # It settles for almost as long.
            threading.Event().wait(0.05)
    return server, "redis://:{}@127.0.0.1:{}/0?longest=1"


def postgres_server() -> tuple[Server, str]:
    pytest.importorskip("psycopg", reason="there is no psycopg (pip install psycopg[binary])")
    from support.servers.postgres import Postgres

    server = Postgres()
    server.start()
    server.sql(f"create role visitor login password '{SECRET}'; grant create on database postgres to visitor")
    return server, "postgresql://visitor:{}@127.0.0.1:{}/postgres"


def etcd_server() -> tuple[Server, str]:
    """It asks nobody for a password."""
    from support.servers.etcd import Etcd

    server = Etcd()
    server.start()
    return server, "etcd://visitor:{}@127.0.0.1:{}/ci"


STARTS = {"redis": redis_server, "postgres": postgres_server, "etcd": etcd_server}
Place = Callable[[str, "int | None"], str]


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """What makes a URL with a password, and perhaps another port, of a server of that kind."""
    server, form = STARTS[request.param]()
    yield lambda secret, port: form.format(urllib.parse.quote(secret, safe=""), port or server.port)
    server.close()


@pytest.fixture
def seen() -> Iterator[list[str]]:
    """The command lines of all processes below this one that have the password, while the test runs."""
    found: list[str] = []
    done = threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not done.wait(0.005):
            for each in me.children(recursive=True):
                try:
                    words = " ".join(each.cmdline())
                except psutil.Error:
                    continue
                if any(part in words for part in (*PARTS, WRONG)):
                    found.append(words)

    watching = threading.Thread(target=watch)
    watching.start()
    yield found
    done.set()
    watching.join()


def has(directory: Path) -> list[Path]:
    """The files that have it, or are called so."""
    return [
        path
        for path in directory.rglob("*")
        for part in (*PARTS, WRONG)
        if part in str(path) or (path.is_file() and part.encode() in path.read_bytes())
    ]


CASES = [
    *[(kind, "right") for kind in ("redis", "postgres", "etcd")],
    *[(kind, "wrong password") for kind in ("redis", "postgres")],
    ("redis", "nobody listens"),
]


@pytest.mark.parametrize(("place", "server"), CASES, indirect=["place"], ids=[", ".join(case) for case in CASES])
def test_a_password_is_nowhere(place: Place, seen: list[str], tmp_path: Path, server: str) -> None:
    url = place(WRONG if server == "wrong password" else SECRET, free_port() if server == "nobody listens" else None)
    environment = {**os.environ, "LOOOP_BACKEND": url, "LOOOP_DATA_DIR": str(tmp_path / "data")}
    environment.pop("LOOOP_SESSION_ID", None)
    codes = set()
    for number, verb in enumerate(VERBS):
        words = [str(os.getpid()) if word == "PID" else word for word in verb]
        command = [sys.executable, "-m", "looop_portable", ("--json", "-v")[number % 2], *words]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert not [part for part in (*PARTS, WRONG) if part in done.stdout + done.stderr], (words, done)
        if verb[0] != "doctor":  # Its race may be too short for anybody to win.
            codes.add(done.returncode)
    assert codes <= ({0, 1, 2, 124} if server == "right" else {0, 3})
    assert (3 in codes) == (server != "right")
    assert not has(tmp_path)
    assert seen == []
