"""The command `looop`: words and exit codes, no logic.

Exit codes: 0 ours (or done); 1 held by another (or refused, or superseded); 2 usage; 3 could not answer; 124 timed out;
130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from looop_portable.cli.output import Output
from looop_portable.cli.root import looop
from looop_portable.errors import ClaimHeld, LooopError, SessionAlive, UsageError, because

OURS, HELD, USAGE, NO_ANSWER, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 124, 130


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code. Every error is one line on stderr, or one object with --json."""
    args = list(sys.argv[1:] if args is None else args)
    out = Output(as_json=_wants_json(args))
    try:
        try:
            code = looop.main(args, prog_name="looop", standalone_mode=False, obj=out) or 0
        except (KeyboardInterrupt, click.Abort):
            raise
        except SystemExit:
            code = OURS  # Click's word for a reader that has gone away, while it printed its own help.
        except Exception as error:  # noqa: BLE001 (an exit code of Python's own would say "held by another")
            if isinstance(error, OSError):
                out.flush()  # If it was stdout that failed, it fails again here, and is told once, below.
            code = _report(out, error)
        out.flush()
    except OSError as error:  # What was to be said could not be said: a full disk, say. A closed pipe is no error.
        out.failed_to_say(because(error))
        code = NO_ANSWER
    except (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED
    sys.exit(code)


def _report(out: Output, error: Exception) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        out.hint(error.format_message())
        return USAGE
    if isinstance(error, click.ClickException):
        out.error("usage", error.format_message().replace("\n", " "))
        return USAGE
    if isinstance(error, LooopError):
        out.error(error.code, str(error))
        if isinstance(error, UsageError):
            return USAGE
        return HELD if isinstance(error, ClaimHeld | SessionAlive) else NO_ANSWER
    if isinstance(error, OSError):
        out.error("unavailable", f"{because(error)}{f': {error.filename}' if error.filename else ''}")
        return NO_ANSWER
    import traceback

    out.error("internal", f"a fault of looop itself: {type(error).__name__}: {error} (please report it; -v shows where)")
    out.detail("".join(traceback.format_exception(error)))
    return NO_ANSWER


def _wants_json(args: list[str]) -> bool:
    """Whether --json stands before the verb. Needed before parsing, for errors of the parsing itself."""
    takes_value = False
    for arg in args:
        if takes_value or arg.startswith("-"):
            if arg == "--json" and not takes_value:
                return True
            takes_value = not takes_value and arg in ("--data-dir", "--backend")
        else:
            return False
    return False
