"""The root group: the options of all verbs, and which module has which verb."""

from __future__ import annotations

import functools
from collections.abc import Callable

import click

from looop_portable import __version__
from looop_portable.claims.gate import Claims
from looop_portable.cli.output import Output
from looop_portable.cli.verb import Verbs
from looop_portable.config import Chosen, Config, backend_name, given, located, resolve, session_id
from looop_portable.errors import InvalidName, LooopError, UsageError
from looop_portable.protocol.records import Registration

_HELP = """Claim a named resource so that nobody else alive holds it, on any filesystem.

\b
  looop claim repo-x          exit 0: it is yours; exit 1: a live session holds it
  looop claim repo-x --wait   wait for your turn; --wait 5m: no longer, then exit 124
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


class Setting(Output):
    """What a verb is given: how to speak, and where the claims are."""

    def __init__(self, as_json: bool = False) -> None:
        super().__init__(as_json)
        self._data_dir: str | None = None
        self._backend: str | None = None
        self.renewed: Registration | None = None
        """The session that lives by its renewals, and had one when the claims were opened."""

    def place(self, data_dir: str | None, backend: str | None) -> None:
        """Where the claims are, as far as the command line tells. Raises `UsageError`."""
        self._data_dir = data_dir
        self._backend = backend
        self.hide = _hiding(backend)

    def replace(self, option: str, value: str) -> None:
        """What stands behind the verb counts."""
        if option == "data_dir":
            self.place(value, self._backend)
        else:
            self.place(self._data_dir, value)

    @functools.cached_property
    def config(self) -> Config:
        """Raises `UsageError` where it cannot be told: a page of help needs no store."""
        return resolve(self._data_dir, self._backend)

    def claims(self, session: str | None = None, *, renews: bool = True) -> Claims:
        """The claims of the configured store. The store in this process's memory is empty for each command: refused.

        `session`, else $LOOOP_SESSION_ID, is renewed if it lives by its renewals: so each verb renews it. Not `renews`: the
        verb acts for it, reads it, and renews it then.
        """
        self.backend()
        claims = Claims.open(self.config.data_dir, given(self.config.backend))
        self.detail(f"backend {claims.backend.name} in {self.config.data_dir}")
        if renews and (name := session_id(session)):
            self._renew(claims, name, chosen=bool(session))
        return claims

    def _renew(self, claims: Claims, session: str, *, chosen: bool) -> None:
        """What is asked for is answered whether that can be done or not. `chosen`: whoever has named it wants to know."""
        from looop_portable.sessions.inside import renewed

        try:
            self.renewed = renewed(claims.sessions, session)
        except InvalidName as error:
            if chosen:
                raise
            self.detail(str(error))
        except LooopError as error:
            self.detail(str(error))

    def backend(self) -> Chosen:
        """The configured backend's name or address, that of one which several processes can share."""
        found = located("", backend_name(self._backend))[1]
        if found == "memory":
            raise click.UsageError("the backend 'memory' lives in one process: for programs, not for the command line")
        return found

    def describe_trouble(self, claims: Claims) -> None:
        """With -v, say what went wrong on the side."""
        if claims.events and claims.events.trouble:
            self.detail(claims.events.trouble)


SECTIONS = {
    "Claims": {
        "claim": "verbs.claim:claim",
        "unclaim": "verbs.claim:unclaim",
        "run": "verbs.run:run",
        "wait": "verbs.show.wait:wait",
        "check": "verbs.claim:check",
        "transfer": "verbs.releasing.transfer:transfer",
    },
    "Who holds what": {
        "claims": "verbs.show:claims",
        "show": "verbs.show:show",
        "watch": "verbs.show.watching:watch",
        "queue": "verbs.show.wait:queue",
        "events": "verbs.events:events",
    },
    "Sessions": {"session": "verbs.session:session"},
    "For operators": {
        "break": "verbs.releasing.breaking:break_",
        "reap": "verbs.releasing.reap:reap",
        "prune": "verbs.releasing.prune:prune",
        "doctor": "verbs.doctor:doctor",
    },
    "Setting up": {
        "paths": "verbs.setup:paths",
        "completion": "verbs.setup:completion",
    },
}
"""The verbs as --help shows them, and where they are below `looop_portable.cli`."""

_UNLISTED = {"_": "verbs.claim:worker_contract"}
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
)
@click.option("--data-dir", metavar="DIR", help="Where claims are kept. [$LOOOP_DATA_DIR, else the user's state directory]")
@click.option(
    "--backend",
    metavar="NAME|URL",
    help="How a claim is made exclusive: auto, posix, windows, advisory; a plug-in's name or URL; file:///DIR. A URL with "
    "a password belongs into LOOOP_BACKEND (command lines are for all to see), or the password into the client's own "
    "environment. [$LOOOP_BACKEND]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, errors too.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors: the exit code tells.")
@click.option("-v", "--verbose", count=True, help="Say more on stderr.")
@click.version_option(__version__, "--version", message="looop-portable %(version)s")
@click.pass_context
def looop(ctx: click.Context, data_dir: str | None, backend: str | None, as_json: bool, quiet: bool, verbose: int) -> None:
    out: Setting = ctx.ensure_object(Setting)
    out.aside = ctx.invoked_subcommand == "run"  # Its stdout is the command's that it runs.
    out.as_json, out.quiet, out.verbose = as_json, quiet, verbose
    out.place(data_dir, backend)


def _hiding(typed: str | None) -> Callable[[str], str]:
    """What takes the password of the backend's address out of a message. One that was typed leaves our command line too.

    Without this, what we fork would have it there for as long as a command runs.
    """
    try:
        chosen = backend_name(typed)
    except UsageError:  # It is told when it is needed: a page of help needs none.
        return str
    if isinstance(chosen, str) or not chosen.has_secrets:
        return str
    if typed:
        from looop_portable.system.opening.arguments import overwrite

        overwrite(typed, str(chosen))
    return chosen.hide
