"""`claim`, `unclaim`, `check`. Their options are in `cli/words/table.py`."""

from __future__ import annotations

from collections.abc import Callable

from looop_portable.backends.base import SessionHead
from looop_portable.claims.gate import Claims
from looop_portable.cli.acting import Acting, acting, ended, holder, limit_of, renewing
from looop_portable.cli.ending import Endings, endings
from looop_portable.cli.output import describe_sharing, lease_fields, verdict_fields
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.words.declared import Misuse
from looop_portable.config import session_id
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import Verdict
from looop_portable.protocol.names import as_note
from looop_portable.protocol.outcomes import Held, Refused, Renewed, Won
from looop_portable.protocol.records import Holder, Lease
from looop_portable.protocol.shares import in_order, refuse_both
from looop_portable.sessions.evidence import standing
from looop_portable.waiting.attempts import Attempts, claim_in_order, joins, ours_of, take_back


def claim(
    out: Setting,
    names: tuple[str, ...],
    session: str | None,
    wait: float | None,
    timeout: float | None,
    slots: int | None,
    shared: bool,
    note: str,
    ttl: float | None,
    strict: bool,
) -> int:
    """Claim NAME, or all of several NAMEs or none: at once or not at all, unless told to wait.

    Exit 0: it is ours (`claimed NAME`; nothing is printed if it was ours already, so workers that are to exclude each
    other need a session each; nor if a session around ours holds it, as within `looop run`: we are inside already, which
    stderr says, and `unclaim` leaves it held). Exit 1: a live session holds it. Exit 124: one still did when the time for
    waiting was over.
    A session that has ended claims nothing: exit 2. One that nobody has registered can claim, but whoever asks next takes
    its claim over: that is said, and --strict refuses it.

    Those who wait are served in the order in which they came; nothing keeps somebody who does not wait from taking what is
    free. Several NAMEs are taken in one order, whatever the order here, and kept while the next is waited for.

    With --slots N, N sessions can hold NAME at once. The slots are the claims NAME#1 to NAME#N; ours is printed.

    With --shared any number of sessions share NAME, and nobody has it alone meanwhile: many read, or one writes. Nobody
    joins them while one who waits to have it alone is the first in line. Who shares it has to release it before he can
    have it alone.

    A --note stays as long as the claim: of one that was ours already the old one is kept, and that is said.

    Its generation, for `looop check` and for what is written to: -v says it on stderr, and --json on stdout.
    """
    note = as_note(note)
    claims, ordered = out.claims(renews=False), in_order(names)
    who = acting(out, claims, session, ttl=ttl, strict=strict)
    limit = limit_of(wait, timeout)
    # Without this, a session whose keeper is gone would be taken for dead while it waits, and lose its turn.
    kept = limit == 0 or _ensure_kept(out, claims, who.me, who.known)
    with endings() as ended_by:
        if limit == 0:
            outcome = _at_once(claims, ordered, who.me, slots or 0, note, ended_by, shared=shared)
        else:
            from looop_portable.cli.output.progress import waiting_for
            from looop_portable.waiting.claiming import claim_all  # Who does not wait needs none of this.

            with waiting_for(out) as told, renewing(out, who.registration):
                outcome = claim_all(claims, ordered, who.me, limit, slots or 0, told, ended_by.wait, note, shared=shared)
        if not isinstance(outcome, Held):
            _describe_kept_notes(out, outcome, note, who.me)
        return _print_all(out, claims, who, outcome, waited=limit != 0, kept=kept, slots=slots or 0)


def _at_once(
    claims: Claims, names: list[str], me: Holder, slots: int, note: str, ended: Endings, *, shared: bool
) -> list[Won | Renewed] | Held:
    """Without waiting. A signal that asks us to end is heard when the steps are done; then what was won is taken back.

    So no other thread has to make them, as one does for whoever waits.
    """
    begun: list[Attempts] = []
    refuse_both(slots, shared)
    ended.wait()
    outcome = claim_in_order(claims, names, me, slots, note, begun, shared=shared)
    try:
        if isinstance(outcome, Held):
            ended.hear()
        else:
            ended.settle()
    except BaseException:
        take_back(begun)
        raise
    return outcome


def _ensure_kept(out: Setting, claims: Claims, session: Holder | str, known: SessionHead | None) -> bool:
    """As `ensure_kept`. Of a session that is known to have no keeper nothing of that is needed."""
    if known and isinstance(session, Holder):
        registration = standing(known, session)
        if not session.incarnation or registration is None or not registration.kept:
            return True
    from looop_portable.cli.keeper import ensure_kept

    return ensure_kept(out, claims, session, known)


def _print_all(
    out: Setting, claims: Claims, who: Acting, outcome: list[Won | Renewed] | Held, *, waited: bool, kept: bool, slots: int
) -> int:
    me, known = who.me, None if waited else who.known  # What was read before it waited may be long ago.
    if isinstance(outcome, Held):
        more = {"previous": None}
        from looop_portable.cli.output.refusals import refuse  # Who wins needs no words for it.

        refuse(out, "claim", "held by live session", *outcome, more, late=waited, claims=claims, slots=slots)
        if kept:
            _ensure_kept(out, claims, me if known else me.session, known)
        return 124 if waited else 1
    mine = claims.sessions.verdict(*me) if waited else who.verdict
    if mine.dead and me.incarnation:
        for each in outcome:
            if isinstance(each, Won):
                claims.release_lease(each.lease)
        raise ended(me, mine.evidence, who.registration)
    for each in outcome:
        if each.lease.session == me.session:
            _print(out, each, mine)
        else:
            from looop_portable.cli.output.refusals import say_inside

            say_inside(out, "claim", each.lease, claims.sessions.verdict(each.lease.session, each.lease.incarnation))
    won = [each.lease for each in outcome if isinstance(each, Won)]
    if won and mine.dead:
        _warn(out, won[0], mine)
    if kept:
        _ensure_kept(out, claims, me, known)
    out.describe_trouble(claims)
    return 0


