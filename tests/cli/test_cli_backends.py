"""--backend: by name, from a plug-in, and on directories that cannot do everything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from looop_portable.testing import without_links

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]
Dying = Callable[..., "subprocess.Popen[bytes]"]
WITHOUT_LINKS = (sys.executable, "-m", "looop_portable.testing.without_links")
needs_filter = pytest.mark.skipif(
    not without_links.possible(), reason="a seccomp filter that denies hard links: not on this system"
)


def stamp(data_dir: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((data_dir / "claims" / ".ledger" / ".protocol.json").read_bytes())
    return found


@pytest.mark.usefixtures("without_engines")
@pytest.mark.parametrize("name", ["etcd", "postgres", "redis"])
def test_an_engine_that_is_not_installed_is_described_by_what_exists(run: Run, name: str) -> None:
    for given, there in ((name, "auto"), (f"{name}://host/0", "file://")):
        done = run("--backend", given, "claims")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert name in done.stderr
        assert there in done.stderr
        assert "pip install" not in done.stderr
        assert json.loads(run("--json", "--backend", given, "claims").stdout)["code"] == "no_such_backend"


def install(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """As `pip install` would have it, for this process."""
    entry = EntryPoint("floppy", target, "looop_portable.backends")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: EntryPoints([entry]).select(group=group))


def test_a_plug_in_is_found_by_the_name_of_its_entry_point(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "looop_portable.backends.directory.policies:PosixBackend")
    assert run("--backend", "floppy", "claim", "repo-x", "--session", "w1").stdout == "claimed repo-x\n"
    told = run("--backend", "flop", "claims")
    assert (told.returncode, "floppy" in told.stderr) == (2, True)


def test_a_plug_in_that_cannot_be_loaded_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "looop_portable.no_such_module:open")
    done = run("--backend", "floppy", "claims")
    assert done.returncode == 2
    assert "the backend 'floppy' is installed and cannot be loaded: No module named" in done.stderr
    assert json.loads(run("--json", "--backend", "floppy", "claims").stdout)["code"] == "not_installed"


@needs_filter
def test_without_hard_links_posix_refuses_with_the_remedy(looop: Run, data_dir: Path) -> None:
    done = looop("--backend", "posix", "claim", "repo-x", "--session", "w1", wrapper=WITHOUT_LINKS)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no hard links" in done.stderr
    assert "use --backend auto or advisory" in done.stderr
    assert not [path for path in data_dir.rglob("*") if not path.is_dir()]


@needs_filter
@pytest.mark.parametrize("backend", ["auto", "advisory"])
def test_without_hard_links_the_others_work(looop: Run, data_dir: Path, alive: Living, backend: str) -> None:
    def ask(*args: str) -> tuple[int, str]:
        done = looop("--backend", backend, *args, wrapper=WITHOUT_LINKS)
        return done.returncode, done.stdout

    living = looop("--backend", backend, "claim", "repo-x", "--session", "nobody", wrapper=WITHOUT_LINKS)
    assert living.returncode == 0
    assert stamp(data_dir) == {"protocol": 1, "links": False, "guard": "flock", "aliases": False}
    alive("w1")
    gone = alive("w2")
    assert ask("claim", "repo-x", "--session", "w1") == (0, "claimed repo-x\n")
    assert ask("claim", "repo-x", "--session", "w2")[0] == 1
    assert ask("claim", "repo-x", "--session", "w1") == (0, "")
    assert ask("unclaim", "repo-x", "--session", "w2")[0] == 1
    assert ask("unclaim", "repo-x", "--session", "w1") == (0, "")
    assert ask("claim", "repo-y", "--session", "w2") == (0, "claimed repo-y\n")
    gone.kill()
    gone.wait()
    code, said = ask("reap")
    assert (code, said.partition(":")[0]) == (0, "reaped repo-y")
    assert ask("claims") == (0, "")
    assert looop("--backend", "posix", "claims").returncode == 3


NUMBERS = ["EACCES", "EXDEV", "EROFS", "EINVAL", "ENOSYS"]


@needs_filter
@pytest.mark.parametrize("number", NUMBERS)
def test_whatever_link_says_where_a_file_can_be_made_there_are_no_hard_links(
    looop: Run, data_dir: Path, alive: Living, number: str
) -> None:
    """Android says EACCES, other systems something else."""
    without = (*WITHOUT_LINKS, "--errno", number)
    refused = looop("--backend", "posix", "claim", "repo-x", "--session", "w1", wrapper=without)
    assert (refused.returncode, "no hard links" in refused.stderr) == (3, True)
    assert "use --backend auto or advisory" in refused.stderr
    assert looop("claim", "repo-x", "--session", "w1", wrapper=without).returncode == 0
    assert stamp(data_dir) == {"protocol": 1, "links": False, "guard": "flock", "aliases": False}
    alive("w1")
    alive("w2")
    assert looop("claim", "repo-x", "--session", "w1", wrapper=without).returncode == 0
    assert looop("claim", "repo-x", "--session", "w2", wrapper=without).returncode == 1
    assert looop("unclaim", "repo-x", "--session", "w1", wrapper=without).returncode == 0
    assert looop("claim", "repo-x", "--session", "w2", wrapper=without).stdout == "claimed repo-x\n"


@needs_filter
@pytest.mark.parametrize("number", NUMBERS)
def test_a_directory_whose_stamp_promises_links_that_fail_is_refused(looop: Run, data_dir: Path, number: str) -> None:
    assert looop("claim", "repo-x", "--session", "w1").returncode == 0
    done = looop("claim", "repo-x", "--session", "w2", wrapper=(*WITHOUT_LINKS, "--errno", number))
    assert (done.returncode, done.stdout) == (3, "")
    assert "Permission denied" in done.stderr if number == "EACCES" else "its stamp says that they work" in done.stderr
    assert stamp(data_dir)["links"] is True


@needs_filter
def test_the_doctor_recommends_what_auto_does_where_links_are_denied(looop: Run, tmp_path: Path) -> None:
    for number in ("EACCES", "EXDEV"):
        options = ("--seconds", "0.3", "--processes", "2")
        done = looop("--json", "doctor", str(tmp_path), *options, wrapper=(*WITHOUT_LINKS, "--errno", number), timeout=120)
        found = json.loads(done.stdout)
        assert (done.returncode, found["recommended_backend"], found["chosen_by_auto"]) == (0, "advisory", True)
        assert "no hard links" in found["objections"]["posix"]


def test_a_choice_that_contradicts_the_stamp_names_both_and_the_way_out(run: Run, data_dir: Path) -> None:
    assert run("--backend", "auto", "claim", "repo-x", "--session", "w1").returncode == 0
    before = stamp(data_dir)
    done = run("--backend", "advisory", "claim", "repo-x", "--session", "w2")
    if done.returncode == 3 and "is for POSIX systems" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        "the backend 'advisory' contradicts the stamp of this directory (with hard links, without a guard)" in done.stderr
    )
    assert "use --backend auto" in done.stderr
    assert stamp(data_dir) == before
    assert json.loads(run("--json", "--backend", "advisory", "claims").stdout)["code"] == "wrong_backend"


def test_a_backend_of_another_platform_is_refused(run: Run, data_dir: Path) -> None:
    other = "posix" if sys.platform == "win32" else "windows"
    done = run("--backend", other, "claim", "repo-x", "--session", "w1")
    assert (done.returncode, "use --backend auto" in done.stderr) == (3, True)
    assert not data_dir.exists()
