"""How often a verb asks the server, counted on the wire: what stands between them counts how often a client speaks anew.

A round trip is what a client sends after the server has said something to it, or at first; in however many pieces.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable

from looop_portable import Claims, Held, Won, hold

MANY = 101
"""Claims that others hold."""

VERBS = (
    "claim",
    "release",
    "claim again",
    "refusal",
    "`with hold`",
    "a session",
    "with a lease",
    f"list of {MANY}",
    "retire",
)


class Between:
    """On a port of its own, before the one at `port`. It passes everything on."""

    def __init__(self, port: int) -> None:
        self.trips = 0
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._speaks: dict[socket.socket, bool] = {}
        """By the sockets of clients: whether it was the one that said something last."""
        threading.Thread(target=self._run, daemon=True).start()

    def of(self, call: Callable[[], object]) -> int:
        before = self.trips
        call()
        return self.trips - before

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._pass(key.fileobj)

    def _accept(self) -> None:
        client = self._listener.accept()[0]
        try:
            server = socket.create_connection(("127.0.0.1", self._to))
        except ConnectionError:  # It has ended.
            client.close()
            return
        self._peers |= {client: server, server: client}
        self._speaks[client] = False
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(each, selectors.EVENT_READ)

    def _pass(self, one: socket.socket) -> None:
        other = self._peers[one]
        try:
            said = one.recv(1 << 20)
        except ConnectionError:
            said = b""
        if not said:
            for each in (one, other):
                self._selector.unregister(each)
                self._peers.pop(each)
                each.close()
            return
        if one in self._speaks:
            self.trips += not self._speaks[one]
            self._speaks[one] = True
        else:
            self._speaks[other] = False
        other.sendall(said)


def counted(url: str, between: Between) -> dict[str, int]:
    """By verb. The first call of each kind has made connections, and what is made once on a server."""
    claims, theirs = Claims.open(backend=url), Claims.open(backend=url)
    me, they = (
        each.sessions.register(who, lease_seconds=3600).holder for each, who in ((claims, "me-too"), (theirs, "they-too"))
    )
    for number in range(MANY):
        theirs.claim(f"theirs-{number}", they)
    for name in ("warm", "theirs-0"):
        claims.claim(name, me)
    for _ in range(2):
        with hold("held", backend=url):
            pass
    claims.release("warm", me)
    claims.list()
    held = hold("held", backend=url)
    calls: tuple[Callable[[], object], ...] = (
        lambda: _won(claims.claim("n", me)),
        lambda: claims.release("n", me),
        lambda: _won(claims.claim("n", me)),
        lambda: _refused(claims.claim("theirs-0", me)),
        lambda: held.acquire().release(),
        lambda: claims.sessions.register("plain"),
        lambda: claims.sessions.register("beats", lease_seconds=3600),
        claims.list,
        lambda: claims.retire(me),
    )
    found = {verb: between.of(call) for verb, call in zip(VERBS, calls, strict=True)}
    theirs.retire(they)
    return found


def _won(outcome: object) -> None:
    assert isinstance(outcome, Won), outcome


def _refused(outcome: object) -> None:
    assert isinstance(outcome, Held), outcome
