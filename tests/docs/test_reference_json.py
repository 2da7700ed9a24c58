"""The schemas of docs/reference/schema have no field that is never said: real output of each verb shows each of them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.capabilities import needs_fork, needs_null_signals, needs_schemas, needs_sh, needs_sqlite
from support.schemas import Object, objects_in, resolved, schemas, variant_of, variants_of

from looop_portable import Claims, Settling
from looop_portable.cli import main

ROOT = Path(__file__).resolve().parents[2]
LOOOP = [sys.executable, "-m", "looop_portable"]
SOON = 20.0
NEVER_HERE = {
    ("watch", "unknown"): "whether a holder lives can be told here",
    ("watch", "alive"): "it comes after that",
    ("doctor", "unanswered"): "this one answers",
}
"""What words are not said in this test, and why; others say them, or a unit test does."""
PLUGIN = f"""
import sys
sys.path[:0] = [{str(ROOT / "examples")!r}]
from looop_portable.backends.base import Fact
from looop_portable.backends.on_engine import OnEngine
from sqlite_engine import SqliteEngine

class Says(SqliteEngine):
    def __init__(self, path, url):
        super().__init__(path)
        self.url = url

    def verify(self):
        return [Fact("version", "tape 7", "evicts" not in self.url, "keep it dry")]

def open_tape(data_dir, url=""):
    return OnEngine(Says(data_dir + ".sqlite", url), "tape")
