"""The declaration: the options of `looop`, those that several verbs have, and the verbs that a quick reader knows.

An option is one line here. A verb that is not here, click alone knows.
"""

from __future__ import annotations

from looop_portable.cli.words import HOW
from looop_portable.cli.words.declared import RAW, Argument, Command, OneOf, Option, Seconds, Whole
from looop_portable.config import LEASE
from looop_portable.protocol.liveness import DEFAULT_TTL, SHORTEST_LEASE, SHORTEST_TTL
from looop_portable.protocol.names import LONGEST_NAME
from looop_portable.protocol.records import LONGEST_LEASE
from looop_portable.protocol.shares import MOST

STRICT = "LOOOP_STRICT"

EVERYWHERE = (
    Option("--data-dir", metavar="DIR", help="Where claims are kept. [$LOOOP_DATA_DIR, else the user's state directory]"),
    Option(
        "--backend",
        metavar="NAME|URL",
        help="How a claim is made exclusive: auto, posix, windows, advisory; a plug-in's name or URL; file:///DIR. A URL "
        "with a password belongs into LOOOP_BACKEND (command lines are for all to see), or the password into the client's "
        "own environment. [$LOOOP_BACKEND]",
    ),
    Option("--json", to="as_json", flag=True, help="One JSON object a line, errors too."),
    Option("-q", "--quiet", flag=True, help="Say nothing but errors: the exit code tells."),
    Option("-v", "--verbose", counted=True, help="Say more on stderr."),
)
"""Before the verb and behind it. What is given behind it replaces what was given before it."""


def _too_short(lease: int) -> str:
    if 0 < lease < SHORTEST_LEASE:
        return f"{lease} s are too short for heartbeats: at least {SHORTEST_LEASE}, or 0 for none"
    return ""


NAME = Argument("name", offers="claim_names")
NAMES = Argument("names", many=True, offers="claim_names", metavar="NAME...")
SOME = Argument("names", many=True, required=False, offers="claim_names", metavar="[NAME...]")
COMMAND = Argument("command", RAW, many=True)

SESSION = Option("--session", metavar="ID", offers="session_ids", help="The session to act for. [$LOOOP_SESSION_ID]")
GENERATION = Option("--generation", kind=Whole(0), required=True, metavar="N", help="The generation.")
WAIT = Option(
    "--wait",
    kind=Seconds(optional=True),
    metavar="[DURATION]",
    help="Wait until it can be had; no longer than DURATION, then exit 124.",
)
TIMEOUT = Option(
    "--timeout",
    kind=Seconds(),
    metavar="DURATION",
    help=f"The same, with a DURATION ({HOW}). 0: do not wait.",
)
SLOTS = Option("--slots", kind=Whole(1, MOST), metavar="N", help="NAME may be held by N sessions at once, each in a slot.")
_BESIDE = "Beside all others who share it: nobody has it alone meanwhile. Not with --slots."
SHARED = Option("--shared", flag=True, help=_BESIDE)
NOTE = Option(
    "--note",
    default="",
    metavar="TEXT",
    help=f"What everybody may read who is refused, or lists claims; up to {LONGEST_NAME} characters.",
)
TTL = Option(
    "--ttl",
    kind=Seconds(SHORTEST_TTL, LONGEST_LEASE, whole=True),
    metavar="DURATION",
    help="The session lives for so long after its last renewal, by time alone. Each verb that acts for it renews it.",
)
LEASE_LENGTH = Option(
    "--lease",
    kind=Seconds(0, LONGEST_LEASE, whole=True),
    default=DEFAULT_TTL,
    variable=LEASE,
    refuse=_too_short,
    metavar="DURATION",
    show_envvar=True,
    show_default=True,
    help="After how long without a heartbeat other hosts may take it for dead; at least 3, or 0: it gives none.",
)

