"""`doctor URL`: what a store says of itself, a race there, and a verdict in one line that has no password."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import needs_sqlite

Run = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("--seconds", "0.3", "--processes", "2")
PLUGIN = """
import os, sys, time
sys.path[:0] = [{examples!r}]
from looop_portable.backends.base import Fact
from looop_portable.backends.memory import MemoryEngine
from looop_portable.backends.on_engine import OnEngine
from looop_portable.errors import CannotExclude, Settling, Unavailable
from sqlite_engine import SqliteEngine

class Says(SqliteEngine):
    def __init__(self, url):
        super().__init__(os.environ["FILE_OF_TAPE"])
        self.url = url

    def verify(self):
        if "silent" in self.url:
            raise Unavailable(f"{{self.url}}: no answer")
        if "never" in self.url:
            raise CannotExclude(f"{{self.url}}: a copy, which takes no claims: name the original")
        facts = [Fact("version", "tape 7"), Fact("persistence", f"all of it, at {{self.url}}", advice="keep it dry")]
        return facts + [Fact("eviction", "old claims are dropped", False, "turn it off")] * ("evicts" in self.url)

    def advance(self, kind, key, after, data, *, not_after):
        settles = os.environ["FILE_OF_TAPE"] + "-settles"
        if kind == "claim" and "settles" in self.url:
            open(settles, "a").close()
            left = os.stat(settles).st_mtime + (600 if "long" in self.url else 1.5) - time.time()
            if left > 0:
                raise Settling(f"{{self.url}}: the tape was changed: nothing is claimed for {{left:.0f}} s", left)
        return super().advance(kind, key, after, data, not_after=not_after)

class Everybody(MemoryEngine):
    '''Each process has a store of its own.'''

def open_tape(data_dir, url=""):
    return OnEngine(Everybody() if "everybody" in url else Says(url), "tape")
"""


@pytest.fixture
def doctor(
    looop: Run, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    examples = Path(__file__).parents[2] / "examples"
    place = tmp_path / "site" / "looop_portable_tape-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: looop-portable-tape\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text("[looop_portable.backends]\ntape = tape_engine:open_tape\n")
    (place.parent / "tape_engine.py").write_text(PLUGIN.format(examples=str(examples)))
    paths = [str(place.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("FILE_OF_TAPE", str(tmp_path / "tape.sqlite"))

    def asked(url: str, *more: str) -> subprocess.CompletedProcess[str]:
        done = looop("--data-dir", str(data_dir), *more, "doctor", url, *SHORT)
        assert "s3cret-of-tape" not in done.stdout + done.stderr
        assert not list(data_dir.parent.rglob(".looop-doctor-*"))
        return done

    return asked


pytestmark = needs_sqlite


def test_a_store_that_excludes_is_recommended_with_what_it_says_and_what_was_seen(doctor: Run) -> None:
    done = doctor("tape://me:s3cret-of-tape@deck/1")
    *_, verdict = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdict.startswith("verdict: use --backend tape://me:***@deck/1: 2 processes, ")
    assert verdict.endswith(" ms a turn, 0 overlaps")
    assert "version         tape 7\n" in done.stdout
    assert "note: persistence: keep it dry\n" in done.stdout


def test_one_that_lets_two_win_is_refused_by_what_it_says_without_a_race(doctor: Run) -> None:
    done = doctor("tape://me:s3cret-of-tape@deck/evicts")
    *_, verdict = done.stdout.splitlines()
    assert done.returncode == 1
    assert verdict == ("verdict: do not use tape://me:***@deck/evicts: eviction: old claims are dropped (turn it off)")
    assert "ACQUISITIONS" not in done.stdout


def test_one_that_says_nothing_and_lets_two_win_is_refused_by_the_race(doctor: Run) -> None:
    done = doctor("tape://me:s3cret-of-tape@deck/everybody")
    *_, verdict = done.stdout.splitlines()
    assert done.returncode == 1
    assert verdict.startswith("verdict: do not use tape://me:***@deck/everybody: ")
    assert "overlap" in verdict or "generation did not grow" in verdict


def test_a_copy_is_refused_in_its_own_words_and_one_that_is_silent_is_no_answer(doctor: Run) -> None:
    never, silent = doctor("tape://me:s3cret-of-tape@deck/never"), doctor("tape://me:s3cret-of-tape@deck/silent")
    assert (never.returncode, silent.returncode) == (1, 3)
    assert never.stdout.endswith("a copy, which takes no claims: name the original\n")
    assert silent.stdout == "verdict: no answer: tape://me:***@deck/silent: no answer\n"


def test_one_that_settles_says_why_and_until_when_and_is_raced_after_that(doctor: Run) -> None:
    done = doctor("tape://me:s3cret-of-tape@deck/settles")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^settling        until \d\d:\d\d:\d\d: .*the tape was changed: nothing is claimed for ", done.stdout, re.MULTILINE
    )
    assert "verdict: use --backend tape://me:***@deck/settles: 2 processes, " in done.stdout


def test_one_that_settles_for_longer_is_no_answer_but_all_else_is_told(doctor: Run) -> None:
    done = doctor("tape://me:s3cret-of-tape@deck/settles-long")
    *_, verdict = done.stdout.splitlines()
    assert done.returncode == 3
    told = (
        r"verdict: no answer: nothing is claimed there before \d\d:\d\d:\d\d, as it settles: ask again then, or wait with "
    )
    assert re.fullmatch(rf"{told}--timeout (600|599)s", verdict)
    assert "version         tape 7\n" in done.stdout
    assert "settling        until " in done.stdout


def test_json_has_the_facts_and_the_race(doctor: Run) -> None:
    found = json.loads(doctor("tape://me:s3cret-of-tape@deck/1", "--json").stdout)
    assert found["outcome"] == "use"
    assert found["store"] == "tape://me:***@deck/1"
    assert found["facts"][0] == {"name": "version", "found": "tape 7", "excludes": True, "advice": ""}
    assert found["race"]["overlaps"] == 0
    assert found["race"]["acquisitions"] > 0


def test_hosts_do_not_race_in_a_store(run: Run, doctor: Run) -> None:
    done = run("doctor", "tape://deck/1", "--with-hosts", "2")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
