"""`prune`, and what `reap --prune` does of it."""

from __future__ import annotations

import click

from looop_portable.claims.gate import Claims
from looop_portable.cli.output.progress import working
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verb import Verb
from looop_portable.cli.words.clicks import Duration


@click.command(
    cls=Verb,
    short_help="Remove what is left of names that nobody uses.",
    examples={
        "looop prune --dry-run": "Say of which names that would be.",
        "looop prune --older-than 7d": "Of those that were not used for a week.",
    },
)
@click.option(
    "--older-than",
    type=Duration(),
    metavar="DURATION",
    default="30d",
    show_default=True,
    help="For how long they were not used, by the clock of the filesystem.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be pruned; change nothing.")
@click.pass_obj
def prune(out: Setting, older_than: float, dry_run: bool) -> int:
    """Remove the files of names that are free and were not used for so long, and for which nobody waits.

    A name keeps its last sixteen generations for ever, each of them a file. A name that was pruned has none. It goes on
    above what it had, as does every new name from then on: generations are never used twice. Whoever claims one meanwhile
    has it.

    On local disks only, not on network mounts, and not with engines. Exit 3: it cannot be done here, or some name could not
    be pruned.
    """
    return pruned(out, out.claims(), older_than, dry_run=dry_run)


def pruned(out: Setting, claims: Claims, older_than: float, *, dry_run: bool) -> int:
    """Prune, and say so."""
    with working(out, "prune") as say:
        sweep = claims.prune(older_than, dry_run, say)
    word = "would prune" if dry_run else "pruned"
    for name, generation in sweep.pruned:
        line = f"{word} {name}: free at generation {generation}"
        out.answer("prune", word.replace(" ", "_"), line, {"name": name, "generation": generation})
    if sweep.skipped:
        line = f"looop: warning: nothing was pruned: {sweep.skipped}"
        out.refusal("prune", "skipped", line, {"message": sweep.skipped}, told_by_code=False)
    for name, reason in sweep.failed:
        fields = {"name": name, "message": reason}
        out.refusal("prune", "failed", f"looop: prune {name}: {reason}", fields, told_by_code=False)
    out.detail(f"{word} {len(sweep.pruned)}, kept {sweep.kept}, failed {len(sweep.failed)}")
    return 3 if sweep.skipped or sweep.failed else 0
