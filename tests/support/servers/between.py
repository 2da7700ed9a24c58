"""What stands between a client and a server of HTTP: it counts requests, and does to one what networks do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Do(Enum):
    """What becomes of a request."""

    PASS = "it is passed on"
    HOLD = "it is passed on when the test says so, whoever waits for it or not"
    LOSE = "it is passed on, and its answer is lost"
    HIDE = "it is passed on, and the answer says: 503"
    BUSY = "it is not passed on, and the answer says: 429"
    CONFLICT = "it is not passed on, and the answer says: 409"
    LACK = "it is not passed on, and the answer says: 501"


_REFUSALS = {
    Do.BUSY: (429, "SlowDown"),
    Do.CONFLICT: (409, "ConditionalRequestConflict"),
    Do.LACK: (501, "NotImplemented"),
}


class _Handler(BaseHTTPRequestHandler):
    between: Between
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.between.requests.append(self.command)
        do = self.between.does(self.command, self.path)
        if do in _REFUSALS:
            self._say(*_REFUSALS[do])
            return
        if do is Do.HOLD:
            self.between.let_go.wait(60)
        line = http.client.HTTPConnection("127.0.0.1", self.between.port, timeout=60)
        line.request(self.command, self.path, body, dict(self.headers))
        answer = line.getresponse()
        content = answer.read()
        line.close()
        if do is Do.HOLD:
            self.between.landed.set()
        if do in (Do.LOSE, Do.HOLD):
            self.close_connection = True
        elif do is Do.HIDE:
            self._say(503, "SlowDown")
        else:
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass

    def _say(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the interface)
        """Nobody reads it."""


class Between:
    """On a port of its own. `does` says what becomes of the next requests, by method and path."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[str] = []
        self.does: Callable[[str, str], Do] = lambda method, path: Do.PASS
        self.let_go = threading.Event()
        self.landed = threading.Event()
        """After a request that was held has been answered."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"between": self}))
        self._server.daemon_threads = True
        self._server.handle_error = lambda request, address: None  # type: ignore[assignment,method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def counted(self) -> list[str]:
        """The methods of what has come since the last call."""
        found, self.requests = self.requests, []
        return found

    def next_put(self, *what: Do) -> None:
        """The next PUTs are done to as it says, one after another; the others pass."""
        left = list(what)
        self.does = lambda method, path: left.pop(0) if method == "PUT" and left else Do.PASS

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
