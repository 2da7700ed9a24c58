"""The command `looop`: words and exit codes, no logic.

Exit codes: 0 ours (or done); 1 held by another (or refused, or superseded); 2 usage; 3 could not answer; 124 timed out;
130 interrupted; 128+N ended by signal N.
"""

from __future__ import annotations

import os
import sys

from looop_portable.cli.output import Output, Unsaid, nobody_reads
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.words.quick import Line, read
from looop_portable.errors import ClaimHeld, Interrupted, LooopError, SessionAlive, UsageError, because, describe_error
from looop_portable.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OURS, HELD, USAGE, NO_ANSWER, INTERRUPTED = 0, 1, 2, 3, 130


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code. Every error is one line on stderr, or one object with --json."""
    if sys.platform == "win32":
        from looop_portable.system.processes.windows_system import stay_at_logoff

        stay_at_logoff()
    args = list(sys.argv[1:] if args is None else args)
    out = Setting(as_json=_wants_json(args))
    line = None if os.environ.get("_LOOOP_COMPLETE") else read(args)  # What shells complete is click's.
    by_click = None if line else _by_click()
    try:
        try:
            code = _do(line, out) if line else None
            if code is None:
                code = (by_click or _by_click())(args, out)
        except Unsaid:
            raise
        except Exception as error:  # noqa: BLE001 (an exit code of Python's own would say "held by another")
            if isinstance(error, OSError):
                out.flush()  # If it was stdout that failed, it fails again here.
            code = OURS if isinstance(error, OSError) and nobody_reads(error) else _report(out, error)
        out.flush()
    except OSError as error:  # What was to be said could not be said: a full disk, say. A closed pipe is no error.
        out.failed_to_say(because(error))
        code = NO_ANSWER
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Interrupted as error:
        code = 128 + error.number
    sys.exit(code)


def _by_click() -> Callable[[list[str], Setting], int]:
    """What reads every command line, and does what it says. Raises what keeps click from being imported."""
    from looop_portable.cli.root import answer

    return answer


def _do(line: Line, out: Setting) -> int | None:
    """The exit code; None: nothing was done, click is to tell why."""
    try:
        return line.do(out)
    except (EOFError, KeyboardInterrupt):
        out.end_line()  # As click does: behind the ^C of the terminal.
        raise KeyboardInterrupt from None


def _report(out: Output, error: Exception) -> int:
    if isinstance(error, LooopError):
        out.error(error.code, str(error))
        if isinstance(error, UsageError):
            return USAGE
        return HELD if isinstance(error, ClaimHeld | SessionAlive) else NO_ANSWER
    if isinstance(error, OSError):
        out.error("unavailable", describe_error(error))
        return NO_ANSWER
    import traceback

    out.error("internal", f"a fault of looop itself: {type(error).__name__}: {error} (please report it; -v shows where)")
    for line in "".join(traceback.format_exception(error)).splitlines():
        out.detail(line)
    return NO_ANSWER


def _wants_json(args: list[str]) -> bool:
    """Whether --json stands before the verb, for errors of the parsing itself. `Verb` looks behind it."""
    takes_value = False
    for arg in args:
        if takes_value or arg.startswith("-"):
            if arg == "--json" and not takes_value:
                return True
            takes_value = not takes_value and arg in ("--data-dir", "--backend")
        else:
            return False
    return False
