"""`break`: of one claim at the generation that somebody has read, or of several by a pattern."""

from __future__ import annotations

import click

from looop_portable.claims.gate import Claims
from looop_portable.cli.completion.offers import claim_names
from looop_portable.cli.output import lease_fields, verdict_fields
from looop_portable.cli.output.refusals import describe_readers
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verb import Verb
from looop_portable.cli.verbs.releasing.several import none_fit, that_fit
from looop_portable.errors import LooopError
from looop_portable.protocol.outcomes import Broken, Status, Superseded
from looop_portable.protocol.records import alone


@click.command(
    "break",
    cls=Verb,
    short_help="Release a claim whoever holds it.",
    examples={
        'looop break repo-x --generation 7 --reason "its host is gone"': "At the generation that `looop show` tells.",
        'looop break --pattern "ci-*" --reason "the runner is gone" --dry-run': "Say what would be free.",
    },
)
@click.argument("name", required=False, shell_complete=claim_names)
@click.option("--generation", type=click.IntRange(min=0), metavar="N", help="The generation that holds NAME.")
@click.option(
    "--pattern",
    metavar="PATTERN",
    shell_complete=claim_names,
    help="All whose name fits it ('ci-*': quote it), each at its generation now.",
)
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the event log.")
@click.option("--dry-run", is_flag=True, help="Say what would be broken; change nothing.")
@click.pass_obj
def break_(out: Setting, name: str | None, generation: int | None, pattern: str | None, reason: str, dry_run: bool) -> int:
    """Release NAME whoever holds it, if generation N is the one that does (see `looop show NAME`).

    The claim is free at once; of one that several share, N is that of one of them, and the others keep it. `hold` and
    `looop run` are told at their next heartbeat, a shell is not, and each may go on working: be sure that it does not.
    Exit 1: N is not current; of a --pattern, somebody has moved one of them meanwhile.
    """
    if not reason.strip():
        raise click.BadParameter("it is empty", param_hint="--reason")
    if pattern is not None:
        if name is not None or generation is not None:
            raise click.UsageError("--pattern is for several: without NAME and --generation")
        return _break_all(out, pattern, reason, dry_run=dry_run)
    if name is None:
        raise click.UsageError("Missing argument 'NAME', or --pattern.")
    if generation is None:
        raise click.UsageError("Missing option '--generation' (`looop show NAME` tells it).")
    claims = out.claims()
    return _would_break(out, claims, name, generation) if dry_run else _break(out, claims, name, generation, reason)


def _break_all(out: Setting, pattern: str, reason: str, *, dry_run: bool) -> int:
    claims, codes = out.claims(), {0}
    found, unreadable = that_fit(out, claims.list(), pattern)
    for status in found:
        for each in _each(status):
            if dry_run:
                _say_would(out, each)
                continue
            try:
                codes.add(_break(out, claims, each.name, each.generation, reason))
            except LooopError as error:
                out.error(error.code, str(error))
                codes.add(3)
    if not found:
        none_fit(out, pattern)
    return max(codes | {3 if unreadable else 0})


def _each(status: Status) -> list[Status]:
    """What several share, as what each of them has."""
    lease = status.lease
    shares = [alone(status.name, each) for each in lease.readers] if lease else []
    return [status._replace(lease=each, generation=each.generation, verdict=None) for each in shares] or [status]


def _break(out: Setting, claims: Claims, name: str, generation: int, reason: str) -> int:
    outcome = claims.break_claim(name, generation, reason)
    if isinstance(outcome, Superseded):
        return _refuse(out, outcome, generation)
    assert isinstance(outcome, Broken)
    lease = outcome.previous
    line = f"broke {lease.name}: generation {generation} of session '{lease.session}'"
    fields = {"name": lease.name, "generation": outcome.generation, **lease_fields(lease)}
    out.answer("break", "broken", line, fields)
    out.describe_trouble(claims)
    return 0


def _would_break(out: Setting, claims: Claims, name: str, generation: int) -> int:
    status = claims.show(name)
    found = [each for each in _each(status) if each.lease and each.generation == generation]
    if not found:
        return _refuse(out, Superseded(status.name, status.generation, status.lease), generation)
    _say_would(out, found[0])
    return 0


def _say_would(out: Setting, status: Status) -> None:
    lease, verdict = status.lease, status.verdict
    assert lease
    evidence = f": {verdict.liveness.value}: {verdict.description}" if verdict else ""
    line = f"would break {status.name}: generation {status.generation} of session '{lease.session}'{evidence}"
    fields = {"name": status.name, "generation": status.generation, **lease_fields(lease), **verdict_fields(verdict)}
    out.answer("break", "would_break", line, fields)


def _refuse(out: Setting, outcome: Superseded, generation: int) -> int:
    if outcome.lease:
        shared = describe_readers(outcome.lease)
        whose = (
            f"it is shared by {shared}"
            if shared
            else f"it is held by '{outcome.lease.session}', at generation {outcome.head}"
        )
        now = f"generation {generation} is not current: {whose}"
    else:
        now = f"nothing to break: it is free, at generation {outcome.head}"
    fields = {"name": outcome.name, "generation": outcome.head, **lease_fields(outcome.lease)}
    out.refusal("break", "superseded", f"break {outcome.name}: {now}", fields)
    return 1
