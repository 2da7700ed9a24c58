"""What a server that refuses, is stopped, or is started anew is told as: in one line, in time, and no secret in it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from support.servers import free_port
from support.servers.postgres import PASSWORD, Postgres

from looop_portable import CannotExclude, Unavailable
from looop_portable.backends.engine import BEAT, CLAIM, NOTHING, SESSION, TICKET, Record
from looop_portable.errors import UsageError
from looop_portable.system.clock import elapsed
from looop_portable_postgres.address import target_in
from looop_portable_postgres.engine import PostgresEngine
from looop_portable_postgres.wire import Wire

Opened = Callable[[str], PostgresEngine]

TIMEOUT = 1.5
"""Seconds for each call of these tests."""


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server of this test alone, which it may stop."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


def refused(call: Callable[[], object], kind: type[Unavailable] = Unavailable, seconds: float = TIMEOUT) -> str:
    """What `call` is told: one line, within the timeout and a second, and without the password."""
    began = elapsed()
    with pytest.raises(kind) as told:
        call()
    assert elapsed() - began < seconds + 1
    assert str(told.value).isprintable()
    assert PASSWORD not in f"{told.value!r} {told.value.__cause__!r} {told.value.__context__!r}"
    return str(told.value)


def later() -> float:
    return elapsed() + 3600


def test_each_call_is_one_round_trip(
    server: Postgres, opened: Opened, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted where libpq is told to send. A transition that is lost tells what stands in the same one."""
    engine, sent = opened(server.url(prefix=prefix)), list[bytes]()
    engine.advance(CLAIM, "a", 0, b'{"word": "s/i"}', not_after=later())
    engine.advance(CLAIM, "b", 0, b'{"word": "t/i"}', not_after=later())
    engine.advance(SESSION, "s", 0, b'{"word": "s/i"}', not_after=later())

    class Counted:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            if name.startswith(("send", "exec")):
                sent.append(name.encode())
            return getattr(self._connection, name)

    monkeypatch.setattr(Wire, "connection", property(lambda wire: Counted(wire._connection)))
    calls: list[Callable[[], object]] = [
        lambda: engine.read(CLAIM, "a"),
        lambda: engine.advance(CLAIM, "a", 1, b"two", not_after=later()),
        lambda: engine.advance(CLAIM, "a", 1, b"lost", not_after=later()),
        lambda: engine.look("a"),
        lambda: engine.scan(CLAIM),
        lambda: engine.beat("s/i", 30),
        lambda: engine.heard("s/i"),
        lambda: engine.report("s", "s/i", 30),
        lambda: engine.survey(CLAIM),
        lambda: engine.survey(SESSION),
        lambda: engine.forget(TICKET, "a/1"),
        lambda: engine.forget(BEAT, "s/i"),
    ]
    for call in calls:
        sent.clear()
        call()
        assert len(sent) == 1, sent


def test_many_threads_have_three_connections(own: Postgres, opened: Opened) -> None:
    engine, most = opened(own.url()), 0
    engine.read(CLAIM, "a")
    with ThreadPoolExecutor(12) as threads:
        done = [threads.submit(lambda: [engine.read(CLAIM, "a") for _ in range(50)]) for _ in range(12)]
        while not all(each.done() for each in done):
            count = "select count(*) from pg_stat_activity where application_name = 'looop-portable'"
            most = max(most, int(own.sql(count)))
        assert all(each.result() for each in done)
    assert 1 <= most <= 3


