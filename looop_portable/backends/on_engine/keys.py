"""How claims, sessions, heartbeats and tickets are spelled as keys of an engine, and how errors name them.

A key's spelling has no `/` of its own, so one parts a session from its incarnation, and a claim from a ticket.
"""

from __future__ import annotations

from functools import lru_cache

from looop_portable.errors import InvalidName
from looop_portable.protocol.codec import decode, text
from looop_portable.protocol.names import canonical, printable, spelled, unspelled
from looop_portable.protocol.records import Holder


def of_claim(claim: str) -> str:
    """What an error is about."""
    return f"claim {printable(claim)}"


def of_session(session: str) -> str:
    """What an error is about."""
    return f"session {printable(session)}"


def key_of(session: str) -> str:
    """Empty for what cannot be an id: nobody has ever registered it."""
    try:
        return spelled(canonical(session, "session id"))
    except InvalidName:
        return ""


@lru_cache(maxsize=256)
def word_of(holder: Holder) -> str:
    """What its heartbeats are called."""
    return f"{key_of(holder.session)}/{holder.incarnation}"


def ticket_key(claim: str, ticket: str) -> str:
    return f"{spelled(claim)}/{ticket}"


def name_in(key: str, data: bytes, field: str) -> str:
    """The name that is spelled `key`; of a long one what its record says. Empty where neither tells."""
    name = unspelled(key)
    if name is None and (found := text(decode(data), field)) and spelled(found) == key:
        name = found
    return name or ""