"""


class Stage:
    """A store, and all that is said with --json about it. What fits no schema fails at once."""

    def __init__(self, where: Path, patch: pytest.MonkeyPatch) -> None:
        self.where, self.patch = where, patch
        self.data = where / "data"
        self.said: list[Object] = []
        self._processes: list[subprocess.Popen[Any]] = []

    def say(self, *args: str) -> list[Object]:
        """The command, in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
            main(["--json", *args])
        return self.note(out.getvalue())

    def run(self, *args: str, **environment: str) -> list[Object]:
        """`looop run`, which says it on stderr."""
        done = subprocess.run(
            [*LOOOP, "--json", "run", *args],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=SOON,
            check=False,
        )
        return self.note(done.stderr)

    def note(self, text: str) -> list[Object]:
        found = list(objects_in(text))
        for each in found:
            variant_of(each)
        self.said += found
        return found

    def start(self, *command: str) -> subprocess.Popen[str]:
        self._processes.append(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return self._processes[-1]

    def session(self, name: str) -> subprocess.Popen[str]:
        process = self.start("sleep", "600")
        self.say("session", "start", name, "--pid", str(process.pid))
        return process

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()

    def close(self) -> None:
        for each in self._processes:
            self.kill(each)


def of_sessions(stage: Stage) -> None:
    pid = str(stage.start("sleep", "600").pid)
    stage.say("session", "start", "w", "--pid", pid)
    stage.say("session", "start", "timed", "--ttl", "1h")
    stage.say("session", "renew", "timed")
    (kept,) = stage.say("session", "start", "kept", "--pid", pid, "--lease", "30")
    stage.say("session", "keep", "kept")
    os.kill(kept["keeper"], signal.SIGKILL)
    end = time.monotonic() + SOON
    while stage.say("session", "keep", "kept")[-1]["outcome"] != "started":
        assert time.monotonic() < end
    stage.say("session", "list")
    for _ in range(2):
        stage.say("session", "stop", "kept")


def of_claims(stage: Stage) -> None:
    for name in ("w1", "w2"):
        stage.session(name)
    as_w1, as_w2 = ("--session", "w1"), ("--session", "w2")
    stage.say("claim", "a", "--note", "why", *as_w1)
    stage.say("claim", "a", *as_w1)
    stage.say("claim", "a", *as_w2)
    stage.say("claim", "a", *as_w2, "--wait", "100ms")
    stage.say("claim", "both", "--shared", "--note", "why", *as_w1)
    stage.say("claim", "both", "--shared", *as_w2)
    stage.say("wait", "a", *as_w1)
    stage.say("wait", "a", "--timeout", "100ms")
    stage.say("wait", "free")
    stage.say("check", "a", "--generation", "1")
    stage.say("check", "a", "--generation", "9")
    stage.say("unclaim", "a", *as_w2)
    stage.say("unclaim", "a", "--dry-run", *as_w1)
    stage.say("show", "a")
    stage.say("show", "free")
    stage.say("claims")
    stage.say("claims", "-o", "wide")
    inside = {"LOOOP_SESSION_ID": "inner", "LOOOP_OUTER_SESSIONS": "w1"}
    for name, value in inside.items():
        stage.patch.setenv(name, value)
    for verb in ("claim", "unclaim", "wait"):
        stage.say(verb, "a")
    for name in inside:
        stage.patch.delenv(name)
    waiter = stage.start(*LOOOP, "claim", "a", "--wait", *as_w2)
    end = time.monotonic() + SOON
    while not stage.say("queue", "a"):
        assert time.monotonic() < end
    stage.say("show", "a")
    stage.kill(waiter)
    stage.say("transfer", "a", "--to", "w2", *as_w2)
    stage.say("transfer", "free", "--to", "w2", *as_w1)
    stage.say("transfer", "free", "--to", "w2", "--slots", "2", *as_w1)
    stage.say("transfer", "a", "--to", "w2", *as_w1)
    stage.say("unclaim", "both", "a", *as_w2)
    stage.say("unclaim", "both", *as_w1)


def of_the_dead(stage: Stage) -> None:
    stage.session("heir")
    for how in (("--note", "why"), ("--note", "why", "--shared")):
        for name in ("taken", "let", "reaped", "swept"):
            killed = [stage.session(f"{name}{each}") for each in (1, 2)]
            for each in (1, 2):
                stage.say("claim", name, *how, "--session", f"{name}{each}")
            for process in killed:
                stage.kill(process)
        stage.say("claim", "taken", *how, "--session", "heir")
        stage.say("unclaim", "let", "--session", "heir")
        stage.say("reap", "--dry-run")
        stage.say("reap")
        stage.say("unclaim", "taken", "--session", "heir")
    gone, stays = stage.session("gone"), stage.session("stays")
    for name in ("gone", "stays"):
        stage.say("claim", "half", "--shared", "--note", "why", "--session", name)
    stage.kill(gone)
    stage.say("reap")
    stage.kill(stays)
    for name in ("nobody", "no one"):
        stage.say("claim", "unprotected", "--shared", "--session", name)
    stage.say("unclaim", "unprotected", "--session", "heir")


def of_operators(stage: Stage) -> None:
    for name in ("b1", "b2"):
        stage.session(name)
        stage.say("claim", "shared", "--shared", "--note", "why", "--session", name)
    why = ("--reason", "it is stuck")
    stage.say("break", "shared", "--generation", "1", "--dry-run", *why)
    stage.say("break", "shared", "--generation", "1", *why, "--data-dir", str(stage.data))
    stage.patch.setenv("LOOOP_SESSION_ID", "operator")
    stage.say("break", "shared", "--generation", "2", *why)
    stage.patch.delenv("LOOOP_SESSION_ID")
    stage.say("break", "shared", "--generation", "2", *why)
    stage.say("prune", "--older-than", "0", "--dry-run")
    stage.say("prune", "--older-than", "0")
    stage.say("adopt", "advisory", "--all-stopped")
    stage.patch.setenv("LOOOP_DATA_DIR", str(stage.where / "adopts"))
    stage.say("session", "start", "user", "--pid", str(os.getpid()))
    stage.say("claim", "a", "--session", "user")
    stage.say("session", "stop", "user")
    for more in ("--dry-run", "--all-stopped", "--all-stopped"):
        stage.say("adopt", "advisory", more)
    stage.patch.setenv("LOOOP_DATA_DIR", str(stage.data))
    stage.say("paths")
    stage.say("completion", "bash")


def of_run(stage: Stage) -> None:
    stage.session("holder")
    stage.say("claim", "taken", "--session", "holder")
    stage.run("--claim", "taken", "--", "true")
    stage.run("--claim", "taken", "--wait", "100ms", "--", "true")
    stage.run("--claim", "taken", "--", "true", LOOOP_SESSION_ID="holder")
    stage.run("--claim", "r", "--max-hold", "200ms", "--note", "why", "-s", "--", "sleep", "60")
    stage.run("--claim", "r", "-s", "--note", "why", "--", "sh", "-c", "kill -TERM $$")
    (left,) = stage.run("--", "sh", "-c", "sleep 60 > /dev/null 2>&1 &")
    os.kill(int(re.findall(r"\d+", left["processes"][0])[0]), signal.SIGKILL)
    breaks = f"{sys.executable} -m looop_portable break r1 --generation $LOOOP_CLAIM_GENERATION --reason why; sleep 60"
    stage.run("--claim", "r1", "--claim", "r2", "-s", "--note", "why", "--lease", "3", "--", "sh", "-c", breaks)
    silent = "rm $LOOOP_DATA_DIR/sessions/$LOOOP_SESSION_ID/heartbeat-*; sleep 60"
    stage.run("--claim", "r3", "-s", "--note", "why", "--lease", "3", "--", "sh", "-c", silent)
    spoils = "cd $LOOOP_DATA_DIR/claims/.ledger && rm -r r4 && touch r4"
    stage.run("--claim", "r4", "--", "sh", "-c", spoils)
    (stage.data / "claims" / ".ledger" / "r4").unlink()
    program = stage.where / "program"
    program.write_text("no program")
    stage.run("--", str(program))
    stage.run("--", "no-such-program")


def of_watch(stage: Stage) -> None:
    """What has happened, as it happens."""
    for name in ("v1", "v2"):
        stage.session(name)
    dying = stage.session("v3")
    stage.say("claim", "before", "--session", "v1")
    watch = stage.start(*LOOOP, "--json", "watch", "--interval", "100ms")
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in watch.stdout or ():
            lines.put(line)

    reads = threading.Thread(target=read)
    reads.start()

    def expect(outcome: str, name: str = "") -> None:
        while True:
            (seen,) = stage.note(lines.get(timeout=SOON).strip())
            if seen["outcome"] == outcome and (not name or seen["name"] == name):
                return

    expect("held", "before")
    stage.say("claim", "now", "--session", "v1")
    expect("claimed", "now")
    stage.say("transfer", "now", "--to", "v2", "--session", "v1")
    expect("claimed", "now")
    stage.say("unclaim", "now", "--session", "v2")
    expect("released", "now")
    stage.say("claim", "dies", "--session", "v3")
    expect("claimed", "dies")
    stage.kill(dying)
    expect("died", "dies")
    generations = stage.data / "claims" / ".ledger" / "before"
    generations.rename(stage.where / "generations")
    generations.write_text("no directory")
    stage.say("claims")
    expect("unreadable", "before")
    generations.unlink()
    (stage.where / "generations").rename(generations)
    expect("readable", "before")
    stage.data.rename(stage.where / "elsewhere")
    expect("unreachable")
    (stage.where / "elsewhere").rename(stage.data)
    expect("reachable")
    stage.kill(watch)
    reads.join()


def of_damage(stage: Stage) -> None:
    """What could not be done: each in a store of its own."""

    def store(name: str) -> Path:
        stage.patch.setenv("LOOOP_DATA_DIR", str(stage.where / name))
        stage.say("session", "start", "d", "--pid", str(os.getpid()))
        stage.say("claim", "a", "--session", "d")
        return stage.where / name

    data = store("unreadable")
    (data / "claims" / ".ledger" / "b").write_text("no directory")
    stage.say("reap")
    stage.say("prune", "--older-than", "0")
    data = store("no sessions")
    (data / "sessions").rename(data / "gone")
    (data / "sessions").write_text("")
    stage.say("reap")
    data = store("strange")
    (data / "claims" / ".ledger" / ".protocol.json").write_text('{"protocol": 99}\n')
    stage.say("prune")
    stage.say("show", "a")
    stage.say("doctor", "--seconds", "100ms", "--processes", "2")
    stage.patch.setenv("LOOOP_DATA_DIR", str(stage.data))


def of_errors(stage: Stage) -> None:
    stage.say("claim")
    stage.say("claim", "a/b", "--session", "w")
    stage.say("claim", "a")
    stage.say("session", "start", "over", "--pid", str(os.getpid()))
    stage.say("session", "stop", "over")
    stage.say("claim", "a", "--session", "over")
    stage.session("twice")
    stage.say("session", "start", "twice", "--pid", str(os.getpid()))
    stage.say("session", "start", "--pid", str(2**22 + 1))
    stage.say("--backend", "no-such", "claims")
    stage.say("--backend", "windows", "claims")
    stage.say("--backend", "advisory", "claims")
    (stage.where / "file").write_text("")
    stage.say("--data-dir", str(stage.where / "file"), "claims")
    broken = importlib.metadata.EntryPoint("lacking", "no_such_module:open", "looop_portable.backends")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.metadata.entry_points", lambda **_: importlib.metadata.EntryPoints([broken]))
        stage.say("--backend", "lacking", "claims")
    for error in (Settling("the store settles", 3.0), RuntimeError("a fault")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Claims, "list", raising(error))
            stage.say("claims")


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def of_doctors(stage: Stage) -> None:
    short = ("--seconds", "200ms", "--processes", "2")
    place = stage.where / "place"
    place.mkdir()
    stage.say("doctor", str(stage.data), *short)
    pair = [stage.start(*LOOOP, "--json", "doctor", str(place), "--with-hosts", "2", *short) for _ in range(2)]
    for each in pair:
        stage.note(each.communicate(timeout=SOON)[0])
    site = stage.where / "site"
    (site / "tape-1.0.dist-info").mkdir(parents=True)
    (site / "tape-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tape\nVersion: 1.0\n")
    (site / "tape-1.0.dist-info" / "entry_points.txt").write_text(
        "[looop_portable.backends]\ntape = tape_engine:open_tape\n"
    )
    (site / "tape_engine.py").write_text(PLUGIN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    url = "tape://deck/1"
    commands = (
        ["doctor", url, *short],
        ["doctor", f"{url}?evicts=1"],
        *(["--backend", url, verb] for verb in ("paths", "prune")),
    )
    for command in commands:
        done = subprocess.run(
            [*LOOOP, "--json", *command],
            env=environment | {"LOOOP_DATA_DIR": str(stage.where / "far")},
            capture_output=True,
            text=True,
            check=False,
        )
        stage.note(done.stdout)


ACTS = (of_sessions, of_claims, of_watch, of_the_dead, of_operators, of_run, of_damage, of_errors, of_doctors)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Object]]:
    """All that is said, and all lines of the log."""
    where = tmp_path_factory.mktemp("json")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LOOOP_SESSION_ID", "LOOOP_BACKEND", "LOOOP_HOST_ID", "LOOOP_OUTER_SESSIONS"):
            patch.delenv(name, raising=False)
        patch.setenv("LOOOP_DATA_DIR", str(where / "data"))
        patch.setenv("XDG_STATE_HOME", str(where / "state"))
        patch.setenv("LOOOP_LEASE", "0")
        stage = Stage(where, patch)
        try:
            for act in ACTS:
                act(stage)
            stage.say("events")
        finally:
            stage.close()
        yield stage.said


