"""`session keep`, and the keeper that `session start` leaves behind, `session stop` ends, and `claim` starts again."""

from __future__ import annotations

from looop_portable.backends.base import SessionHead
from looop_portable.claims.gate import Claims
from looop_portable.cli.ending import Endings
from looop_portable.cli.output.setting import Setting
from looop_portable.errors import LooopError, NoSession, Unavailable, UsageError, answering
from looop_portable.protocol.liveness import Basis, patience
from looop_portable.protocol.names import canonical
from looop_portable.protocol.records import FOREIGN, Holder, Registration
from looop_portable.running import keepers as all_keepers
from looop_portable.running.keepers import Begun, Keepers
from looop_portable.sessions.evidence import standing
from looop_portable.system.opening.locales import as_given
from looop_portable.system.processes.python import KEPT_BY, leave_job
from looop_portable.typed import NamedTuple


def keep_again(
    out: Setting, session_id: str, incarnation: str = "", state: str = "", *, foreground: bool = False, known: bool = False
) -> int:
    """What `session keep` does: start a session's keeper, if it is gone; or be it, in the `foreground`."""
    claims = out.claims(renews=False)
    holder = Holder(canonical(session_id, "session id"), incarnation) if incarnation else claims.sessions.holder(session_id)
    registration = _kept(claims, holder)
    if foreground:
        if leave_job():
            return 0
        _refuse_elsewhere(claims, registration, known=known)
        return _keep_here(out, claims, Keepers(as_given(state)) if state else all_keepers.choose()[0], registration)
    there, passed_over = all_keepers.where_is(holder), ""
    if there:
        keepers, begun = there, Begun(there.pid(holder))
    else:
        _refuse_elsewhere(claims, registration)
        keepers, passed_over = all_keepers.choose()
        begun = keepers.start(out.config, holder)
    pid, trouble = begun.pid, _warn_of_trouble(out, keepers, passed_over, begun)
    fields = {"session": holder.session, "incarnation": holder.incarnation, "keeper": pid or None}
    line = f"session '{holder.session}': its keeper {'is there' if there else 'was gone, and is started'}: pid {pid}"
    fields |= {"log": keepers.log_of(holder), "trouble": trouble or None}
    out.answer("session keep", "there" if there else "started", line, fields)
    return 0


class Kept(NamedTuple):
    """A keeper that is there: its process id, and what is wrong with its place, or its job, if anything is."""

    pid: int
    trouble: str


def register_kept(out: Setting, session: str, pid: int, lease: int, ended: Endings) -> tuple[Registration, Kept]:
    """Register a session, and start its keeper. Without a keeper there is no session, nor if it is interrupted.

    Raises `LooopError`, and what `ended` hears while the keeper starts.
    """
    claims = out.claims()
    try:
        keepers, passed_over = all_keepers.choose()
    except Unavailable as error:
        raise _without_keeper(f"a keeper has no place for its files (set XDG_STATE_HOME to one): {error}") from error
    found = claims.sessions.register(session, pid=pid, lease_seconds=lease, kept=True)
    stays = False
    try:
        ended.hear()
        keeper = keepers.start(out.config, found.holder, known=True)
        ended.wait()
        stays = True
    except Unavailable as error:
        raise _without_keeper(str(error)) from error
    finally:
        if not stays:
            give_up(out, claims, found.holder)
            end_keeper(out, found.holder)
    return found, Kept(keeper.pid, _warn_of_trouble(out, keepers, passed_over, keeper))


def _without_keeper(reason: str) -> Unavailable:
    return Unavailable(f"no session is started: {reason}; --lease 0 goes without a keeper, and other hosts cannot judge it")


def give_up(out: Setting, claims: Claims, holder: Holder) -> None:
    """Nobody is to rely on a session that nobody keeps: it has ended, and is forgotten if its id was made up."""
    from looop_portable.claims.own import retire

    try:
        retire(claims, holder)
    except LooopError as error:
        out.warn(f"looop: warning: session '{holder.session}' is left behind, without heartbeats: {error}")


def _warn_of_directory(out: Setting, keepers: Keepers, passed_over: str) -> str:
    """What is to be said of the place of a keeper's files; nothing if it is where everybody looks for it."""
    if not passed_over:
        return ""
    line = f"the keeper's files are in {keepers.directory}, as the state directory cannot be used: {passed_over}"
    out.trouble(f"looop: {line}")
    return line


