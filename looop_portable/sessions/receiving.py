"""The session that somebody hands a claim to: it is registered, and alive, as far as anybody can tell."""

from __future__ import annotations

from looop_portable.errors import NoSession, SessionEnded, UsageError
from looop_portable.protocol.names import canonical
from looop_portable.protocol.records import Holder
from looop_portable.sessions.registrar import Sessions


def receiver(sessions: Sessions, to: str | Holder) -> tuple[Holder, str]:
    """Who it is, and on which host. Raises `NoSession`, `SessionEnded`, or `UsageError` for one of looop's own.

    Does not guarantee: that it still lives when it is handed the claim. Then the claim is a dead one's: anybody's to take.
    """
    name = canonical(to.session if isinstance(to, Holder) else to, "session id")
    holder, head = sessions.look(name)
    found = sessions.evidence.current(head)
    if found is None or not holder.incarnation:
        raise NoSession(f"session '{name}' is not registered, so nothing would protect what it is handed")
    if found.foreign:
        raise UsageError(f"session '{name}' was started by looop itself, and can be handed nothing")
    verdict = sessions.verdict(*holder, head)
    if verdict.dead or (isinstance(to, Holder) and to != holder):
        why = verdict.evidence if verdict.dead else "its id has been registered anew since"
        raise SessionEnded(f"session '{name}' is over ({why}), and can be handed nothing")
    return holder, found.host
