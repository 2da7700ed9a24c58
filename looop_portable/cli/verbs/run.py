"""`run`: a command that runs while its claims are held. Its options are in `cli/words/table.py`."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from looop_portable.cli.acting import limit_of
from looop_portable.cli.output import describe_sharing, lease_fields
from looop_portable.cli.output.setting import Setting
from looop_portable.errors import Interrupted, SessionAlive
from looop_portable.protocol.names import as_note
from looop_portable.protocol.outcomes import Held, OnWaiting
from looop_portable.protocol.records import Lease

HELD, TIMED_OUT, NOT_FOUND = 1, 124, 127


class Words:
    """What is said of what happens while the command runs: on stderr, and nothing as long as all is well."""

    def __init__(self, out: Setting, *, says_who_is_first: bool = True) -> None:
        self._out = out
        self._says_who_is_first = says_who_is_first
        self._on_waiting: OnWaiting | None = None

    def waits(self, held: Held, seconds: float) -> None:
        if not self._says_who_is_first:
            return
        if not self._on_waiting:
            from looop_portable.cli.output.progress import print_once  # Who does not wait needs none of it.

            self._on_waiting = print_once(self._out)
        self._on_waiting(held, seconds)

    def won(self, lease: Lease) -> None:
        fields = {"name": lease.name, "generation": lease.generation, **lease_fields(lease)}
        self._out.answer("run", "won", "", fields)
        shared = describe_sharing(lease)
        self._out.detail(f"claimed {lease.name}: generation {lease.generation}{shared}, session '{lease.session}'")

    def joined(self, lease: Lease) -> None:
        fields = {"name": lease.name, "generation": lease.generation, **lease_fields(lease)}
        self._out.answer("run", "joined", "", fields)
        self._out.detail(f"joined {lease.name}: generation {lease.generation}, held by session '{lease.session}' around it")

    def lost(self, names: Sequence[str], reason: str, ends: bool) -> None:
        what = f"claim {', '.join(names)}" if names else "the session"
        line = f"looop: {what}: lost: {reason}; the command {'is ended' if ends else 'goes on'}"
        self._out.refusal("run", "lost", line, {"names": list(names), "message": reason, "ends": ends}, told_by_code=False)

    def expired(self, names: Sequence[str], seconds: float) -> None:
        what = f"claim {', '.join(names)}" if names else "the session"
        line = f"looop: {what}: held for {seconds:g} s, the longest that --max-hold allows; the command is ended"
        self._out.refusal("run", "expired", line, {"names": list(names), "max_hold": seconds})

    def stays(self, processes: Sequence[str]) -> None:
        processes = [self._out.hide(each) for each in processes]
        line = f"looop: left behind by the command, and holding nothing: {', '.join(processes)}"
        self._out.refusal("run", "left_behind", line, {"processes": processes}, told_by_code=False)

    def left(self, name: str, reason: str) -> None:
        what = f"claim {name}" if name else "what was held"
        line = f"looop: warning: {what}: not released, but free to be taken over: {reason}"
        self._out.refusal("run", "not_released", line, {"name": name or None, "message": reason}, told_by_code=False)


def run(
    out: Setting,
    names: tuple[str, ...],
    wait: float | None,
    timeout: float | None,
    slots: int | None,
    shared: bool,
    note: str,
    lease: int,
    on_lost: str,
    until_all_end: bool,
    max_hold: float | None,
    session: str,
    conflict_exit_code: int | None,
    nonblock: bool,
    limit: float | None,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND while its claims are held: the flock(1) that recovers, and that ends who has lost.

    The command is a session of its own; it lives by the command's process, and without --claim it holds nothing yet. When
    it ends, all that it holds is released. Nothing is said on stdout. A claim that $LOOOP_SESSION_ID holds here, as within
    another `looop run`, is joined: the command runs inside of it, acts for that session, and does not release it (see -v).

    The command finds LOOOP_SESSION_ID, LOOOP_CLAIM_GENERATION (of the first claim), and LOOOP_GENERATION_NAME for each:
    NAME in upper case, with _ for what is no letter or digit of ASCII; where two would share one, neither has it. And
    LOOOP_DATA_DIR and LOOOP_BACKEND: its own `looop` finds the same claims. If that is a URL, it has its password.

    Others who are refused are told the name of the program, and never its arguments: --note says more.

    What the command has started ends before its claims are free if a signal ended it, or looop run is killed. If it exits
    by itself, what it leaves behind goes on without them, and is named on stderr: see --until-all-end. On Windows it ends
    before they are free; batch files are found too, but get no argument with & | < > % or a double quote (exit 2).

    Not guaranteed: that what another user owns (sudo) is ended when looop run is killed: the claim stays held on this host
    while it lives. That what hides on purpose is found then: a daemon without its parent, our descriptor and environment.
    Anything on other hosts while looop run is stopped, Ctrl-Z too, for longer than its lease. With --lease 0 nobody looks
    whether a claim is lost.

    \b
    Exit code: the command's; 128+N if signal N ended it, or came before it began; and
      1    another holds a claim, or has that session id (-E: another code)
      2    usage                               3    could not answer
      123  --max-hold is over                  124  --timeout is over
      126  the command cannot be executed      127  it was not found
    """
    from looop_portable.running.command import run as run_it
    from looop_portable.running.request import Request

    limit = 0 if nonblock else limit_of(wait, timeout, limit)
    if limit != 0:
        gc.enable()  # It may stay for long.
    ends, words = on_lost == "term", as_note(note)
    request = Request(command, names, session, lease, limit, slots or 0, ends, until_all_end, words, max_hold, shared)
    claims = out.claims()
    try:
        outcome = run_it(out.config, claims, request, Words(out, says_who_is_first=conflict_exit_code != 0))
    except SessionAlive as error:
        out.error(error.code, str(error))
        return HELD if conflict_exit_code is None else conflict_exit_code
    except Interrupted as error:
        return 128 + error.number
    if isinstance(outcome, Held):
        late = bool(limit)
        if conflict_exit_code != 0:
            said = "run", "held by live session", *outcome, {"previous": None}
            from looop_portable.cli.output.refusals import refuse

            refuse(out, *said, late=late, claims=claims, slots=slots or 0)
        return conflict_exit_code if conflict_exit_code is not None else TIMED_OUT if late else HELD
    if outcome.failure:
        unclaimed = f": to hold a claim, `looop run --claim {command[0]} -- ...`" if command[1:2] == ("--",) else ""
        out.error("not_found" if outcome.code == NOT_FOUND else "not_executable", outcome.failure + unclaimed)
    if outcome.left:
        Words(out).stays(outcome.left)
    out.describe_trouble(claims)
    return outcome.code