def _warn_of_trouble(out: Setting, keepers: Keepers, passed_over: str, begun: Begun) -> str:
    """What is to be said of a keeper that was started: of its place, and of what ends it."""
    lines = [_warn_of_directory(out, keepers, passed_over)]
    if begun.tied:
        lines.append(f"the keeper (pid {begun.pid}) ends with the job that called this, which lets no process go")
        out.trouble(f"looop: warning: {lines[-1]}: start the session outside of that job, or `looop claim` starts it again")
    return "; ".join(filter(None, lines))


def end_keeper(out: Setting, holder: Holder) -> None:
    """The keeper of a session that has ended, if it has one on this host."""
    for keepers in all_keepers.everywhere():
        try:
            keepers.end(holder)
        except LooopError as error:
            out.trouble(f"looop: warning: {error}; it ends by itself when it next gives a heartbeat")


def ensure_kept(out: Setting, claims: Claims, session: Holder | str, known: SessionHead | None = None) -> bool:
    """Start a session's keeper again, if it should have one here and it is gone. Whoever acts for it goes on anyway.

    One that is gone and cannot be started is told of, and so is one elsewhere that has not been heard for too long: then
    the answer is False. `known` is what has just been read of it.
    """
    holder = session if isinstance(session, Holder) else Holder(session, "")
    try:
        holder = claims.sessions.holder(session) if isinstance(session, str) else session
        registration = None
        if holder.incarnation:
            registration = standing(known, holder) if known else claims.sessions.registration(holder)
        if registration is None or not registration.kept or all_keepers.where_is(holder):
            return True
        if _is_from_here(claims, registration):
            keepers, passed_over = all_keepers.choose()
            begun = keepers.start(out.config, holder)
            out.detail(f"the keeper of session '{holder.session}' was gone: pid {begun.pid}")
            _warn_of_directory(out, keepers, passed_over)
        elif why := _why_gone(claims, registration):
            why = f"{why}. {_why_not_from_here(registration)}"
            out.warn(f"looop: warning: session '{holder.session}' is not kept any more: {why}")
            return False
    except LooopError as error:
        _warn(out, holder, str(error))
        return False
    return True


def _why_gone(claims: Claims, registration: Registration) -> str:
    """Why a keeper that cannot be looked for seems to be gone; empty: nothing says so."""
    if all_keepers.was_killed(registration.holder):
        return "its keeper is gone"
    verdict = claims.sessions.verdict(*registration.holder)
    silent = verdict.basis is Basis.HEARTBEAT and verdict.age > patience(registration.lease_seconds)
    return verdict.evidence if silent else ""


def _is_from_here(claims: Claims, registration: Registration) -> bool:
    """Whether its keeper can be started from here: it would end the session if it took its process for gone.

    Without a kernel's identity two hosts may have the same namespace; but one local disk has only one kernel.
    """
    keepers = Keepers("")
    if keepers.is_for(registration):
        if registration.boot:
            return True
    elif not keepers.may_be_for(registration):
        return False
    try:
        return bool(registration.disk) and registration.disk == claims.backend.sessions.signs.disk()
    except OSError:
        return False


def _keep_here(out: Setting, claims: Claims, keepers: Keepers, registration: Registration) -> int:
    """Be the keeper, in this process."""
    import gc

    from looop_portable.running.keeper import keep as keep_here
    from looop_portable.system.files import OS

    def there(pid: int) -> None:
        out.line(f"{KEPT_BY}{pid}")
        OS.mute()  # Without this, whoever has started us would wait for the end of the pipe.

    gc.enable()
    with answering():
        keep_here(claims, keepers, registration, there)
    return 0


def _kept(claims: Claims, holder: Holder) -> Registration:
    """The registration of `holder`; raises where there is nothing to be kept."""
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
    return found


def _refuse_elsewhere(claims: Claims, registration: Registration, *, known: bool = False) -> None:
    """`known`: whoever starts us has seen its process in our own namespace."""
    if not known and not _is_from_here(claims, registration):
        raise UsageError(f"session '{registration.session}' cannot be kept from here. {_why_not_from_here(registration)}")


def _why_not_from_here(registration: Registration) -> str:
    where = f"process {registration.pid} on {registration.host}"
    if registration.boot and registration.namespace:
        return f"It is not of this host, or of another container; its keeper belongs beside {where}"
    return f"It cannot be told whether {where} is of this host and container, as /proc does not tell; start another session"


def _warn(out: Setting, holder: Holder, reason: str) -> None:
    out.warn(
        f"looop: warning: {reason}. Other hosts will take the session for dead when its lease is over; "
        f"to try again: looop session keep {holder.session}"
    )
