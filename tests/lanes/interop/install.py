"""Install the real looop from crates.io, with cargo, for the tests of sharing a directory with it.

    python tests/lanes/interop/install.py DIRECTORY

Makes DIRECTORY/looop-0.14.0 and DIRECTORY/looop-newest, each with bin/looop; one that is there already stays, so the newest
is looked up once for each DIRECTORY. The newest is what cargo takes for it: of the releases that say which Rust they need,
one that this machine can build (1.1.0 does not say; it is of edition 2024, which is Rust 1.85 at least). Without cargo it
says so and succeeds, and the tests are skipped; if cargo fails, so does this.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSIONS = {"looop-0.14.0": ["--version", "0.14.0"], "looop-newest": []}


def cargo() -> str | None:
    """Where cargo is: on PATH, or where rustup puts it."""
    return shutil.which("cargo") or shutil.which("cargo", path=os.path.expanduser("~/.cargo/bin"))


def main(directory: Path) -> int:
    command = cargo()
    for name, version in VERSIONS.items():
        root = directory / name
        binary = root / "bin" / "looop"
        if binary.exists():
            print(f"{binary}: is there")
        elif command is None:
            print(f"cargo is missing, so looop cannot be installed into {root}: the tests against it will be skipped")
        else:
            print(f"{command} installs {name} into {root}", flush=True)
            # `--locked`: with the libraries that it was released with.
            built = subprocess.run([command, "install", "looop", "--locked", "--root", str(root), *version], check=False)
            if built.returncode:
                return built.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
