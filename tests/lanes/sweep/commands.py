"""Whether what a command said is true: its exit code, and its lines."""

from __future__ import annotations

from collections.abc import Iterator

from looop_portable import Claims

from .oracle import Seen, lives
from .verbs import Ran, Verb

_SAYS_OF_EACH = ("claims", "reap")
"""One line for each claim that cannot be read."""
TOLD_KEPT = "could not all be released"
"""All or none was asked for. Without hard links nothing can be let go on a full disk, and the error says so: see
docs/decisions/0001-a-release-is-a-link.md."""
TOLD_HELD = "may be held all the same, by session 'me'"
TOLD_STARTED = "it may be registered all the same: `looop session stop new` ends it"
"""On a disk that fails from the deed on, nobody can look whether it was done, nor undo it: the error says so."""
_LISTS = ("claims", "session", "show")


def ran(answer: Ran, clean: Ran, after: Seen, claims: Claims, verb: Verb, *, again: bool, fails_on: bool) -> Iterator[str]:
    yield from _said(answer, again=again)
    repeated = again and answer.args[0] in ("break", "session") and answer.code == 1
    if answer.code not in (clean.code, 3) and not repeated:
        yield f"untrue: exit code {answer.code}, where {clean.code} is right: {answer.err}"
    mine = [name for name in verb.names if (lease := after.heads[name].lease) and lease.session == "me"]
    yield from _done(answer, mine, verb)
    owned_up = TOLD_KEPT in answer.err or (fails_on and TOLD_HELD in answer.err)
    if answer.args[0] == "claim" and answer.code == 3 and mine and not (again or owned_up):
        yield f"kept: {mine} are ours after an error, which does not tell: {answer.err}"
    if answer.args[:2] == ("session", "start") and not again:
        is_there = lives(claims, "new")
        owned_up = fails_on and TOLD_STARTED in answer.err
        if is_there != (answer.code == 0) and not (is_there and owned_up):
            yield f"untrue: exit code {answer.code}, and the session is {'there' if is_there else 'not there'}"
    missing = _first_words(clean.out) - _first_words(answer.out)
    if answer.code == 0 and answer.args[0] in _LISTS and missing and not again:
        yield f"untrue: nothing was said of {sorted(missing)}"


def _said(answer: Ran, *, again: bool) -> Iterator[str]:
    """An error is one line, and an exit code is one of ours."""
    if "fault of looop itself" in answer.err or "Traceback" in answer.err or answer.code not in (0, 1, 2, 3, 124):
        yield f"raw: exit code {answer.code}: {answer.err}"
    lines = answer.err.splitlines()
    more = (
        [] if answer.args[0] in _SAYS_OF_EACH else [line for line in lines if not line.startswith("looop: warning: ")][1:]
    )
    strange = [line for line in lines if not line.startswith("looop: ")]
    if answer.code == 3 and (more or strange or not lines):
        yield f"more than one line: exit code 3: {answer.err}"
    if answer.code == 3 and again:
        yield f"wedged: exit code 3: {answer.err}"


def _done(answer: Ran, mine: list[str], verb: Verb) -> Iterator[str]:
    if answer.args[0] == "claim" and answer.code == 0 and len(mine) < len(verb.names):
        yield f"untrue: exit code 0, and only {mine} are ours"
    if answer.args[0] == "run" and mine:
        yield f"untrue: exit code {answer.code}, and {mine} are ours after the end"
    if answer.args[0] == "unclaim" and answer.code == 0 and mine:
        yield f"untrue: exit code 0, and {mine} are ours"


def _first_words(text: str) -> set[str]:
    return {line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith(" ")}
