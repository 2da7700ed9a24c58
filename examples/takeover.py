"""A claim that a second session is refused, and that a third takes over when the holder is killed: on any system.

python examples/takeover.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

LOOOP = [sys.executable, "-m", "looop_portable"]


def looop(*words: str) -> int:
    """The command, as anybody would type it; its exit code."""
    print("$ looop", *words, flush=True)
    return subprocess.run([*LOOOP, *words], check=False).returncode


def main() -> int:
    """The steps, in order."""
    me = str(os.getpid())
    # The worker that will hold the claim, and die.
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        looop("session", "start", "first", "--pid", str(worker.pid))
        looop("session", "start", "second", "--pid", me)
        looop("session", "start", "third", "--pid", me)

        print("# first asks")
        looop("claim", "repo-x", "--session", "first")
        print("# second asks, while first is alive")
        if looop("claim", "repo-x", "--session", "second") == 0:
            print("two holders: this must never happen", file=sys.stderr)
            return 1

        print("# first is killed, and third asks")
        worker.kill()
        worker.wait()
        taken = looop("claim", "repo-x", "--session", "third")  # No operator, no waiting.
        looop("claims")
        looop("events")
        return taken
    finally:
        worker.kill()
        worker.wait()
        for session in ("first", "second", "third"):
            looop("session", "stop", session)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as os.environ["LOOOP_DATA_DIR"]:
        code = main()
    sys.exit(code)
