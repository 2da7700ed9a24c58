"""A claim that several hold: each a slot of it, or all of them sharing it. And the order in which several claims are taken.

How: the slots of NAME are the claims NAME#1, NAME#2 and so on, each with generations of its own. A generation of a claim
that is shared names all who share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from looop_portable.errors import UsageError
from looop_portable.protocol.codec import LONGEST_TEXT, LONGEST_WORD, has_controls, number, text
from looop_portable.protocol.names import canonical, excerpt, spelled
from looop_portable.typed import NamedTuple

__all__ = ["Reader"]

MOST = 10_000
"""Slots. Whoever asks for one may have to look at all of them."""


def in_order(names: Iterable[str]) -> list[str]:
    """The names, each once, in the order in which everybody takes them, also where case makes no difference."""
    return sorted({canonical(name) for name in names}, key=lambda name: (spelled(name).casefold(), spelled(name)))


def slots_of(name: str, slots: int) -> list[str]:
    """The claims that are the slots of `name`; 0: it has none, and is one claim. Raises `InvalidName`, `UsageError`."""
    if not 0 <= slots <= MOST:
        raise UsageError(f"a claim cannot have {slots} slots: 1 to {MOST}")
    name = canonical(name)
    return [canonical(f"{name}#{number}") for number in range(1, slots + 1)] or [name]


def refuse_both(slots: int, shared: bool) -> None:
    """Raises `UsageError` where a claim is to have slots, and to be shared."""
    if type(shared) is not bool:
        raise UsageError(f"shared is True or False, not {excerpt(shared)}")
    if slots and shared:
        raise UsageError("a claim is shared, or has slots: not both, as a slot is held by one alone")


def line_for(name: str, slots: int) -> str:
    """The line of those who want it. NAME and its slots are other claims: in one line they would wait for each other."""
    return canonical(f"{name}#") if slots else canonical(name)


class Reader(NamedTuple):
    """One of those who share a claim. `generation`: the one that was published when he joined.

    `share`: a word that tells the shares of one session apart, as its threads have; empty: its only one.
    """

    session: str
    incarnation: str
    generation: int
    claimed_at: str = ""
    host: str = ""
    note: str = ""
    share: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json."""
        found = {key: value or None for key, value in self._asdict().items()}
        return {key: found[key] for key in ("session", "incarnation", "generation", "claimed_at", "host", "note")}


def incarnation_in(record: Mapping[str, object]) -> str:
    """The incarnation; empty if it is not a possible one. The session is then judged by its id alone."""
    found = text(record, "incarnation")  # Of a session of looop's it has what words have not.
    return "" if len(found) > LONGEST_WORD or has_controls(found) or "/" in found or "\\" in found else found


def records_of(readers: Iterable[Reader]) -> list[dict[str, object]]:
    """As the record of a generation says them."""
    return [{key: value for key, value in each._asdict().items() if value} for each in readers]


def readers_in(record: Mapping[str, object], generation: int) -> tuple[Reader, ...]:
    """Those who share it; none, if one of them cannot be read: then nobody knows who holds it."""
    listed = record["readers"]
    found = [_reader_in(each, generation) for each in listed] if isinstance(listed, list) else []
    return tuple(each for each in found if each) if all(found) else ()


def _reader_in(record: object, generation: int) -> Reader | None:
    if not isinstance(record, dict):
        return None
    own, session = number(record, "generation"), text(record, "session")
    if not (session and 0 < own <= generation):
        return None
    return Reader(
        session,
        incarnation_in(record),
        own,
        text(record, "claimed_at")[:LONGEST_TEXT],
        text(record, "host")[:LONGEST_TEXT],
        text(record, "note")[:LONGEST_TEXT],
        text(record, "share")[:LONGEST_WORD],
    )
