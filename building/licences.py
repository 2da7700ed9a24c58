"""`tox -e licences`: the licence of each package that is installed with the core and all engines, as the package says it.

Guarantees: each is one that is allowed, and the table in docs/project/licences.md has each with its licence.
Does not guarantee: the licences of what a package brings along without saying so in its metadata.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from distributions import ROOT, distributions
from environments import made

ALLOWED = {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "PSF-2.0", "LGPL-3.0-only"}
SPELT = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
}
"""What packages say that do not say it as SPDX has it."""
ELSEWHERE = ("colorama", "portalocker", "psutil", "tzdata")
"""What other systems install, and this one can: their metadata are read too."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="looop-portable-licences-") as where:
        python = made(Path(where), distributions(), *ELSEWHERE)
        command = [sys.executable, "-m", "piplicenses", "--python", str(python), "--from", "mixed", "--format", "json"]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ours = {each.name for each in distributions()}
    found = {each["Name"].lower(): spelt(each["License"]) for each in told if each["Name"] not in ours}
    for name, licence in sorted(found.items()):
        print(f"{name:24}{licence}")
    problems = list(problems_of(found, listed()))
    if problems:
        sys.exit("\n".join(problems))


def spelt(licence: str) -> str:
    return SPELT.get(licence, licence)


def listed() -> dict[str, str]:
    """The table: the licence of each package."""
    text = (ROOT / "docs" / "project" / "licences.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([\w.-]+)` \|[^|]*\| ([\w.-]+) \|$", text, flags=re.MULTILINE))


def problems_of(found: dict[str, str], table: dict[str, str]) -> list[str]:
    """What is not allowed, and what the table does not say."""
    bad = [f"{name}: {licence} is not allowed" for name, licence in {**table, **found}.items() if licence not in ALLOWED]
    bad += [
        f"{name}: {licence}, and the table has {table.get(name, 'no line')}"
        for name, licence in found.items()
        if table.get(name) != licence
    ]
    return sorted(bad)


if __name__ == "__main__":
    main()
