"""Programs that are found on PATH: `looop`, from where it is tried, and others made for a test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import looop_portable


def command_directory(where: Path, **scripts: str) -> Path:
    """A directory with `looop`, and with each of these as a script of sh. PATH begins with it."""
    directory = where / "programs"
    directory.mkdir()
    package = os.path.dirname(os.path.dirname(looop_portable.__file__))
    scripts["looop"] = f'PYTHONPATH="{package}" exec "{sys.executable}" -m looop_portable "$@"'
    for name, script in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return directory
