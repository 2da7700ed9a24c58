"""The root group: the options of all verbs, and which module has which verb."""

from __future__ import annotations

import os
from importlib import import_module

import click

from looop_portable import __version__
from looop_portable.cli.output import Output
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verb import Verbs
from looop_portable.cli.words.clicks import option_of
from looop_portable.cli.words.table import EVERYWHERE, VERBS
from looop_portable.typed import Any

_HELP = """Claim a named resource so that nobody else alive holds it, on any filesystem.

\b
  looop claim repo-x          exit 0: it is yours; exit 1: it is held
  looop claim repo-x --wait   wait; --wait 5m: no longer, then exit 124
  looop unclaim repo-x        let go of it
  looop run --claim repo-x -- make deploy
                              run a command while it is held

A claim belongs to a session: --session ID, else $LOOOP_SESSION_ID. All processes that act for one session are one
holder. When a session dies, whoever asks next takes its claims over: at once if its keeper has ended it, or on a local disk
in its own pid namespace; else after half of its lease (another container) to 4/3 of it (another host).

Not guaranteed: that a session which was told to let go (`looop break`, `looop session stop`) stops working. Pass the
claim's generation on to whatever it writes to, and refuse a lower one there.

\b
Exit codes:
  0    ours, or done
  1    held by another, or refused, or superseded
  2    usage: a bad name, no session, an unknown option
  3    could not answer: an unreadable store, a filesystem that cannot exclude
  124  still held by another when the time for waiting was over
  130  interrupted; 128+N: ended by signal N
"""


SECTIONS = {
    "Claims": {
        "claim": VERBS["claim"].where,
        "unclaim": VERBS["unclaim"].where,
        "run": VERBS["run"].where,
        "wait": "verbs.show.wait:wait",
        "check": VERBS["check"].where,
        "transfer": "verbs.releasing.transfer:transfer",
    },
    "Who holds what": {
        "claims": "verbs.show.listing:claims",
        "show": VERBS["show"].where,
        "watch": "verbs.show.watching:watch",
        "queue": "verbs.show.wait:queue",
        "events": "verbs.events:events",
    },
    "Sessions": {"session": "verbs.session:session"},
    "For operators": {
        "break": "verbs.releasing.breaking:break_",
        "reap": "verbs.releasing.reap:reap",
        "prune": "verbs.releasing.prune:prune",
        "adopt": "verbs.releasing.adopt:adopt",
        "doctor": "verbs.doctor:doctor",
    },
    "Setting up": {
        "paths": "verbs.setup:paths",
        "completion": "verbs.setup:completion",
    },
}
"""The verbs as --help shows them, and where they are below `looop_portable.cli`."""

_UNLISTED = {"_": "root:worker_contract"}
_SYNONYMS = {
    **dict.fromkeys(("ls", "list", "ps", "locks", "leases"), "`looop claims` lists them"),
    **dict.fromkeys(("top", "monitor"), "`looop watch` shows them live"),
    **dict.fromkeys(
        ("status", "stat", "info", "get", "who", "describe", "inspect", "view", "cat"),
        "`looop show NAME` shows a claim, `looop claims` lists all",
    ),
    **dict.fromkeys(
        ("lock", "acquire", "take", "add", "create", "new", "make", "apply", "reserve", "grab", "try", "trylock", "hold"),
        "`looop claim NAME` takes it",
    ),
    **dict.fromkeys(
        ("unlock", "release", "free", "drop", "rm", "remove", "del", "delete", "destroy"), "`looop unclaim NAME` lets it go"
    ),
    **dict.fromkeys(("steal", "force", "force-unlock", "kill"), "`looop break NAME --generation N` ends another's claim"),
    **dict.fromkeys(("give", "handover", "hand-over", "move"), "`looop transfer NAME --to SESSION` hands it over"),
    **dict.fromkeys(("waiters", "line", "waiting"), "`looop queue NAME` lists who waits"),
    **dict.fromkeys(("exec", "with", "flock"), "`looop run --claim NAME -- COMMAND` runs it"),
    **dict.fromkeys(("log", "logs", "history"), "`looop events` prints what happened"),
    **dict.fromkeys(
        ("sessions", "register", "login", "attach", "whoami"), "`looop session start` registers, `looop session list` lists"
    ),
    **dict.fromkeys(("start", "begin", "up"), "`looop session start` begins a session"),
    **dict.fromkeys(("stop", "end", "down", "logout"), "`looop session stop` ends a session"),
    **dict.fromkeys(
        ("renew", "refresh", "heartbeat", "keep", "keepalive", "touch"), "`looop session renew` renews one by time"
    ),
    **dict.fromkeys(("init", "config", "env", "where", "path"), "`looop paths` prints where things are"),
    **dict.fromkeys(("completions", "autocomplete", "complete"), "`looop completion SHELL` prints the script"),
    **dict.fromkeys(("follow", "tail"), "`looop events --follow` prints what happens"),
    **dict.fromkeys(("verify", "validate", "fence"), "`looop check NAME --generation N` is for fencing"),
    **dict.fromkeys(("gc", "clean", "cleanup"), "`looop reap` releases what the dead held"),
    **dict.fromkeys(("check-health", "health", "test", "diagnose"), "`looop doctor` measures a directory"),
    **dict.fromkeys(("vacuum", "compact", "purge", "forget"), "`looop prune` removes what is left of unused names"),
    **dict.fromkeys(
        ("migrate", "convert", "restamp", "share", "upgrade"),
        "`looop adopt advisory` shares a directory with the Rust looop",
    ),
    "help": "`looop --help`, or `looop VERB --help`",
    "version": "`looop --version`",
}
"""What people type who know other tools, and the right word."""


@click.group(
    cls=Verbs,
    help=_HELP,
    sections=SECTIONS,
    unlisted=_UNLISTED,
    synonyms=_SYNONYMS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    params=[option_of(each) for each in EVERYWHERE],
)
@click.version_option(__version__, "--version", message="looop-portable %(version)s")
@click.pass_context
def looop(ctx: click.Context, /, **given: Any) -> None:
    ctx.ensure_object(Setting).begin(ctx.invoked_subcommand, **given)


@click.group("_", cls=Verbs, hidden=True, sections={"Verbs": {name: VERBS[name].where for name in ("claim", "unclaim")}})
def worker_contract() -> None:
    """The verbs as looop's worker contract calls them."""


def answer(args: list[str], out: Setting) -> int:
    """The exit code of a command line that click reads. What it cannot read is told as our own errors are."""
    if os.environ.get("_LOOOP_COMPLETE", "").startswith("powershell"):
        import_module("looop_portable.cli.completion.powershell")
    try:
        return int(looop.main(args, prog_name="looop", standalone_mode=False, obj=out) or 0)
    except click.Abort:
        raise KeyboardInterrupt from None
    except SystemExit:
        return 0  # Click's word for a reader that has gone away, while it printed its own help.
    except click.ClickException as error:
        _report_usage(out, error)
        return 2


def _report_usage(out: Output, error: click.ClickException) -> None:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        if not out.as_json:
            out.help(error.format_message())
            return
        message = "Missing command."
    elif isinstance(error, click.UsageError) and error.ctx:
        message = f"{message.removesuffix('.')} (see `{error.ctx.command_path} --help`)"
    out.error("usage", message)
