"""The oracle of `mixed` and of the guests: it hears who believes to hold what, and judges. It knows nothing of claims.

Members (member.py) say `enter` after they have won and `leave` before they release, over a socket, and wait to be heard.
Whoever kills one notes it here first. A violation is:
  overlap     one enters a name while another is inside that has neither been killed nor counted itself as lost
  generation  what it won is not above all that ever entered this name
  lost        its release is refused, or says that it was released before
Why there is no false alarm: whoever leaves is heard before it releases, and a kill is noted before it is done, in the order
of one thread; so whoever comes in after a release or a death finds it noted, on whichever host all that happens.
What it cannot see: an overlap with one that is killed before the other's `enter` is heard.

What is said, a line each, answered with `ok`:
  hello LIFE LABEL         a member: the rest of this connection is about it. LABEL is what it is counted under
  enter NAME GENERATION, leave NAME GENERATION, tell KIND TEXT
  killed LIFE LABEL        another host's harness
  fenced LIFE LABEL        a member, of itself, by a connection of its own: it has lost its heartbeat, and ends when heard
  done HOST                another host's harness: all of its members are dead. Answered by `go_on`
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time

VIOLATIONS = ("overlap", "generation", "lost", "stuck", "failed")
COUNTS = ("of others", "fenced", "refused", "reaped", "kills", "wine", "trouble")
"""`of others`: those of the takeovers that are from one of another label. `fenced`: those that have ended themselves.
`wine`: errors that only Wine makes (see member.py). `trouble`: what a reaper could not do; on a network that may be."""


class Table:
    """What has been counted, by label."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        self.facts: list[str] = []
        self.slowest = 0.0
        self.slowest_of_others = 0.0

    def add(self, what: str, label: str, number: int = 1) -> None:
        self.counts[what, label] = self.counts.get((what, label), 0) + number

    def total(self, what: str) -> int:
        return sum(number for (kind, _), number in self.counts.items() if kind == what)

    def accuse(self, violation: str, label: str, fact: str) -> None:
        self.add(violation, label)
        self.facts.append(f"{violation}: {fact}")

    @property
    def violated(self) -> bool:
        return any(map(self.total, VIOLATIONS))

    def __str__(self) -> str:
        labels = sorted({label for _, label in self.counts if label})
        counted = ("acquisitions", "takeovers", *COUNTS, *VIOLATIONS)
        rows: list[tuple[str, list[str]]] = [("", labels)]
        rows += [(what, [str(self.counts.get((what, label), 0)) for label in labels]) for what in counted]
        lines = [" ".join([f"{what:12}", *(f"{cell:>16}" for cell in cells)]) for what, cells in rows]
        slowest = f"slowest takeover {self.slowest * 1e3:.0f} ms, of others {self.slowest_of_others * 1e3:.0f} ms"
        facts = sorted(self.facts, key=lambda fact: fact.startswith("trouble: "))  # Violations first.
        return "\n".join([*lines, slowest, *facts[:20]])


class _Line:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.unread = b""
        self.life = 0
        self.label = ""

    def answer(self) -> None:
        with contextlib.suppress(ConnectionError):  # It has been killed meanwhile.
            self.connection.sendall(b"ok\n")


