"""Install the real looop from crates.io, with cargo, for the tests of sharing a directory with it.

    python tests/lanes/interop/install.py DIRECTORY

Makes DIRECTORY/looop-VERSION for each of `VERSIONS`, with bin/looop: one without a guard (0.14.0), one that has it and
takes the claims of the living all the same (0.57.0), the oldest that we share a directory with (1.0.0), and the newest. One
that is there already stays, so the newest is looked up once for each DIRECTORY. The newest is what cargo takes for it: of
the releases that say which Rust they need, one that this machine can build (1.1.0 does not say; it is of edition 2024: Rust
1.85 at least). Without cargo it says so and succeeds, and the tests are skipped; if cargo fails, so does this.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSIONS: dict[str, list[str]] = {
    **{f"looop-{version}": ["--version", version] for version in ("0.14.0", "0.57.0", "1.0.0")},
    "looop-newest": [],
}


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
            options = [
                "--locked",
                "--root",
                str(root),
                "--target-dir",
                str(directory / "target"),
            ]  # Built once, what all need.
            built = subprocess.run([command, "install", "looop", *options, *version], check=False)
            if built.returncode:
                return built.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
