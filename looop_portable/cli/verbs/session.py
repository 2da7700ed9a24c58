"""`session start`, `session stop`, `session list`; what `session keep` does is in `cli/keeper`."""

from __future__ import annotations

import shlex

import click

from looop_portable.claims.gate import Claims
from looop_portable.cli.acting import acting
from looop_portable.cli.completion.offers import session_ids
from looop_portable.cli.ending import Endings, endings
from looop_portable.cli.keeper import Kept, end_keeper, give_up, keep_again, register_kept
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.output.tables import FORM, show_some
from looop_portable.cli.verb import Verbs
from looop_portable.cli.verbs.options import LEASE_LENGTH, TTL
from looop_portable.cli.words.declared import Misuse
from looop_portable.config import SESSION_ID
from looop_portable.errors import Interrupted, LooopError, SessionAlive, UsageError
from looop_portable.protocol.liveness import lease_of
from looop_portable.protocol.outcomes import SessionStatus
from looop_portable.protocol.records import FOREIGN, Registration
from looop_portable.running.caller import caller, described, named


@click.group(
    cls=Verbs,
    synonyms={
        **dict.fromkeys(
            ("ls", "ps", "status", "show", "get", "info", "describe", "inspect", "who", "whoami"),
            "`looop session list` lists them",
        ),
        **dict.fromkeys(
            ("new", "register", "create", "begin", "add", "open", "login", "run"), "`looop session start` registers one"
        ),
        **dict.fromkeys(
            ("end", "kill", "rm", "remove", "del", "delete", "close", "logout"), "`looop session stop` ends one"
        ),
        **dict.fromkeys(("refresh", "extend", "touch", "heartbeat", "restart"), "`looop session renew` renews one by time"),
    },
    short_help="Register who may hold claims; list and end sessions.",
    examples={
        "looop session list": "Who is there?",
    },
)
def session() -> None:
    """Register who may hold claims, end it, list it."""


@session.command(
    short_help="Register a session that lives as long as a process does.",
    examples={
        'eval "$(looop session start --shell)" || exit': "This shell (sh, bash, zsh) is a session, while it lives.",
        "$env:LOOOP_SESSION_ID = looop session start --pid $PID": "The same in PowerShell.",
        "looop session start agent-7 --ttl 30m": "By time: it lives until 30 minutes after its last renewal.",
    },
)
@click.argument("session_id", metavar="[ID]", required=False)
@click.option("--pid", type=click.IntRange(min=1), help="The process that the session lives by. [the caller: the shell]")
@LEASE_LENGTH
@TTL
@click.option("--shell", is_flag=True, help=f"Print a line for eval that sets {SESSION_ID}, for a POSIX shell.")
@click.pass_obj
def start(out: Setting, session_id: str | None, pid: int | None, lease: int, ttl: float | None, shell: bool) -> int:
    """Register a session that lives as long as a process does. Without ID a new one is made up.

    The process is the caller, and stderr says which that is. Where each command has a shell of its own, which ends with
    it (an agent's tools, the steps of a CI job), nothing lives as long as the work: use a session by time, and name it:
    each verb that acts for it renews it, as `looop session renew` does. In cmd (%%i in a batch file):

    \b
        for /f %i in ('looop session start') do set LOOOP_SESSION_ID=%i

    All processes that inherit LOOOP_SESSION_ID act for one and the same session: workers that are to exclude each other
    each need one of their own. Exit 1: a session of that ID is alive. Exit 2: the process does not run, or the caller was
    started just now (Windows), and may end with this command: --pid names another.

    Other hosts cannot see that process. For them a keeper is left behind, a small process that gives heartbeats until the
    session ends, and then releases what it holds (`looop session keep --help`). Exit 3: it could not be started; then
    there is no session either. Where the state directory cannot be used its files are elsewhere, and stderr says where.
    """
    try:
        if session_id == "":
            raise click.BadParameter("it is empty", param_hint="ID")
        if ttl is not None and pid:
            raise click.UsageError("--ttl is for a session without a process, and --pid names one")
        process = 0 if ttl is not None else named(pid) if pid else caller()
        with endings() as ended:
            ended.wait()
            found, kept = _register(out, session_id or "", process, lease, ttl, ended)
            _print_start(out, found, kept, ttl, shell=shell, chosen=pid is not None)
    except (LooopError, click.ClickException, Misuse, Interrupted, KeyboardInterrupt):
        if shell:  # Without this, `eval` would succeed, and whoever evaluates it would go on as the session it inherited.
            out.exactly(f"unset {SESSION_ID}; false")
        raise
    return 0


