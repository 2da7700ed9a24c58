"""What the sweep finds, and what is being mended elsewhere: to be emptied when that is merged."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """The beginnings of a verb's name and of what is told of it. `why`: what is to be mended."""

    verb: str
    told: str
    why: str


_LOCK = "a registration that fails leaves its lock's descriptor open (`Sessions.register`: `unpromise` on any error)"
_ALIVE = "`session start` that fails at its second look leaves the id alive"
_REPEATED = "`break` whose link was repeated says that there is nothing to break"
_CLOSE = "a close that fails at `Sessions.stop` is a raw OSError (`signs.unpromise`: `let_lock_go`)"
KNOWN = (
    Known("register", "leaked: 1 descriptors", _LOCK),
    Known("hold", "leaked: 1 descriptors", _LOCK),
    Known("aio.hold", "leaked: 1 descriptors", _LOCK),
    Known("$ session start", "untrue: exit code 3, and the session is there", _ALIVE),
    Known("break", "untrue: Superseded", _REPEATED),
    Known("$ break", "untrue: exit code 1", _REPEATED),
    Known("stop", "raw: ", _CLOSE),
    Known("retire", "raw: ", _CLOSE),
    Known("leave", "raw: ", _CLOSE),
)


def known(verb: str, wrong: str) -> str:
    """What is to be mended; empty: it is news."""
    return next((each.why for each in KNOWN if verb.startswith(each.verb) and wrong.startswith(each.told)), "")
