"""`tox -e audit`: whether what is installed with the core and all engines has vulnerabilities that PyPI knows of.

Does not guarantee: anything, where PyPI cannot be reached: then it says so, and succeeds; with `--required` it fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from distributions import distributions
from environments import made, packages

SKIPPED = "skipped: PyPI could not be asked"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="looop-portable-audit-") as where:
        python = made(Path(where), distributions())
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--path",
            str(packages(python)),
            "--format",
            "json",
            "--progress-spinner",
            "off",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    verdict, problems = judged(done.stdout, done.stderr, {each.name for each in distributions()})
    print(verdict)
    if problems or (verdict.startswith(SKIPPED) and "--required" in sys.argv):
        sys.exit("\n".join(problems) or 1)


def judged(told: str, errors: str, ours: set[str]) -> tuple[str, list[str]]:
    """What pip-audit's output means: what was asked for, or why nothing was; and what is wrong."""
    try:
        found = json.loads(told)["dependencies"]
    except ValueError:
        return f"{SKIPPED}: {(errors.strip().splitlines() or ['pip-audit said nothing'])[-1]}", []
    others = [each for each in found if each["name"] not in ours]
    known = [each["name"] for each in others if "skip_reason" not in each]
    if not known:  # A mirror of PyPI may have the packages alone.
        return f"{SKIPPED}: it knows none of {len(others)} packages", []
    bad = [f"{each['name']} {each['version']}: {fault['id']}" for each in others for fault in each.get("vulns", [])]
    bad += [f"{each['name']}: not known to PyPI" for each in others if "skip_reason" in each]
    return f"asked about: {', '.join(sorted(known))}", bad


if __name__ == "__main__":
    main()
