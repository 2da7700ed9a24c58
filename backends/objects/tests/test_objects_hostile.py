"""A store that is hostile, on a socket of this test; and what lies in the directory from which a helper is started."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from looop_portable.errors import Unavailable
from looop_portable_objects.apart import Apart
from looop_portable_objects.client import Client
from looop_portable_objects.place import Place, place_in

Asked = list[dict[str, str]]
MODIFIED = "Sun, 29 Nov 2026 03:00:00 GMT"


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"ETag": '"x"', "Last-Modified": MODIFIED, "Content-Length": str(len(body)), **given}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving(handler: type[Quiet]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def place(port: int) -> Place:
    return place_in(f"s3://bucket/p?endpoint={quote(f'http://127.0.0.1:{port}', safe='')}&region=us-east-1")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-word")


def test_a_store_that_names_another_server_gets_it_asked_without_a_credential() -> None:
    """The client follows: whoever runs the endpoint can have this host ask another address. Nothing secret goes there."""
    asked: Asked = []

    class Other(Quiet):
        def do_GET(self) -> None:
            asked.append({name.lower(): value for name, value in self.headers.items()})
            self.answer(200, b"{}")

    with serving(Other) as other:

        class First(Quiet):
            def do_GET(self) -> None:
                self.answer(307, Location=f"http://127.0.0.1:{other}{self.path}")

        with serving(First) as port:
            Client(place(port)).ask("get", 2.0, "p/claim/n")
    assert len(asked) == 1
    assert "authorization" not in asked[0]
    assert "AKIAEXAMPLE" not in str(asked)


def test_what_is_packed_is_not_unpacked() -> None:
    packed = gzip.compress(b"0" * 10_000_000)

    class Bomb(Quiet):
        def do_GET(self) -> None:
            self.answer(200, packed, Content_Encoding="gzip")

    with serving(Bomb) as port:
        assert Client(place(port)).ask("get", 2.0, "p/claim/n").data == packed


def test_an_object_that_is_larger_than_any_record_is_not_read() -> None:
    class Huge(Quiet):
        def do_GET(self) -> None:
            self.close_connection = True
            self.answer(200, b"x", Content_Length=str(1 << 30))

    with serving(Huge) as port, pytest.raises(Unavailable, match=r"is no record: it has 1073741824 bytes$"):
        Client(place(port)).ask("get", 2.0, "p/claim/n")


def test_a_helper_takes_nothing_in_the_current_directory_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "socket", "re", "typing", "looop_portable_objects"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(tmp_path)
    apart = Apart(place(9))
    with pytest.raises(Unavailable):
        apart.ask("get", 0.5, "p/claim/n")
    apart.close()
    assert not (tmp_path / "ran").exists()
