"""`python -m looop_portable`, and what the script `looop` starts.

Guarantees: whatever keeps the command from running, a dependency that is not installed, say, or no memory, it ends with 3,
and not with Python's own 1, which would say that another holds the claim. Nor with Python's own 120, whatever becomes of
stdout and stderr: a pipe whose reader has gone, a full disk, a terminal that has hung up.
Does not guarantee: the same where Python itself cannot be started, or this package not be found.
"""

import atexit
import gc
import os
import sys

gc.disable()  # For one short run: collecting garbage would be a tenth of the time that importing takes.

_NO_ANSWER, _INTERRUPTED = 3, 130


def main() -> None:
    """The command `looop`. Verbs that stay (`reap --watch`, `events --follow`) turn the collector on again."""
    try:
        from looop_portable.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (Python's own exit code would say "held by another")
        _print_error(error)
        sys.exit(_NO_ANSWER)
    finally:
        _drop_what_cannot_be_said()
        gc.freeze()  # Nor at the end, for memory that is given back anyway.


def _drop_what_cannot_be_said() -> None:
    """Without this, Python tries once more when it exits, and its code is then 120, whatever ours was."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def start() -> None:
    """The command, and nothing else in this process: it ends with it."""
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int) and _nobody_waits_for_our_end():
            os._exit(end.code)  # All has been said by then (`flush` in `cli.main`).
        raise


def _nobody_waits_for_our_end() -> bool:
    """Whether nothing is to be done at the end of this Python but to take it apart, which takes as long as a verb does.

    There may be callbacks (of what measures coverage, say), profilers, and threads that it would wait for.
    """
    if "threading" in sys.modules:
        import threading

        if threading.current_thread() is not threading.main_thread() or not all(
            each.daemon for each in threading.enumerate() if each is not threading.main_thread()
        ):
            return False
    monitoring = getattr(sys, "monitoring", None)  # Since 3.12.
    watched = sys.gettrace() or sys.getprofile() or (monitoring and any(map(monitoring.get_tool, range(6))))
    return not (watched or atexit._ncallbacks())


def _print_error(error: Exception) -> None:
    """One line, or one object with --json, as the command itself would. What nobody can be told is in the exit code."""
    way_out = ": install it with what it depends on (pip install looop-portable)" if isinstance(error, ImportError) else ""
    message = " ".join(f"could not be started: {type(error).__name__}: {error}".split())
    before = sys.argv[1:3]  # As far as it matters here, where the verb is not known.
    try:
        if "--json" in before and sys.stdout is not None:
            import json

            sys.stdout.write(json.dumps({"outcome": "error", "code": "internal", "message": message + way_out}) + "\n")
            sys.stdout.flush()
        elif sys.stderr is not None:
            sys.stderr.write(f"looop: {message}{way_out} (-v shows where)\n".encode("ascii", "backslashreplace").decode())
        if sys.stderr is not None and {"-v", "--verbose"}.intersection(before):
            import traceback

            traceback.print_exception(error)
    except Exception:  # noqa: BLE001 (a closed stream, no memory: it was the last word)
        return


if __name__ == "__main__":
    start()
