"""Trouble: directories, disks, pipes and records that are not as they should be. One line, the right code, no traceback."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import (
    NAMES_OF_ANY_CHARACTER,
    NATIVE,
    SH,
    needs_dev_full,
    needs_fifos,
    needs_modes,
    needs_symlinks,
)

from looop_portable.cli import output
from looop_portable.system.files import OS

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Dying = Callable[..., "subprocess.Popen[bytes]"]
Tree = Callable[[], dict[str, tuple[int, int, bytes]]]
Mount = Callable[[str], Path]

OUR_PID = "our pid"  # Stands for it where tests are collected, so that all processes collect the same ones.
WRITING = [
    ("claim", "repo-x", "--session", "w1"),
    ("unclaim", "repo-x", "--session", "w1"),
    ("_", "claim", "repo-x", "--session", "w1"),
    ("_", "unclaim", "repo-x", "--session", "w1"),
    ("break", "repo-x", "--generation", "1", "--reason", "r"),
    ("reap",),
    ("session", "start", "w9", "--pid", OUR_PID),
    ("session", "stop", "w1"),
]
READING = [
    ("show", "repo-x"),
    ("check", "repo-x", "--generation", "1"),
    ("claims",),
    ("session", "list"),
    ("events",),
    ("reap", "--dry-run"),
]
GARBAGE = {
    "empty": b"",
    "binary": bytes(range(256)),
    "half": b'{"session": "w1", "na',
    "list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "wrong types": b'{"session": 1, "name": [], "generation": "x", "incarnation": {}, "pid": -1, "boot": null}',
    "odd numbers": b'{"session": "w1", "generation": 1e999, "babysit_pid": ' + b"9" * 5000 + b"}",
    "huge pid": b'{"session": "w1", "incarnation": "i", "babysit_pid": 999999999999999999999999999999, "started_at": "x"}',
    "surrogates": b'{"session": "\\ud800", "name": "\\udfff", "claimed_at": "\\ud800", "host": "\\ud800"}',
    "escapes": b'{"session": "\\u001b[31m", "name": "\\u001b]0;t\\u0007", "claimed_at": "\\u009b", "host": "\\n\\r"}',
    "large": b'{"session": "' + b"x" * (1 << 21) + b'"}',
}


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def as_told(path: Path) -> str:
    """A path in our own words: with slashes, on every platform."""
    return path.as_posix()


def is_clean(text: str) -> bool:
    """No character that a terminal would act on, but the newlines that end the lines."""
    return all(character.isprintable() or character == "\n" for character in text)


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The end of a pipe that is written to; nobody reads the other."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small filesystem in memory with these options; skips where that is not allowed."""
    where = tmp_path / "mounted"
    where.mkdir()
    mounted = []

    def mount_tmpfs(options: str) -> Path:
        command = shutil.which("mount")
        if not command:
            pytest.skip("needs mount(8)")
        done = subprocess.run(
            [command, "-t", "tmpfs", "-o", options, "tmpfs", str(where)], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip("needs the right to mount a tmpfs")
        mounted.append(where)
        return where

    yield mount_tmpfs
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


# A store that is not there, or not ours to write.


@pytest.mark.parametrize("args", [*WRITING, *READING], ids=" ".join)
@pytest.mark.parametrize("below", ["", "below/it"], ids=["a file", "below a file"])
def test_a_data_dir_that_cannot_be_one_is_no_answer(
    run: Run, data_dir: Path, args: tuple[str, ...], below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir.write_text("a file")
    monkeypatch.setenv("LOOOP_DATA_DIR", str(data_dir / below))
    code, out, err = said(run(*[str(os.getpid()) if word == OUR_PID else word for word in args]))
    assert (code, out) == (3, "")
    assert err.startswith("looop: ")
    assert as_told(data_dir) in err
    assert err.count("\n") == 1
    assert data_dir.read_text() == "a file"


def read_only(run: Run, data_dir: Path) -> None:
    """What every verb does where nothing can be written: w1 lives and holds repo-a, w2 is dead and held repo-b."""
    assert run("claim", "repo-a", "--session", "w1").returncode == 0
    assert run("claim", "repo-a", "--session", "w3").returncode == 1
    assert run("unclaim", "repo-a", "--session", "w3").returncode == 1
    assert run("show", "repo-a").returncode == 0
    assert run("check", "repo-a", "--generation", "1").returncode == 0
    assert run("claims").stdout.count("\n") == 3
    assert run("session", "list").stdout.count("\n") == 3
    assert run("reap", "--dry-run").stdout.startswith("would reap repo-b: ")
    for args in (
        ("claim", "repo-b", "--session", "w1"),
        ("claim", "repo-c", "--session", "w1"),
        ("unclaim", "repo-a", "--session", "w1"),
        ("unclaim", "repo-b", "--session", "w1"),
        ("break", "repo-a", "--generation", "1", "--reason", "r"),
        ("reap",),
        ("session", "start", "w9", "--pid", str(os.getpid())),
        ("session", "stop", "w1"),
    ):
        code, out, err = said(run(*args))
        assert (code, out, err.count("\n")) == (3, "", 1)
        assert as_told(data_dir) in err
    assert run("check", "repo-a", "--generation", "1").returncode == 0


@needs_modes
def test_where_nothing_may_be_written_verbs_that_read_answer_and_the_others_say_so(
    run: Run, alive: Living, dead: Dying, data_dir: Path
) -> None:
    alive("w1")
    dead("w2", "repo-b")
    run("claim", "repo-a", "--session", "w1")
    directories = [data_dir, *(path for path in data_dir.rglob("*") if path.is_dir())]
    for path in directories:
        path.chmod(0o555)
    try:
        if os.access(data_dir, os.W_OK):
            pytest.skip("needs a user whom permissions bind")
        read_only(run, data_dir)
    finally:
        for path in directories:
            path.chmod(0o755)


def test_on_a_filesystem_mounted_read_only_the_same(
    run: Run, alive: Living, dead: Dying, data_dir: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive("w1")
    dead("w2", "repo-b")
    run("claim", "repo-a", "--session", "w1")
    there = mount("size=4m")
    shutil.copytree(data_dir, there / "data")
    monkeypatch.setenv("LOOOP_DATA_DIR", str(there / "data"))
    mounted = OS.mount_of(str(data_dir))
    monkeypatch.setattr(OS, "mount_of", lambda path: mounted)  # The copy passes for the disk that the sessions are of.
    if subprocess.run(["mount", "-o", "remount,ro", str(there)], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to remount a tmpfs")
    read_only(run, there / "data")


def fill(path: Path) -> None:
    """Write until there is no space left, which is an error."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_on_a_full_disk_claims_are_refused_and_can_be_released(
    run: Run, alive: Living, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = mount("size=512k")
    monkeypatch.setenv("LOOOP_DATA_DIR", str(there / "data"))
    process = alive("elsewhere")
    for session in ("w1", "w2"):
        assert run("session", "start", session, "--pid", str(process.pid)).returncode == 0
    run("claim", "repo-x", "--session", "w1")
    run("claim", "repo-y", "--session", "w1")
    with pytest.raises(OSError, match="No space left"):
        fill(there / "filler")
    for args in (("claim", "repo-z", "--session", "w2"), ("session", "start", "w9", "--pid", str(process.pid))):
        code, out, err = said(run(*args))
        assert (code, out, err.count("\n")) == (3, "", 1)
        assert "No space left on device" in err
    assert run("show", "repo-z").stdout == "repo-z: free, at generation 0\n"
    assert said(run("claim", "repo-x", "--session", "w1")) == (0, "", "")
    assert run("claim", "repo-x", "--session", "w2").returncode == 1
    assert said(run("unclaim", "repo-x", "--session", "w1")) == (0, "", "")
    assert run("show", "repo-x").stdout == "repo-x: free, at generation 2\n"
    assert run("check", "repo-y", "--generation", "1").returncode == 0
    (there / "filler").unlink()
    assert run("claim", "repo-x", "--session", "w2").stdout == "claimed repo-x\n"
    assert run("claim", "repo-z", "--session", "w2").stdout == "claimed repo-z\n"


def test_without_inodes_a_claim_is_refused(run: Run, mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    there = mount("size=512k,nr_inodes=4")
    monkeypatch.setenv("LOOOP_DATA_DIR", str(there / "data"))
    code, out, err = said(run("claim", "repo-x", "--session", "w1"))
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "No space left on device" in err


ODD = ("an *", "new\nline") if NAMES_OF_ANY_CHARACTER else ()


@pytest.mark.parametrize(
    "name", ["with some spaces", "émigré ☃ 日本", "it's; $(odd)", "-v", "x" * 200, ".dots..in", *ODD], ids=ascii
)
def test_a_data_dir_may_have_any_name(looop: Run, alive: Living, tmp_path: Path, name: str) -> None:
    alive("w1")
    for args in (("--data-dir", str(tmp_path / name)), ("--data-dir=" + name,)):
        done = looop(*args, "claim", "repo-x", "--session", "w1", cwd=tmp_path)
        assert done.stdout in ("claimed repo-x\n", "")
        assert done.returncode == 0
        assert looop(*args, "show", "repo-x", cwd=tmp_path).stdout.startswith("repo-x: held by session 'w1'")
    assert (tmp_path / name / "claims" / "repo-x.json").is_file()
    assert len(looop("--data-dir", name, "paths", cwd=tmp_path).stdout.splitlines()) == 4


def test_a_data_dir_may_be_longer_than_a_path_of_old_windows(looop: Run, alive: Living, tmp_path: Path) -> None:
    """Also once it is there: whatever fails then must not be taken for a reader who has gone."""
    alive("w1")
    store = ("--data-dir", str(tmp_path / ("x" * 120) / ("y" * 120)))
    assert looop(*store, "claim", "repo-x", "--session", "w1").stdout == "claimed repo-x\n"
    assert looop(*store, "show", "repo-x").stdout.startswith("repo-x: held by session 'w1'")
    assert looop(*store, "check", "repo-x", "--generation", "1").returncode == 0
    assert len(looop(*store, "paths").stdout.splitlines()) == 4


# Nobody to talk to.


class _OfWindows(OSError):
    winerror = 234


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
        (OSError(errno.EINVAL, "Invalid argument"), True),
        (OSError(errno.EINVAL, "Invalid argument", "C:\\a"), False),
        (_OfWindows(errno.EINVAL, "More data available"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
    ],
    ids=repr,
)
def test_on_windows_an_invalid_argument_is_a_reader_who_has_gone_only_if_it_is_nothing_else(
    monkeypatch: pytest.MonkeyPatch, error: OSError, gone: bool
) -> None:
    """Without this, a verb that fails there would say nothing, and exit with 0."""
    monkeypatch.setattr("looop_portable.cli.output.sys.platform", "win32")
    assert output.nobody_reads(error) is gone


def with_claims(run: Run, alive: Living, data_dir: Path) -> None:
    alive("w1")
    alive("w2")
    run("claim", "repo-x", "--session", "w1")
    run("claim", "repo-y", "--session", "w1")


SPEAKING = [
    (("claims",), 0),
    (("--json", "claims"), 0),
    (("show", "repo-x"), 0),
    (("check", "repo-x", "--generation", "1"), 0),
    (("claim", "repo-z", "--session", "w1"), 0),
    (("claim", "repo-x", "--session", "w2"), 1),
    (("--json", "claim", "repo-x", "--session", "w2"), 1),
    (("--json", "claim", "a/b"), 2),
    (("reap",), 0),
    (("session", "list"), 0),
    (("events",), 0),
    (("paths",), 0),
    (("--help",), 0),
    (("claim", "--help"), 0),
    (("--version",), 0),
    (("completion", "zsh"), 0),
]


@pytest.mark.parametrize(
    ("args", "code"), SPEAKING, ids=lambda value: " ".join(value) if isinstance(value, tuple) else None
)
def test_a_reader_that_has_gone_away_changes_no_exit_code(
    run: Run, looop: Run, alive: Living, data_dir: Path, closed_pipe: int, args: tuple[str, ...], code: int
) -> None:
    with_claims(run, alive, data_dir)
    done = looop(*args, stdout=closed_pipe)
    assert done.returncode == code
    if not code:
        assert done.stderr == ""
    assert run("show", "repo-z").stdout.startswith("repo-z: held") is (args[:2] == ("claim", "repo-z"))


@pytest.mark.parametrize(
    ("args", "code"),
    [(("claim", "repo-x", "--session", "w2"), 1), (("claim", "a/b"), 2), (("claim", "repo-z", "--session", "nobody"), 0)],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_with_nobody_to_hear_a_complaint_the_code_stands(
    run: Run, looop: Run, alive: Living, data_dir: Path, closed_pipe: int, args: tuple[str, ...], code: int
) -> None:
    with_claims(run, alive, data_dir)
    assert looop(*args, stderr=closed_pipe).returncode == code


WITHOUT = {">&-": ("stdout",), "2>&-": ("stderr",), ">&- 2>&-": ("stdout", "stderr")}
"""As a shell closes them; and, where there is no such shell, as a program without a console is started."""


@pytest.mark.parametrize("closed", WITHOUT)
@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("claims",), 0),
        (("claim", "repo-z", "--session", "w1"), 0),
        (("claim", "repo-y", "--session", "w2"), 1),
        (("claim", "repo-z", "--session", "nobody"), 0),
        (("claim", "a/b"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_without_the_streams_at_all_the_code_stands(
    run: Run, looop: Run, alive: Living, data_dir: Path, closed: str, args: tuple[str, ...], code: int
) -> None:
    with_claims(run, alive, data_dir)
    done = looop(*args, wrapper=(SH, "-c", f'exec "$@" {closed}', "sh")) if SH else looop(*args, without=WITHOUT[closed])
    assert done.returncode == code


@needs_dev_full
@pytest.mark.parametrize(
    "args",
    [
        ("claims",),
        ("--json", "claims"),
        ("show", "repo-x"),
        ("claim", "repo-z", "--session", "w1"),
        ("session", "list"),
        ("events",),
        ("paths",),
        ("--help",),
        ("completion", "zsh"),
    ],
    ids=" ".join,
)
def test_an_answer_that_cannot_be_written_is_no_answer(
    run: Run, looop: Run, alive: Living, data_dir: Path, args: tuple[str, ...]
) -> None:
    with_claims(run, alive, data_dir)
    with Path("/dev/full").open("w") as full:
        done = looop(*args, stdout=full)
    assert done.returncode == 3
    assert done.stderr.startswith("looop: ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_dev_full
def test_with_both_streams_full_there_is_still_a_code(looop: Run) -> None:
    with Path("/dev/full").open("w") as full:
        assert looop("paths", stdout=full, stderr=full).returncode == 3
        assert looop("claim", "a/b", stdout=full, stderr=full).returncode in (2, 3)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_terminal_cannot_show_is_spelled_out(looop: Run, alive: Living, encoding: str) -> None:
    alive("w☃")
    narrow = {**os.environ, "PYTHONIOENCODING": encoding}
    assert said(looop("claim", "x日", "--session", "w☃", env=narrow)) == (0, "claimed x\\u65e5\n", "")
    assert looop("claims", env=narrow).returncode == 0
    assert looop("show", "x日", env=narrow).returncode == 0
    assert looop("events", env=narrow).returncode == 0
    refused = looop("claim", "x日", "--session", "w2", env=narrow)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[0] == "claim x\\u65e5: held by live session 'w\\u2603'"


def test_an_argument_that_is_no_text_is_usage(looop: Run) -> None:
    for args in (
        ("claim", "a\udcff", "--session", "w1"),
        ("claim", "a", "--session", "w\udcff"),
        ("\udcff",),
        ("--\udcff",),
    ):
        done = looop(*args)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


# What was not asked for properly.


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("_", "nonsense"),
        ("session", "nonsense"),
        ("--nonsense", "claims"),
        ("claim", "repo-x", "--nonsense"),
        ("claim", "repo-x", "repo-y"),
        ("claim",),
        ("claim", "repo-x", "--session"),
        ("--backend", "nonsense", "claims"),
        ("--backend", "nonsense", "claim", "repo-x", "--session", "w1"),
        ("--backend", "memory", "claims"),
        ("--backend", "memory", "claim", "repo-x", "--session", "w1"),
        ("--backend", "memory", "session", "start", "w1"),
        ("--data-dir",),
    ],
    ids=" ".join,
)
def test_what_is_not_known_is_usage_in_one_line(run: Run, data_dir: Path, args: tuple[str, ...]) -> None:
    code, out, err = said(run(*args))
    assert (code, out) == (2, "")
    assert err.startswith("looop: ")
    assert err.count("\n") == 1
    assert not data_dir.exists()


@pytest.mark.usefixtures("without_engines")
def test_a_backend_that_is_not_known_is_named_with_those_that_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOOP_BACKEND", "nonsense")
    done = run("claims")
    assert done.returncode == 2
    assert done.stderr == "looop: no such backend: 'nonsense' (there are: advisory, auto, memory, posix, windows)\n"
    assert run("--backend", NATIVE, "claims").returncode == 0


def test_memory_is_refused_from_the_environment_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOOP_BACKEND", "memory")
    assert run("claim", "repo-x", "--session", "w1").returncode == 2
    assert run("--backend", "auto", "claim", "repo-x", "--session", "w1").returncode == 0


# A store that is not as we left it.


@pytest.mark.parametrize("stamp", [b'{"protocol": 2, "links": true}\n', b'{"protocol": 999}', b"{}", b"", b"\xff"])
def test_a_store_of_another_protocol_is_neither_read_nor_written(
    run: Run, alive: Living, dead: Dying, data_dir: Path, tree: Tree, stamp: bytes
) -> None:
    dead("w1", "repo-x")
    alive("w2")
    run("claim", "held", "--session", "w2")
    (data_dir / "claims" / ".ledger" / ".protocol.json").write_bytes(stamp)
    version = str(json.loads(stamp)["protocol"]) if b"protocol" in stamp else "unknown"
    before = tree()
    for args in (
        ("claim", "repo-x", "--session", "w2"),
        ("claim", "repo-y", "--session", "w2"),
        ("claim", "held", "--session", "w2"),
        ("unclaim", "repo-x", "--session", "w2"),
        ("show", "repo-x"),
        ("check", "held", "--generation", "1"),
        ("break", "repo-x", "--generation", "1", "--reason", "r"),
    ):
        code, out, err = said(run(*args))
        assert (code, out, err.count("\n")) == (3, "", 1)
        assert f"written with protocol {version}, this is protocol 1" in err
    code, out, err = said(run("reap"))
    assert (code, out) == (3, "")
    assert all(f"written with protocol {version}, this is protocol 1" in line for line in err.splitlines())
    assert tree() == before
    assert json.loads(run("--json", "claim", "repo-y", "--session", "w2").stdout)["code"] == "unknown_protocol"


def test_sessions_of_another_protocol_are_not_written(run: Run, data_dir: Path) -> None:
    (data_dir / "sessions" / ".ledger").mkdir(parents=True)
    (data_dir / "sessions" / ".ledger" / ".protocol.json").write_text('{"protocol": 2}')
    code, out, err = said(run("session", "start", "w1", "--pid", str(os.getpid())))
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "written with protocol 2, this is protocol 1" in err


@needs_symlinks
@pytest.mark.parametrize("held_before", [False, True], ids=["never claimed", "released"])
def test_a_symlink_in_the_place_of_a_lease_is_replaced_not_followed(
    run: Run, alive: Living, data_dir: Path, tmp_path: Path, held_before: bool
) -> None:
    alive("w1")
    alive("w2")
    if held_before:
        run("claim", "repo-x", "--session", "w1")
        run("unclaim", "repo-x", "--session", "w1")
    victim = tmp_path / "victim"
    victim.write_text('{"session": "w2", "name": "repo-x"}')
    (data_dir / "claims").mkdir(exist_ok=True)
    planted = data_dir / "claims" / "repo-x.json"
    planted.symlink_to(victim)
    os.utime(planted, (0, 0), follow_symlinks=False)
    assert run("claim", "repo-x", "--session", "w1").stdout == "claimed repo-x\n"
    assert victim.read_text() == '{"session": "w2", "name": "repo-x"}'
    assert not planted.is_symlink()
    assert json.loads(planted.read_text())["session"] == "w1"


@needs_symlinks
def test_a_symlink_over_a_held_lease_is_removed_not_followed(
    run: Run, alive: Living, data_dir: Path, tmp_path: Path
) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    planted = data_dir / "claims" / "repo-x.json"
    planted.unlink()
    planted.symlink_to(victim)
    assert run("claim", "repo-x", "--session", "other").returncode == 1
    assert run("reap").returncode == 0
    assert json.loads(planted.read_text())["session"] == "w1"
    planted.unlink()
    planted.symlink_to(victim)
    assert run("unclaim", "repo-x", "--session", "w1").returncode == 0
    assert not planted.is_symlink()
    assert victim.read_text() == "precious"


@needs_symlinks
@pytest.mark.parametrize("exists", [True, False], ids=["to a directory", "to nothing"])
def test_a_symlink_in_the_place_of_a_ledger_is_no_answer(
    run: Run, alive: Living, data_dir: Path, tmp_path: Path, exists: bool
) -> None:
    alive("w1")
    run("claim", "other", "--session", "w1")
    elsewhere = tmp_path / "elsewhere"
    if exists:
        elsewhere.mkdir()
    (data_dir / "claims" / ".ledger" / "repo-x").symlink_to(elsewhere)
    for args in (
        ("claim", "repo-x", "--session", "w1"),
        ("unclaim", "repo-x", "--session", "w1"),
        ("show", "repo-x"),
        ("check", "repo-x", "--generation", "1"),
        ("break", "repo-x", "--generation", "1", "--reason", "r"),
    ):
        code, out, err = said(run(*args))
        assert (code, out, err.count("\n")) == (3, "", 1)
        assert "symbolic link" in err
        assert "repo-x" in err
    assert "symbolic link" in run("claims").stdout
    assert run("reap").returncode == 3
    assert elsewhere.exists() is exists
    assert not exists or not list(elsewhere.iterdir())


@needs_symlinks
def test_a_symlink_in_the_place_of_the_log_is_not_followed(run: Run, alive: Living, data_dir: Path, tmp_path: Path) -> None:
    alive("w1")
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    (data_dir / "events.jsonl").unlink()
    (data_dir / "events.jsonl").symlink_to(victim)
    assert said(run("claim", "repo-x", "--session", "w1")) == (0, "claimed repo-x\n", "")
    assert victim.read_text() == "precious\n"


PLACES = [
    "claims/repo-x.json",
    "claims/stray",
    "claims/.ledger/repo-x/3",
    "claims/.ledger/repo-x/stray",
    "claims/.ledger/repo-x/.3-token-0",
    "claims/.ledger/stray",
    "sessions/w1/meta.json",
    "sessions/w1/status.json",
    "sessions/.ledger/w1/3",
    "sessions/stray",
    "events.jsonl",
    "events.jsonl.1",
]
STOP = ("session", "stop", "w1")  # Which releases what it holds.
AFTER_DAMAGE = [
    ("show", "repo-x"),
    ("check", "repo-x", "--generation", "1"),
    ("claims",),
    ("session", "list"),
    ("events",),
    ("--json", "show", "repo-x"),
    ("--json", "claims"),
    ("--json", "session", "list"),
    ("--json", "events"),
    ("reap", "--dry-run"),
    ("--json", "reap", "--dry-run"),
    ("claim", "repo-x", "--session", "w1"),
    ("claim", "repo-x", "--session", "w2"),
    ("unclaim", "repo-x", "--session", "w2"),
    ("break", "repo-x", "--generation", "3", "--reason", "r"),
    ("session", "start", "w1", "--pid", str(os.getpid())),
    ("reap",),
    ("claim", "repo-y", "--session", "w2"),
    STOP,
    ("session", "start", "w1", "--pid", str(os.getpid())),
    ("claims",),
]


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("place", PLACES)
def test_whatever_a_file_says_every_verb_has_a_code_and_clean_words(
    run: Run, alive: Living, data_dir: Path, place: str, content: bytes
) -> None:
    for session, claim in (("w1", "mine"), ("w2", "yours"), ("w3", "other")):
        alive(session)
        run("claim", claim, "--session", session)
    (data_dir / place).parent.mkdir(parents=True, exist_ok=True)
    (data_dir / place).write_bytes(content)
    for args in AFTER_DAMAGE:
        # Where there is an incarnation, w1 has been registered anew, as far as anybody can tell.
        if args == STOP and b'incarnation": "i' not in content:
            assert run("check", "mine", "--generation", "1").returncode == 0
        code, out, err = said(run(*args))
        assert code in (0, 1, 2, 3)
        assert is_clean(out + err)
        if "--json" in args:
            assert err == ""
            assert all(isinstance(json.loads(line), dict) for line in out.splitlines())
        elif code:
            assert err.startswith(("looop: ", "claim repo-x: ", "unclaim repo-x: ", "check repo-x: ", "break repo-x: "))
    assert run("claim", "fresh", "--session", "w2").stdout == "claimed fresh\n"
    assert run("check", "other", "--generation", "1").returncode == 0


@pytest.mark.parametrize(
    "place", ["claims", "claims/.ledger", "claims/.ledger/repo-x", "sessions/w1", "sessions/.ledger/w1"]
)
def test_a_file_in_the_place_of_a_directory_is_no_answer(run: Run, data_dir: Path, place: str) -> None:
    (data_dir / place).parent.mkdir(parents=True)
    (data_dir / place).write_text("a file")
    code, out, err = said(run("claim", "repo-x", "--session", "w1"))
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert as_told(data_dir / place) in err
    assert (data_dir / place).read_text() == "a file"


@needs_fifos
@pytest.mark.parametrize("place", ["claims/repo-x.json", "claims/.ledger/repo-x/1", "sessions/w1/meta.json"])
def test_a_pipe_in_the_place_of_a_record_stops_no_verb(looop: Run, alive: Living, data_dir: Path, place: str) -> None:
    alive("w2")
    (data_dir / place).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(data_dir / place)
    for args in (("show", "repo-x"), ("claims",), ("session", "list"), ("claim", "repo-x", "--session", "w1")):
        assert looop(*args, timeout=10).returncode in (0, 1, 3)


# Names that would drive a terminal.

NASTY = "a\x1b[31mred\x1b]0;title\x07\r\n\x7f\x9b2J\u202eb"


@pytest.mark.parametrize("options", [(), ("--json",), ("-v",)], ids=["plain", "json", "verbose"])
def test_control_characters_in_names_and_ids_do_not_reach_the_terminal(
    run: Run, alive: Living, dead: Dying, options: tuple[str, ...]
) -> None:
    live, gone = "live", "gone"
    alive(live)
    dead(gone)
    everything = []
    for args in (
        ("claim", NASTY, "--session", gone),
        ("claim", NASTY, "--session", live),
        ("claim", NASTY, "--session", "nobody"),
        ("claim", f"{NASTY}2", "--session", gone),
        ("unclaim", NASTY, "--session", "nobody"),
        ("show", NASTY),
        ("claims",),
        ("check", NASTY, "--generation", "2"),
        ("check", NASTY, "--generation", "9"),
        ("break", NASTY, "--generation", "9", "--reason", NASTY),
        ("break", NASTY, "--generation", "2", "--reason", NASTY),
        ("reap", "--dry-run"),
        ("reap",),
        ("session", "start", live, "--pid", str(os.getpid())),
        ("session", "start", gone, "--pid", str(os.getpid())),
        ("session", "start", f"{gone}{NASTY}", "--pid", str(os.getpid()), "--shell"),
        ("session", "list"),
        ("session", "stop", f"{NASTY}3"),
        ("session", "stop", gone),
        ("events",),
    ):
        done = run(*options, *args)
        everything.append(done.stdout + done.stderr)
        assert done.returncode in (0, 1, 2)
        assert is_clean(everything[-1])
        assert done.stdout.count("\n") <= 7
    assert any("\\x1b[31m" in each or "\\u001b[31m" in each for each in everything)


@pytest.mark.parametrize(
    "args",
    [
        ("claim", f"{NASTY}/", "--session", "w1"),
        ("claim", "x", "--session", f"{NASTY}/"),
        (NASTY,),
        (f"--{NASTY}",),
        ("claim", "x", f"--{NASTY}"),
        ("claim", "x", NASTY),
        ("check", "x", "--generation", NASTY),
        ("completion", NASTY),
        ("--backend", NASTY, "claims"),
        ("--data-dir", f"{os.devnull}/{NASTY}", "claims"),
        ("session", NASTY),
        ("session", "stop", NASTY),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["plain", "json"])
def test_control_characters_in_what_is_refused_do_not_reach_the_terminal(
    run: Run, args: tuple[str, ...], options: tuple[str, ...]
) -> None:
    done = run(*options, *args)
    assert done.returncode in (2, 3)
    assert (done.stdout + done.stderr).count("\n") == 1
    assert is_clean(done.stdout + done.stderr)


def test_control_characters_in_names_are_not_completed(run: Run, looop: Run, alive: Living) -> None:
    alive("w1")
    run("claim", "repo-x", "--session", "w1")
    run("claim", f"repo-{NASTY}", "--session", "w1")
    asked = {**os.environ, "_LOOOP_COMPLETE": "bash_complete", "COMP_WORDS": "looop unclaim repo", "COMP_CWORD": "2"}
    done = looop(env=asked)
    assert is_clean(done.stdout)
    assert "plain,repo-x" in done.stdout.splitlines()
    assert all(each.startswith("plain,repo-") for each in done.stdout.splitlines())
