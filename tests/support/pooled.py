"""What the workers of a pool do. A process that is spawned finds it by the path, as it finds no test."""

from __future__ import annotations

from pathlib import Path

from looop_portable import Claims, hold


def enter(directory: Path, timeout: float) -> int:
    with hold("repo-x", data_dir=directory, timeout=timeout) as block:
        return block.generation


def register(directory: Path) -> None:
    claims = Claims.open(data_dir=directory)
    claims.sessions.register("worker")
