"""Several claims by a pattern; and what a verb would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence

from looop_portable.claims.gate import Claims
from looop_portable.cli.output import lease_fields
from looop_portable.cli.output.refusals import refuse, say_inside
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verbs.show.selecting import Selection, is_unreadable
from looop_portable.protocol.names import canonical
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.records import Holder
from looop_portable.protocol.standings import Standing, is_ours, own
from looop_portable.waiting.attempts import joins


def that_fit(out: Setting, listed: Sequence[Status], pattern: str) -> tuple[list[Status], bool]:
    """The claims that are held and fit; and whether there are more, which cannot be read. That is said."""
    found = Selection(pattern).of(list(listed))
    unreadable = [status for status in found if is_unreadable(status)]
    for status in unreadable:
        out.error("unavailable", f"{status.name}: {status.verdict.evidence if status.verdict else ''}")
    return [status for status in found if status not in unreadable], bool(unreadable)


def none_fit(out: Setting, pattern: str) -> None:
    out.hint(f"no claim that is held fits '{pattern}'")


def more_of_ours(out: Setting, claims: Claims, me: Holder, pattern: str) -> tuple[list[str], int]:
    """The claims of `me` that fit; and the exit code: 3 where there are more, which cannot be read."""
    found, unreadable = that_fit(out, claims.list(), pattern)
    return [status.name for status in found if is_ours(status.lease, me)], 3 if unreadable else 0


def would_release(out: Setting, claims: Claims, name: str, me: Holder) -> int:
    status = claims.show(canonical(name))
    lease, verdict = status.lease, status.verdict
    if lease is None or verdict is None:
        return 0
    if status.standing is Standing.HELD and (inside := joins(claims, me, lease, verdict, shared=True)):
        say_inside(out, "unclaim", inside, verdict)
        return 0
    if status.standing is Standing.HELD and not is_ours(lease, me):
        refuse(out, "unclaim", "held by another live session", lease, verdict, {}, claims=claims)
        return 1
    lease = own(lease, me) or lease
    line = f"would release {status.name}: generation {lease.generation} of session '{lease.session}'"
    fields = {"name": status.name, "generation": lease.generation, **lease_fields(lease)}
    out.answer("unclaim", "would_release", line, fields)
    return 0
