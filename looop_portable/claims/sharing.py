"""Claims that several share: to join, to leave, and to lose one who is dead are generations like any other.

Guarantees: who shares a claim holds it beside others who share it, and never beside one who holds it alone. The generation
at which he joined is his for as long as he stays: it is greater than that of everybody who held the claim alone before, and
less than that of everybody who will.
Does not guarantee: an order among those who share it: a resource must not compare the generation of one with another's.
Nor that who has waited longest goes first where nobody waits in line: see `_first_alone`.
How: a generation's record names all who share the claim. Who joins or leaves reads it, and is the first to publish the next
one, with himself or without. Losing that means that somebody else has joined or left: read again. One of them who is dead
is left out by whoever joins, and by the reaper; the last one's death frees the claim, as any holder's does.
A waiter who wants the claim alone is not passed by: while he is the first in line, nobody joins any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from looop_portable.backends.base import Backend
from looop_portable.claims.events import Events, by_whom
from looop_portable.claims.judging import Judging, Verdicts
from looop_portable.errors import Unavailable, moved
from looop_portable.protocol.liveness import Basis, Liveness, Verdict
from looop_portable.protocol.outcomes import Broken, End, Held, Reaped, Released, Renewed, Superseded, Won
from looop_portable.protocol.records import Holder, Judged, Lease, Registration, alone, shared_lease
from looop_portable.protocol.shares import Reader
from looop_portable.protocol.standings import TABLE, Standing, advances
from looop_portable.sessions.registrar import Sessions
from looop_portable.system.processes import host
from looop_portable.system.watch.announcing import Announcements
from looop_portable.typed import NamedTuple

__all__ = ["Share"]

TRIES = 256
_MOST = 1000
"""Leases that may have been won are kept; and so many may share one claim."""

_FEW = 16
"""So many share a claim, and more: then one of as many who join looks whether they all live."""


_SPREAD = 2654435761
"""Multiplied by it, numbers that follow one another are spread out (Knuth, The Art of Computer Programming, 6.4)."""

SHARES_IT = Verdict(Liveness.ALIVE, "this session shares it itself, and has to release that before it can have it alone")


class Share(NamedTuple):
    """How a claim is to be shared. `word`: tells the shares of one session apart, as its threads have; empty: it has one.

    `goes_first`: who joins is the first in line, or is in already: nobody who waits is passed by.
    """

    word: str = ""
    goes_first: bool = False


class Sharing(Judging):
    """What `Claims` is built on: how a step is published and told, and the steps of claims that several share."""

    def __init__(self, backend: Backend, events: Events | None, sessions: Sessions, clock: Callable[[], str]) -> None:
        super().__init__(backend, sessions)
        self.events = events
        if events:
            self.sessions.tell = events.tell_session
        self._clock = clock
        self.won: dict[tuple[str, Holder], Lease] = {}
        """What this process has won, and not released. It may have been superseded."""
        self.tried: dict[tuple[str, Holder], Lease] = {}
        """What it may have won: an error, or an interruption, came in its way. The latest, `_MOST` at most."""
        self.announcements = Announcements(backend.directory.stamps if backend.directory else f"{id(backend)}")
        """What was released is told to those of this process who wait for it: they need no kernel for that."""

    def _publish(self, generation: int, lease: Lease | None, new: Lease, me: Holder) -> bool:
        """Whether `new` is published over `lease`, which has that generation. What may have been won is noted."""
        try:
            won = self.backend.advance(new.name, Judged(generation, lease) if lease else generation, new)
            if won and not new.share:
                self.won[new.name, me] = new
        except BaseException:
            if len(self.tried) >= _MOST:
                self.tried.pop(next(iter(self.tried)), None)
            if not new.share:
                self.tried[new.name, me] = new
            raise
        return won

    def _claim_shared(self, name: str, me: Holder, note: str, share: Share) -> Won | Renewed | Held:
        """Each share of a session is a reader, with a generation of its own.

        Others may have built upon ours before we have looked whether it stands. Then it is lost, and there all the same.
        """
        won: Won | None = None
        for _ in range(TRIES):
            head, seen = self.backend.look(name)
            lease, standing, verdict = self._judge(head, me, seen=seen)
            if won and lease and any(each == won.lease.readers[-1] for each in lease.readers):
                return won
            if lease and (answer := _had(lease, standing, verdict, me, share)):
                return answer
            kept: list[Reader] = []
            dead: list[tuple[Reader, Verdict]] = []
            if lease and not advances(TABLE[standing].claim):
                if not lease.readers:
                    return Held(lease, verdict)
                if not share.goes_first and (first := self._first_alone(name)):
                    return Held(lease, _passed_by(verdict, first))
                kept, dead = self._living(head.generation, lease)
            elif lease and not self._final(lease, verdict):
                continue
            if len(kept) >= _MOST:
                raise Unavailable(f"claim {name}: {len(kept)} sessions share it already, and more cannot")
            reader = Reader(*me, head.generation + 1, self._clock(), host(), note, share.word)
            new = shared_lease(name, (*kept, reader), len(kept))
            previous = None if kept else lease
            won = Won(new, previous, verdict if previous else None)
            if self._publish(head.generation, lease, new, me):
                self._tell_dead(name, dead, head.generation + 1)
                self._record_won(new, previous, verdict)
                return won
        raise moved(name, TRIES)

    def leave(self, name: str, me: Holder, share: str) -> Released | None:
        """Give back what `me` has by that `share`, if it has it; else None. Raises as `claim` does."""
        return self._leave(name, lambda each: each[:2] == me and each.share == share)

    def _leave(self, name: str, leaves: Callable[[Reader], bool]) -> Released | None:
        """Publish who is left of those who share `name`. None: none of those was among them when it was first read.

        Who was, and is no more, has left: others have built upon what he published; or they have left him out.
        """
        before: list[Reader] = []
        for _ in range(TRIES):
            after, lease, gone = self._those(name, leaves)
            if lease and gone:
                before = gone
                if not self._leave_out(after, lease, gone):
                    continue
                after += 1
            for each in before:
                self._record_end(alone(name, each), after)
            return Released(name, after, alone(name, before[0])) if before else None
        raise moved(name, TRIES)

    def _those(self, name: str, are_meant: Callable[[Reader], bool]) -> tuple[int, Lease | None, list[Reader]]:
        """Who share it, and who of them are meant; and the generation that says so."""
        for head in self._looks(name):
            lease = head.lease
            found = [each for each in lease.readers if are_meant(each)] if lease else []
            if found:
                break
        return head.generation, lease, found

    def _break_share(self, name: str, generation: int, reason: str) -> Broken | Superseded:
        for _ in range(TRIES):
            after, lease, gone = self._those(name, lambda each: each.generation == generation)
            if not (lease and gone):
                return Superseded(name, after, lease)
            if self._leave_out(after, lease, gone):
                found = alone(name, gone[0])
                self._record("broken", found, after + 1, reason=reason, **by_whom())
                return Broken(found, after + 1)
        raise moved(name, TRIES)

    def _leave_out(self, generation: int, lease: Lease, gone: Iterable[Reader]) -> bool:
        rest = tuple(each for each in lease.readers if each not in gone)
        after = shared_lease(lease.name, rest) if rest else None
        if not self.backend.advance(lease.name, Judged(generation, lease), after):
            return False
        self.announcements.announce(lease.name)
        return True

    def _reap_readers(self, generation: int, lease: Lease, verdicts: Verdicts, dry_run: bool) -> tuple[Reaped, ...]:
        """Leave those out who are gone."""
        gone = [(each, found) for each, found in self.readers(lease, verdicts) if self._is_out(lease, each, found, dry_run)]
        if gone and not dry_run:
            if not self._leave_out(generation, lease, [each for each, _ in gone]):
                return ()
            self._tell_dead(lease.name, gone, generation + 1)
        return tuple(Reaped(alone(lease.name, each), verdict, generation + 1) for each, verdict in gone)

    def _living(self, generation: int, lease: Lease) -> tuple[list[Reader], list[tuple[Reader, Verdict]]]:
        """Who is left of those who share it, and who is not. Mostly the first who lives is enough: to join costs the same,
        however many they are; and the dead are not many more than they.
        """
        number = len(lease.readers)
        looks_at_all = number >= _FEW and generation * _SPREAD % 2**32 % number == 0
        kept: list[Reader] = []
        dead: list[tuple[Reader, Verdict]] = []
        for at, (each, verdict) in enumerate(self.readers(lease)):
            if self._is_out(lease, each, verdict, dry_run=False):
                dead.append((each, verdict))
                continue
            kept.append(each)
            if not looks_at_all:
                kept += lease.readers[at + 1 :]
                break
        return kept, dead

    def _is_out(self, lease: Lease, reader: Reader, verdict: Verdict, dry_run: bool) -> bool:
        return verdict.dead and (dry_run or self._final(alone(lease.name, reader), verdict))

    def _first_alone(self, name: str) -> Registration | None:
        """Who is the first in line for `name`, if he wants it alone. He would starve if others went on to join.

        Does not guarantee: anything of one who waits where there are no lines, or who was killed on another host: as long
        as nobody can tell that, he keeps others from joining, until the claim was free once.
        """
        tickets = self.backend.tickets
        for ticket in tickets.line(name) if tickets else ():
            waiter = tickets.waiter(name, ticket) if tickets else None
            if waiter is not None and not self.sessions.evidence.has_left(waiter):
                return None if waiter.shared else waiter
        return None

    def note(self, event: str, lease: Lease, **fields: str) -> None:
        """What has happened to a claim without a change of it, for the log."""
        self._record(event, lease, lease.generation, **fields)

    def _tell_dead(self, name: str, dead: Iterable[tuple[Reader, Verdict]], generation: int) -> None:
        for each, verdict in dead:
            self._record("claim_reaped", alone(name, each), generation, evidence=verdict.evidence)

    def _record_won(self, lease: Lease, previous: Lease | None, verdict: Verdict) -> None:
        if previous is None:
            self._record("claimed", lease, lease.generation)
        else:
            self._record("taken_over", lease, lease.generation, previous=previous.session, evidence=verdict.evidence)

    def _record_end(self, lease: Lease, generation: int, end: End | None = None) -> None:
        if not self.events:
            return
        if ends := self.events.ends:
            end = end or ends.get(Holder(lease.session, lease.incarnation))
        more = {"evidence": end.evidence} if end else {}
        self._record(end.event if end else "released", lease, generation, **more)

    def _record(self, event: str, lease: Lease, generation: int, **fields: str | int) -> None:
        if self.events:
            if lease.readers:
                fields["readers"] = len(lease.readers)
            if lease.note:
                fields["note"] = lease.note
            self.events.emit(event, lease.name, session=lease.session, generation=generation, **fields)


def _had(lease: Lease, standing: Standing, verdict: Verdict, me: Holder, share: Share) -> Renewed | Held | None:
    """The answer, if it is ours already. Who holds it alone holds it for all his session, but not for a share of it."""
    if not lease.readers:
        if standing is not Standing.OURS:
            return None
        return Held(lease, verdict) if share.word else Renewed(lease)
    mine = [at for at, each in enumerate(lease.readers) if each[:2] == me and each.share == share.word]
    return Renewed(shared_lease(lease.name, lease.readers, mine[0])) if mine else None


def _passed_by(verdict: Verdict, first: Registration) -> Verdict:
    who = f"session '{first.session}'" if first.session else f"process {first.pid}"
    where = f" on {first.host}" if first.host else ""
    known = "" if verdict.basis is Basis.NOTHING else f"{verdict.evidence}; and "
    return verdict._replace(evidence=f"{known}{who}{where} waits to have it alone, and goes first")
