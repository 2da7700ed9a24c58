"""Users, certificates, and servers that are no good: one line each, soon, and without a password."""

from __future__ import annotations

import http.server
import socketserver
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.capabilities import program_or_skip
from support.servers import free_port
from support.servers.etcd import Etcd

from looop_portable import Unavailable
from looop_portable.backends.engine import CLAIM, Record
from looop_portable.system.clock import elapsed
from looop_portable_etcd.address import Address
from looop_portable_etcd.engine import EtcdEngine
from looop_portable_etcd.wire import Call, Wire

Opened = Callable[..., EtcdEngine]

SECRET = "s3cret"


def refused(engine: EtcdEngine, *, within: float = 5.0) -> str:
    """What is said, by reading and by publishing. The password is nowhere in it."""
    calls: Sequence[Callable[[], object]] = (
        lambda: engine.read(CLAIM, "x"),
        lambda: engine.advance(CLAIM, "x", 0, b"x", not_after=elapsed() + 5),
        lambda: engine.subscribe(CLAIM, "x", lambda: None),
    )
    said = ""
    for call in calls:
        began = elapsed()
        with pytest.raises(Unavailable) as refusal:
            call()
        assert elapsed() - began < within
        assert SECRET not in "".join(traceback.format_exception(refusal.value))
        said = said or str(refusal.value)
        assert str(refusal.value).isprintable()
    return said


@pytest.fixture(scope="module")
def guarded() -> Iterator[Etcd]:
    """It asks for users: `root`; `worker`, who may write below `mine/`; and `guest`, who may do nothing."""
    made = Etcd()
    try:
        made.start()
        for name in ("root", "worker", "guest"):
            made.ask("/v3/auth/user/add", {"name": name, "password": SECRET})
        for role in ("root", "work"):
            made.ask("/v3/auth/role/add", {"name": role})
        allowed = {"permType": "READWRITE", "key": "bWluZS8=", "range_end": "bWluZTA="}  # mine/ to mine0
        made.ask("/v3/auth/role/grant", {"name": "work", "perm": allowed})
        made.ask("/v3/auth/user/grant", {"user": "root", "role": "root"})
        made.ask("/v3/auth/user/grant", {"user": "worker", "role": "work"})
        made.ask("/v3/auth/enable", {})
        yield made
    finally:
        made.close()


@pytest.fixture
def entered(guarded: Etcd) -> Iterator[Callable[[str], EtcdEngine]]:
    made: list[EtcdEngine] = []

    def enter(login: str) -> EtcdEngine:
        made.append(EtcdEngine(Address(f"etcd://{login}127.0.0.1:{guarded.port}/mine")))
        return made[-1]

    yield enter
    for each in made:
        each.close()


Entered = Callable[[str], EtcdEngine]


def works(engine: EtcdEngine, key: str) -> None:
    after = engine.read(CLAIM, key).number
    assert engine.advance(CLAIM, key, after, b"one", not_after=elapsed() + 5).won
    engine.beat(f"{key}/i", 30)
    assert engine.heard(f"{key}/i")
    engine.subscribe(CLAIM, key, lambda: None)()
    assert engine.scan(CLAIM, key) == [(key, Record(after + 1, b"one"))]


@pytest.mark.parametrize("user", ["root", "worker"])
def test_a_user_with_a_password_may_do_all(entered: Entered, user: str) -> None:
    works(entered(f"{user}:{SECRET}@"), user)


