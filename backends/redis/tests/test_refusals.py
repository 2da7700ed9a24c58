"""What cannot be used says so in one line, soon, and without a credential."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from looop_portable.backends.engine import CLAIM, NOTHING, Engine, Record
from looop_portable.errors import CannotExclude, Settling, Unavailable, UsageError
from looop_portable.system.clock import elapsed
from looop_portable_redis.address import read_url
from looop_portable_redis.link import is_lossless, refusals
from looop_portable_redis.wire import connect as connect_wire
from support.servers import free_port
from support.servers.redis import ALWAYS, EACH, Redis, needs_openssl, needs_redis

pytestmark = needs_redis

SECRET = "s3cret/%41@x"
ENCODED = "s3cret%2F%2541%40x"
Opening = Callable[..., Engine]
Starting = Callable[..., Redis]
Settle = Callable[[Redis, str], None]


def nothing() -> None:
    """What is rung."""


def refused(engine: Engine, kind: type[Unavailable] = Unavailable, within: float = 5.0) -> str:
    """What every question is answered with: one line, soon, without a credential, as are the errors behind it."""
    asked: list[Callable[[], object]] = [
        lambda: engine.read(CLAIM, "a"),
        lambda: engine.advance(CLAIM, "a", 0, b"one", not_after=elapsed() + 60),
        lambda: engine.scan(CLAIM),
        lambda: engine.look("a"),
        lambda: engine.beat("a/i", 3),
        lambda: engine.heard("a/i"),
        lambda: engine.forget(CLAIM, "a"),
    ]
    said = ""
    for ask in asked:
        began = elapsed()
        with pytest.raises(kind) as told:
            ask()
        assert elapsed() - began < within
        said = str(told.value)
        assert said.startswith(f"{engine.where}: ")
        assert said.isprintable()
        error: BaseException | None = told.value
        while error:
            assert "s3cret" not in f"{error} {error!r} {error.args}"
            error = error.__cause__ or error.__context__
    return said


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_server_that_evicts_what_does_not_expire_is_refused(policy: str, starting: Starting, opening: Opening) -> None:
    server = starting("--maxmemory-policy", policy)
    assert "maxmemory-policy to noeviction" in refused(opening(server.url()), CannotExclude)


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
def test_a_server_that_evicts_only_what_expires_is_used(
    policy: str, starting: Starting, opening: Opening, settle: Settle
) -> None:
    server = starting("--maxmemory-policy", policy)
    settle(server, "p")
    assert opening(server.url(prefix="p")).read(CLAIM, "a") == NOTHING


def test_a_server_that_is_full_evicts_no_claim(starting: Starting, opening: Opening, settle: Settle) -> None:
    server = starting("--maxmemory", "3mb", "--maxmemory-policy", "volatile-lru")
    settle(server, "p")
    engine = opening(server.url(prefix="p"))
    assert engine.advance(CLAIM, "a", 0, b"one", not_after=elapsed() + 60).won
    with redis.Redis(port=server.port) as client:
        for number in range(3000):
            client.set(f"{number}", b"x" * 1000, ex=1000)
        assert fills(client)
    with pytest.raises(Unavailable, match=r"'maxmemory' \(make room there\)$"):
        engine.advance(CLAIM, "b", 0, b"x" * 100_000, not_after=elapsed() + 60)
    assert engine.read(CLAIM, "a") == Record(1, b"one")


def fills(client: redis.Redis) -> bool:
    """Whether nothing more goes in, in the end."""
    try:
        for number in range(100_000):
            client.set(f"stays-{number}", b"x" * 1000)
    except redis.RedisError:
        return True
    return False


@pytest.mark.parametrize("kind", EACH)
def test_a_replica_is_refused_by_name(kind: str, starting: Starting, opening: Opening) -> None:
    master = starting(kind=kind)
    replica = starting("--replicaof", "127.0.0.1", str(master.port), kind=kind)
    said = refused(opening(replica.url()), CannotExclude)
    assert f"a replica of 127.0.0.1:{master.port}: name the master" in said


def test_a_node_of_a_cluster_is_refused(starting: Starting, opening: Opening) -> None:
    server = starting("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    assert "a node of a cluster" in refused(opening(server.url()), CannotExclude)


def test_one_that_is_too_old_or_something_else_is_refused() -> None:
    good = {"redis_version": "6.2.0", "role": "master"}
    assert refusals(good) == []
    for version in ("6.0.16", "5.0.7", "", "x"):
        assert [name for name, *_ in refusals({**good, "redis_version": version})] == ["version"]
    for version in ("7.0.15", "10.1", "6.10"):
        assert refusals({**good, "redis_version": version}) == []


def test_only_a_log_that_is_synced_always_and_that_nobody_copies_loses_nothing() -> None:
    info = {"aof_enabled": "1", "connected_slaves": "0", "aof_last_write_status": "ok", "aof_last_bgrewrite_status": "ok"}
    info |= {"aof_rewrite_in_progress": "0", "aof_rewrite_scheduled": "0", "master_replid2": "0" * 40}
    config = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
    assert is_lossless(info, config) == 2
    for name in ("aof_rewrite_in_progress", "aof_rewrite_scheduled"):
        assert is_lossless({**info, name: "1"}, config) == 1
    for name, value in (("aof_enabled", "0"), ("connected_slaves", "1"), ("aof_last_write_status", "err")):
        assert is_lossless({**info, name: value}, config) == 0
    assert is_lossless({**info, "master_replid2": "a" * 40}, config) == 0
    for name, value in (("appendonly", "no"), ("appendfsync", "everysec"), ("no-appendfsync-on-rewrite", "yes")):
        assert is_lossless(info, {**config, name: value}) == 0
    assert is_lossless(info, {}) == 0


def test_a_wrong_password_and_none(starting: Starting, opening: Opening, settle: Settle) -> None:
    server = starting()
    settle(server, "p")
    with redis.Redis(port=server.port) as client:
        client.config_set("requirepass", SECRET)
    place = f"127.0.0.1:{server.port}/0?prefix=p"
    for login in ("", ":s3cret-wrong@", f"nobody:{ENCODED}@"):
        assert "REDIS_PASSWORD" in refused(opening(f"redis://{login}{place}"))
    for engine in (
        opening(f"redis://:{ENCODED}@{place}"),
        opening(f"redis://default:{ENCODED}@{place}"),
        opening(f"redis://{place}", REDIS_PASSWORD=SECRET),
        opening(f"redis://{place}", REDISCLI_AUTH=SECRET, REDIS_USERNAME="default"),
    ):
        assert engine.read(CLAIM, "a") == NOTHING
        assert "s3cret" not in engine.where


def test_a_database_that_is_not_there(starting: Starting, opening: Opening) -> None:
    server = starting()
    assert "DB index is out of range" in refused(opening(f"redis://127.0.0.1:{server.port}/99"))


def test_where_nobody_listens_or_nobody_is(opening: Opening) -> None:
    assert "refused" in refused(opening("redis://127.0.0.1:1"))
    refused(opening("redis://nobody.invalid"))


def test_what_is_no_redis(opening: Opening) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            while True:
                try:
                    asked, _ = server.accept()
                except OSError:
                    return
                with asked:
                    asked.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        refused(opening(f"redis://127.0.0.1:{port}?timeout=1"), within=2.0)
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_server_that_says_nothing_ends_each_call_within_its_time(
    starting: Starting, opening: Opening, settle: Settle
) -> None:
    server = starting()
    settle(server, "p")
    connected = opening(server.url(prefix="p", timeout=0.3))
    connected.read(CLAIM, "a")
    server.freeze()
    refused(connected, within=1.3)
    refused(opening(server.url(prefix="p", timeout=0.3)), within=1.3)
    server.thaw()


@pytest.mark.parametrize("kind", EACH)
@pytest.mark.usefixtures("lingering")
def test_what_a_silent_server_reads_too_late_changes_nothing(
    kind: str, starting: Starting, opening: Opening, settle: Settle, asked: Callable[[Redis], int]
) -> None:
    """It makes no holder who does not know it."""
    server = starting(kind=kind)
    settle(server, "p")
    engine = opening(server.url(prefix="p", timeout=0.5))
    assert not engine.advance(CLAIM, "a", 9, b"lost", not_after=elapsed() + 60).won
    before = asked(server)
    server.freeze()
    with pytest.raises(Unavailable):
        engine.advance(CLAIM, "a", 0, b"ghost", not_after=elapsed() + 0.5)
    threading.Event().wait(0.2)  # The deadline passes.
    server.thaw()
    end = elapsed() + 60
    while asked(server) == before:
        assert elapsed() < end
    other = opening(server.url(prefix="p"))
    assert other.read(CLAIM, "a") == NOTHING
    assert other.advance(CLAIM, "a", 0, b"two", not_after=elapsed() + 60).won


def test_what_a_silent_server_has_not_read_when_its_client_gives_up_is_never_read(
    starting: Starting, opening: Opening, settle: Settle
) -> None:
    """Not even that: the connection is reset."""
    server = starting()
    settle(server, "p")
    engine = opening(server.url(prefix="p", timeout=0.2))
    engine.read(CLAIM, "a")
    server.freeze()
    with pytest.raises(Unavailable):
        engine.advance(CLAIM, "a", 0, b"in time", not_after=elapsed() + 3600)
    server.thaw()
    assert opening(server.url(prefix="p")).read(CLAIM, "a") == NOTHING


def test_a_user_with_the_rule_of_the_readme_can_do_all_and_one_without_is_told(
    starting: Starting, opening: Opening
) -> None:
    """Nobody else's keys, and no channel."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    rule = next(line for line in readme.splitlines() if line.startswith("ACL SETUSER ")).split()
    server = starting(*ALWAYS)
    with redis.Redis(port=server.port) as client:
        client.execute_command(*rule, f">{SECRET}")
        client.execute_command("ACL", "SETUSER", "poor", "on", "allkeys", "+get", f">{SECRET}")
    place = f"127.0.0.1:{server.port}/0?longest=1"
    engine = opening(f"redis://{rule[2]}:{ENCODED}@{place}&prefix=ci")
    while True:
        try:
            assert engine.advance(CLAIM, "a", engine.read(CLAIM, "a").number, b"one", not_after=elapsed() + 60).won
            break
        except Settling:
            threading.Event().wait(0.05)
    engine.beat("a/i", 1)
    leave = engine.subscribe(CLAIM, "a", nothing)
    assert leave
    leave()
    assert engine.heard("a/i")
    assert engine.look("a").claim.data == b"one"
    assert len(engine.scan(CLAIM)) == 1
    engine.forget("beat", "a/i")
    assert {fact.name: fact for fact in engine.verify()}["persistence"].found.endswith("survives a crash")
    assert "ACL rule" in refused(opening(f"redis://poor:{ENCODED}@{place}&prefix=ci"))
    assert "ACL rule" in refused(opening(f"redis://{rule[2]}:{ENCODED}@{place}&prefix=others"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority, and a certificate for 127.0.0.1."""
    place = tmp_path_factory.mktemp("tls")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout"]

    def run(*command: str) -> None:
        subprocess.run(command, cwd=place, check=True, capture_output=True)

    run(*make, "ca.key", "-out", "ca.pem", "-subj", "/CN=test")
    run(
        "openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=127.0.0.1"
    )
    (place / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    sign = ["openssl", "x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    run(*sign, "-out", "cert.pem", "-days", "2", "-extfile", "names")
    return place


@needs_openssl
def test_tls(authority: Path, starting: Starting, opening: Opening) -> None:
    """With its own authority; refused without it; and each side that speaks it alone says so."""
    files = {"cert": authority / "cert.pem", "key": authority / "key.pem", "ca-cert": authority / "ca.pem"}
    options = [word for name, file in files.items() for word in (f"--tls-{name}-file", str(file))]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    plain = starting("--tls-port", str(port), "--tls-auth-clients", "optional", *options)
    place = f"127.0.0.1:{port}/0?prefix=p"
    for scheme in ("rediss", "valkeys"):
        engine = opening(f"{scheme}://{place}&ssl_ca_certs={authority / 'ca.pem'}")
        assert engine.read(CLAIM, "a").data == b""
        leave = engine.subscribe(CLAIM, "a", nothing)
        assert leave
        leave()
    assert "ssl_ca_certs" in refused(opening(f"rediss://{place}"))
    assert "not by TLS" in refused(opening(f"rediss://127.0.0.1:{plain.port}/0?timeout=0.3"), within=1.3)
    assert "rediss://" in refused(opening(f"redis://127.0.0.1:{port}/0"))
    refused(opening(f"rediss://{place}&ssl_ca_certs={authority / 'missing'}"))


STRANGE = [
    "redis://h:0", "redis://h:65536", "redis://h:x", "redis://h:-1", "redis://h/x", "redis://h/0/1", "redis://h/-1",
    "redis://h/0?strange=1", "redis://h/0?timeout=0", "redis://h/0?timeout=x", "redis://h/0?timeout=nan",
    "redis://h/0?wait=1.5", "redis://h/0?wait=-1", "redis://h/0?longest=0", "redis://h/0?prefix=", "redis://h/0?prefix={a}",
    "redis://h/0?prefix=a&prefix=b", "redis://h/0?prefix", "redis://h/0#x", "redis://h,i/0", "redis://h h/0",
    "redis://:s3cret/x@h/0", "redis://:s3cret@x@h:s3cret/0", "redis://[::1/0", "redis://[x]:1/0", "redis+sentinel://h",
    "redis+sentinel://h/", "redis+sentinel://h/main/x", "redis://h/0?ssl_ca_certs=/x", "redis://h/0?%ff=1", "http://h",
    "rediss://h/0?ssl_cert_reqs=none", "redis://h/0?prefix=%00",
]  # fmt: skip


@pytest.mark.parametrize("url", STRANGE)
def test_a_strange_url_is_told_in_one_line_that_repeats_no_password(url: str) -> None:
    with pytest.raises(UsageError) as told:
        read_url(url, {})
    assert str(told.value).isprintable()
    assert "s3cret" not in f"{told.value} {told.value.__context__ if not told.value.__suppress_context__ else ''}"


def test_a_url_says_which_server_and_which_store() -> None:
    found = read_url("redis://u:p%40@[::1]:7000/3?prefix=ci/x&timeout=2&wait=1&longest=60", {})
    assert found.where == "redis://[::1]:7000/3?prefix=ci/x"
    assert (found.user, found.password, found.timeout, found.wait, found.longest) == ("u", "p@", 2.0, 1, 60.0)
    assert found.hosts == (("::1", 7000),)
    assert read_url("", {}).where == read_url("redis://", {}).where == "redis://localhost:6379/0?prefix=looop"
    sentinel = read_url("redis+sentinel://a,b:1/main/2", {"REDIS_SENTINEL_USERNAME": "x"})
    assert sentinel.where == "redis+sentinel://a:26379,b:1/main/2?prefix=looop"
    assert sentinel.sentinel_user == "x"


def test_what_is_not_sent_yet_when_a_connection_is_closed_is_thrown_away(starting: Starting) -> None:
    wire = connect_wire(read_url(starting().url(), {}))
    assert wire.line.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == b"\1\0\0\0\0\0\0\0"
    wire.disconnect()
