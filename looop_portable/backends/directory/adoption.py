"""What looop itself does to a claim, as generations: for directories whose guard is the one that looop holds.

Guarantees: with the guard held, the ledger and `claims/NAME.json` say the same. A lease that looop wrote has become a
generation ("adopted"). A lease that looop removed has been released. A later step of ours names the generation that it saw,
so it cannot destroy what looop did since. The numbers grow across looop's holders too.
Does not guarantee: anything against looop before 1.0. Before 0.57 it holds no guard; and until 1.0 it takes a session for
dead that it cannot look at, and grants a claim to whoever has no session id. Nor of a claim that several share, if looop
comes here for the first time meanwhile: it sees one of them. Where it has been before, nobody may share (`NO_SHARING`). Nor
two numbers for a lease that looop removed and wrote again with the same bytes, between two looks of ours (before 1.0 it
repeats them). Both belong to one session.
How: looop knows only the projection. The process that holds the guard may find the projection out of step with the ledger.
Then a process of ours has crashed in the middle of a step, or looop has changed the projection. We publish a lease first
and show it afterwards; we hide it before we publish its release. A lease that is held and not shown has therefore one of
three causes: looop released it; its writer crashed before it answered; or its release was under way.
Compatibility: looop >= 1.0. It flocks `claims/.dirlock` while it compares, writes or removes `claims/NAME.json`, as it does
since 0.57.
"""

from __future__ import annotations

from looop_portable.backends.directory.projection import Projection, claimed_at, is_looops
from looop_portable.ledger.ledger import Ledger
from looop_portable.protocol.codec import decode, text
from looop_portable.protocol.names import LONGEST_NAME
from looop_portable.protocol.records import lease_in, record_of
from looop_portable.typed import NamedTuple

NO_SHARING = (
    "claim {}: looop itself uses this directory, and knows nothing of sharing: claim it alone, or choose another directory "
    "with --data-dir or LOOOP_DATA_DIR"
)
"""Looop would judge one of those who share it, and take the claim from the others."""

_TRIES = 8
_ADOPTED = "adopted"
_LONG = 64 * 1024


class Seen(NamedTuple):
    """`moved`: the head is not the one that was judged. `nothing`: no lease is shown, so ours must not replace any.

    Looop before 0.57 holds no guard and may create a lease meanwhile. To replace that lease would make two winners.
    """

    moved: bool = False
    nothing: bool = False


class Adoption:
    """Keeps `ledger` in step with its `projection`."""

    def __init__(self, ledger: Ledger, projection: Projection) -> None:
        self._ledger = ledger
        self._projection = projection

    def head(self, key: str) -> tuple[int, bytes]:
        """The head of `key`, as `Ledger.head`, in step with its projection."""
        try:
            generation, data = self._ledger.head(key)
            if _in_step(generation, data, self._shown(key)):
                return generation, data
            with self._ledger.ledger_root.guard():
                return self.settle(key)
        except PermissionError:
            return self._ledger.head(key)  # Somebody who may only read. What looop did counts as soon as others come.

    def settle(self, key: str) -> tuple[int, bytes]:
        """Bring both in step, with the guard held."""
        for _ in range(_TRIES):
            generation, data = self._ledger.head(key)
            shown = self._shown(key)
            if _in_step(generation, data, shown):
                break
            if shown is None or _is_made_anew(data, shown):
                self._ledger.advance(key, generation, record_of(None))
            elif is_looops(shown):
                self._ledger.advance(key, generation, _adopted(shown))
            else:
                self._projection.mend(key)  # Another generation's: its writer died. Or somebody's scribble.
        return generation, data

    def _shown(self, key: str) -> bytes | None:
        return self._ledger.files.read(self._projection.path(key))

    def seen(self, key: str, name: str, expected: int) -> Seen:
        """What stands now, with the guard held against looop since 0.57. What looop wrote meanwhile is another's."""
        generation, data = self.settle(key)
        if generation != expected:
            return Seen(moved=True)
        if lease_in(data, name, generation):
            return Seen()
        foreign = self._projection.foreign(key, name, generation)
        return Seen(moved=foreign is not None and (not foreign.settled or bool(foreign.session)), nothing=foreign is None)


def _adopted(shown: bytes) -> dict[str, object]:
    record = decode(shown)
    name = text(record, "name")
    found: dict[str, object] = {"session": text(record, "session"), "name": name[:LONGEST_NAME], _ADOPTED: _as_text(shown)}
    return {**found, "claimed_at": since} if (since := claimed_at(record)) else found


def _in_step(generation: int, data: bytes, shown: bytes | None) -> bool:
    """Whether there is nothing to mend. Debris where nothing is held is left to the next claimer, who judges it."""
    lease = lease_in(data, "", generation) if generation else None
    if lease is None or not lease.session:
        return shown is None or not (is_looops(shown) or decode(shown).get("generation"))
    if shown is None:
        return False
    return shown == data or decode(data).get(_ADOPTED) == _as_text(shown)


def _is_made_anew(data: bytes, shown: bytes) -> bool:
    """Whether looop before 0.57 removed the adopted lease and is writing another. It creates the file before it writes it.

    The writer of the new lease holds from then on. To show the old lease again would destroy the new one.
    """
    return not shown and _ADOPTED in decode(data)


def _as_text(shown: bytes) -> str:
    """The text, or a hash where it is longer than any lease of looop's: the record has to stay readable."""
    if len(shown) <= _LONG:
        return shown.decode(errors="replace")
    import hashlib

    return f"sha256:{hashlib.sha256(shown).hexdigest()}"
