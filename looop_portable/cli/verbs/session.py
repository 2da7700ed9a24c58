"""`session start`, `session stop`, `session list`; `session keep` is in `cli/keeper`."""

from __future__ import annotations

import shlex

import click

from looop_portable.cli.caller import caller, named
from looop_portable.cli.complete import session_ids
from looop_portable.cli.ending import Endings, endings
from looop_portable.cli.keeper import LEASE_LENGTH, Kept, end_keeper, give_up, keep, register_kept
from looop_portable.cli.output import verdict_fields
from looop_portable.cli.root import Setting
from looop_portable.config import SESSION_ID
from looop_portable.errors import Interrupted, LooopError
from looop_portable.protocol.liveness import FOREIGN, Registration


@click.group()
def session() -> None:
    """Register who may hold claims, end it, list it."""


@session.command()
@click.argument("session_id", metavar="[ID]", required=False)
@click.option("--pid", type=click.IntRange(min=1), help="The process that the session lives by. [the caller: the shell]")
@LEASE_LENGTH
@click.option("--shell", is_flag=True, help=f"Print a line for eval that sets {SESSION_ID}, for a POSIX shell.")
@click.pass_obj
def start(out: Setting, session_id: str | None, pid: int | None, lease: int, shell: bool) -> int:
    """Register a session that lives as long as a process does. Without ID a new one is made up.

    \b
        eval "$(looop session start --pid $$ --shell)" || exit        (a POSIX shell)
        $env:LOOOP_SESSION_ID = looop session start --pid $PID        (PowerShell)
        for /f %i in ('looop session start') do set LOOOP_SESSION_ID=%i       (cmd; in a batch file %%i)

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
        pid = named(pid) if pid else caller()
        with endings() as ended:
            ended.wait()
            found, kept = _register(out, session_id or "", pid, lease, ended)
            _print_start(out, found, kept, lease, shell=shell)
    except (LooopError, click.ClickException, Interrupted, KeyboardInterrupt):
        if shell:  # Without this, `eval` would succeed, and whoever evaluates it would go on as the session it inherited.
            out.exactly(f"unset {SESSION_ID}; false")
        raise
    return 0


def _register(out: Setting, session: str, pid: int, lease: int, ended: Endings) -> tuple[Registration, Kept | None]:
    """Interrupted, nothing is left: nobody would know of it, and it would live for as long as the caller does."""
    if lease:
        return register_kept(out, session, pid, lease, ended)
    claims = out.claims()
    found = claims.sessions.register(session, pid=pid)
    try:
        ended.hear()
        ended.wait()
    except BaseException:
        give_up(out, claims, found.holder)
        raise
    return found, None


def _print_start(out: Setting, found: Registration, kept: Kept | None, lease: int, *, shell: bool) -> None:
    fields = {"session": found.session, "incarnation": found.incarnation, "pid": found.pid, "lease": lease}
    fields |= {"keeper": kept and kept.pid, "trouble": (kept and kept.trouble) or None}
    if shell and not out.as_json:
        out.exactly(f"export {SESSION_ID}={shlex.quote(found.session)}")
    else:
        out.answer("session start", "started", found.session, fields)


@session.command()
@click.argument("session_id", metavar="[ID]", envvar=SESSION_ID, shell_complete=session_ids)
@click.pass_obj
def stop(out: Setting, session_id: str) -> int:
    """End a session, by default $LOOOP_SESSION_ID, and release its claims. Its process is left alone.

    Exit 0 also if it had ended before; 2 if there never was one of that ID.
    """
    claims = out.claims()
    holder = claims.sessions.holder(session_id)
    if holder.incarnation and not holder.incarnation.startswith(FOREIGN):
        stopped, released, failed = claims.retire(holder)
    else:  # Its registration cannot be read, or is none of ours: then nothing tells what it holds.
        stopped, released, failed = claims.sessions.stop(session_id), (), ()
    fields = {"session": session_id, "released": [each.name for each in released]}
    out.answer("session stop", "stopped" if stopped else "ended_before", "", fields)
    for name, reason in failed:
        out.hint(f"looop: warning: {name or 'its claims'}: not released, but free to be taken over: {reason}")
    if holder.incarnation:
        end_keeper(out, holder)
    out.describe_trouble(claims)
    return 0


session.add_command(keep)


@session.command("list")
@click.pass_obj
def list_(out: Setting) -> int:
    """List the sessions, and whether they are alive."""
    rows = []
    for status in out.claims().sessions.statuses():
        found, verdict = status.registration, status.verdict
        fields = {
            "session": found.session,
            "incarnation": found.incarnation or None,
            "pid": found.pid or None,
            "host": found.host or None,
            "started_at": found.started_at or None,
            "lease": found.ttl,
            **verdict_fields(verdict),
        }
        if out.as_json:
            out.answer("session list", "session", "", fields)
        lease = f"{found.ttl}s" if found.ttl else "-"
        rows.append((found.session, found.started_at, found.host, lease, verdict.liveness.value, verdict.description))
    if rows:
        out.table(("SESSION", "STARTED", "HOST", "LEASE", "LIVENESS", "EVIDENCE"), rows)
    else:
        out.hint("no sessions are registered")
    return 0
