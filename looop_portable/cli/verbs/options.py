"""The arguments and options that several verbs have."""

from __future__ import annotations

import math

import click

from looop_portable.cli.completion.offers import claim_names, session_ids
from looop_portable.cli.verb import HOW, Duration, Patience
from looop_portable.config import LEASE
from looop_portable.protocol.liveness import DEFAULT_TTL, SHORTEST_LEASE
from looop_portable.protocol.names import LONGEST_NAME
from looop_portable.protocol.records import LONGEST_LEASE
from looop_portable.protocol.shares import MOST

NAME = click.argument("name", shell_complete=claim_names)
NAMES = click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=claim_names)
SESSION = click.option(
    "--session", metavar="ID", shell_complete=session_ids, help="The session to act for. [$LOOOP_SESSION_ID]"
)
GENERATION = click.option("--generation", type=click.IntRange(min=0), required=True, metavar="N", help="The generation.")


WAIT = click.option(
    "--wait", cls=Patience, metavar="[DURATION]", help="Wait until it can be had; no longer than DURATION, then exit 124."
)
TIMEOUT = click.option(
    "--timeout", type=Duration(), metavar="DURATION", help=f"The same, with a DURATION ({HOW}). 0: do not wait."
)
SLOTS = click.option(
    "--slots", type=click.IntRange(1, MOST), metavar="N", help="NAME may be held by N sessions at once, each in a slot."
)
SHARED = click.option(
    "--shared", is_flag=True, help="Beside all others who share it: nobody has it alone meanwhile. Not with --slots."
)
NOTE = click.option(
    "--note",
    default="",
    metavar="TEXT",
    help=f"What everybody may read who is refused, or lists claims; up to {LONGEST_NAME} characters.",
)


def limit_of(*limits: float | None) -> float | None:
    """For how many seconds to wait; None: without end. The shortest of `limits` counts."""
    given = [each for each in limits if each is not None]
    return (min(given) if min(given) < math.inf else None) if given else 0


def _long_enough(ctx: click.Context, param: click.Parameter, value: int) -> int:  # noqa: ARG001 (click's signature)
    if 0 < value < SHORTEST_LEASE:
        raise click.BadParameter(f"{value} s are too short for heartbeats: at least {SHORTEST_LEASE}, or 0 for none")
    return value


LEASE_LENGTH = click.option(
    "--lease",
    type=Duration(most=LONGEST_LEASE, whole=True),
    default=DEFAULT_TTL,
    envvar=LEASE,
    callback=_long_enough,
    metavar="DURATION",
    show_envvar=True,
    show_default=True,
    help="After how long without a heartbeat other hosts may take it for dead; at least 3, or 0: it gives none.",
)