def _describe_kept_notes(out: Setting, outcome: list[Won | Renewed], note: str, me: Holder) -> None:
    for each in outcome:
        if isinstance(each, Renewed) and note and each.lease.note != note and each.lease.session == me.session:
            kept = f"'{each.lease.note}' stays its note" if each.lease.note else "it has no note"
            out.hint(f"looop: claim {each.lease.name}: ours already, so {kept}: `looop unclaim` it first for another one")


def _print(out: Setting, outcome: Won | Renewed, mine: Verdict) -> None:
    lease = outcome.lease
    previous = outcome.previous.session if isinstance(outcome, Won) and outcome.previous else None
    fields = {"name": lease.name, "generation": lease.generation, **lease_fields(lease), "previous": previous}
    fields |= {"protected": not mine.dead}
    if isinstance(outcome, Renewed):
        out.answer("claim", "renewed", "", {**fields, **verdict_fields(mine)})
        out.detail(f"session '{lease.session}' is {mine.liveness.value}: {mine.description}")
    else:
        out.answer("claim", "won", f"claimed {lease.name}", {**fields, **verdict_fields(mine)})
    out.detail(f"{lease.name}: generation {lease.generation}{describe_sharing(lease)}")


def unclaim(
    out: Setting, names: tuple[str, ...], session: str | None, slots: int | None, pattern: str | None, dry_run: bool
) -> int:
    """Release NAME, or each of several, if it is ours or nobody's alive. Releasing a free claim is no error.

    With --slots N, of the slots NAME#1 to NAME#N those that are ours. Exit 1: another live session holds it.
    """
    if not names and pattern is None:
        raise Misuse("Missing argument 'NAME...', or --pattern.")
    claims, wanted = out.claims(renews=False), in_order(names)  # Nothing is released where one of them cannot be a name.
    me, codes = holder(claims, session), {0}
    if slots is not None:
        wanted = ours_of(claims, wanted, slots, me)

    def release(out: Setting, claims: Claims, name: str, me: Holder) -> int:
        return _release(out, claims, name, me, slots=slots or 0, says=pattern is not None)

    do: Callable[[Setting, Claims, str, Holder], int] = release
    if pattern is not None or dry_run:
        from looop_portable.cli.verbs.releasing.several import more_of_ours, would_release

        do = would_release if dry_run else release
        if pattern is not None:
            more, code = more_of_ours(out, claims, me, pattern)
            wanted += [name for name in more if name not in wanted]
            codes.add(code)
            if not wanted:
                out.hint(f"session '{me.session}' holds no claim that fits '{pattern}'")
    for name in wanted:
        try:
            codes.add(do(out, claims, name, me))
        except Unavailable as error:  # The others may be released all the same.
            out.error(error.code, str(error))
            codes.add(3)
    out.describe_trouble(claims)
    return max(codes)


def _release(out: Setting, claims: Claims, name: str, me: Holder, *, slots: int, says: bool) -> int:
    outcome = claims.release(name, me)
    if isinstance(outcome, Refused):
        from looop_portable.cli.output.refusals import refuse, say_inside

        if inside := joins(claims, me, *outcome, shared=True):
            say_inside(out, "unclaim", inside, outcome.verdict)
            return 0
        refuse(out, "unclaim", "held by another live session", *outcome, {}, claims=claims, slots=slots)
        return 1
    line = f"released {outcome.name}" if says and outcome.previous else ""
    out.answer("unclaim", "released", line, {"name": outcome.name, "generation": outcome.generation})
    return 0


def check(out: Setting, name: str, generation: int, session: str | None) -> int:
    """Whether generation N of NAME is current and held: exit 0 if it is, 1 if it has been superseded or let go.

    It does not ask whether the holder lives. For whoever is about to act on a claim's word: a worker that paused, or
    the resource that it writes to. Where a session is named, it has to be that one's: a number alone may be another's in a
    store that was restored from a backup, or made anew.
    """
    claims = out.claims(renews=False)
    me = holder(claims, session) if session_id(session) else None
    found = claims.check(name, generation, me)
    fields = {"name": found.name, "generation": generation, "head": found.head, **lease_fields(found.lease)}
    lease = found.lease
    if found.current and lease and (me is None or found.is_held_by(me) or joins(claims, me, lease._replace(readers=()))):
        line = f"{found.name}: generation {generation} is current, held by '{lease.session}'"
        out.answer("check", "current", line, fields)
        return 0
    if found.lease and found.current:
        whose = f"'{found.lease.session}'" if me and found.lease.session != me.session else "another session of that id"
        now = f"generation {generation} is not that of session '{me and me.session}': it is held by {whose}"
    elif found.lease:
        now = f"generation {generation} is not current: generation {found.head} is held by '{found.lease.session}'"
    else:
        now = f"generation {generation} does not hold it: it is free, at generation {found.head}"
    out.refusal("check", "superseded", f"check {found.name}: {now}", fields)
    return 1


def _warn(out: Setting, lease: Lease, mine: Verdict) -> None:
    out.trouble(
        f"looop: warning: session '{lease.session}' is not registered ({mine.evidence}), so this claim can be taken over "
        "at once: register with `looop session start`, or claim with `--ttl 30m`"
    )
