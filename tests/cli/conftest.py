"""A store of its own for each test, the command in this process and as a process, and sessions that live or have died."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.schemas import CAN_VALIDATE, objects_in, variant_of

import looop_portable
from looop_portable import Claims
from looop_portable.cli import main

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Dying = Callable[..., "subprocess.Popen[bytes]"]
Start = Callable[..., "subprocess.Popen[bytes]"]

PACKAGE = str(Path(looop_portable.__file__).parents[1])
IDLER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"]

INTERRUPTED = """
import _thread, os, threading
from looop_portable.__main__ import main

def wait():
    os.read(0, 1)
    _thread.interrupt_main()

threading.Thread(target=wait, daemon=True).start()
main()
"""


def fits_its_schema(args: tuple[str, ...], said: str) -> None:
    """Whatever is said with --json is as docs/reference/json.md has it; but what is in the log, where others write too."""
    if CAN_VALIDATE and "--json" in args and "events" not in args:
        for each in objects_in(said):
            variant_of(each)


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store's directory, which is not there yet. Everything in a test uses it by LOOOP_DATA_DIR."""
    directory = tmp_path / "data"
    monkeypatch.setenv("LOOOP_DATA_DIR", str(directory))
    monkeypatch.setenv("LOOOP_LEASE", "0")  # No keepers, but where a test asks for one.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("LOOOP_SESSION_ID", "LOOOP_BACKEND", "LOOOP_HOST_ID", "_LOOOP_COMPLETE", "PYTHONIOENCODING", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return directory


@pytest.fixture
def without_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no distribution of `backends/` is installed, whether or not one is."""
    engines = tuple(f"looop_portable_{each}" for each in ("etcd", "objects", "postgres", "redis"))
    found = importlib.metadata.entry_points

    def others(*, group: str) -> importlib.metadata.EntryPoints:
        return importlib.metadata.EntryPoints([each for each in found(group=group) if not each.value.startswith(engines)])

    monkeypatch.setattr("importlib.metadata.entry_points", others)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process. An exception that escapes it fails the test."""

    def run_here(*args: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(args)
        said = capsys.readouterr()
        assert isinstance(end.value.code, int)
        assert "Traceback" not in said.out + said.err
        fits_its_schema(args, said.out)
        return subprocess.CompletedProcess(args, end.value.code, said.out, said.err)

    return run_here


@pytest.fixture
def looop() -> Run:
    """The command as a process of its own. Keywords are those of `subprocess.run`.

    `wrapper` comes before the command; it runs without those streams of `sys` that are named in `without`.
    """

    def run_process(
        *args: str, wrapper: tuple[str, ...] = (), without: tuple[str, ...] = (), **options: Any
    ) -> subprocess.CompletedProcess[str]:
        if "stdout" not in options:
            options["stdout"] = subprocess.PIPE
        if "stderr" not in options:
            options["stderr"] = subprocess.PIPE
        command = [*wrapper, sys.executable, "-m", "looop_portable", *args]
        if without:
            lines = ["import sys", *(f"sys.{name} = None" for name in without), "from looop_portable.__main__ import main"]
            command = [sys.executable, "-c", "\n".join([*lines, "main()"]), *args]
        options.setdefault("timeout", 60)
        if "cwd" in options:  # The package may be found by where we are.
            path = os.pathsep.join(filter(None, [PACKAGE, os.environ.get("PYTHONPATH", "")]))
            options["env"] = {**options.get("env", os.environ), "PYTHONPATH": path}
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, encoding="utf-8", errors="backslashreplace", **options
        )
        said = (done.stdout or "") + (done.stderr or "")
        assert "Traceback" not in said
        assert "Exception ignored" not in said
        if "run" not in args:  # Of which stdout is the command's.
            fits_its_schema(args, done.stdout or "")
        return done

    return run_process


@pytest.fixture(scope="session")
def idle() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that do nothing and that no test uses at the moment. Starting one can take as long as a test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def alive(data_dir: Path, idle: list[subprocess.Popen[bytes]]) -> Iterator[Living]:
    """Registers a session that lives by a process of its own, and returns that process. A test that stops it, ends it."""
    used: list[subprocess.Popen[bytes]] = []

    def start(session: str) -> subprocess.Popen[bytes]:
        process = idle.pop() if idle else subprocess.Popen(IDLER, stdin=subprocess.DEVNULL)
        used.append(process)
        Claims.open(str(data_dir)).sessions.register(session, pid=process.pid)
        return process

    yield start
    idle += [process for process in used if process.poll() is None]


@pytest.fixture
def dead(alive: Living, data_dir: Path) -> Dying:
    """Registers a session whose process has been killed, and is no zombie either; these claims it holds."""

    def start(session: str, *names: str) -> subprocess.Popen[bytes]:
        process = alive(session)
        for name in names:
            Claims.open(str(data_dir)).claim(name, session)
        process.kill()
        process.wait()
        return process

    return start


@pytest.fixture
def start() -> Iterator[Start]:
    """The command as a process, not waited for."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*args: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "looop_portable", *args]
        started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def interruptible() -> Callable[..., subprocess.Popen[bytes]]:
    """Starts the command; it is interrupted, as by Ctrl-C, when its stdin ends. Not every system can signal just one."""

    def start(*args: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", INTERRUPTED, *args], stdin=pipe, stdout=pipe, stderr=pipe)

    return start


@pytest.fixture
def tree(data_dir: Path) -> Callable[[], dict[str, tuple[int, int, bytes]]]:
    """All that is in the store: what each path is, when it was changed, and what it says."""

    def look() -> dict[str, tuple[int, int, bytes]]:
        found = {}
        for path in sorted(data_dir.rglob("*")):
            seen = os.lstat(path)
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path.relative_to(data_dir))] = (seen.st_ino, seen.st_mtime_ns, content)
        return found

    return look
