"""`show`. Its options are in `cli/words/table.py`."""

from __future__ import annotations

from collections.abc import Iterator

from looop_portable.cli.output.setting import Setting
from looop_portable.errors import describe_holder
from looop_portable.protocol.standings import Standing
from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from looop_portable.cli.output.refusals import Told
    from looop_portable.protocol.liveness import Verdict


def show(out: Setting, name: str, session: str | None) -> int:
    """Show one claim: whether it is held, by whom, since when, and on what evidence its holder is alive or dead.

    It tells what a refusal tells: who runs the holder, who waits for the claim, and how to end it.

    With -q the exit code tells. 0: it is held by somebody who is alive, or may be; 1: it can be had.
    """
    claims = out.claims(session)
    status = claims.show(name)
    if out.quiet:
        return 0 if status.standing is Standing.HELD else 1
    from looop_portable.cli.output.refusals import of_nobody, told_of  # Who asks for an exit code needs no words.
    from looop_portable.cli.verbs.show.rows import fields_of

    lease, verdict = status.lease, status.verdict
    told = told_of(claims, lease, verdict) if lease and verdict else None
    if out.as_json:
        out.answer(
            "show", "held" if told else "free", "", {**fields_of(status), **(told.fields() if told else of_nobody())}
        )
        return 0
    if told is None:
        out.line(f"{status.name}: free, at generation {status.generation}")
        return 0
    whose = f"session '{told.lease.session}'" if told.lease.session else describe_holder("")
    if told.lease.readers:
        out.line(f"{status.name}: shared, generation {status.generation}")
        for reader, found in claims.readers(told.lease):
            out.line(f"  {'shared by':<12}{reader.session}, generation {reader.generation}: {_lives(found)}")
    else:
        out.line(f"{status.name}: held by {whose}, generation {status.generation}")
    for key, value in _facts(told):
        if value:
            out.line(f"  {key:<12}{value}")
    return 0


def _lives(verdict: Verdict) -> str:
    return f"{verdict.liveness.value}: {verdict.description}"


def _facts(told: Told) -> Iterator[tuple[str, str]]:
    lease, verdict = told.lease, told.verdict
    yield "session", "" if lease.readers else _lives(verdict)
    yield "claimed", told.since and f"{told.since}, on {lease.host}"
    yield "user", told.user
    yield "command", told.command
    yield "note", lease.note
    yield "until", f"{verdict.until} by this host's clock, unless it is renewed" if verdict.left is not None else ""
    yield "waiting", told.waiting
    if verdict.dead:
        yield "next", "whoever claims it takes it over at once"
    else:
        yield "end", told.end
