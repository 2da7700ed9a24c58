"""The POSIX suite on a Python that looks like macOS's, by a disguise that takes away what macOS lacks.

    python tests/lanes/disguise/run.py [PYTEST ARGUMENT ...]

$DARWIN_DISGUISE names its folder (default: ../shared/macos/disguise beside the checkout). Without one this says so and
succeeds. Where $DARWIN_DISGUISE is set, it must be there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
TESTS = [
    "tests/unit",
    "tests/cli",
    "tests/contract",
    *(f"tests/race/test_race_{each}.py" for each in ("guardian", "interrupting")),
]


def main(arguments: list[str]) -> int:
    named = os.environ.get("DARWIN_DISGUISE")
    folder = Path(named).absolute() if named else ROOT.parent / "shared" / "macos" / "disguise"
    if not (folder / "sitecustomize.py").is_file():
        print(f"macOS in disguise: skipped: {folder} is missing (set DARWIN_DISGUISE)")
        return 1 if named else 0
    print(f"macOS in disguise: {folder}", flush=True)
    environment = {
        **os.environ,
        "DISGUISE": "darwin",
        "DARWIN_DISGUISE": str(folder),
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("DISGUISE_STATE", None)
    workers = os.environ.get("WORKERS", "auto")
    command = [sys.executable, "-m", "pytest", *(arguments or ["-n", workers, *TESTS])]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
