"""`python building/tag.py v0.2.0`: whether what is here can be released by that tag. `--notes`: prints what is new in it.

It needs no package but Python's own: it is asked before anything is installed.
"""

from __future__ import annotations

import re
import sys

from distributions import ROOT, distributions, problems_of_tag


def main() -> None:
    tag = sys.argv[1]
    notes = notes_of(tag.removeprefix("v"), (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    if "--notes" in sys.argv:
        print(notes)
        return
    problems = list(problems_of_tag(tag, distributions()))
    if not notes:
        problems.append(f"{tag}: CHANGELOG.md has no section of that version (`towncrier build` writes it)")
    if problems:
        sys.exit("\n".join(problems))
    print(f"{tag}: all distributions have that version, and CHANGELOG.md says what is new")


def notes_of(version: str, changelog: str) -> str:
    """What stands below the heading of a version; empty, if nothing does."""
    heading = rf"^## {re.escape(version)}(?: - [^\n]*)?\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, flags=re.DOTALL | re.MULTILINE)
    return found[1].strip() if found else ""


if __name__ == "__main__":
    main()