pytestmark = [needs_fork, needs_sh, needs_sqlite, needs_null_signals, needs_schemas]


def test_each_field_and_each_outcome_of_a_schema_is_said(said: list[Object]) -> None:
    shown: dict[tuple[str, int], set[str]] = {}
    for each in said:
        shown.setdefault(variant_of(each), set()).update(fields_in(each))
    anywhere = set[str]().union(*shown.values())  # What is in an object that several have is said by one of them.
    missing = {
        f"{name}: {variant['title']}": lacks
        for name in schemas()
        if name != "common"
        for at, variant in enumerate(variants_of(name))
        if (
            lacks := {
                each
                for each in fields_of(variant) - shown.get((name, at), set())
                if each not in anywhere or "." not in each
            }
        )
    }
    assert missing == {}
    assert outcomes_not_in(said) == set()


def outcomes_not_in(said: list[Object]) -> set[tuple[str, str]]:
    """The words of `outcome`, `event` and `code` that are in a schema, and were not said."""
    told = {(variant_of(each), each.get("outcome", each.get("event"))) for each in said}
    allowed = {
        ((name, at), word)
        for name in schemas()
        if name != "common"
        for at, variant in enumerate(variants_of(name))
        for word in variant["properties"].get("outcome", variant["properties"].get("event"))["enum"]
    }
    codes = {each["code"] for each in said if each.get("outcome") == "error"}
    missed = {(name, word) for (name, at), word in allowed - told} - NEVER_HERE.keys()
    return missed | {("error", each) for each in variants_of("error")[0]["properties"]["code"]["enum"] if each not in codes}