def _register(
    out: Setting, session: str, pid: int, lease: int, ttl: float | None, ended: Endings
) -> tuple[Registration, Kept | None]:
    """Interrupted, nothing is left: nobody would know of it, and it would live for as long as the caller does."""
    if lease and ttl is None:
        return register_kept(out, session, pid, lease, ended)
    claims = out.claims()
    found = claims.sessions.register(session, pid=pid) if ttl is None else _begin_by_time(claims, session, lease_of(ttl))
    try:
        ended.hear()
        ended.wait()
    except BaseException:
        give_up(out, claims, found.holder)
        raise
    return found, None


def _begin_by_time(claims: Claims, session: str, lease: int) -> Registration:
    """Whoever starts one that lives already, as each step of a job may, is told what to do instead."""
    try:
        return claims.sessions.register(session, lease_seconds=lease, timed=True)
    except SessionAlive as error:
        found = claims.sessions.registration(claims.sessions.holder(session))
        if not (found and found.timed):
            raise
        name = shlex.quote(found.session)
        how = f"`looop session renew {name}` renews it, and so does `looop claim NAME --session {name}`"
        raise SessionAlive(error.session, f"{error.evidence}; {how}") from None


def _print_start(
    out: Setting, found: Registration, kept: Kept | None, ttl: float | None, *, shell: bool, chosen: bool
) -> None:
    """`chosen`: somebody has named the process, and knows it."""
    fields: dict[str, object] = {"session": found.session, "incarnation": found.incarnation, "pid": found.pid or None}
    fields |= {"lease": found.lease_seconds, "ttl": ttl, "keeper": kept and kept.pid}
    if ttl is None:
        program, trouble = (described(found.pid)[0], "") if chosen else _print_process(out, found)
        told = "; ".join(filter(None, (kept and kept.trouble, trouble)))
        fields |= {"process": program or None, "trouble": told or None}
    if shell and not out.as_json:
        out.exactly(f"export {SESSION_ID}={shlex.quote(found.session)}")
    else:
        out.answer("session start", "started", found.session, fields)


def _print_process(out: Setting, found: Registration) -> tuple[str, str]:
    """Which program the session lives by; and what is to be said of one that ends with this command."""
    program, ends_soon = described(found.pid)
    what = f"process {found.pid} ({program})" if program else f"process {found.pid}"
    out.hint(f"looop: session '{found.session}' lives by {what}")
    if not ends_soon:
        return program, ""
    trouble = f"{what} is a shell that runs one command line, and ends with it: so does the session"
    out.trouble(f"looop: warning: {trouble}; for one that goes on: --ttl 30m, or --pid PID")
    return program, trouble


@session.command(
    short_help="Renew a session that lives by time.",
    examples={
        "looop session renew agent-7": "It lives for its whole time again.",
    },
)
@click.argument("session_id", metavar="[ID]", envvar=SESSION_ID, shell_complete=session_ids)
@TTL
@click.pass_obj
def renew(out: Setting, session_id: str, ttl: float | None) -> int:
    """Renew a session that lives by time (`session start --ttl`), by default $LOOOP_SESSION_ID.

    It lives for its whole time again, or for --ttl from now on. Each verb that acts for it renews it, too. Exit 2: it is
    over, or lives by a process.
    """
    claims = out.claims(renews=False)
    who = acting(out, claims, session_id, strict=True)
    if not (who.registration and who.registration.timed):
        raise UsageError(f"session '{who.me.session}' lives by its process, and needs no renewal")
    if ttl is not None:
        who = acting(out, claims, session_id, ttl=ttl)
    fields = {"session": who.me.session, "incarnation": who.me.incarnation, "until": who.verdict.until}
    out.answer("session renew", "renewed", f"session '{who.me.session}' lives until {fields['until']}", fields)
    return 0


