"""A data directory remembers where its claims live: whoever forgets --backend is refused, and told."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from support.capabilities import NATIVE, NativeBackend

from looop_portable import Claims
from looop_portable.backends import open_backend
from looop_portable.backends.memory import MemoryBackend
from looop_portable.backends.remembered import Remembered, is_remembered
from looop_portable.errors import LooopError, UnknownProtocol, WrongBackend
from looop_portable.ledger import stamp
from looop_portable.protocol.records import Holder, Lease
from looop_portable.system.files.posix import OsFiles

Run = Callable[..., subprocess.CompletedProcess[str]]
LEASE = Lease("x", "w1", "i1", 1)
MARK = {"protocol": 1, "backend": "floppy", "guard": "of the backend floppy"}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two backends of others: `floppy` and `tape`. Their claims are in memory."""
    target, group = "looop_portable.backends.memory:open_memory", "looop_portable.backends"
    entries = EntryPoints([EntryPoint(name, target, group) for name in ("floppy", "tape")])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries.select(group=group))


def record(data_dir: Path) -> object:
    return json.loads((data_dir / "claims" / ".ledger" / ".protocol.json").read_bytes())


def test_a_user_who_forgets_the_backend_is_refused_and_told(run: Run, data_dir: Path) -> None:
    assert run("--backend", "floppy", "claims").returncode == 0
    assert not data_dir.exists()
    assert run("--backend", "floppy", "claim", "repo-x", "--session", "w1").stdout == "claimed repo-x\n"
    assert record(data_dir) == MARK
    for args in (("claim", "repo-x", "--session", "w2"), ("claims",), ("unclaim", "repo-x", "--session", "w1"), ("reap",)):
        done = run(*args)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert "in the backend 'floppy' and not in files: use --backend floppy, or LOOOP_BACKEND=floppy" in done.stderr
    assert json.loads(run("--json", "claims").stdout)["code"] == "wrong_backend"
    assert not (data_dir / "claims" / "repo-x.json").exists()
    assert run("--backend", "floppy", "claim", "repo-y", "--session", "w1").returncode == 0
    other = run("--backend", "tape", "claim", "repo-x", "--session", "w1")
    assert (other.returncode, "use --backend floppy" in other.stderr) == (3, True)


@pytest.mark.parametrize("backend", ["auto", NATIVE])
def test_a_backend_of_others_is_refused_where_claims_are_in_files(run: Run, data_dir: Path, backend: str) -> None:
    assert run("--backend", backend, "claim", "repo-x", "--session", "w1").returncode == 0
    before = record(data_dir)
    for args in (("claim", "repo-x", "--session", "w2"), ("claims",)):
        done = run("--backend", "floppy", *args)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert "in files, not in the backend 'floppy': use it without --backend" in done.stderr
    assert record(data_dir) == before
    assert run("claim", "repo-x", "--session", "w1").returncode == 0


def test_the_doctor_tells_it_too(run: Run, data_dir: Path) -> None:
    assert run("--backend", "floppy", "claim", "repo-x", "--session", "w1").returncode == 0
    done = run("doctor", str(data_dir), "--seconds", "0.1", "--processes", "2")
    assert (done.returncode, "use --backend floppy" in done.stdout) == (1, True)


def test_it_is_remembered_by_its_own_name_alone(data_dir: Path) -> None:
    assert not is_remembered("floppy", str(data_dir))
    open_backend("floppy", str(data_dir)).advance("x", 0, LEASE)
    found = {name: is_remembered(name, str(data_dir)) for name in ("floppy", "tape", "auto", "tape:///x", "floppy:///x")}
    assert found == {"floppy": True, "tape": False, "auto": False, "tape:///x": False, "floppy:///x": True}


def test_versions_before_refuse_it_too(data_dir: Path) -> None:
    """They look at the number of the protocol, and at the guard: this one they do not know."""
    open_backend("floppy", str(data_dir)).advance("x", 0, LEASE)
    found = record(data_dir)
    assert isinstance(found, dict)
    del found["backend"]
    with pytest.raises(UnknownProtocol, match="of the backend floppy"):
        stamp.stamped(str(data_dir), json.dumps(found).encode())


def test_an_address_is_remembered_without_what_is_secret_in_it(tmp_path: Path) -> None:
    for name in ("tape://user:secret@host/0?token=secret", "tape", "tape://another:one@HOST/0?token=other"):
        Remembered(MemoryBackend(), name, str(tmp_path)).advance("x", 0, LEASE)
    assert record(tmp_path) == {
        "protocol": 1,
        "backend": "tape",
        "guard": "of the backend tape",
        "address": "tape://user:***@host/0?token=***",
    }
    with pytest.raises(
        WrongBackend, match=r"'tape' \(tape://user:\*\*\*@host/0\?token=\*\*\*\) and not in files"
    ) as refusal:
        Claims.open(str(tmp_path), NATIVE).claim("x", "w")
    assert "secret" not in str(refusal.value)
    with pytest.raises(WrongBackend, match=r"use --backend tape://user:\*\*\*@host/0"):
        Remembered(MemoryBackend(), "floppy://host", str(tmp_path))


