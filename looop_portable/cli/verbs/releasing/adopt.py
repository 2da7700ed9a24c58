"""`adopt`: a directory that was used without looop is shared with it, or the other way round."""

from __future__ import annotations

import click

from looop_portable.backends.directory.backend import DirectoryBackend
from looop_portable.backends.directory.restamping import Restamped, restamp
from looop_portable.claims.reaper import users
from looop_portable.cli.output import Fields
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verb import Verb
from looop_portable.config import given
from looop_portable.ledger.stamp import FLOCK

_GUARDS = {"advisory": FLOCK, "auto": ""}
_DIRECTORIES = ("auto", "posix", "advisory", "windows")
_WHO = (
    "end every process that uses this directory, on every host, also those that are paused (Ctrl-Z, SIGSTOP) and programs "
    "that hold nothing now; then say so with --all-stopped"
)


@click.command(
    cls=Verb,
    short_help="Share a directory with the Rust looop from now on, or no longer.",
    examples={
        "looop adopt advisory --dry-run": "Say who is in the way.",
        "looop adopt advisory --all-stopped": "Share the directory with looop 1.0 or later.",
        "looop adopt auto --all-stopped": "Share it no longer: no process waits for another's guard.",
    },
)
@click.argument("wanted", metavar="BACKEND", type=click.Choice(list(_GUARDS)))
@click.option("--all-stopped", is_flag=True, help="You have ended every process that uses the directory.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and who is in the way; change nothing.")
@click.pass_obj
def adopt(out: Setting, wanted: str, all_stopped: bool, dry_run: bool) -> int:
    """Have a directory adopt BACKEND: `advisory` shares it with the Rust looop, `auto` ends that.

    NOT SAFE while a process uses the directory. A paused process cannot be seen, and goes on by the old way when it wakes
    up: it could then remove a claim that looop has taken. So end all of them first, on every host; a machine that sleeps
    counts as a paused process. Then say so with --all-stopped: without it, nothing is changed (exit 2).

    What can be seen is refused: a session that may live, a claim that is held, a waiter, a record that is being written.
    The change is one step: a crash leaves the old way or the new one. Generations go on above what they were. Done twice,
    it does nothing.

    For directories alone, not for engines. Exit 1: somebody uses it. Exit 3: it cannot be done here.
    """
    chosen = out.backend()
    if chosen not in _DIRECTORIES:
        raise click.UsageError(f"{out.hide(given(chosen))} keeps its claims in no directory, so there is nothing to adopt")
    out.replace("backend", "auto")  # It goes by whatever stamp is there.
    claims = out.claims(renews=False)
    store = claims.backend
    assert isinstance(store, DirectoryBackend)
    allowed = all_stopped and not dry_run
    found = restamp(store, _GUARDS[wanted], lambda: users(store, claims.sessions), dry_run=not allowed)
    if not (allowed or dry_run or found.users or found.after == found.before):
        raise click.UsageError(_WHO)
    return _answer(out, wanted, found)


def _answer(out: Setting, wanted: str, found: Restamped) -> int:
    directory, way = out.config.data_dir, found.after.description
    fields: Fields = {
        "directory": directory,
        "backend": wanted,
        "before": found.before._asdict(),
        "after": found.after._asdict(),
        "users": list(found.users),
        "trouble": found.trouble or None,
    }
    if found.users and not found.changed:
        out.refusal("adopt", "in_use", f"adopt {wanted}: {directory} is in use, and stays as it is", fields)
        for each in found.users:
            out.hint(f"  {each}")
        out.hint("end them; `looop reap` releases what the dead held, and removes what crashes left")
        return 1
    if found.after == found.before:
        out.answer("adopt", "unchanged", f"{directory}: it is {wanted} already ({way})", fields)
    elif not found.changed:
        out.answer("adopt", "would_adopt", f"would adopt {wanted} in {directory} ({way})", fields)
    else:
        out.answer("adopt", "adopted", f"adopted {wanted} in {directory} ({way})", fields)
    for each in found.users:
        out.warn(f"{each}: it came meanwhile, and may go by the old way: end its process, now")
    if found.trouble:
        out.warn(f"the stamp is changed, but not everything after it could be done: {found.trouble}")
    return 3 if found.trouble else 1 if found.users else 0