def test_many_that_make_the_schema_at_once_make_it_once(server: Postgres, opened: Opened, prefix: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        found = [threads.submit(opened(server.url(prefix=prefix)).read, CLAIM, "a") for _ in range(6)]
        assert [each.result() for each in found] == [NOTHING] * 6


def test_what_refuses_us_is_told_in_one_line(server: Postgres, opened: Opened) -> None:
    for url, words in {
        server.url("visitor", f"{PASSWORD}x"): "password authentication failed",
        server.url("visitor"): "no password supplied",
        server.url("nobody", PASSWORD): "password authentication failed",
        server.url(database="nowhere"): 'database "nowhere" does not exist',
        server.url(sslmode="require"): "SSL was required",
        f"postgresql://visitor:{PASSWORD}@127.0.0.1:{free_port()}/postgres": "refused",
        f"postgresql://visitor:{PASSWORD}@nowhere.invalid/postgres": "address",
    }.items():
        engine = opened(url + ("&" if "?" in url else "?") + f"timeout={TIMEOUT}")
        told = refused(partial(engine.read, CLAIM, "a"))
        assert words in told


def test_whoever_may_not_make_a_schema_is_told_so(server: Postgres, opened: Opened, prefix: str) -> None:
    server.sql("create role guest login password 's3cret'")
    try:
        url = server.url("guest", PASSWORD, prefix=prefix)
        assert "permission denied" in refused(lambda: opened(url).read(CLAIM, "a"))
        opened(server.url("visitor", PASSWORD, prefix=prefix)).read(CLAIM, "a")
        assert "permission denied" in refused(lambda: opened(url).read(CLAIM, "a"))
        server.sql(f"grant usage on schema {prefix} to guest; grant all on all tables in schema {prefix} to guest")
        assert opened(url).advance(CLAIM, "a", 0, b"one", not_after=later()).won
    finally:
        server.sql(f"drop schema {prefix} cascade; drop role guest")


def test_too_many_connections_are_told_and_those_that_there_are_go_on(opened: Opened) -> None:
    server = Postgres(max_connections="5", superuser_reserved_connections="0", max_wal_senders="0")
    try:
        server.start()
        server.sql(f"create role visitor login password '{PASSWORD}'; grant create on database postgres to visitor")
        url = server.url("visitor", PASSWORD, timeout=str(TIMEOUT))
        engines = [opened(url) for _ in range(6)]
        for engine in engines[:5]:
            engine.read(CLAIM, "a")
        assert "too many clients" in refused(lambda: engines[5].read(CLAIM, "a"))
        assert engines[0].read(CLAIM, "a") == NOTHING
    finally:
        server.close()


def test_a_role_that_is_read_only_is_told_that_it_cannot_claim(server: Postgres, opened: Opened, prefix: str) -> None:
    server.sql("create role reader login superuser password 's3cret'")
    server.sql("alter role reader set default_transaction_read_only = on")
    try:
        opened(server.url(prefix=prefix)).read(CLAIM, "a")
        engine = opened(server.url("reader", PASSWORD, prefix=prefix))
        assert "read-only" in refused(lambda: engine.advance(CLAIM, "a", 0, b"x", not_after=later()), CannotExclude)
    finally:
        server.sql("drop role reader")


def test_a_server_that_is_frozen_costs_the_timeout_and_nothing_is_done_when_it_is_thawed(
    own: Postgres, opened: Opened
) -> None:
    """Without the deadline there is then a holder who does not know it."""
    url = own.url(timeout=str(TIMEOUT))
    engine, other = opened(url), opened(url)
    assert engine.read(CLAIM, "a") == other.read(CLAIM, "a") == NOTHING
    own.freeze()
    try:
        refused(lambda: engine.advance(CLAIM, "a", 0, b"ghost", not_after=later()))
        refused(lambda: other.advance(CLAIM, "b", 0, b"ghost", not_after=elapsed() + 0.3), seconds=0.3)
        refused(lambda: engine.read(CLAIM, "a"))  # It connects.
        refused(lambda: engine.beat("s/i", 30))
    finally:
        own.thaw()
    own.sql("select pg_sleep(0.3)")
    for name in "ab":
        assert engine.read(CLAIM, name) == NOTHING
        assert engine.advance(CLAIM, name, 0, b"one", not_after=later()).won


def test_a_server_that_is_killed_and_started_anew_has_all_that_was_told(own: Postgres, opened: Opened) -> None:
    engine = opened(own.url())
    engine.advance(CLAIM, "a", 0, b"one", not_after=later())
    for end in (own.kill, own.stop):
        end()
        refused(lambda: engine.read(CLAIM, "a"), seconds=4)
        own.start()
        with contextlib.suppress(Unavailable):  # The connections that were idle have ended.
            engine.read(CLAIM, "a")
        assert engine.read(CLAIM, "a") == Record(1, b"one")


@pytest.mark.parametrize("answers", [b"", b"S"], ids=["nothing", "that it speaks TLS"])
def test_what_takes_a_connection_and_never_answers_is_given_up(answers: bytes, opened: Opened) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kept: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(silent.accept()[0])
                    kept[-1].sendall(answers)

        threading.Thread(target=serve, daemon=True).start()
        url = f"postgresql://visitor:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/postgres?timeout={TIMEOUT}"
        refused(lambda: opened(url).read(CLAIM, "a"))
        silent.shutdown(socket.SHUT_RDWR)
        for each in kept:
            each.close()


def test_a_name_that_is_looked_up_for_ever_is_given_up(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [over.wait(30)][:0])
    try:
        url = f"postgresql://visitor:{PASSWORD}@database.example/postgres?timeout={TIMEOUT}"
        assert "address" in refused(lambda: opened(url).read(CLAIM, "a"))
    finally:
        over.set()


def test_of_several_hosts_the_one_that_answers_is_used(server: Postgres, opened: Opened, prefix: str) -> None:
    hosts = f"127.0.0.1:{free_port()},localhost:{server.port}"
    assert opened(f"postgresql://postgres@{hosts}/postgres?prefix={prefix}").read(CLAIM, "a") == NOTHING


def test_what_is_wrong_with_a_url_is_told_without_what_is_secret_in_it() -> None:
    for url in (
        f"postgresql://me:{PASSWORD}@host:70000/db",
        f"postgresql://me:{PASSWORD}@host:x/db",
        f"postgresql://me:{PASSWORD}%zz@host/db",
        f"postgresql://me:{PASSWORD}@host/db?colour=red",
        f"postgresql://me:{PASSWORD}@host/db?{PASSWORD}=red",
        f"postgresql://me:{PASSWORD}@host/db?timeout=soon",
        f"postgresql://me:{PASSWORD}@host/db?timeout=0",
        f"postgresql://me:{PASSWORD}@host/db?prefix=pg_ours",
        f"postgresql://me:{PASSWORD}@host/db?prefix=a%22b",
        f"postgresql://me:{PASSWORD}@host/db?prefix=",
        f"postgresql://me:{PASSWORD}@host/db?prefix=a&schema=b",
        f"postgresql://me:{PASSWORD}@host/db?prefix=a&prefix=b",
        f"postgresql://me:{PASSWORD}@host/db?listen=redis://me:{PASSWORD}@host",
        f"postgresql://me:{PASSWORD}@host/db?listen=postgresql://me:{PASSWORD}@host/db%3Fprefix=a",
        f"postgresql://me:{PASSWORD}@host/db#{PASSWORD}",
        f"mysql://me:{PASSWORD}@host/db",
    ):
        with pytest.raises(UsageError) as told:
            target_in(url)
        assert str(told.value).isprintable(), url
        assert PASSWORD not in f"{told.value!r} {told.value.__cause__!r}", url


def test_where_it_is_has_no_secret() -> None:
    for url, where in {
        f"postgresql://me:{PASSWORD}@host/db": "postgresql://host:5432/db?prefix=looop",
        f"postgres://me:{PASSWORD}@host:7/db?schema=ci&listen=postgresql://{PASSWORD}@x/db": "postgresql://host:7/db?prefix=ci",
        f"postgresql://me:{PASSWORD}@[::1],b:7/db": "postgresql://[::1]:5432,b:7/db?prefix=looop",
        f"postgresql:///db?host=/run/x&password={PASSWORD}": "postgresql://%2Frun%2Fx:5432/db?prefix=looop",
    }.items():
        found = PostgresEngine(target_in(url)).where
        assert found == where
