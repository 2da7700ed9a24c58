"""A backend that is chosen by its URL, and the password in that: nobody who looks at what we say, write or start has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import NATIVE, needs_proc, needs_sqlite
from support.engines import EXAMPLES

from looop_portable import Claims, LooopError, UsageError
from looop_portable.config import Config, resolve

Run = Callable[..., subprocess.CompletedProcess[str]]

SITE = {
    "looop_portable_tape-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: looop-portable-tape\nVersion: 1.0\n",
    "looop_portable_tape-1.0.dist-info/entry_points.txt": "[looop_portable.backends]\n"
    "tape = tape_by_url:open_tape\nby-name = tape_by_url:open_by_name\nhasty = tape_by_url:open_hasty\n",
    "tape_by_url.py": '''
"""A client of somebody else's, who tells everybody what he was told."""
import glob, os, sys
from urllib.parse import urlsplit
from sqlite_engine import SqliteEngine
from looop_portable.backends.on_engine import OnEngine

class Wrong(SqliteEngine):
    def _done(self, statement, *values):
        try:
            raise RuntimeError(f"login of {self.url} with {urlsplit(self.url).password}")
        except RuntimeError as error:
            raise ConnectionRefusedError(111, f"refused: {self.url}", self.url) from error

def open_tape(data_dir, url):
    found = urlsplit(url)
    found.port
    look(found.password)
    engine = (Wrong if found.hostname == "wrong" else SqliteEngine)(os.path.join(os.environ["TAPE"], "claims.sqlite"))
    engine.url = url
    return OnEngine(engine, "tape")

def open_by_name(data_dir):
    raise AssertionError

def open_hasty(data_dir, url):
    raise RuntimeError(f"no answer from {url}")

def look(password):
    """Whichever command line has the password now, the first process's own too, is noted; and had it when we began."""
    if password and os.environ.get("NOBODY_TYPED") and password in " ".join(sys.orig_argv):
        with open(os.environ["TAPE"] + "/seen", "a") as file:
            print(sys.orig_argv, file=file)
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                line = file.read()
        except OSError:
            continue
        if password and password.encode() in line:
            with open(os.environ["TAPE"] + "/seen", "ab") as file:
                file.write(line)
