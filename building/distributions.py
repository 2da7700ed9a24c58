"""The five distributions: where each is, what it is called, and which version it has."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Distribution(NamedTuple):
    folder: Path
    name: str
    version: str
    extras: tuple[str, ...]
    requirements: tuple[str, ...]
    """Those of the extras too."""

    @property
    def file_name(self) -> str:
        """What the names of its files begin with, as PEP 625 has it."""
        return f"{self.name.replace('-', '_')}-{self.version}"


def distributions(root: Path = ROOT) -> list[Distribution]:
    """The core first."""
    return [_read(folder) for folder in (root, *sorted(path.parent for path in root.glob("backends/*/pyproject.toml")))]


def problems_of_tag(tag: str, found: list[Distribution]) -> Iterator[str]:
    """Why `tag` cannot be released: a tag says one version, and each distribution has to have it."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?", tag):
        yield f"{tag}: a release is tagged v1.2.3, or v1.2.3rc1"
        return
    for each in found:
        if f"v{each.version}" != tag:
            yield f"{tag}: {each.name} has version {each.version}"


def _read(folder: Path) -> Distribution:
    found = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    project = found["project"]
    extras = project.get("optional-dependencies", {})
    version = project.get("version") or _in_code(folder / found["tool"]["hatch"]["version"]["path"])
    wanted = [*project["dependencies"], *(each for extra in extras.values() for each in extra)]
    return Distribution(folder, project["name"], version, tuple(extras), tuple(wanted))


def _in_code(path: Path) -> str:
    (found,) = re.findall(r'^__version__ = "([^"]+)"$', path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return str(found)
