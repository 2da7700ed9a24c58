"""A server of S3's protocol in this process, with a clock that the test sets, and promises that it breaks.

It checks no signature. It answers what obstore asks, and no more.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit


class _Object(NamedTuple):
    data: bytes
    tag: str
    stamp: float
    generation: str


class _Handler(BaseHTTPRequestHandler):
    shop: Pretending
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.shop.exclusive:
            with self.shop.lock:
                self._put(data)
        else:
            self._put(data)

    def _put(self, data: bytes) -> None:
        there = self.shop.objects.get(self._name)
        if self.shop.believes and self._is_refused(there):
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        if not self.shop.exclusive:
            time.sleep(0.01)
        tag, stamp = f'"{hashlib.sha256(data).hexdigest()}"', time.time() + self.shop.ahead
        made = _Object(data, tag, stamp, str(next(self.shop.generations)))
        self.shop.objects[self._name] = made
        self._answer(200, b"", made)

    def _is_refused(self, there: _Object | None) -> bool:
        """By S3's conditions, or by Google's."""
        match, generation = self.headers.get("If-Match"), self.headers.get("x-goog-if-generation-match")
        if generation is not None:
            return generation != (there.generation if there else "0")
        return bool(self.headers.get("If-None-Match") and there) or bool(match and (there is None or there.tag != match))

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self._list(query.get("prefix", [""])[0], query.get("start-after", [""])[0])
            return
        there = self.shop.objects.get(self._name)
        if there is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, there.data, there)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        for name in re.findall("<Key>(.*?)</Key>", asked):
            self.shop.objects.pop(name, None)
        self._answer(200, b"<DeleteResult></DeleteResult>")

    def do_DELETE(self) -> None:
        self.shop.objects.pop(self._name, None)
        self._answer(204, b"")

    @property
    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _list(self, prefix: str, after: str) -> None:
        names = sorted(name for name in self.shop.objects if name.startswith(prefix) and name > after)
        entries = "".join(self._entry(name, self.shop.objects[name]) for name in names)
        self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode())

    @staticmethod
    def _entry(name: str, each: _Object) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(each.stamp))
        rest = f"<ETag>{each.tag}</ETag><Size>{len(each.data)}</Size>"
        return f"<Contents><Key>{name}</Key><LastModified>{stamp}</LastModified>{rest}</Contents>"

    def _answer(self, status: int, data: bytes, there: _Object | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if there:
            self.send_header("ETag", there.tag)
            self.send_header("Last-Modified", formatdate(there.stamp, usegmt=True))
            if self.shop.expires:
                self.send_header("x-amz-expiration", self.shop.expires)
            if self.shop.is_google:
                self.send_header("x-goog-generation", there.generation)
            if self.shop.keeps_versions:
                self.send_header("x-amz-version-id", there.tag.strip('"'))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the interface)
        """Nobody reads it."""


class Pretending:
    """`ahead`: seconds by which its clock is. `exclusive`: whether it compares and writes in one step.

    `believes`: whether it looks at conditions at all. `expires`: what it says of rules that delete.
    """

    exclusive = True
    believes = True
    expires = ""
    keeps_versions = False
    is_google = False

    def __init__(self) -> None:
        self.ahead = 0.0
        self.objects: dict[str, _Object] = {}
        self.lock = threading.Lock()
        self.generations = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"shop": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def url(self, prefix: str = "ci") -> str:
        scheme = "gs" if self.is_google else "s3"
        return f"{scheme}://claims/{prefix}?endpoint=http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