_CLAIM = (
    SESSION,
    WAIT,
    TIMEOUT,
    SLOTS,
    SHARED,
    NOTE,
    TTL,
    Option("--strict", flag=True, help=f"Refuse a session that is not registered: exit 2. [${STRICT}=1: always]"),
)
_UNCLAIM = (
    Option(
        "--pattern",
        metavar="PATTERN",
        offers="claim_names",
        help="All of ours whose name fits it ('ci-*': quote it); each is said.",
    ),
    Option("--dry-run", flag=True, help="Say what would be released; change nothing."),
    SESSION,
    SLOTS,
)
_RUN = (
    Option(
        "--claim", to="names", many=True, metavar="NAME", offers="claim_names", help="Claim it; again for more of them."
    ),
    WAIT,
    TIMEOUT,
    SLOTS,
    Option("-s", "--shared", flag=True, help=f"{_BESIDE} (As in flock(1).)"),
    NOTE,
    LEASE_LENGTH,
    Option(
        "--on-lost",
        kind=OneOf("term", "warn"),
        default="term",
        show_default=True,
        help="When a claim is lost: end the command (SIGTERM, then SIGKILL), or only say so.",
    ),
    Option(
        "--until-all-end",
        flag=True,
        help="Hold until all that the command has started has ended, as flock(1) does, and not only the command. (Linux)",
    ),
    Option(
        "--max-hold",
        kind=Seconds(0.001),
        metavar="DURATION",
        help="End the command (SIGTERM, then SIGKILL after 5 s) when it has held for so long: exit 123.",
    ),
    Option("--session", default="", metavar="ID", help="The id of the command's session. [a new one is made up]"),
    Option(
        "-E",
        "--conflict-exit-code",
        kind=Whole(0, 255),
        metavar="N",
        help="Exit with N where it is held by another, also when the time is over. 0: and say nothing.  [default: 1; 124]",
    ),
    Option("-n", "--nonblock", flag=True, help="Do not wait. (As in flock(1), and the default.)"),
    Option("-w", to="limit", kind=Seconds(), metavar="DURATION", help="The same as --timeout. (As in flock(1).)"),
    Option(
        *("-x", "-e", "--exclusive"),
        to="shared",
        flag=True,
        sets=False,
        help="Have it alone. (As in flock(1), and the default.)",
    ),
)

_RUN_EXAMPLES = {
    "looop run --claim nightly -- rsync -a /srv/ backup:": "One at a time; whoever comes second is refused.",
    "looop run --claim nightly -E 0 -- make backup": "In a crontab, by its full path: still running? No mail, exit 0.",
    "looop run --claim licence --wait --max-hold 1h -- make deploy": "Wait for it, and hold it for an hour at most.",
}

VERBS = {
    "claim": Command(
        "verbs.claim:claim",
        NAMES,
        _CLAIM,
        "Take a claim, or all of several or none; --wait for your turn.",
        {
            "looop claim repo-x --session agent-7 --ttl 30m": "As agent-7: it lives for 30 minutes after its last renewal.",
            "looop claim repo-x repo-y --session agent-7 --wait 5m": "Wait for your turn, for no longer than five minutes.",
        },
    ),
    "unclaim": Command(
        "verbs.claim:unclaim",
        SOME,
        _UNCLAIM,
        "Let go of claims that are ours.",
        {
            "looop unclaim repo-x --session agent-7": "Let go of it.",
            'looop unclaim --pattern "ci-*" --session agent-7 --dry-run': "Say which of ours would be released.",
        },
    ),
    "run": Command(
        "verbs.run:run",
        COMMAND,
        _RUN,
        "Run a command while its claims are held: flock(1) that recovers.",
        _RUN_EXAMPLES,
        mixed=False,
    ),
    "check": Command(
        "verbs.claim:check",
        NAME,
        (GENERATION, SESSION),
        "Is generation N still current and held? For fencing.",
        {
            "looop check repo-x --generation 7": "Before you write with the word of generation 7: exit 0, it holds repo-x.",
            "looop check repo-x --generation 5": "Of one that has been superseded: exit 1.",
        },
    ),
    "show": Command(
        "verbs.show.one:show",
        NAME,
        (SESSION,),
        "Show one claim: who holds it, on what evidence alive.",
        {
            "looop show repo-x": "Who holds it, and is he alive?",
            "looop show -q repo-y": "For a script: exit 1, it can be had.",
        },
    ),
}
