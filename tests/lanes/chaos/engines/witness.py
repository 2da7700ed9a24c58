"""The oracle of chaos on engines: it hears who believes to hold what, and judges. It knows nothing of claims or stores.

Holders (holder.py) say over a socket of loopback, a line at a time, what they are about to do and what they believe, and
wait to be heard. The harness notes here what it does to them, before it does it: kills, stops, and that one goes on; and
from when to when the server cannot have answered. All is noted by one thread, so it has an order. Every stop of each life
is kept, and none is overwritten: an overlap is told with those of both.

What is judged:
  live        two believe at once to hold one name, and neither had been stopped: see `_was_silenced`. Or one that had been
              stopped still believes it after it has run for LINGERS seconds
  stopped     the same beside one that was stopped at that moment, or has just gone on: no lock can do anything about it
  generation  a number was won twice, or is not above all that had been won, and heard, before its winner began to try; but
              for one that is won by the same life at once again, which could not release it meanwhile
  outage      it was won while the server did not answer: the try began after that did, and was heard before it ended
  untold      it believed to hold when an outage began, and was not told within the lease, though it ran all the time
  taken       leaving says that the claim was lost, though its holder was neither stopped nor told, and the server answered
  ghost       a life refuses others a name that it neither tries, holds nor leaves, for GHOST seconds, while it runs
  stuck       a dead life refuses others a name, BOUND seconds after its death; or, in calm, nobody gets a name
Why there is no false alarm: whoever leaves is heard before it releases, and a belief that is lost is heard when it is told.
What it cannot see: an overlap with one that is killed before the other's `enter` is heard.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass, field

LEASE = 3
VIOLATIONS = ("live", "generation", "outage", "untold", "taken", "ghost", "stuck", "failed")
COUNTS = (
    "acquired",
    "takeovers",
    "stopped",
    "in flight",
    "held in outages",
    "told lost",
    "told in outages",
    "lost for nothing",
    "lost at leaving",
    "refused",
    "unavailable",
    "settling",
    "kills",
    "stops",
)
LATE = 1.0
"""Seconds after a stop within which one may not have noticed yet that it was stopped, nor given a heartbeat."""
SILENT = 1.5
"""Seconds of stops, at least, by which others may take one for dead: less than 4/3 of the lease without a heartbeat."""
MEMORY = 2 * LEASE + LATE
LINGERS = 2.5
GHOST = 3 * LEASE
BOUND = 4 * LEASE


@dataclass
class Life:
    """One process. `inside`: what it believes to hold, by name: the generation, and since when it was heard.

    `touched`: when it last had to do with a name.
    """

    number: int
    slot: int
    stops: list[list[float]] = field(default_factory=list)
    killed: float = 0.0
    trying: str = ""
    tried: float = 0.0
    inside: dict[str, tuple[int, float]] = field(default_factory=dict)
    touched: dict[str, float] = field(default_factory=dict)

    def is_stopped(self) -> bool:
        return bool(self.stops) and len(self.stops[-1]) == 1

    def stopped_for(self, since: float, until: float) -> float:
        """Seconds of that time for which it was stopped."""
        spans = ((max(each[0], since), min(each[1] if len(each) > 1 else until, until)) for each in self.stops)
        return sum(max(end - begin, 0.0) for begin, end in spans)

    def ran_since(self, since: float, until: float) -> bool:
        return not self.killed and self.stopped_for(since, until) <= 0.0


@dataclass
class Outage:
    """From when to when the server cannot have answered; `until` is 0 while it lasts. `holders`: who held as it began."""

    what: str
    since: float
    until: float = 0.0
    holders: list[tuple[Life, str, int]] = field(default_factory=list)
    won: list[tuple[float, str]] = field(default_factory=list)
    """When each was heard that was won by a try of after its beginning, or too late after that; and a word about it."""


@dataclass
class Win:
    heard: float
    generation: int
    life: int
    most: int
    """The greatest generation up to here."""


class _Line:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.unread = b""
        self.life: Life | None = None

    def answer(self) -> None:
        with contextlib.suppress(OSError):  # It has been killed meanwhile.
            self.connection.sendall(b"ok\n")


class Witness:
    """`log`: a list of what happened, each with its time since the beginning."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.lives: dict[int, Life] = {}
        self.outages: list[Outage] = []
        self.wins: dict[str, list[Win]] = {}
        self.counts: dict[str, int] = {}
        self.facts: list[str] = []
        self.log: list[str] = []
        self.latest_told = 0.0
        self.slowest = 0.0
        self.up_since = self.began
        self._excused: list[tuple[Life, Life, str]] = []
        self._by_name: dict[str, str] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def watch(self, sock: socket.socket, heard: object) -> None:
        """`heard`, a function, is called when there is something to be read."""
        self._selector.register(sock, selectors.EVENT_READ, heard)

    def listen(self, seconds: float) -> None:
        """Hear what there is, or wait for something to be said for so long."""
        keys = [key for key, _ in self._selector.select(max(seconds, 0))]
        for key in sorted(keys, key=lambda key: not callable(key.data)):  # What is said of the server first.
            if key.data is None:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(connection, selectors.EVENT_READ, _Line(connection))
            elif isinstance(key.data, _Line):
                self._hear(key.data)
            else:
                key.data()
        self._look_for_those_who_linger()

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            if key.data is None or isinstance(key.data, _Line):
                key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    # What the harness does.

    def starts(self, number: int, slot: int) -> None:
        self.lives[number] = Life(number, slot)
        self.note(f"life {number} begins on host {slot}")

    def kills(self, number: int) -> None:
        """It is about to be killed. What it says from here on does not count."""
        life = self.lives[number]
        self.add("kills")
        self.note(f"SIGKILL to life {number}, inside {self._names(life)}")
        life.killed = time.monotonic()

    def stops(self, number: int) -> None:
        self.add("stops")
        life = self.lives[number]
        self.note(f"SIGSTOP to life {number}, inside {self._names(life)}")
        life.stops.append([time.monotonic()])

    def continues(self, number: int) -> None:
        life = self.lives[number]
        life.stops[-1].append(time.monotonic())
        self.note(f"SIGCONT to life {number}, inside {self._names(life)}")

    def out(self, what: str, since: float) -> None:
        """Since then the server cannot have answered."""
        holders = [
            (life, name, won[0]) for life in self.lives.values() if not life.killed for name, won in life.inside.items()
        ]
        self.outages.append(Outage(what, since, holders=holders))
        self.add("held in outages", sum(not life.is_stopped() for life, _, _ in holders))
        told = ", ".join(f"{name} by life {life.number}" for life, name, _ in holders)
        self.note(f"the server is {what} since {since - self.began:.3f}; held: {told or 'nothing'}")

    def back(self, until: float) -> None:
        """Up to then it cannot have answered; from now on it does."""
        outage = self.outages[-1]
        outage.until, self.up_since = until, time.monotonic()
        for heard, fact in outage.won:
            if heard <= until:
                self.accuse(
                    "outage", f"{fact}: {outage.what} from {outage.since - self.began:.3f} to {until - self.began:.3f}"
                )
        self.note(f"the server has been {outage.what} until {until - self.began:.3f}")
        if until - outage.since < LEASE:
            return
        for life, name, generation in outage.holders:
            believes = life.inside.get(name, (0, 0.0))[0] == generation
            if believes and life.ran_since(outage.since, until):
                self.accuse("untold", f"{name}: life {life.number} at {generation} after {until - outage.since:.1f} s")

    @property
    def is_out(self) -> bool:
        return bool(self.outages) and not self.outages[-1].until

    # What is counted.

    def add(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def accuse(self, violation: str, fact: str) -> None:
        self.add(violation)
        self.facts.append(f"{violation}: {time.monotonic() - self.began:.3f}: {fact}")
        self.note(f"VIOLATION {violation}: {fact}")

    def note(self, what: str) -> None:
        self.log.append(f"{time.monotonic() - self.began:9.3f} {what}")

    @property
    def violated(self) -> bool:
        return any(self.counts.get(each) for each in VIOLATIONS)

    def entered_since(self, name: str, moment: float) -> bool:
        return bool(self.wins.get(name)) and self.wins[name][-1].heard >= moment

    # What holders say.

    def _hear(self, line: _Line) -> None:
        try:
            data = line.connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(line.connection)
            line.connection.close()
            return
        *whole, line.unread = (line.unread + data).split(b"\n")
        for said in whole:
            words = said.decode().split(" ", 3)
            if line.life is None:
                line.life = self.lives[int(words[1])]
            elif not line.life.killed:
                self.note(f"life {line.life.number}: {' '.join(words)}")
                self.judge(line.life, words[0], words[1], words[2:])
            line.answer()

    def judge(self, life: Life, what: str, name: str, more: list[str]) -> None:
        """What `life` says of itself."""
        now = time.monotonic()
        life.touched[name] = now
        if what == "try":
            life.trying, life.tried = name, now
        elif what == "enter":
            self._enter(life, name, int(more[0]), now)
        elif what == "leave":
            self._leave(life, name, now)
        elif what == "lost":
            self._lost(life, name, int(more[0]), now)
        elif what == "taken":
            self._taken(life, name, more, now)
        elif what == "refused":
            self._refused(life, name, more[0], now)
        elif what == "failed":
            self.accuse("failed", f"life {life.number}: {name} {' '.join(more)}")
        elif what in ("unavailable", "settling"):
            self.add(what)
        if what not in ("try", "enter", "leave", "lost"):
            life.trying = ""

    def _enter(self, life: Life, name: str, generation: int, now: float) -> None:
        wins = self.wins.setdefault(name, [])
        most = next((win.most for win in reversed(wins) if win.heard <= life.tried), 0)
        twice = [win for win in wins if win.generation == generation]
        if twice == wins[-1:] and twice and twice[0].life == life.number:
            most, twice = 0, []  # It could not release it, and has it still.
        if generation <= most or twice:
            why = f"life {twice[0].life} had won that" if twice else f"{most} had been won before it tried"
            self.accuse("generation", f"{name}: life {life.number} won {generation}, but {why}")
        for other in self.lives.values():
            if other is not life and name in other.inside and not other.killed:
                self._overlap(life, other, name, generation, now)
        self._judge_by_outage(life, name, generation, now)
        if wins and self.lives[wins[-1].life].killed and name in self.lives[wins[-1].life].inside:
            self.add("takeovers")
            last = self.lives[wins[-1].life]
            self.slowest = max(self.slowest, now - max(last.killed, life.tried))
        life.inside[name] = generation, now
        wins.append(Win(now, generation, life.number, max(generation, wins[-1].most if wins else 0)))
        self.add("acquired")

    def _overlap(self, life: Life, other: Life, name: str, generation: int, now: float) -> None:
        number, since = other.inside[name]
        silenced = [each for each in (life, other) if self._was_silenced(each, now)]
        fact = (
            f"{name}: life {life.number} entered at {generation}, tried since {life.tried - self.began:.3f}; "
            f"life {other.number} inside at {number} since {since - self.began:.3f}; "
            + "; ".join(self._told_stops(each, now) for each in (life, other))
        )
        if silenced:
            self.add("stopped")
            self.note(f"beside a stopped one: {fact}")
            self._excused.append((silenced[0], other if silenced[0] is life else life, name))
        else:
            self.accuse("live", fact)

    def _was_silenced(self, life: Life, now: float) -> bool:
        """Whether it is stopped, or has gone on just now, after stops in which others may have taken it for dead.

        Several count as one, if it has not run for LATE seconds between them.
        """
        silent, edge = 0.0, now
        for began, *ended in reversed(life.stops):
            end = ended[0] if ended else now
            if edge - end > LATE:
                break
            silent += end - began
            edge = began
        return silent >= SILENT

    def _look_for_those_who_linger(self) -> None:
        now = time.monotonic()
        for each in list(self._excused):
            life, other, name = each
            if life.killed or other.killed or name not in life.inside or name not in other.inside:
                self._excused.remove(each)
            elif not life.is_stopped() and life.ran_since(now - LINGERS, now):
                self._excused.remove(each)
                self.accuse("live", f"{name}: life {life.number} believes it still; {self._told_stops(life, now)}")

    def _told_stops(self, life: Life, now: float) -> str:
        recent = [each for each in life.stops if len(each) == 1 or each[1] > now - 2 * MEMORY]
        spans = [self._span(*each) for each in recent]
        return f"life {life.number} stopped {', '.join(spans) or 'never of late'}"

    def _judge_by_outage(self, life: Life, name: str, generation: int, now: float) -> None:
        """Whoever promotes another server knows only later that it did: so it is judged when the outage is over."""
        if not self.is_out:
            return
        outage = self.outages[-1]
        late = now > outage.since + LATE and life.ran_since(outage.since, now)
        if life.tried >= outage.since or late:
            outage.won.append(
                (now, f"{name}: life {life.number} at {generation}, tried since {life.tried - self.began:.3f}")
            )
        else:
            self.add("in flight")

    def _leave(self, life: Life, name: str, now: float) -> None:
        """By itself: it may have been told meanwhile, and have said so already."""
        generation = life.inside.pop(name, (0, 0.0))[0]
        if self.is_out and (life, name, generation) in self.outages[-1].holders:
            since = self.outages[-1].since
            if now - since > LEASE and life.ran_since(since, now):
                self.accuse("untold", f"{name}: life {life.number} at {generation} left it after {now - since:.1f} s")

    def _lost(self, life: Life, name: str, generation: int, now: float) -> None:
        if life.inside.get(name, (0, 0.0))[0] != generation:
            return
        del life.inside[name]
        self.add("told lost")
        outage = self.outages[-1] if self.outages else None
        if outage and (not outage.until or outage.until > now - MEMORY):
            self.add("told in outages")
            if any(each[:2] == (life, name) for each in outage.holders) and life.ran_since(outage.since, now):
                self.latest_told = max(self.latest_told, now - outage.since)
                if now - outage.since > LEASE and (not outage.until or outage.until - outage.since > LEASE):
                    self.accuse("untold", f"{name}: life {life.number} at {generation} after {now - outage.since:.1f} s")
        elif life.ran_since(now - MEMORY, now):
            self.add("lost for nothing")
            self.facts.append(f"lost for nothing: {now - self.began:.3f}: {name}: life {life.number} at {generation}")

    def _taken(self, life: Life, name: str, more: list[str], now: float) -> None:
        """Leaving has failed: `more` is when it was entered, by the generation, and whether it had been told."""
        self.add("lost at leaving")
        since = self.wins[name][-1].heard if self.wins.get(name) else now
        since = max((win.heard for win in self.wins.get(name, []) if win.life == life.number), default=since)
        was_out = any(not each.until or each.until > since for each in self.outages)
        if more[0] == "untold" and life.ran_since(since - MEMORY, now) and not was_out:
            self.accuse("taken", f"{name}: life {life.number}: {' '.join(more[1:])}")

    def _refused(self, life: Life, name: str, by: str, now: float) -> None:
        self.add("refused")
        if not by.isdecimal() or int(by) not in self.lives:
            return
        holder = self.lives[int(by)]
        patient = now - max(self.up_since, self.began)
        if self.is_out or patient < GHOST:
            return
        if holder.killed:
            if now - holder.killed > BOUND and patient > BOUND:
                self.accuse("stuck", f"{name}: life {by}, dead for {now - holder.killed:.1f} s, refuses life {life.number}")
            return
        idle = now - holder.touched.get(name, self.began)
        if name not in holder.inside and holder.trying != name and idle > GHOST and holder.ran_since(now - GHOST, now):
            self.accuse("ghost", f"{name}: life {by}, which left it {idle:.1f} s ago, refuses life {life.number}")

    def _span(self, since: float, until: float = 0.0) -> str:
        end = f"to {until - self.began:.3f}" if until else "on"
        return f"from {since - self.began:.3f} {end}"

    def _names(self, life: Life) -> str:
        return ", ".join(f"{name} at {won[0]}" for name, won in life.inside.items()) or "nothing"
