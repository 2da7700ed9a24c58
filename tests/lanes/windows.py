"""The suite on a Windows CPython that runs on this machine, under Wine.

    python tests/lanes/windows.py [PYTEST ARGUMENT ...]

$WINDOWS_PYTHON names it (default: ../shared/windows/python beside the checkout); a `setup` beside it is run first, which
makes it or finds it made. Without one this says so and succeeds. Where $WINDOWS_PYTHON is set, it must work.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDS = ["pytest-randomly"]


def main(arguments: list[str]) -> int:
    named = os.environ.get("WINDOWS_PYTHON")
    python = Path(named) if named else ROOT.parent / "shared" / "windows" / "python"
    if not os.access(python, os.X_OK):
        print(f"Windows under Wine: skipped: {python} is missing (set WINDOWS_PYTHON)")
        return 1 if named else 0
    setup = python.with_name("setup")
    if setup.exists() and subprocess.run([setup, *NEEDS], check=False).returncode:
        print(f"Windows under Wine: {setup} failed")
        return 1
    print(f"Windows under Wine: {python}", flush=True)
    return subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
