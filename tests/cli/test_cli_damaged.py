"""A claim whose record somebody has written over: every verb says so, and none that its holder is session ''."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from looop_portable import Claims

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
HOLDER = "held by a session that cannot be read"
END = "looop break 'a b' --generation 1 --reason TEXT"


@pytest.fixture
def damaged(run: Run, data_dir: Path, alive: Living) -> str:
    """The name of a claim of w1's, of which neither record can be read; w2 lives too."""
    name = "a b"
    alive("w1")
    alive("w2")
    assert run("claim", name, "--session", "w1").returncode == 0
    for record in (data_dir / "claims" / f"{name}.json", data_dir / "claims" / ".ledger" / name / "1"):
        record.chmod(0o644)
        record.write_bytes(b'{"session": "\0')
    return name


@pytest.mark.parametrize(
    "args", [("claim",), ("claim", "--wait", "10ms"), ("unclaim",), ("transfer", "--to", "w1"), ("run", "--claim")]
)
def test_a_refusal_says_that_its_holder_cannot_be_read_and_how_to_end_it(
    run: Run, damaged: str, args: tuple[str, ...]
) -> None:
    verb, *options = args
    named = [*options, damaged, "--", "true"] if verb == "run" else [damaged, *options, "--session", "w2"]
    said = run(verb, *named).stderr.splitlines()
    assert said[0].startswith(f"{verb} {damaged}: {HOLDER}")
    evidence = next(line for line in said if line.startswith("  evidence"))
    assert "may be it" in evidence
    assert f"if nobody holds it: {END}" in evidence
    assert said[-1].endswith(f": {END}") or "in vain" in said[-1]
    assert not any("''" in line for line in said)


def test_so_does_show(run: Run, damaged: str) -> None:
    first, *_, last = run("show", damaged).stdout.splitlines()
    assert first == f"{damaged}: {HOLDER}, generation 1"
    assert last.endswith(END)


def test_so_does_the_library(damaged: str) -> None:
    from looop_portable import ClaimHeld, hold

    with pytest.raises(ClaimHeld, match=HOLDER):
        hold(damaged).acquire()


def test_a_claim_that_is_free_is_transferred_by_nobody(run: Run, alive: Living) -> None:
    alive("w1")
    assert Claims.open().claim("x", "w1")
    assert run("unclaim", "x", "--session", "w1").returncode == 0
    assert "not ours: it is free" in run("transfer", "x", "--to", "w1", "--session", "w2").stderr
