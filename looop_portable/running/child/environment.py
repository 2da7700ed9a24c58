"""The environment of a command that `looop run` runs: ours, and what the command has to know of its claims.

Guarantees: it has no LC_CTYPE that only Python has set, where /proc tells.
Does not guarantee: a variable for each claim: two whose names differ only in what no variable's name can hold would share
one, and then neither has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from looop_portable.config import BACKEND, DATA_DIR, OUTER, SESSION_ID, Config, given
from looop_portable.protocol.records import Lease
from looop_portable.sessions.ids import is_made_up
from looop_portable.sessions.inside import environment_inside, variable

__all__ = ["environment_of", "marks_of", "variable"]

GENERATION = "LOOOP_CLAIM_GENERATION"
_COERCED = frozenset(("C.UTF-8", "C.utf8", "UTF-8"))
"""What Python sets LC_CTYPE to where the locale is C (PEP 538)."""


def environment_of(
    config: Config, session: str, leases: Mapping[str, Lease], first: str, joined: str = "", outer: Iterable[str] = ()
) -> dict[str, str]:
    """`leases`: by the names that were asked for. `first`: which of them was named first; empty: there is none.

    `joined`: the session around it that the command acts for; empty: it acts for its own, `session`.
    `outer`: all those around it.
    The backend's address has its password: without it, the command's own `looop unclaim` would look elsewhere.
    """
    found = {**_without_pythons_own(os.environ), DATA_DIR: config.data_dir, BACKEND: given(config.backend)}
    found.pop(OUTER, None)
    found.update(environment_inside(session, joined, outer))
    found.pop(GENERATION, None)
    variables = [variable(name) for name in leases]
    for name, lease in zip(variables, leases.values(), strict=True):
        found.pop(name, None)
        if variables.count(name) == 1:
            found[name] = str(lease.generation)
    if first:
        found[GENERATION] = str(leases[first].generation)
    return found


def marks_of(environment: Mapping[str, str]) -> list[bytes]:
    """What only those have in their environment that were begun by the run which has this one; empty: that cannot be told.

    A session's id that people use may be that of an earlier run, of which something is left.
    """
    if GENERATION not in environment and not is_made_up(environment.get(SESSION_ID, "")):
        return []
    ours = (SESSION_ID, DATA_DIR, GENERATION, OUTER)  # The last: one that acts for a session around it has its marks too.
    return [os.fsencode(f"{name}={value}") for name, value in environment.items() if name in ours]


def _without_pythons_own(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without the LC_CTYPE that only Python has set in it."""
    found = dict(environment)
    if found.get("LC_CTYPE") in _COERCED and _is_new("LC_CTYPE"):
        del found["LC_CTYPE"]
    return found


def _is_new(variable: str) -> bool:
    """Whether this process was started without it, as far as the system tells."""
    try:
        with open("/proc/self/environ", "rb") as file:
            given = file.read()
    except OSError:
        return False
    return bool(given) and not any(each.startswith(os.fsencode(f"{variable}=")) for each in given.split(b"\0"))
