"""`session keep`, and the keeper that `session start` leaves behind, `session stop` ends, and `claim` starts again."""

from __future__ import annotations

import click

from looop_portable.claims import Claims
from looop_portable.cli.complete import session_ids
from looop_portable.cli.root import Setting
from looop_portable.config import LEASE, SESSION_ID, state_dir
from looop_portable.errors import LooopError, NoSession, Unavailable, UsageError, told
from looop_portable.keepers import KEPT_BY, Keepers
from looop_portable.liveness import FOREIGN, LEASE_SECONDS, SHORTEST_LEASE, Holder, Registration


def _long_enough(ctx: click.Context, param: click.Parameter, value: int) -> int:  # noqa: ARG001 (click's signature)
    if 0 < value < SHORTEST_LEASE:
        raise click.BadParameter(f"{value} s are too short for heartbeats: at least {SHORTEST_LEASE}, or 0 for none")
    return value


LEASE_LENGTH = click.option(
    "--lease",
    type=click.IntRange(min=0),
    default=LEASE_SECONDS,
    envvar=LEASE,
    callback=_long_enough,
    metavar="SECONDS",
    show_envvar=True,
    show_default=True,
    help="After how long without a heartbeat other hosts may take it for dead; 0: it gives none.",
)


@click.command("keep")
@click.argument("session_id", metavar="[ID]", envvar=SESSION_ID, shell_complete=session_ids)
@click.option("--incarnation", hidden=True, default="")
@click.option("--state", hidden=True, default="")
@click.option("--foreground", hidden=True, is_flag=True)
@click.pass_obj
def keep(out: Setting, session_id: str, incarnation: str, state: str, foreground: bool) -> int:
    """Start the keeper of a session again, by default of $LOOOP_SESSION_ID, if it is gone.

    `session start` has left it behind: a small process that gives the session's heartbeats while its own process lives,
    and then releases what it holds. `claim` starts it again too. Exit 2: that session has none, or not on this host.
    """
    claims = out.claims()
    keepers = Keepers(state or f"{state_dir()}/keepers")
    holder = Holder(session_id, incarnation) if incarnation else claims.sessions.holder(session_id)
    registration = _kept(claims, keepers, holder)
    if foreground:
        return _keep_here(out, claims, keepers, registration)
    there = _is_there(keepers, holder)
    pid = keepers.pid(holder) if there else keepers.start(out.config, holder)
    fields = {"session": holder.session, "incarnation": holder.incarnation, "keeper": pid or None}
    line = f"session '{holder.session}': its keeper {'is there' if there else 'was gone, and is started'}: pid {pid}"
    out.answer("session keep", "there" if there else "started", line, {**fields, "log": f"{keepers.base(holder)}.log"})
    return 0


def start_keeper(out: Setting, registration: Registration) -> tuple[int, str]:
    """The keeper of a session that has just been registered: its process id, or 0 and why there is none."""
    try:
        return Keepers(f"{state_dir()}/keepers").start(out.config, registration.holder), ""
    except LooopError as error:
        _warn(out, registration.holder, str(error))
        return 0, str(error)


def end_keeper(out: Setting, holder: Holder) -> None:
    """The keeper of a session that has ended, if it has one on this host."""
    try:
        Keepers(f"{state_dir()}/keepers").end(holder)
    except LooopError as error:
        out.hint(f"looop: warning: {error}; it ends by itself when it next gives a heartbeat")


def ensure_kept(out: Setting, claims: Claims, session: Holder | str) -> None:
    """Start a session's keeper again, if it should have one here and it is gone. Whoever acts for it goes on anyway."""
    holder = session if isinstance(session, Holder) else Holder(session, "")
    try:
        holder = claims.sessions.holder(session) if isinstance(session, str) else session
        registration = claims.sessions.registration(holder) if holder.incarnation else None
        if registration is None or not registration.kept:
            return
        keepers = Keepers(f"{state_dir()}/keepers")
        if keepers.is_for(registration) and not _is_there(keepers, holder):
            out.detail(f"the keeper of session '{holder.session}' was gone: pid {keepers.start(out.config, holder)}")
    except LooopError as error:
        _warn(out, holder, str(error))


def _keep_here(out: Setting, claims: Claims, keepers: Keepers, registration: Registration) -> int:
    """Be the keeper, in this process."""
    import gc

    from looop_portable.files import OS
    from looop_portable.keeper import keep as keep_here

    def there(pid: int) -> None:
        out.line(f"{KEPT_BY}{pid}")
        OS.mute()  # Without this, whoever has started us would wait for the end of the pipe.

    gc.enable()
    try:
        keep_here(claims, keepers, registration, there)
    except OSError as error:
        raise Unavailable(told(error)) from error
    return 0


def _kept(claims: Claims, keepers: Keepers, holder: Holder) -> Registration:
    """The registration of `holder`; raises where there is nothing to be kept from here."""
    found = claims.sessions.registration(holder) if holder.incarnation else None
    if found is None:
        if holder.incarnation.startswith(FOREIGN):
            raise UsageError(f"session '{holder.session}' was started by looop itself, which keeps it")
        raise NoSession(f"no such session, or it has ended: '{holder.session}'; start one with `looop session start`")
    if not found.kept:
        raise UsageError(
            f"session '{holder.session}' has no keeper: it was started with --lease 0, or by a program that gives its own "
            "heartbeats"
        )
    if not keepers.is_for(found):
        raise UsageError(
            f"session '{holder.session}' is not of this host, or of another container: it is kept on {found.host}, beside "
            f"process {found.pid}"
        )
    return found


def _is_there(keepers: Keepers, holder: Holder) -> bool:
    try:
        return keepers.is_there(holder)
    except OSError as error:
        raise Unavailable(f"the keeper of session '{holder.session}' cannot be looked for: {told(error)}") from error


def _warn(out: Setting, holder: Holder, reason: str) -> None:
    out.hint(
        f"looop: warning: {reason}. Other hosts will take the session for dead when its lease is over; "
        f"to try again: looop session keep {holder.session}"
    )
