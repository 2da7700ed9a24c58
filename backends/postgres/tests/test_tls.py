"""With TLS: by a certificate that the client knows, and by one that it does not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import program_or_skip
from support.servers.postgres import PASSWORD, Postgres

from looop_portable import Unavailable
from looop_portable.backends.engine import CLAIM, Record
from looop_portable.system.clock import elapsed
from looop_portable_postgres.engine import PostgresEngine

Opened = Callable[[str], PostgresEngine]


def made(where: Path, name: str) -> Path:
    """A certificate of localhost's, which has signed itself."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(where / f"{name}.key"), "-out", str(where / f"{name}.crt")]
    command = [program_or_skip("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, *subject, *files], check=True, capture_output=True)
    return where / f"{name}.crt"


@pytest.fixture
def encrypted() -> Iterator[Postgres]:
    server = Postgres(ssl="on")
    try:
        made(server.place, "server")
        server.settings |= {
            "ssl_cert_file": str(server.place / "server.crt"),
            "ssl_key_file": str(server.place / "server.key"),
        }
        server.own(server.place / "server.key")
        server.start()
        server.sql(f"create role visitor login password '{PASSWORD}'; grant create on database postgres to visitor")
        yield server
    finally:
        server.close()


def test_a_server_is_known_by_its_certificate(encrypted: Postgres, opened: Opened, tmp_path: Path) -> None:
    url = f"postgresql://visitor:{PASSWORD}@localhost:{encrypted.port}/postgres?sslmode=verify-full&sslrootcert="
    engine = opened(f"{url}{encrypted.place / 'server.crt'}")
    assert engine.advance(CLAIM, "a", 0, b"x" * (1 << 20), not_after=elapsed() + 5).won
    assert engine.read(CLAIM, "a") == Record(1, b"x" * (1 << 20))
    assert {each.name: each.found for each in engine.verify()}["transport"] == "TLS"
    assert engine.subscribe(CLAIM, "a", lambda: None)
    for bad in (
        url + str(made(tmp_path, "other")),
        url.replace("localhost", "127.0.0.1") + f"{encrypted.place / 'server.crt'}",
    ):
        with pytest.raises(Unavailable, match="certificate") as told:
            opened(bad).read(CLAIM, "a")
        assert str(told.value).isprintable()
        assert PASSWORD not in f"{told.value!r}"


def test_a_frozen_server_costs_the_timeout_with_tls_too(encrypted: Postgres, opened: Opened) -> None:
    url = f"postgresql://visitor:{PASSWORD}@127.0.0.1:{encrypted.port}/postgres?sslmode=require&timeout=1"
    engine = opened(url)
    engine.read(CLAIM, "a")
    encrypted.freeze()
    try:
        for each in (engine, opened(url)):
            began = elapsed()
            with pytest.raises(Unavailable):
                each.advance(CLAIM, "a", 0, b"x" * (1 << 20), not_after=elapsed() + 5)
            assert elapsed() - began < 2
    finally:
        encrypted.thaw()
