"""`transfer`: from our session to another, in one generation."""

from __future__ import annotations

import click

from looop_portable.claims.gate import Claims
from looop_portable.cli.acting import holder
from looop_portable.cli.completion.offers import session_ids
from looop_portable.cli.output import lease_fields
from looop_portable.cli.output.refusals import refuse
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verb import Verb
from looop_portable.cli.verbs.options import NAME, SESSION, SLOTS
from looop_portable.protocol.names import canonical
from looop_portable.protocol.outcomes import Refused
from looop_portable.protocol.records import Holder
from looop_portable.waiting.attempts import ours_of


@click.command(
    cls=Verb,
    short_help="Hand a claim of ours to another session.",
    examples={
        "looop transfer repo-x --to agent-8 --session agent-7": "From agent-7 to agent-8, with no gap.",
    },
)
@NAME
@click.option("--to", required=True, metavar="SESSION", shell_complete=session_ids, help="Who is to hold it from now on.")
@SESSION
@SLOTS
@click.pass_obj
def transfer(out: Setting, name: str, to: str, session: str | None, slots: int | None) -> int:
    """Hand NAME, which is ours, to SESSION, which is registered and alive. It holds the next generation.

    In one step: NAME is free at no time, and is never held by both. SESSION is not told: tell it the generation, which is
    printed. A command of `looop run`, or a `hold`, whose claim is handed over counts as having lost it.

    With --slots N, of the slots NAME#1 to NAME#N those that are ours. Exit 1: it is not ours; 2: SESSION is not registered,
    or not alive.
    """
    claims = out.claims(renews=False)
    me = holder(claims, session)
    wanted = [canonical(name)] if slots is None else ours_of(claims, [name], slots, me)
    if not wanted:
        out.refusal(
            "transfer", "refused", f"transfer {name}: no slot of it is held by session '{me.session}'", {"name": name}
        )
    codes = [_transfer(out, claims, each, to, me) for each in wanted]
    out.describe_trouble(claims)
    return max(codes, default=1)


def _transfer(out: Setting, claims: Claims, name: str, to: str, me: Holder) -> int:
    outcome = claims.transfer(name, to, me)
    if isinstance(outcome, Refused):
        lease = outcome.lease
        if lease.session or not outcome.verdict.dead:
            refuse(out, "transfer", "not ours: it is held by", lease, outcome.verdict, {}, claims=claims)
        else:
            line = f"transfer {name}: not ours: it is free, at generation {lease.generation}"
            out.refusal("transfer", "refused", line, {"name": name, "generation": lease.generation, **lease_fields(None)})
        return 1
    lease = outcome.lease
    line = f"transferred {lease.name} to {lease.session}: generation {lease.generation}"
    fields = {"name": lease.name, "generation": lease.generation, **lease_fields(lease), "previous": me.session}
    out.answer("transfer", "transferred", line, fields)
    return 0
