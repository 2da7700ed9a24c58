"""One directory shared by us and the real looop: which binaries there are, and what was observed, told as a table."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .install import cargo
from .parties import RELEASED, WON, Ours, Party, Theirs
from .rustlooop import Rust

_BINARIES = [path for path in os.environ.get("LOOOP_BINARIES", "").split(os.pathsep) if path]

Note = Callable[[str, str], None]


class Pair(NamedTuple):
    """Two that share a directory: `first` has been there before `second` comes."""

    first: Party
    second: Party
    ours: Ours
    theirs: Theirs


class Observation(NamedTuple):
    step: str
    direction: str
    version: str
    outcome: str


OBSERVED: set[Observation] = set()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that asks for `binary` runs with each that is named."""
    if "binary" in metafunc.fixturenames:
        ids = [Path(path).parents[1].name for path in _BINARIES]
        metafunc.parametrize("binary", _BINARIES or [""], ids=ids or ["none"])


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory, not pytest's: looop binds sockets in its data directory and in its home, of at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="looop-") as directory:
        yield Path(directory)


@pytest.fixture
def rust_looop(binary: str, short: Path) -> Rust:
    if not binary:
        pytest.skip("LOOOP_BINARIES names no looop (`tox -e interop` installs it, with cargo)")
    if not os.path.exists(binary):
        why = ": run it" if cargo() else ": cargo is missing"
        pytest.skip(f"{binary} is missing, which tests/lanes/interop/install.py makes{why}")
    return Rust(binary, short / "home")


@pytest.fixture
def parties(rust_looop: Rust, short: Path) -> Iterator[tuple[Ours, Theirs]]:
    """On a directory that ours has made, for its own sharing with looop."""
    ours, theirs = Ours(short / "data"), Theirs(short / "data", rust_looop)
    assert ours.claim("made", "nobody") == WON
    assert ours.unclaim("made", "nobody") == RELEASED
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


@pytest.fixture(params=["looop after ours", "ours after looop"])
def pair(parties: tuple[Ours, Theirs], request: pytest.FixtureRequest) -> Pair:
    ours, theirs = parties
    return Pair(ours, theirs, ours, theirs) if request.param == "looop after ours" else Pair(theirs, ours, ours, theirs)


@pytest.fixture
def note(pair: Pair, request: pytest.FixtureRequest) -> Note:
    """Writes down what was observed, for the table at the end of the run."""

    def write(step: str, outcome: str) -> None:
        direction = f"{pair.second.name} after {pair.first.name}"
        OBSERVED.add(Observation(step, direction, pair.theirs.rust.version, outcome))

    return write


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of verbs, directions and versions."""
    if not OBSERVED:
        return
    versions = sorted({seen.version for seen in OBSERVED})
    terminalreporter.section("observed with the real looop")
    terminalreporter.line(f"| | | {' | '.join(versions)} |\n|---|---|{'---|' * len(versions)}")
    for step, direction in sorted({seen[:2] for seen in OBSERVED}):
        cells = ["; ".join(sorted(seen.outcome for seen in OBSERVED if seen[:3] == (step, direction, v))) for v in versions]
        terminalreporter.line(f"| {step} | {direction} | {' | '.join(cells)} |")
