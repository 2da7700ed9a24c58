"""`docs/reference/files.md` describes every path that is made in a data directory, and no other."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capabilities import needs_flock, needs_links

from looop_portable import Claims, hold
from looop_portable.claims.events import Events
from looop_portable.doctor.workshop import opened

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
PLACEHOLDERS = {
    "INCARNATION": "[0-9a-f]{16}",
    "LONGNAME": "[^/.][^/]{139,}",
    "ATTEMPT": "[0-9]+",
    "TICKET": "[0-9]{12}",
    "NONCE": "[0-9a-f]{16}(?:[0-9a-f]{8})?",
    "NAME": "[^/.][^/]*",
    "BEAT": "[0-9]+",
    "ID": "[^/.][^/]*",
    "N": "[0-9]+",
}
NOT_MADE_HERE = {
    "claims/.ledger/.guard": "Windows hosts make it",
    "claims/.ledger/.guard-NONCE": "the same",
    "claims/.ledger/NAME/.N-NONCE": "versions before 0.2 make it",
    "claims/.ledger/.pruned/N/.dir-NONCE/": "who prunes while another claims",
    ".looop-doctor-hosts/": "it takes two hosts",
    "claims/.ledger/.end-NONCE/taken/N": "it comes there with its directory",
    "claims/.ledger/NAME/.age-NONCE": "it takes a generation that a power cut has emptied",
    "sessions/ID/.meta.json-NONCE": "by a descriptor of its directory: the hook is told no path",
    "sessions/ID/.status.json-NONCE": "the same",
}
"""What no process of this test makes, and why."""


def described() -> dict[str, re.Pattern[str]]:
    """The paths of the tables about the data directory, as patterns."""
    part = PAGE.partition("## In the data directory")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in part.splitlines() if re.match(r"\| `", line)]
    return {path: pattern(path) for row in rows for path in re.findall("`([^`]+)`", row)}


def pattern(path: str) -> re.Pattern[str]:
    words = "|".join(PLACEHOLDERS)
    parts = re.split(rf"({words})", path.rstrip("/"))
    return re.compile("".join(PLACEHOLDERS.get(part, re.escape(part)) for part in parts) + "/" * path.endswith("/"))


class Recorder:
    """The paths that this process has opened to make something, or renamed or linked to, below `root`."""

    def __init__(self) -> None:
        self.root = ""
        self.paths: set[str] = set()
        sys.addaudithook(self)  # It stays for as long as the process; without a root it does nothing.

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if not self.root:
            return
        if event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT:
            self.note(args[0])
        elif event == "os.mkdir":
            self.note(f"{args[0]}/")
        elif event in ("os.rename", "os.link"):
            self.note(f"{args[1]}/" if os.path.isdir(str(args[0])) else args[1])

    @contextlib.contextmanager
    def records(self, root: str) -> Iterator[None]:
        self.root, self.paths = root, set()
        try:
            yield
        finally:
            self.root = ""

    def note(self, path: object) -> None:
        if isinstance(path, str) and path.startswith(f"{self.root}/") and path != f"{self.root}/":
            self.paths.add(path.removeprefix(f"{self.root}/"))


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@needs_links
@needs_flock
def test_each_path_of_a_store_is_described_and_each_that_is_described_is_made(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found: set[str] = set()
    for backend in ("posix", "advisory", "without links"):
        root = tmp_path / backend
        if backend == "without links":
            monkeypatch.setattr(os, "link", denied)
        with recorder.records(str(root)):
            use(str(root), "auto" if backend == "without links" else backend)
        found |= recorder.paths | {f"{path.relative_to(root)}{'/' * path.is_dir()}" for path in root.rglob("*")}
    patterns = described()
    assert [path for path in sorted(found) if not any(each.fullmatch(path) for each in patterns.values())] == []
    missed = {path for path, each in patterns.items() if not any(map(each.fullmatch, found))}
    assert missed == NOT_MADE_HERE.keys()


def denied(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def use(root: str, backend: str) -> None:
    """Whatever makes something in a store."""
    claims = Claims.open(root, backend)
    long = "n" * 300
    for session in ("s" * 300, ""):
        me = claims.sessions.register(session, lease_seconds=30).holder
        for name in (long, "repo-x"):
            claims.claim(name, me)
            claims.release(name, me)
        claims.sessions.stop(me.session)
    with hold("repo-x", data_dir=root, backend=backend, lease_seconds=30):
        waits = threading.Thread(target=wait_for, args=(root, backend))
        waits.start()
        queue = Path(root, "claims", ".queue", "repo-x")
        end = time.monotonic() + 30
        while not (queue.is_dir() and any(queue.iterdir())):
            assert time.monotonic() < end
            time.sleep(0.01)
    waits.join()
    look_from_elsewhere(claims, root)
    claims.prune(0)
    me = claims.sessions.register("again").holder
    claims.claim("repo-x", me)
    claims.release("repo-x", me)
    Path(root, "claims", "stale.json").write_text("")
    claims.claim("stale", me)
    claims.reap()
    Events(f"{root}/events.jsonl", cap=1).emit("claimed", "repo-x")
    Events(f"{root}/events.jsonl", cap=1).emit("claimed", "repo-x")
    with opened(root):
        assert any(Path(root).glob(".looop-doctor-*"))


def wait_for(root: str, backend: str) -> None:
    with hold("repo-x", data_dir=root, backend=backend, timeout=60, lease_seconds=30):
        pass


def look_from_elsewhere(claims: Claims, root: str) -> None:
    """A heartbeat that seems to be of long ago is watched, and since when that is so is written down."""
    found = claims.sessions.register("seen", lease_seconds=30)
    (beat,) = Path(root, "sessions", "seen").glob("heartbeat-*")
    os.utime(beat, (1_000_000_000, 1_000_000_000))
    claims.backend.sessions.signs.silence(found)


def test_a_path_that_is_not_described_is_found() -> None:
    patterns = described().values()
    assert not any(each.fullmatch("claims/.ledger/cache") for each in patterns)
    assert any(each.fullmatch("claims/.ledger/repo-x/17") for each in patterns)


def test_what_a_lease_says_is_what_the_page_says(tmp_path: Path) -> None:
    claims = Claims.open(str(tmp_path), "auto")
    me = claims.sessions.register("me").holder
    claims.claim("repo-x", me)
    told = re.search(r"A lease says at least (.*?)\.", PAGE)
    assert told
    lease = json.loads((tmp_path / "claims" / ".ledger" / "repo-x" / "1").read_text())
    assert set(re.findall(r"`(\w+)`", told[1])) == set(lease)
