"""`claims -o prometheus`: metrics that a textfile collector reads, whatever is in a name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from looop_portable.cli.verbs.show.prometheus import exposition
from looop_portable.protocol.liveness import Liveness, Verdict
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.records import Lease
from looop_portable.protocol.standings import Standing

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]

_VALUE = r'"(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"(looop_\w+)(\{{\w+={_VALUE}(?:,\w+={_VALUE})*\}})? (\d+)")


def samples(text: str) -> dict[str, int]:
    """By metric and labels. Each metric has its head, before its samples, once."""
    found: dict[str, int] = {}
    heads: list[str] = []
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            assert line.endswith(" gauge")
            heads.append(line.split()[2])
        elif not line.startswith("# HELP"):
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] == heads[-1]
            found[sample[1] + (sample[2] or "")] = int(sample[3])
    assert len(set(heads)) == len(heads)
    return found


def test_what_is_held_is_counted(run: Run, alive: Living, data_dir: Path) -> None:
    empty = {f'looop_claims_held{{liveness="{each.value}"}}': 0 for each in Liveness} | {"looop_claims_unreadable": 0}
    done = run("claims", "-o", "prometheus")
    assert (done.returncode, samples(done.stdout), done.stderr) == (0, empty, "")
    alive("w1")
    gone = alive("w2")
    for name, session in (("a", "w1"), ("b", "w1"), ("ci-1", "w2")):
        run("claim", name, "--session", session)
    gone.kill()
    gone.wait()
    done = run("claims", "-o", "prometheus")
    assert (done.returncode, done.stderr) == (0, "")
    found = samples(done.stdout)
    assert [found[f'looop_claims_held{{liveness="{each}"}}'] for each in ("alive", "dead", "unknown")] == [2, 1, 0]
    by_claim = {key.split(",host")[0]: value for key, value in found.items() if "claim=" in key}
    assert by_claim['looop_claim_generation{claim="ci-1",session="w2"'] == 1
    assert 0 <= by_claim['looop_claim_age_seconds{claim="a",session="w1"'] < 3600
    assert len(by_claim) == 6
    (data_dir / "claims" / ".ledger" / "torn").write_text("no directory")
    done = run("claims", "ci-*", "-o", "prometheus")
    assert (done.returncode, sum("claim=" in key for key in samples(done.stdout))) == (0, 2)
    done = run("claims", "-o", "prometheus")
    assert (done.returncode, samples(done.stdout)["looop_claims_unreadable"]) == (3, 1)


def test_labels_are_escaped() -> None:
    lease = Lease('a"b\\c\nd', "é\x1b[0m", generation=7, host="")
    lines = list(exposition([Status(lease.name, 7, lease, Verdict(Liveness.UNKNOWN, ""), Standing.HELD)], 0))
    found = samples("\n".join(lines))
    (label,) = (key for key in found if key.startswith("looop_claim_generation"))
    assert label.startswith('looop_claim_generation{claim="a\\"b')
    assert "\x1b" not in label
    assert "é" in label


def test_it_is_no_json(run: Run) -> None:
    assert run("--json", "claims", "-o", "prometheus").returncode == 2
