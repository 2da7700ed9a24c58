"""`tox -e reproducible`: each distribution is built twice, as by two people, and the files must be the same, byte by byte.

Guarantees: the two builds differ in directory, umask, time zone, locale, times of files and hash seed.
Does not guarantee: the same bytes by other versions of hatchling and click.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from distributions import ROOT, distributions

EPOCH = "1767225600"
"""The first second of 2026: any will do that is the same for both."""
LEFT_OUT = shutil.ignore_patterns(".git", ".tox", ".venv", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="looop-portable-twice-") as made:
        one = built(Path(made, "one"), umask=0o022, TZ="UTC", LC_ALL="C", PYTHONHASHSEED="1")
        there = Path(made, "another", "place with a longer name")
        other = built(there, umask=0o077, TZ="Asia/Kathmandu", LC_ALL="C.UTF-8", PYTHONHASHSEED="2")
        for name in sorted(one | other):
            print(f"{one.get(name, 'missing'):64}  {name}" + ("" if one.get(name) == other.get(name) else "  DIFFERS"))
        if one != other:
            sys.exit(
                f"not reproducible: {', '.join(name for name in sorted(one | other) if one.get(name) != other.get(name))}"
            )
        if len(one) != 2 * len(distributions()):
            sys.exit(f"{len(one)} files, and not a wheel and an sdist of each distribution")


def built(where: Path, umask: int, **environment: str) -> dict[str, str]:
    """The SHA-256 of each file that is built in a copy of the tree, by its name."""
    before = os.umask(umask)
    try:
        tree, out = where / "tree", where / "dist"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        for path in tree.rglob("*"):
            path.chmod(path.stat().st_mode & ~umask)
            os.utime(path, (time.time(), time.time() - umask * 3600))
        for each in distributions(tree):
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(each.folder)]
            done = subprocess.run(
                command,
                env={**os.environ, **environment, "SOURCE_DATE_EPOCH": EPOCH},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(f"{each.name} cannot be built:\n{done.stdout}{done.stderr}")
    finally:
        os.umask(before)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


if __name__ == "__main__":
    main()
