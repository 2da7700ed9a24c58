"""The root group: global options, and which module has which verb. A verb's module is imported when it is used."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any, cast

import click

from looop_portable import __version__
from looop_portable.claims.gate import Claims
from looop_portable.cli.output import Output
from looop_portable.config import Config, backend_name, resolve

_HELP = """Claim a named resource so that nobody else alive holds it, on any filesystem.

\b
  looop claim repo-x          exit 0: it is yours; exit 1: a live session holds it
  looop claim repo-x --wait   wait for your turn; --timeout SECONDS: exit 124
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
  124  still held by another when --timeout was over
  130  interrupted; 128+N: ended by signal N
"""


GLOBAL_OPTIONS = ("--data-dir", "--backend", "--json", "--verbose", "-v")


class Verbs(click.Group):
    """A group whose verbs are found as `module:attribute` below `looop_portable.cli`, and imported when used."""

    def __init__(self, *args: Any, verbs: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        target = self._verbs.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        return cast("click.Command", getattr(import_module(f"looop_portable.cli.{module}"), attribute))


class Setting(Output):
    """What a verb is given: how to speak, and where the claims are."""

    def __init__(self, data_dir: str | None, backend: str | None, as_json: bool, verbose: int) -> None:
        super().__init__(as_json)
        self._data_dir = data_dir
        self._backend = backend_name(backend)
        self.verbose = verbose

    @functools.cached_property
    def config(self) -> Config:
        """Raises `UsageError` where it cannot be told: a page of help needs no store."""
        return resolve(self._data_dir, self._backend)

    def claims(self) -> Claims:
        """The claims of the configured store. The store in this process's memory is empty for each command: refused."""
        claims = Claims.open(self.config.data_dir, self.backend())
        self.detail(f"backend {claims.backend.name} in {self.config.data_dir}")
        return claims

    def backend(self) -> str:
        """The configured backend's name, that of one which several processes can share."""
        if self._backend == "memory":
            raise click.UsageError("the backend 'memory' lives in one process: for programs, not for the command line")
        return self._backend

    def describe_trouble(self, claims: Claims) -> None:
        """With -v, say what went wrong on the side."""
        if claims.events and claims.events.trouble:
            self.detail(claims.events.trouble)


@click.group(
    cls=Verbs,
    help=_HELP,
    verbs={
        "claim": "verbs.claim:claim",
        "unclaim": "verbs.claim:unclaim",
        "claims": "verbs.show:claims",
        "show": "verbs.show:show",
        "check": "verbs.claim:check",
        "break": "verbs.claim:break_",
        "run": "verbs.run:run",
        "reap": "verbs.reap:reap",
        "session": "verbs.session:session",
        "events": "verbs.events:events",
        "doctor": "verbs.doctor:doctor",
        "paths": "verbs.setup:paths",
        "completion": "verbs.setup:completion",
        "_": "verbs.claim:worker_contract",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("--data-dir", metavar="DIR", help="Where claims are kept. [$LOOOP_DATA_DIR, else the user's state directory]")
@click.option(
    "--backend",
    metavar="NAME",
    help="How a claim is made exclusive: auto, posix, windows, advisory, or a plug-in. [$LOOOP_BACKEND]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, errors too.")
@click.option("-v", "--verbose", count=True, help="Say more on stderr.")
@click.version_option(__version__, "--version", message="looop-portable %(version)s")
@click.pass_context
def looop(ctx: click.Context, data_dir: str | None, backend: str | None, as_json: bool, verbose: int) -> None:
    aside = ctx.invoked_subcommand == "run"  # Its stdout is the command's that it runs.
    if isinstance(ctx.obj, Output):  # What `main` reports errors with.
        ctx.obj.verbose = verbose
        ctx.obj.aside = aside
    ctx.obj = Setting(data_dir, backend, as_json, verbose)
    ctx.obj.aside = aside
