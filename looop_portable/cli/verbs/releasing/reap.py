"""`reap`."""

from __future__ import annotations

import gc
import time

import click

from looop_portable.claims.reaper import watch
from looop_portable.cli.output import lease_fields, verdict_fields
from looop_portable.cli.output.progress import working
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verb import Verb
from looop_portable.cli.verbs.releasing.prune import pruned
from looop_portable.cli.words.clicks import Duration
from looop_portable.protocol.outcomes import Sweep


@click.command(
    cls=Verb,
    short_help="Release the claims of sessions that are gone.",
    examples={
        "looop reap --dry-run": "Say what would be released, and on what evidence.",
        "looop reap": "Release it.",
        "looop reap --prune 30d": "And remove what is left of names that nobody has used for a month.",
    },
)
@click.option("--dry-run", is_flag=True, help="Say what would be released; change nothing.")
@click.option(
    "--watch",
    "seconds",
    type=Duration(0.01, 86400),
    metavar="DURATION",
    help="Sweep again and again, with so long a pause, until interrupted.",
)
@click.option(
    "--prune",
    "older_than",
    type=Duration(),
    metavar="DURATION",
    help="After each sweep also `looop prune --older-than` so long.",
)
@click.pass_obj
def reap(out: Setting, dry_run: bool, seconds: float | None, older_than: float | None) -> int:
    """Release the claims of sessions that are gone, and say on what evidence.

    Nothing depends on it: whoever claims a dead session's claim takes it over anyway. Exit 3: the sessions could not be
    enumerated, or some claim could not be read.
    """
    claims = out.claims()

    def once() -> Sweep:
        with working(out, "reap") as say:
            return claims.reap(dry_run, say)

    def told(sweep: Sweep) -> int:
        code = _print(out, sweep)
        return code if older_than is None else max(code, pruned(out, claims, older_than, dry_run=dry_run))

    if seconds is None:
        return told(once())
    gc.enable()
    for sweep in watch(once, seconds, time.sleep):
        told(sweep)
        if out.unheard:
            break
    return 0


def _print(out: Setting, sweep: Sweep) -> int:
    word = "would reap" if sweep.dry_run else "reaped"
    for found in sweep.reaped:
        lease = found.lease
        whose = f"session '{lease.session}'" if lease.session else "no session"
        out.answer(
            "reap",
            "would_reap" if sweep.dry_run else "reaped",
            f"{word} {lease.name}: {whose}, generation {lease.generation}: {found.verdict.evidence}",
            {"name": lease.name, "generation": found.generation, **lease_fields(lease), **verdict_fields(found.verdict)},
        )
    if sweep.skipped:
        out.refusal(
            "reap",
            "skipped",
            f"looop: warning: nothing was reaped: {sweep.skipped}",
            {"message": sweep.skipped},
            told_by_code=False,
        )
    for name, reason in sweep.failed:
        out.refusal(
            "reap",
            "failed",
            f"looop: reap {name}: {reason}" if name else f"looop: reap: {reason}",
            {"name": name or None, "message": reason},
            told_by_code=False,
        )
    out.detail(f"{word} {len(sweep.reaped)}, kept {sweep.kept}, failed {len(sweep.failed)}")
    return 3 if sweep.skipped or sweep.failed else 0
