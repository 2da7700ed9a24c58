"""Which directory a setting means: the same one wherever it is used, or a refusal that names the way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import needs_other_users, needs_posix_homes

from looop_portable import Claims, config, hold
from looop_portable.config import resolve, state_dir
from looop_portable.errors import UsageError

NOBODY = """
import os, sys
from looop_portable.config import resolve
from looop_portable.errors import UsageError
os.setgroups([])
os.setgid(54_321)
os.setuid(54_321)
try:
    print(resolve().data_dir)
except UsageError as refusal:
    sys.exit(str(refusal))
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We are in a directory that must stay empty."""
    for name in ("LOOOP_DATA_DIR", "LOOOP_BACKEND", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused() -> str:
    with pytest.raises(UsageError) as refusal:
        resolve()
    said = str(refusal.value)
    assert said.isprintable()
    assert "--data-dir or LOOOP_DATA_DIR" in said
    return said


@pytest.mark.parametrize("there", ["~/store", "~", "~root/store", "/srv/~/store", "store", "./store", "../store"])
def test_an_environment_that_names_another_store_in_each_directory_is_refused(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    monkeypatch.setenv("LOOOP_DATA_DIR", there)
    assert there in refused()
    assert not list(elsewhere.iterdir())


@needs_posix_homes
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("XDG_STATE_HOME", "state"),
        ("XDG_STATE_HOME", "~/.local/state"),
        ("XDG_STATE_HOME", "./state"),
        ("HOME", ""),
        ("HOME", "home"),
        ("HOME", "~"),
        ("HOME", "~root"),
        ("HOME", "."),
    ],
)
def test_a_home_that_is_none_is_refused(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert variable in refused()
    with pytest.raises(UsageError, match="set XDG_STATE_HOME or HOME to an absolute path"):
        state_dir()
    assert resolve(str(elsewhere / "store")).data_dir == (elsewhere / "store").as_posix()
    assert not list(elsewhere.iterdir())


@needs_other_users
def test_a_user_whom_the_system_does_not_know_has_no_store_in_each_directory(elsewhere: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(
        [sys.executable, "-c", NOBODY], check=False, capture_output=True, text=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "HOME is not set" in done.stderr
    assert "--data-dir or LOOOP_DATA_DIR" in done.stderr
    assert not list(elsewhere.iterdir())


@needs_posix_homes
def test_an_absolute_home_is_where_the_store_is(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", f"{elsewhere}/")
    assert Path(resolve().data_dir).is_relative_to(elsewhere)
    assert resolve().data_dir == state_dir()


@pytest.mark.parametrize("there", ["~/x", "~", "~root/x", "a/~/b", Path("~/x"), Path("~"), b"~/x"])
def test_a_tilde_that_a_program_passes_is_refused(elsewhere: Path, there: str | Path) -> None:
    for use in (lambda: Claims.open(there), lambda: hold("x", data_dir=there)):
        with pytest.raises(UsageError, match=r"~.* nobody has expanded: .*--data-dir or LOOOP_DATA_DIR"):
            use()
    assert not list(elsewhere.iterdir())


def test_a_path_of_any_kind_is_one_store(elsewhere: Path) -> None:
    store = (elsewhere / "store").as_posix()
    kinds: list[str | Path] = [store, elsewhere / "store", Path("store"), "store", "./store/", os.fsencode(store)]  # type: ignore[list-item]
    assert {resolve(kind).data_dir for kind in kinds} == {store}
    with hold("x", data_dir=elsewhere / "store") as held:
        assert Claims.open(store).show("x").generation == held.lease.generation


def test_what_is_no_path_is_a_mistake_of_its_caller() -> None:
    with pytest.raises(UsageError, match="no path"):
        resolve(7)  # type: ignore[arg-type]


def test_a_tilde_within_a_name_is_a_letter(elsewhere: Path) -> None:
    for name in ("a~", "a~b/c", "RUNNER~1"):
        assert resolve(name).data_dir == (elsewhere / name).as_posix()


LOCAL = "C:/Users/x/AppData/Local"
OF_PACKAGE = rf"{LOCAL}/Packages/PythonSoftwareFoundation.Python.3.13_qbz5n2kfra8p0/LocalCache/Local/looop".replace(
    "/", "\\"
)


@pytest.mark.parametrize(
    ("directory", "packaged", "real"),
    [
        (f"{LOCAL}/looop", True, f"{LOCAL}/looop"),  # It is not there yet.
        (f"{LOCAL}/looop", True, OF_PACKAGE),
        (f"{LOCAL}/looop", False, OF_PACKAGE.replace("/", "\\")),  # Whatever Windows tells of packages.
        ("c:\\users\\x\\APPDATA\\roaming\\looop", True, ""),
        ("D:/link", False, OF_PACKAGE),
    ],
)
def test_a_directory_that_is_another_one_to_other_programs_is_refused(directory: str, packaged: bool, real: str) -> None:
    """As AppData is to Python from the Microsoft Store: two Pythons would have two stores by one path."""
    with pytest.raises(UsageError, match=r"another one for other programs: .*outside of AppData, with --data-dir or"):
        config.refuse_redirected(directory, packaged=packaged, real=real)


@pytest.mark.parametrize(
    ("directory", "packaged", "real"),
    [
        (f"{LOCAL}/looop", False, f"{LOCAL}/looop"),
        ("C:/Users/x/looop", True, "C:/Users/x/looop"),
        ("C:/ProgramData/looop", True, "C:/ProgramData/looop"),
        (OF_PACKAGE, True, OF_PACKAGE),  # Somebody knows what he does: it is the same to all.
        (OF_PACKAGE, False, OF_PACKAGE),
        ("C:/AppData.old/Local/x", True, ""),
        ("C:/Packages/x/y", False, "C:/Packages/x/y"),
    ],
)
def test_one_that_is_the_same_to_all_is_not(directory: str, packaged: bool, real: str) -> None:
    config.refuse_redirected(directory, packaged=packaged, real=real)


@pytest.mark.skipif(not hasattr(config, "_is_packaged"), reason="there are no apps with packages")
def test_the_store_s_python_refuses_the_default_directory_and_takes_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LOOOP_DATA_DIR", raising=False)
    assert "AppData" in resolve().data_dir
    monkeypatch.setattr(config, "_is_packaged", lambda: True)
    with pytest.raises(UsageError, match="another one for other programs"):
        resolve()
    assert resolve(r"C:\looop").data_dir == "C:/looop"


@needs_posix_homes
def test_on_macos_the_default_is_told_without_platformdirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve().data_dir == state_dir() == f"{tmp_path}/Library/Application Support/looop"
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}/state")
    assert resolve().data_dir == f"{tmp_path}/state/looop"
