"""What looop itself does to a claim, as generations: for directories whose guard is the one that looop holds.

Guarantees: with the guard held, the ledger and `claims/NAME.json` say the same. A lease that looop wrote has become a
generation ("adopted"), one that it removed has been released; so a later step of ours, which names the generation that
it saw, cannot destroy what looop did since, and the numbers grow across looop's holders too.
Does not guarantee: anything against looop before 0.57, which holds no guard. Nor a number of its own for a lease that looop
removed and wrote again with the very same bytes between two looks of ours (before 1.0 it repeats them): it is the same
session's.
How: looop knows only the projection. Who holds the guard and finds it out of step knows that a process of ours died
before it was done, or that looop has been there. A lease of ours is published first and shown afterwards, and hidden before
its release is published: so what is held and not shown was released by looop, or was never answered for, or was being
released.
Compatibility: looop >= 0.57 flocks `claims/.dirlock` while it compares, writes or removes `claims/NAME.json`.
"""

from __future__ import annotations

from typing import NamedTuple

from looop_portable.backends.directory.projection import Projection, is_looops
from looop_portable.ledger.ledger import Ledger
from looop_portable.protocol.lease import decode, lease_in, record_of, text
from looop_portable.protocol.names import LONGEST_NAME

_TRIES = 8
_ADOPTED = "adopted"
_LONG = 64 * 1024


class Seen(NamedTuple):
    """`moved`: the head is not the one that was judged. `nothing`: no lease is shown, so ours must not replace any.

    Without that, one that looop before 0.57 creates meanwhile, which holds no guard, would be replaced: two winners.
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
        """How it is now that looop since 0.57 cannot move. What looop is still writing, or did since, is another's."""
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
    return {"session": text(record, "session"), "name": name[:LONGEST_NAME], _ADOPTED: _as_text(shown)}


def _in_step(generation: int, data: bytes, shown: bytes | None) -> bool:
    """Whether nobody has to do anything. Debris that lies where nothing is held is judged by whoever comes to claim."""
    lease = lease_in(data, "", generation) if generation else None
    if lease is None or not lease.session:
        return shown is None or not (is_looops(shown) or decode(shown).get("generation"))
    if shown is None:
        return False
    return shown == data or decode(data).get(_ADOPTED) == _as_text(shown)


def _is_made_anew(data: bytes, shown: bytes) -> bool:
    """Whether looop before 0.57 removed the lease that was adopted, and is writing another: it creates first.

    Without this, the old one would be put in the place of the new one, whose writer has been told that he holds.
    """
    return not shown and _ADOPTED in decode(data)


def _as_text(shown: bytes) -> str:
    """Of more than a lease of looop's has, a hash: its record has to be one that can be read."""
    if len(shown) <= _LONG:
        return shown.decode(errors="replace")
    import hashlib

    return f"sha256:{hashlib.sha256(shown).hexdigest()}"