''',
}

BEFORE = [
    *(("session", "start", "w1", "--pid", "PID"), ("claim", "repo-x", "--session", "w1"), ("claims",), ("show", "repo-x")),
    *(("claim", "repo-x", "--session", "w2", "--wait", "--timeout", "0.01"), ("unclaim", "repo-x", "--session", "w2")),
    *(
        ("check", "repo-x", "--generation", "1"),
        ("events",),
        ("paths",),
        ("session", "list"),
        ("reap",),
        ("reap", "--dry-run"),
    ),
    *(("break", "repo-x", "--generation", "1", "--reason", "why"), ("claim", "a", "b", "--session", "w1")),
    *(
        ("unclaim", "a", "b", "--session", "w1"),
        ("session", "keep", "w1"),
        ("session", "stop", "w1"),
        ("completion", "bash"),
    ),
    *(("_", "claim", "repo-x"), ("claim", "/", "--session", "w1"), ("claim",), ("nonsense",), ("--help",)),
]


@pytest.fixture
def secret() -> str:
    """One that no other test's processes have."""
    return f"s3cret{os.urandom(8).hex()}"


@pytest.fixture
def tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `pip` leaves a plug-in that is chosen by the scheme `tape`. Where its claims are."""
    for name, text in SITE.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "tape").mkdir()
    paths = [str(tmp_path / "site"), str(EXAMPLES)]
    monkeypatch.setattr(sys, "path", [*paths, *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [*paths, os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("TAPE", str(tmp_path / "tape"))
    return tmp_path / "tape"


def has(directory: Path, secret: str) -> list[Path]:
    """The files, or their names, that have it."""
    return [
        path
        for path in directory.rglob("*")
        if secret in str(path) or (path.is_file() and secret.encode() in path.read_bytes())
    ]


@needs_sqlite
@pytest.mark.parametrize(
    ("form", "server"),
    [("tape://me:{}@{}/0", "right"), ("tape://me:{}@{}/0", "wrong"), ("tape://{1}?password={0}&prefix=ci", "wrong")],
)
def test_nothing_that_a_verb_says_or_writes_has_the_password(
    run: Run, tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, form: str, server: str
) -> None:
    url = form.format(secret, server)
    monkeypatch.setenv("LOOOP_BACKEND", url)
    codes = set()
    for verb in BEFORE:
        words = [str(os.getpid()) if word == "PID" else word for word in verb]
        for options in (("-v",), ("--json", "--backend", url)):
            done = run(*options, *words)
            codes.add(done.returncode)
            assert secret not in done.stdout + done.stderr, words
    assert codes >= ({0, 1, 2, 124} if server == "right" else {0, 2, 3})
    assert not has(tmp_path, secret)
    assert "***" in run("paths").stdout
    assert "***" in json.loads(run("--json", "paths").stdout)["backend"]
    assert (tape / "claims.sqlite").exists() == (server == "right")


@needs_sqlite
@needs_proc
@pytest.mark.parametrize("by", ["option", "environment"])
def test_no_process_that_we_start_has_the_password_in_its_command_line(
    looop: Run, tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, by: str
) -> None:
    """The engine looks, each time that one opens it: at the keeper, and racers, and what `looop run` forks, too."""
    url = f"tape://me:{secret}@right/0"
    if by == "environment":
        monkeypatch.setenv("LOOOP_BACKEND", url)
        monkeypatch.setenv("NOBODY_TYPED", "it")
    options = ("--backend", url) if by == "option" else ()
    started = looop(*options, "session", "start", "w1", "--pid", str(os.getpid()), "--lease", "3")
    assert (started.returncode, started.stdout, started.stderr) == (0, "w1\n", "")
    inner = looop(*options, "run", "--claim", "n", "--lease", "3", "--", sys.executable, "-c", INNER)
    assert (inner.returncode, inner.stdout, inner.stderr) == (0, "claimed m\n", "")
    raced = looop(*options, "doctor", str(tmp_path), "--seconds", "0.1", "--processes", "2")
    assert (raced.returncode, "tape://me:***@right/0" in raced.stdout) == (0, True)
    assert looop(*options, "session", "stop", "w1").returncode == 0
    assert not (tape / "seen").exists()
    assert secret not in raced.stdout + raced.stderr
    assert not has(tmp_path, secret)


INNER = """
import subprocess, sys
from looop_portable import Claims, Held
assert isinstance(Claims.open().claim("n", "other"), Held)  # The very same backend.
command = [sys.executable, "-m", "looop_portable"]
sys.exit(subprocess.run([*command, "claim", "m"]).returncode or subprocess.run([*command, "unclaim", "m"]).returncode)
"""


@needs_sqlite
def test_the_doctors_processes_tell_of_a_wrong_server_without_the_password(
    looop: Run, tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("LOOOP_BACKEND", f"tape://me:{secret}@wrong/0")
    for options in ((), ("--json",)):
        done = looop(*options, "doctor", str(tmp_path), "--seconds", "0.1", "--processes", "2")
        assert done.returncode in (1, 3)
        assert "refused: tape://me:***@wrong/0" in done.stdout
        assert secret not in done.stdout + done.stderr
    failed = looop("run", "--claim", "n", "--", sys.executable, "-c", "")
    assert (failed.returncode, failed.stderr.count("\n"), secret in failed.stderr) == (3, 1, False)
    assert not has(tmp_path, secret)


@needs_sqlite
def test_a_program_is_told_nothing_of_it_either(tape: Path, tmp_path: Path, secret: str) -> None:
    url = f"tape://me:{secret}@wrong/0"
    claims = Claims.open(str(tmp_path / "data"), url)
    with pytest.raises(LooopError) as found:
        claims.claim("n", "w1")
    behind: BaseException | None = found.value
    while behind:
        assert secret not in f"{behind!r} {behind} {behind.args} {vars(behind)}"
        behind = behind.__cause__ or behind.__context__
    config = resolve(str(tmp_path / "data"), url)
    assert secret not in f"{config} {config!r} {claims.backend!r}"
    assert "tape://me:***@wrong/0" in repr(config)


WRONG = {
    "tape": "floppy://me:{}@host",
    "no URL": "tape:{}@host",
    "no scheme": "://me:{}@host",
    "a bad port": "tape://me:{}",
    "a bracket": "tape://me:{}@[::1/0",
    "by name alone": "by-name://me:{}@host",
    "one that ships": "posix://me:{}@host",
    "memory": "memory://me:{}@host",
    "a directory with a host": "file://me:{}@host/a",
    "a directory with a word": "file:///a?token={}",
}


@pytest.mark.parametrize("which", WRONG)
def test_a_url_that_is_wrong_is_usage_in_one_line(
    run: Run, tape: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, secret: str, which: str
) -> None:
    if which in ("a bad port", "a bracket"):
        pytest.importorskip("_sqlite3", reason="this Python was built without sqlite3")
    url = WRONG[which].format(secret)
    for verb in (("claims",), ("claim", "n", "--session", "w1"), ("-v", "run", "--", "true"), ("doctor", str(tape))):
        done = run("--backend", url, *verb)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert secret not in done.stderr
        assert "pip install" not in done.stderr
    with pytest.raises(UsageError) as found:
        Claims.open(backend=url)
    assert secret not in str(found.value)
    assert run("--backend", url, "claim", "--help").returncode == 0
    monkeypatch.setenv("LOOOP_BACKEND", url)
    assert run("claims").returncode == 2
    assert not data_dir.exists()


@pytest.mark.usefixtures("without_engines")
def test_what_is_not_there_is_told_with_what_is(run: Run, tape: Path) -> None:
    done = run("--backend", "floppy://host", "claims")
    assert (
        "no backend for 'floppy://' is installed (there are: by-name://, file://, hasty://, tape://; or by name: "
        in done.stderr
    )


def test_a_plug_in_that_cannot_open_its_url_is_no_fault_of_ours(run: Run, tape: Path, secret: str) -> None:
    pytest.importorskip("_sqlite3", reason="this Python was built without sqlite3")
    done = run("-v", "--backend", f"hasty://me:{secret}@host/0", "claims")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "looop: hasty://me:***@host/0: no answer from hasty://me:***@host/0\n"


@pytest.mark.parametrize("where", ["--data-dir", "LOOOP_DATA_DIR"])
def test_a_url_where_a_directory_is_meant_is_usage_and_not_repeated(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"tape://me:{secret}@host"
    if where == "LOOOP_DATA_DIR":
        monkeypatch.setenv(where, url)
    args = {"--data-dir": ("--data-dir", url, "claims"), "LOOOP_DATA_DIR": ("claims",)}[where]
    done = run(*args)
    assert (done.returncode, done.stderr.count("\n"), secret in done.stderr) == (2, 1, False)
    assert "--backend" in done.stderr
    assert not list(tmp_path.iterdir())


class TestDirectories:
    """`file://` is a directory, whose claims are files."""

    def test_it_is_the_data_directory(self, run: Run, data_dir: Path, tmp_path: Path) -> None:
        place = tmp_path / "a place, 100 %"
        url = place.as_uri()
        assert run("--backend", url, "claim", "repo-x", "--session", "w1").stdout == "claimed repo-x\n"
        assert (place / "claims" / "repo-x.json").exists()
        assert (place / "events.jsonl").exists()
        assert run("--backend", url, "paths").stdout.splitlines()[0] == f"data_dir  {place.as_posix()}"
        assert "repo-x" in run("--data-dir", str(place), "claims").stdout
        assert "repo-x" in run("--data-dir", str(place), "--backend", url, "claims").stdout
        assert not data_dir.exists()

    def test_its_backend_is_named_with_it(self, run: Run, tmp_path: Path) -> None:
        url = (tmp_path / "there").as_uri()
        assert resolve(None, f"{url}?backend={NATIVE}") == Config((tmp_path / "there").as_posix(), NATIVE)
        assert resolve(None, url).backend == "auto"
        assert run("--backend", f"{url}?backend={NATIVE}", "claim", "n", "--session", "w1").returncode == 0
        for name in ("memory", "nonsense"):
            done = run("--backend", f"{url}?backend={name}", "claims")
            assert (done.returncode, done.stderr.count("\n"), name in done.stderr) == (2, 1, True)

    def test_the_typed_one_of_two_directories_counts_and_two_of_one_kind_are_refused(
        self, run: Run, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = (tmp_path / "there").as_uri()
        assert run("--backend", url, "claim", "n", "--session", "w1").returncode == 0  # LOOOP_DATA_DIR is another one.
        monkeypatch.setenv("LOOOP_BACKEND", url)
        for options in (
            (),
            ("--data-dir", str(tmp_path / "third")),
            ("--data-dir", str(tmp_path / "third"), "--backend", url),
        ):
            done = run(*options, "claims")
            assert (done.returncode, "two data directories are named" in done.stderr) == (2, True)
        monkeypatch.setenv("LOOOP_DATA_DIR", "")
        assert "w1" in run("claims").stdout
        assert not data_dir.exists()

    def test_what_is_run_finds_it(self, looop: Run, tmp_path: Path) -> None:
        program = "from looop_portable import Claims; print(Claims.open().show('n').lease is not None)"
        url = (tmp_path / "there").as_uri()
        done = looop("--backend", url, "run", "--claim", "n", "--", sys.executable, "-c", program)
        assert (done.returncode, done.stdout) == (0, "True\n")


def test_for_a_name_nothing_is_imported_that_a_url_needs() -> None:
    program = """
import sys
from looop_portable.cli import main
try:
    main(["--backend", sys.argv[1], "claim", "repo-x", "--session", "w1"])
finally:
    print(*sorted({"urllib.parse", "urllib", "importlib.metadata", "looop_portable.protocol.addresses",
        "looop_portable.backends.sealed", "looop_portable.backends.remembered",
        "looop_portable.system.opening.arguments"} & set(sys.modules)), "end")
"""
    done = subprocess.run([sys.executable, "-c", program, NATIVE], capture_output=True, text=True, check=True)
    assert done.stdout == "claimed repo-x\nend\n"
