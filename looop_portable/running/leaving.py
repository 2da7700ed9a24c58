"""The end of a command's session: why it was, for the event log, and what could not be released."""

from __future__ import annotations

from looop_portable.claims.gate import Claims
from looop_portable.claims.own import retire
from looop_portable.errors import LooopError, NotEnded
from looop_portable.protocol.records import Holder
from looop_portable.sessions.log import End


def leave_session(claims: Claims, holder: Holder, why_lost: str, ended_by: str) -> list[tuple[str, str]]:
    """End it, and release all that it holds. What could not be released, each with the reason; raises nothing.

    `why_lost`: it was lost before; `ended_by`: the signal that has ended its command. Each may be empty.
    """
    if why_lost:
        claims.sessions.log.ends[holder] = End("lost", why_lost)
    elif ended_by:
        claims.sessions.log.ends[holder] = End("died", f"its command was ended by {ended_by}")
    try:
        retired = retire(claims, holder)
    except NotEnded as error:
        return list(error.failed)  # What is not held keeps nobody waiting, and its process is seen to have ended.
    except LooopError as error:
        return [("", str(error))]
    except Exception as error:  # noqa: BLE001 (no memory, say: there is nobody else who could tell)
        return [("", f"{type(error).__name__}: {error}")]
    return list(retired.failed)
