"""Where a user keeps on a host what is nobody else's: which directories, in which order, and which are never used."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support.capabilities import NativeFiles, needs_modes, needs_symlinks

from looop_portable.config import state_dir
from looop_portable.errors import Unavailable, UsageError
from looop_portable.running.state import StateDirectory, choose, places

Break = Callable[[Path], object]


def _follows_xdg() -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", os.path.abspath("there"))
        return state_dir().startswith(os.path.abspath("there"))


needs_xdg_state = pytest.mark.skipif(not _follows_xdg(), reason="XDG_STATE_HOME does not say where the state directory is")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory, a runtime directory and a temporary one, and none of the system's own."""
    for name in ("state", "runtime", "temporary"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("looop_portable.running.state._SYSTEMS_OWN", ())
    monkeypatch.setattr("looop_portable.running.state._RUNTIME", str(tmp_path / "nowhere"))
    return tmp_path


def in_state(home: Path) -> str:
    return f"{home}/state/looop/files"


def in_runtime(home: Path) -> str:
    return f"{home}/runtime/looop/files"


def in_temporary(home: Path) -> str:
    return f"{home}/temporary/looop-files-{os.geteuid()}"


def no_state(home: Path) -> None:
    (home / "state" / "looop").touch()


def no_runtime(home: Path) -> None:
    (home / "runtime").chmod(0o755)


@needs_xdg_state
def test_the_state_directory_comes_first_and_nothing_is_left_of_the_trial(home: Path) -> None:
    assert choose("files") == StateDirectory(in_state(home))
    assert choose("files").description == ""
    assert list(Path(in_state(home)).iterdir()) == []
    assert list(places("files")) == [in_state(home)]


@needs_xdg_state
def test_the_runtime_directory_is_next_and_then_one_of_our_own_with_the_reason(home: Path) -> None:
    no_state(home)
    found = choose("files")
    assert found.directory == in_runtime(home)
    assert found.description.startswith(f"{in_state(home)}: ")
    no_runtime(home)
    assert choose("files").directory == in_temporary(home)
    assert stat.S_IMODE(os.stat(in_temporary(home)).st_mode) == 0o700
    (home / "runtime").chmod(0o700)
    assert list(places("files")) == [in_runtime(home), in_temporary(home)]  # Whoever looks, looks in all of them.


@needs_xdg_state
@pytest.mark.parametrize(
    ("home_directory", "given"),
    [("/nonexistent", None), ("", "relative"), ("", "~/.local/state"), ("x" * 300, None), ("/" + "x" * 300, None)],
    ids=["no such directory", "a relative one", "a tilde", "a relative home", "too long a name"],
)
def test_what_the_environment_says_and_cannot_be(
    home: Path, monkeypatch: pytest.MonkeyPatch, home_directory: str, given: str | None
) -> None:
    monkeypatch.setenv("HOME", home_directory)
    monkeypatch.delenv("XDG_STATE_HOME")
    if given is not None:
        monkeypatch.setenv("XDG_STATE_HOME", given)
    monkeypatch.setattr("looop_portable.running.state._me", lambda: 1)  # Root can make anything anywhere.
    monkeypatch.setattr("looop_portable.running.state._verify", _as_if_ours)
    monkeypatch.setattr(NativeFiles, "make_private", _not_in_the_root)
    monkeypatch.chdir(home)
    assert choose("files").directory == in_runtime(home)
    assert not (home / "~").exists()


def _as_if_ours(directory: str, foreign: int) -> None:
    if not os.path.isdir(directory):
        raise FileNotFoundError(errno.ENOENT, "nothing is there", directory)


def _not_in_the_root(files: NativeFiles, path: str) -> None:
    if path.startswith("/nonexistent"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    os.makedirs(path, 0o700, exist_ok=True)


def _link(where: Path) -> None:
    where.parent.mkdir(parents=True, exist_ok=True)
    (where.parent / "elsewhere").mkdir(mode=0o700, exist_ok=True)
    where.symlink_to(where.parent / "elsewhere")


def _open_to_all(where: Path) -> None:
    where.mkdir(parents=True)
    where.chmod(0o777)


def _readable(where: Path) -> None:
    where.mkdir(parents=True)
    where.chmod(0o755)


@needs_xdg_state
@needs_symlinks
@needs_modes
@pytest.mark.parametrize("plant", [_link, _open_to_all, _readable, Path.touch], ids=["link", "open", "readable", "file"])
def test_what_somebody_may_have_planted_is_not_used(home: Path, plant: Break) -> None:
    no_state(home)
    no_runtime(home)
    plant(Path(in_temporary(home)))
    with pytest.raises(Unavailable, match="no directory of this user's can be used on this host: ") as refusal:
        choose("files")
    assert in_temporary(home) in str(refusal.value)
    assert list(places("files")) == []


@needs_xdg_state
@needs_symlinks
@pytest.mark.parametrize("plant", [_link, _open_to_all], ids=["link", "open"])
def test_nor_is_a_state_directory_that_others_write_to(home: Path, plant: Break) -> None:
    plant(Path(in_state(home)))
    assert choose("files").directory == in_runtime(home)
    assert list(places("files")) == [in_runtime(home)]


@needs_xdg_state
@needs_modes
def test_a_temporary_directory_in_which_others_may_rename_is_not_used(home: Path) -> None:
    no_state(home)
    no_runtime(home)
    (home / "temporary").chmod(0o777)
    with pytest.raises(Unavailable):
        choose("files")
    (home / "temporary").chmod(0o1777)
    assert choose("files").directory == in_temporary(home)


@needs_xdg_state
@pytest.mark.parametrize("call", ["create", "take", "make_private"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOLCK, errno.EROFS, errno.ESTALE, errno.EDQUOT])
def test_where_it_cannot_be_written_to_or_locked_in_the_next_is_used(home: Path, call: str, number: int) -> None:
    class Failing(NativeFiles):
        """As a directory that is full, or on a network without locks."""

    real = getattr(NativeFiles, call)

    def fails(files: NativeFiles, path: str, *rest: object) -> object:
        if path.startswith(f"{home}/state"):
            raise OSError(number, os.strerror(number), path)
        return real(files, path, *rest)

    setattr(Failing, call, fails)
    found = choose("files", Failing())
    assert (found.directory, os.strerror(number) in found.description) == (in_runtime(home), True)
    left = Path(in_state(home))
    assert not left.exists() or list(left.iterdir()) == []


@needs_xdg_state
def test_a_runtime_directory_of_another_user_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `su` or `sudo`."""
    assert choose("files").directory == in_state(home)
    monkeypatch.setattr("looop_portable.running.state._me", lambda: os.geteuid() + 1)
    with pytest.raises(Unavailable, match="belongs to another user"):
        choose("files")
    assert list(places("files")) == []


@needs_xdg_state
@needs_modes
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="cannot give a file to another user (needs root)"
)
def test_root_makes_nothing_in_another_users_home(home: Path) -> None:
    os.chown(home / "state", 1000, 1000)
    found = choose("files")
    assert (found.directory, "belongs to another user (uid 1000)" in found.description) == (in_runtime(home), True)
    assert list((home / "state").iterdir()) == []


@needs_xdg_state
@needs_modes
@pytest.mark.parametrize("umask", [0o177, 0o777])
def test_what_it_makes_can_be_used_whatever_the_umask_is(home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert choose("files").directory == in_state(home)
    finally:
        os.umask(before)
    made = [home / "state" / "looop", home / "state" / "looop" / "files"]
    assert [stat.S_IMODE(path.stat().st_mode) & 0o700 for path in made] == [0o700] * 2


@needs_xdg_state
def test_a_home_that_is_nowhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "some/where")
    with pytest.raises(UsageError, match="set XDG_STATE_HOME or HOME to an absolute path"):
        state_dir()