@session.command(
    short_help="End a session, and release what it holds.",
    examples={
        "looop session stop agent-7": "The work is done: all that it holds is free.",
    },
)
@click.argument("session_id", metavar="[ID]", envvar=SESSION_ID, shell_complete=session_ids)
@click.pass_obj
def stop(out: Setting, session_id: str) -> int:
    """End a session, by default $LOOOP_SESSION_ID, and release its claims. Its process is left alone.

    Exit 0 also if it had ended before; 2 if there never was one of that ID.
    """
    claims = out.claims(renews=False)
    holder = claims.sessions.holder(session_id)
    if holder.incarnation and not holder.incarnation.startswith(FOREIGN):
        stopped, released, failed = claims.retire(holder)
    else:  # Its registration cannot be read, or is none of ours: then nothing tells what it holds.
        stopped, released, failed = claims.sessions.stop(session_id), (), ()
    fields = {"session": session_id, "released": [each.name for each in released]}
    out.answer("session stop", "stopped" if stopped else "ended_before", "", fields)
    for name, reason in failed:
        out.trouble(f"looop: warning: {name or 'its claims'}: not released, but free to be taken over: {reason}")
    if holder.incarnation:
        end_keeper(out, holder)
    out.describe_trouble(claims)
    return 0


@session.command(
    "keep",
    short_help="Start a session's keeper again, if it is gone.",
    examples={
        "looop session keep worker-1": "Of a session that lives by a process, on this host.",
    },
)
@click.argument("session_id", metavar="[ID]", envvar=SESSION_ID, shell_complete=session_ids)
@click.option("--incarnation", hidden=True, default="")
@click.option("--state", hidden=True, default="")
@click.option("--foreground", hidden=True, is_flag=True)
@click.option("--known", hidden=True, is_flag=True)
@click.pass_obj
def keep(out: Setting, session_id: str, incarnation: str, state: str, foreground: bool, known: bool) -> int:
    """Start the keeper of a session again, by default of $LOOOP_SESSION_ID, if it is gone.

    `session start` has left it behind: a small process that gives the session's heartbeats while its own process lives,
    and then releases what it holds. `claim` starts it again too. Exit 2: that session has none, or not on this host.
    """
    return keep_again(out, session_id, incarnation, state, foreground=foreground, known=known)


@session.command(
    "list",
    short_help="List the sessions, and whether they are alive.",
    examples={
        "looop session list": "Who is there, and on what evidence alive?",
        "looop session list -o name": "Only their ids, for a script.",
    },
)
@FORM
@click.pass_obj
def list_(out: Setting, form: str | None) -> int:
    """List the sessions, and whether they are alive.

    There is a column for until when, if one of them lives by time. With -o wide, all columns.
    """
    rows: list[dict[str, str]] = []
    for status in out.claims().sessions.statuses():
        if out.as_json:
            out.answer("session list", "session", "", status.as_dict())
        rows.append(_row(status))
    if rows:
        show_some(out, rows, form, {"UNTIL"}, {"PID", "USER", "COMMAND"})
    else:
        out.hint("no sessions are registered")
    return 0


def _row(status: SessionStatus) -> dict[str, str]:
    """The cells of a session, by their columns."""
    found, verdict = status.registration, status.verdict
    lease = f"{found.lease_seconds}s" if found.lease_seconds and not found.timed else "-"
    return {
        "SESSION": found.session,
        "STARTED": found.started_at,
        "HOST": found.host,
        "PID": str(found.pid or "-"),
        "USER": found.user or "-",
        "COMMAND": found.command or "-",
        "LEASE": lease,
        "UNTIL": verdict.until,
        "LIVENESS": verdict.liveness.value,
        "EVIDENCE": verdict.description,
    }
