"""What a race leaves behind in a store that is not in the doctor's own directory: no session, and nothing held.

Guarantees: each racer ends its session, however the race ends, and the arbiter those of racers that were killed.
Does not guarantee: the same where the store does not answer, or arbiter and racers are killed at once: then what is left is
a dead session's, as after any crash, and `looop reap` removes it. The generations of the claim that was raced for stay: no
store forgets those.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Sequence

from looop_portable.backends import SHIPPED
from looop_portable.claims.gate import Claims
from looop_portable.claims.own import retire
from looop_portable.config import Chosen, given
from looop_portable.errors import LooopError, NoSession
from looop_portable.protocol.records import Holder

_PARTING = 5.0
"""Seconds for a racer to end its session, when the race is over."""


def is_elsewhere(backend: Chosen) -> bool:
    """Whether what is made there may stay when the doctor's directory is removed."""
    return not isinstance(backend, str) or backend not in SHIPPED


def leave(claims: Claims, me: Holder) -> None:
    """In a racer: its session ends. What fails is the arbiter's."""
    with contextlib.suppress(LooopError, OSError):
        retire(claims, me)


def clean(backend: Chosen, directory: str, racers: Sequence[subprocess.Popen[str]], sessions: Sequence[Holder]) -> None:
    """In the arbiter: let the racers end, and end the sessions of those that cannot. They have lost it, or are done."""
    until = time.monotonic() + _PARTING
    while any(racer.poll() is None for racer in racers) and time.monotonic() < until:
        time.sleep(0.02)
    for racer in racers:
        if racer.poll() is None:
            racer.kill()
    if not sessions:  # It may be one that cannot even be opened.
        return
    with contextlib.suppress(LooopError, OSError):
        claims = Claims.open(directory, given(backend))
        for session in sessions:
            with contextlib.suppress(NoSession):  # It has been removed by its racer.
                retire(claims, session)