@pytest.mark.parametrize(
    "given",
    [
        {"ETCD_USERNAME": "worker", "ETCD_PASSWORD": SECRET},
        {"ETCDCTL_USER": f"worker:{SECRET}"},
        {"ETCDCTL_USER": "worker", "ETCDCTL_PASSWORD": SECRET},
    ],
)
def test_the_environment_names_the_user_as_for_its_own_client(
    entered: Entered, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    works(entered(""), "by-environment")


def test_a_wrong_password_is_told(entered: Entered) -> None:
    assert refused(entered(f"worker:{SECRET}x@")).endswith(": the user 'worker' or its password is wrong")


def test_a_server_that_asks_for_a_user_says_so(entered: Entered) -> None:
    assert "it asks for a user" in refused(entered(""))


def test_a_user_who_may_not_write_there_is_told(entered: Entered) -> None:
    assert "may not do that: it needs readwrite for all keys with the prefix 'mine/'" in refused(
        entered(f"guest:{SECRET}@")
    )


def test_a_token_that_the_server_has_forgotten_is_replaced_once(entered: Entered) -> None:
    engine = entered(f"worker:{SECRET}@")
    works(engine, "again")
    engine.gateway._token = "forgotten.1"
    works(engine, "again")
    assert engine.gateway._token != "forgotten.1"


def test_a_connection_that_is_closed_instead_of_an_answer_is_a_token_that_is_forgotten(
    entered: Entered, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, ask = entered(f"worker:{SECRET}@"), Wire.ask
    works(engine, "closed")
    stale = engine.gateway._token

    def close(wire: Wire, endpoint: object, calls: Sequence[Call], headers: str, end: float) -> object:
        if stale in headers:
            raise ConnectionResetError
        return ask(wire, endpoint, calls, headers, end)  # type: ignore[arg-type]

    monkeypatch.setattr(Wire, "ask", close)
    works(engine, "closed")


def test_a_password_that_nobody_asks_for_does_no_harm(server: Etcd, opened: Opened) -> None:
    works(opened(server, login=f"somebody:{SECRET}@"), "x")


def test_nobody_listens(prefix: str) -> None:
    said = refused(EtcdEngine(Address(f"etcd://a:{SECRET}@127.0.0.1:{free_port()}/{prefix}")))
    assert said.endswith("nobody listens there")


def test_a_host_that_is_not_there() -> None:
    assert "there is no such host" in refused(EtcdEngine(Address("etcd://nowhere.invalid/x")))


@pytest.mark.parametrize("words", [b"-ERR unknown command\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_what_is_no_etcd(words: bytes) -> None:
    class Answers(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(10)
            self.request.sendall(words)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        refused(EtcdEngine(Address(f"etcd://127.0.0.1:{other.server_address[1]}/x?timeout=1")))
        other.shutdown()


def test_a_web_server_is_no_etcd() -> None:
    class Quiet(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        said = refused(EtcdEngine(Address(f"etcd://127.0.0.1:{other.server_address[1]}/x")))
        other.shutdown()
    assert "no etcd of 3.4 or later" in said


def test_a_server_without_space_says_what_to_do(opened: Opened) -> None:
    small = Etcd("--quota-backend-bytes=1000000")
    try:
        small.start()
        engine = opened(small)

        def fill() -> None:
            for number in range(60):
                engine.advance(CLAIM, "x", number, bytes(100_000), not_after=elapsed() + 5)

        with pytest.raises(Unavailable, match=r"no space left \(alarm NOSPACE\): compact"):
            fill()
        assert opened(small).read(CLAIM, "x").number, "what is there can be read"
    finally:
        small.close()


def made_certificates(where: Path) -> None:
    """A CA, the server's, a client's; and another CA."""
    openssl = program_or_skip("openssl")

    def run(*words: str) -> None:
        subprocess.run([openssl, *words], cwd=where, check=True, capture_output=True)

    (where / "names").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    for ca in ("ca", "other"):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        run("req", "-x509", *key, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}", "-days", "3")
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "3"]
        run("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("certificates")
    made_certificates(where)
    return where


@pytest.fixture(scope="module", params=[False, True], ids=["", "with client certificates"])
def sealed(request: pytest.FixtureRequest, certificates: Path) -> Iterator[Etcd]:
    options = [f"--cert-file={certificates / 'server.pem'}", f"--key-file={certificates / 'server.key'}"]
    if request.param:
        options += ["--client-cert-auth", f"--trusted-ca-file={certificates / 'ca.pem'}"]
    made = Etcd(*options, tls=True)
    made.asks_for_certificates = request.param
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_tls_with_the_right_certificates(
    sealed: Etcd, certificates: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = f"?ca={certificates}/ca.pem&cert={certificates}/client.pem&key={certificates}/client.key"
    works(opened(sealed, scheme="etcds", query=query), "x")
    for name, file in (("CACERT", "ca.pem"), ("CERT", "client.pem"), ("KEY", "client.key")):
        monkeypatch.setenv(f"ETCDCTL_{name}", str(certificates / file))
    works(opened(sealed, scheme="etcds"), "x")


def test_tls_that_is_refused(sealed: Etcd, certificates: Path, opened: Opened) -> None:
    assert "its certificate is refused" in refused(opened(sealed, scheme="etcds", query=f"?ca={certificates}/other.pem"))
    assert "its certificate is refused" in refused(opened(sealed, scheme="etcds"))
    assert "cannot be read" in refused(opened(sealed, scheme="etcds", query="?ca=/nowhere/ca.pem"))
    assert "etcds://" in refused(opened(sealed))
    if sealed.asks_for_certificates:
        assert "TLS is refused" in refused(opened(sealed, scheme="etcds", query=f"?ca={certificates}/ca.pem"))


def test_tls_with_a_server_that_has_none(server: Etcd, opened: Opened) -> None:
    assert "TLS is refused" in refused(opened(server, scheme="etcds"))
