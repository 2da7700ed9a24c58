"""`python building/smoke.py dist`: the wheels there, in a new environment, as somebody has them who installs them.

Guarantees: of ours nothing but these files is installed. Each command answers as the documents say, and each backend and
engine can be loaded.
Does not guarantee: that an engine works; that takes a server (`tox -e engines`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from distributions import distributions
from environments import theirs

LOAD = """
from importlib.metadata import entry_points
found = entry_points(group="looop_portable.backends")
for each in found:
    each.load()
print(*sorted(each.name for each in found))
"""
PROGRAMS, EXE = ("Scripts", ".exe") if sys.platform == "win32" else ("bin", "")
WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def main() -> None:
    wheels = sorted(str(path.resolve()) for path in Path(sys.argv[1]).glob("*.whl"))
    if len(wheels) != len(distributions()):
        sys.exit(f"{sys.argv[1]}: a wheel of each distribution is needed, and it has {len(wheels)}")
    with tempfile.TemporaryDirectory(prefix="looop-portable-smoke-", ignore_cleanup_errors=True) as made:
        venv.create(made, with_pip=True)
        python, looop = (str(Path(made, PROGRAMS, f"{name}{EXE}")) for name in ("python", "looop"))
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--no-index", "--no-deps", *wheels], check=True)
        # Wheels of `psycopg[binary]` are not there for a Python without the GIL.
        others = [each for each in theirs(distributions()) if not (WITHOUT_GIL and "[binary]" in each)]
        subprocess.run([*pip, "install", *others], check=True)
        subprocess.run([*pip, "check"], check=True)
        environment = {**os.environ, "LOOOP_DATA_DIR": str(Path(made, "data")), "LOOOP_LEASE": "0"}
        environment.pop("LOOOP_SESSION_ID", None)

        def expect(code: int, *command: str) -> None:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=made)
            print(f"{done.returncode:3}  {' '.join([Path(command[0]).stem, *command[1:]])[:70].replace(chr(10), ' ')}")
            if done.returncode != code:
                sys.exit(f"expected {code}:\n{done.stdout}{done.stderr}")

        inside = (looop, "run", "--claim", "repo-x", "--session", "one", "--", sys.executable, "-c", INSIDE, looop)
        expect(0, looop, "--version")
        expect(0, looop, "doctor", ".", "--processes", "2", "--seconds", "500ms")
        expect(0, *inside)
        expect(0, looop, "claims", "--json")
        expect(2, looop, "claim", "../no-name")
        expect(0, python, "-c", LOAD)
        pages = list(Path(made, "share", "man", "man1").glob("looop*.1"))
        print(f"     {len(pages)} man pages")
        if not pages:
            sys.exit("no man pages are installed")


INSIDE = """
import os, subprocess, sys
other = {**os.environ, "LOOOP_SESSION_ID": ""}
sys.exit(subprocess.call([sys.argv[1], "run", "--claim", "repo-x", "--session", "two", "--", "true"], env=other) != 1)
"""
"""Who wants the claim meanwhile is refused."""


if __name__ == "__main__":
    main()