def test_another_store_of_the_same_scheme_is_refused(tmp_path: Path) -> None:
    Remembered(MemoryBackend(), "tape://user:secret@host/0", str(tmp_path)).advance("x", 0, LEASE)
    for other in ("tape://user:secret@other/0", "tape://user:secret@host/1", "tape://host:1/0", "tape://host/0?prefix=ci"):
        with pytest.raises(
            WrongBackend, match=r"are in the backend 'tape' \(tape://user:\*\*\*@host/0\), not at "
        ) as refusal:
            Remembered(MemoryBackend(), other, str(tmp_path))
        told = str(refusal.value)
        assert "secret" not in told
        assert "use --backend tape://user:***@host/0" in told
        assert f"remove {str(tmp_path).replace(os.sep, '/')}/claims/.ledger/.protocol.json" in told


def test_who_came_by_the_name_alone_says_not_which(tmp_path: Path) -> None:
    Remembered(MemoryBackend(), "tape", str(tmp_path)).advance("x", 0, LEASE)
    for name in ("tape://host/0", "tape://other/1", "tape"):
        Remembered(MemoryBackend(), name, str(tmp_path))


def test_a_long_address_is_itself(tmp_path: Path) -> None:
    for directory in (tmp_path / "a", tmp_path / "b"):
        long = f"tape://host/{directory.name * 1000}"
        Remembered(MemoryBackend(), long, str(directory)).advance("x", 0, LEASE)
        Remembered(MemoryBackend(), long, str(directory))


def test_one_of_two_that_come_first_at_once_is_refused(tmp_path: Path) -> None:
    for turn in range(20):
        directory = str(tmp_path / str(turn))
        told: list[str] = []
        both = [open_backend(name, directory) for name in ("floppy", NATIVE)]
        ready = threading.Barrier(2)

        def claim(backend: object, ready: threading.Barrier = ready, told: list[str] = told) -> None:
            ready.wait()
            try:
                told.append(str(backend.advance("x", 0, LEASE)))  # type: ignore[attr-defined]
            except WrongBackend:
                told.append("refused")

        threads = [threading.Thread(target=claim, args=(backend,)) for backend in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told) == ["True", "refused"]


class Nowhere(OsFiles):
    """A filesystem that answers nothing."""

    def __getattribute__(self, name: str) -> object:
        if name in ("read", "create", "mkdir", "refuse_link", "shared_bits"):
            raise PermissionError(13, "Permission denied", name)
        return super().__getattribute__(name)


def test_a_registration_is_remembered_too(run: Run, data_dir: Path) -> None:
    assert run("--backend", "floppy", "session", "start", "w1", "--pid", str(os.getpid())).returncode == 0
    assert record(data_dir) == MARK
    assert run("claim", "repo-x", "--session", "w1").returncode == 3


def elsewhere(data_dir: str) -> NativeBackend:
    return NativeBackend(f"{data_dir}/of-its-own")


def here(data_dir: str) -> NativeBackend:
    return NativeBackend(data_dir)


def test_files_of_a_backend_of_others_are_elsewhere_or_they_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for opener, is_elsewhere in ((elsewhere, True), (here, False)):
        monkeypatch.setattr("looop_portable.backends.find", lambda name, opener=opener: opener)
        directory = tmp_path / opener.__name__
        assert Claims(open_backend("floppy", str(directory))).backend.advance("x", 0, LEASE)
        assert (record(directory) == MARK) == is_elsewhere


def test_where_nothing_can_be_written_the_backend_works_all_the_same() -> None:
    backend = Remembered(MemoryBackend(), "floppy", "/nowhere", Nowhere())
    assert backend.advance("x", 0, LEASE)
    assert backend.read("x").generation == 1
    assert backend.unavailable() is None


def test_memory_is_remembered_by_nobody(tmp_path: Path) -> None:
    assert Claims.open(str(tmp_path), "memory").backend.advance("x", 0, LEASE)
    assert not list(tmp_path.iterdir())


ASKED: dict[str, tuple[object, ...]] = {
    "read": ("x",),
    "scan": (),
    "recall": ("x",),
    "held_by": (Holder("w1", "i1"), (), 0),
    "tidy": (),
    "close": (),
}
ASKED_OF_SESSIONS: dict[str, tuple[object, ...]] = {
    "read": ("x",),
    "forget": ("x",),
    "ids": (),
    "scan": (),
    "absent": ("x",),
    "stamp": ("x", 1),
    "tidy": (),
}


def test_what_others_ask_of_a_backend_goes_on_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend("floppy", str(tmp_path))
    assert isinstance(backend, Remembered)
    assert Claims(backend).sessions.register("w1").session == "w1"
    with pytest.raises(LooopError):
        Claims.open(str(tmp_path), "flop")
    asked: list[str] = []
    for target, names in ((backend._backend, ASKED), (backend._backend.sessions, ASKED_OF_SESSIONS)):
        for name in names:
            monkeypatch.setattr(target, name, lambda *_, name=name: asked.append(name))
    for store, names in ((backend, ASKED), (backend.sessions, ASKED_OF_SESSIONS)):
        for name, arguments in names.items():
            getattr(store, name)(*arguments)
    assert asked == [*ASKED, *ASKED_OF_SESSIONS]