class Arbiter:
    """One thread, so that what it notes has an order. `host`: where to listen."""

    def __init__(self, table: Table, host: str = "127.0.0.1", port: int = 0) -> None:
        self.table = table
        self.done: dict[str, _Line] = {}
        self._inside: dict[str, int] = {}
        self._top: dict[str, int] = {}
        self._killed: dict[int, tuple[float, str]] = {}
        self._listener = socket.create_server((host, port))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def listen(self, seconds: float) -> None:
        """Hear what there is, or wait for something to be said for so long."""
        for key, _ in self._selector.select(max(seconds, 0)):
            if key.data is None:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(connection, selectors.EVENT_READ, _Line(connection))
            else:
                self._hear(key.data)

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def killed(self, life: int, label: str, how: str = "kills") -> None:
        """`life` is about to be killed. What it says from here on does not count."""
        self._killed.setdefault(life, (time.monotonic(), label))
        self.table.add(how, label)

    def go_on(self) -> None:
        """Answer those that have said `done`: all members on all hosts are dead."""
        for line in self.done.values():
            line.answer()

    def holds(self, life: int) -> bool:
        return life in self._inside.values()

    def top(self, name: str) -> int:
        """The highest generation that ever entered."""
        return self._top.get(name, 0)

    def _hear(self, line: _Line) -> None:
        try:
            data = line.connection.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._selector.unregister(line.connection)
            line.connection.close()
            return
        *whole, line.unread = (line.unread + data).split(b"\n")
        for said in whole:
            words = said.decode().split(" ", 2)
            if words[0] == "done":
                self.done[words[1]] = line
                continue
            self.judge(line.life, line.label, words) if line.life else self._introduce(line, words)
            line.answer()

    def _introduce(self, line: _Line, words: list[str]) -> None:
        if words[0] == "hello":
            line.life, line.label = int(words[1]), words[2]
        else:
            assert words[0] in ("killed", "fenced"), words
            self.killed(int(words[1]), words[2], "kills" if words[0] == "killed" else "fenced")

    def judge(self, life: int, label: str, words: list[str]) -> None:
        """What `life` says of itself."""
        if words[0] == "enter":
            self._enter(life, label, words[1], int(words[2]))
        elif words[0] == "leave":
            if self._inside.get(words[1]) == life:
                del self._inside[words[1]]
        elif words[1] == "trouble":
            self.table.accuse(words[1], label, words[2])
        elif words[1] in COUNTS:
            self.table.add(words[1], label, int(words[2]))
        elif life not in self._killed:
            self.table.accuse(words[1], label, words[2])

    def _enter(self, life: int, label: str, name: str, generation: int) -> None:
        if life in self._killed:
            return  # The last words of a dead one. Nobody can be overlapped by it.
        other = self._inside.get(name, 0)
        if other and other not in self._killed:
            self.table.accuse("overlap", label, f"{name}: life {life} at {generation}, life {other} inside")
        if generation <= self.top(name):
            self.table.accuse("generation", label, f"{name}: won {generation} after {self.top(name)}")
        if other in self._killed:
            self._take_over(other, label)
        self._inside[name] = life
        self._top[name] = max(generation, self.top(name))
        self.table.add("acquisitions", label)

    def _take_over(self, other: int, label: str) -> None:
        since, earlier = self._killed[other]
        took = time.monotonic() - since
        self.table.add("takeovers", label)
        if earlier != label:
            self.table.add("of others", label)
            self.table.slowest_of_others = max(self.table.slowest_of_others, took)
        else:
            self.table.slowest = max(self.table.slowest, took)


class Distant:
    """What a harness on another host needs of an `Arbiter`."""

    def __init__(self, host: str, port: int, patience: float) -> None:
        end = time.monotonic() + patience
        while True:
            try:
                self._socket = socket.create_connection((host, port), timeout=patience)
                break
            except ConnectionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        self._file = self._socket.makefile("rwb")

    def listen(self, seconds: float) -> None:
        time.sleep(max(seconds, 0))

    def killed(self, life: int, label: str) -> None:
        self._say(f"killed {life} {label}")

    def holds(self, life: int) -> bool:
        return False  # Not known here: whoever is killed is picked at random.

    def say_done(self, host: str) -> None:
        """Returns when all members on all hosts are dead."""
        self._say(f"done {host}")

    def wait_for_the_end(self) -> None:
        self._file.readline()

    def _say(self, words: str) -> None:
        self._file.write(f"{words}\n".encode())
        self._file.flush()
        assert self._file.readline(), "the arbiter has gone"