def fields_in(said: Mapping[str, Any], before: str = "") -> set[str]:
    """With those of the objects in it; of one with names for keys its own."""
    found: set[str] = set()
    for name, value in said.items():
        found.add(f"{before}{name}")
        for each in value if isinstance(value, list) else [value]:
            found |= fields_in(each, f"{before}{name}.") if isinstance(each, dict) else set()
    return found


def fields_of(schema: Mapping[str, Any], before: str = "") -> set[str]:
    found: set[str] = set()
    for name, given in schema["properties"].items():
        found.add(f"{before}{name}")
        value = resolved(given)
        inner = resolved(value.get("items", value))
        for each in [inner, *map(resolved, inner.get("oneOf", ()))]:
            found |= fields_of(each, f"{before}{name}.") if "properties" in each else set()
    return found


def test_a_field_that_is_in_no_schema_is_found() -> None:
    right = {"verb": "unclaim", "outcome": "released", "name": "a", "generation": 2}
    assert variant_of(right)[0] == "unclaim"
    for wrong in ({**right, "more": 1}, {"verb": "unclaim", "outcome": "released", "name": "a"}, {**right, "name": None}):
        with pytest.raises(AssertionError):
            variant_of(wrong)


def test_each_schema_is_one_and_is_on_the_page() -> None:
    text = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
    draft = importlib.import_module("jsonschema").Draft202012Validator
    for name, schema in schemas().items():
        draft.check_schema(schema)
        assert f"{name}.json" in text
        for variant in schema.get("oneOf", ()):
            assert variant["additionalProperties"] is False
