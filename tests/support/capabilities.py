"""What this system can do, found out by trying; the marks that say which of it a test needs; and the backend at home here.

A test that needs what a system lacks is skipped there, and the reason names the capability. Nothing is decided by the
platform's name.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from looop_portable import Claims
from looop_portable.backends import SHIPPED, open_backend
from looop_portable.errors import CannotExclude
from looop_portable.system.processes import SYSTEM
from support import schemas

if sys.platform == "win32":  # For the type checker: a class to inherit from has to be known to it.
    from looop_portable.backends.directory.policies import WINDOWS as NATIVE_POLICY
    from looop_portable.backends.directory.policies import WindowsBackend as NativeBackend
    from looop_portable.system.files.windows import WindowsFiles as NativeFiles
else:
    from looop_portable.backends.directory.policies import POSIX as NATIVE_POLICY
    from looop_portable.backends.directory.policies import PosixBackend as NativeBackend
    from looop_portable.system.files.posix import OsFiles as NativeFiles

__all__ = ["NATIVE", "NATIVE_POLICY", "NativeBackend", "NativeFiles"]

NATIVE = NATIVE_POLICY.backend
"""The backend that is this platform's own, and that a directory on a local disk needs nothing for."""

PID_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""What puts a program into a pid namespace of its own, which dies with it."""

FILE_BACKENDS = [name for name in SHIPPED if name != "memory"]


def open_or_skip(backend: str, directory: Path) -> Claims:
    """The claims in `directory`; skips with the backend's own words where it cannot be used."""
    try:
        claims = Claims(open_backend(backend, str(directory)))
    except CannotExclude as reason:
        pytest.skip(str(reason))
    if reason_why := claims.backend.unavailable():
        pytest.skip(reason_why)
    return claims


def program_or_skip(name: str) -> str:
    """Where the program `name` is."""
    found = shutil.which(name)
    return found or pytest.skip(f"no {name} on PATH")


def works_or_skip(what: str, command: list[str]) -> str:
    """The output of `command`, by which it is found out whether there is `what` here: skips where it fails."""
    program_or_skip(command[0])
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        pytest.skip(f"{what} cannot be had here: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout.strip()


def namespaces_or_skip() -> None:
    works_or_skip("a pid namespace with a /proc of its own", [*PID_NAMESPACE, "true"])


def _can_link_symbolically(where: Path) -> bool:
    with suppress(OSError):
        os.symlink("nowhere", where / "link")
    return os.path.islink(where / "link")


def _can_link(where: Path) -> bool:
    (where / "one").touch()
    with suppress(OSError):
        os.link(where / "one", where / "two")
    return (where / "two").exists()


def _has_modes(where: Path) -> bool:
    (where / "file").touch()
    (where / "file").chmod(0o640)
    return stat.S_IMODE((where / "file").stat().st_mode) == 0o640


def _takes_bytes_that_are_no_text(where: Path) -> bool:
    with suppress(OSError, UnicodeError):
        (where / "\udcff").touch()
        return "\udcff" in os.listdir(where)
    return False


def _is_case_sensitive(where: Path) -> bool:
    (where / "case").touch()
    return not (where / "CASE").exists()


def _stores(where: Path, name: str) -> bool:
    with suppress(OSError):
        (where / name).touch()
    return name in os.listdir(where)


def _stats_this_process(path: str) -> bool:
    with suppress(OSError):
        return Path(path).read_text().split()[:1] == [str(os.getpid())]
    return False


def _has_locale(name: str) -> bool:
    """Whether a process can have it, with another encoding than UTF-8."""
    asked = "import sys; print(sys.getfilesystemencoding())"
    environment = {**os.environ, "LC_ALL": name, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.run([sys.executable, "-c", asked], check=False, capture_output=True, env=environment)
    return told.returncode == 0 and told.stdout.strip() not in (b"utf-8", b"")


def _has_inotify() -> bool:
    with suppress(OSError, AttributeError, TypeError, ImportError):
        from looop_portable.system.watch.inotify import Inotify

        Inotify().close()
        return True
    return False


def _is_always_full(path: str) -> bool:
    try:
        with open(path, "r+b", buffering=0) as file:
            file.write(b"x")
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False


with tempfile.TemporaryDirectory() as _made:
    _where = Path(_made)
    SYMLINKS = _can_link_symbolically(_where)
    LINKS = _can_link(_where)
    MODES = _has_modes(_where)
    UNDECODABLE_NAMES = _takes_bytes_that_are_no_text(_where)
    CASE = _is_case_sensitive(_where)
    NAMES_OF_ANY_CHARACTER = _stores(_where, 'a"?\n')
FIFOS = hasattr(os, "mkfifo")
PROC = _stats_this_process("/proc/self/stat")
BASH = shutil.which("bash") or ""
SH = shutil.which("sh") or ""
CMD = shutil.which("cmd.exe") or ""
PWSH = shutil.which("pwsh") or ""


@functools.cache
def _succeeds(command: tuple[str, ...]) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, capture_output=True, check=False).returncode


def skip_unless_possible(what: str, *command: str) -> None:
    """Skips with `what`, where `command` fails. It is tried once, by the first test that needs it."""
    if not _succeeds(command):
        pytest.skip(f"{what} is not possible here")


def times_or_skip(claims: Claims, directory: Path) -> None:
    """Skips where a directory on a disk of this kernel's own does not tell when it was last changed."""
    if not claims.backend.sessions.signs.disk():
        pytest.skip("no disk that this kernel alone can have mounted")
    if not NativeFiles().is_untouched(str(directory), 2**62):
        pytest.skip("directories do not tell when they were last changed")


def _needs(there: object, reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not there, reason=reason)


def disguise_or_skip() -> dict[str, str]:
    """The environment in which a Python looks like macOS's: by the disguise in $DARWIN_DISGUISE (see `disguise/run.py`)."""
    beside = Path(__file__).parents[3] / "shared" / "macos" / "disguise"
    worn = {
        "DISGUISE": "darwin",
        "DARWIN_DISGUISE": os.environ.get("DARWIN_DISGUISE") or str(beside),
        "PYTHONPATH": str(Path(__file__).parents[1] / "lanes" / "disguise"),
    }
    asked = [sys.executable, "-c", "import sys; print(sys.platform)"]
    told = subprocess.run(asked, env={**os.environ, **worn}, capture_output=True, text=True, check=False)
    if told.stdout.strip() != "darwin":
        pytest.skip(f"no disguise makes this Python look like macOS's: none in {worn['DARWIN_DISGUISE']} (DARWIN_DISGUISE)")
    return worn


def _processes_can_be_limited(group: str) -> bool:
    """Whether this is a place for control groups with `pids.max`: of version 1, or of version 2 where it is handed down."""
    made = f"{group}/looop-{os.getpid()}"
    with suppress(OSError):
        os.mkdir(made)
        try:
            return os.path.exists(f"{made}/pids.max")
        finally:
            os.rmdir(made)
    return False


_CGROUPS = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup", "/sys/fs/cgroup/unified")
PIDS = next((group for group in _CGROUPS if _processes_can_be_limited(group)), "")
"""Where control groups can be made that limit the number of processes; empty: nowhere."""


@contextmanager
def mounted_or_skipped(kind: str, where: Path, size: int, *, options: str = "") -> Iterator[Path]:
    """A filesystem of `size` MiB, a tmpfs or an image of its own; skips, and says why, where it cannot be had."""
    point, image = where / f"on-{kind}", where / f"{kind}.img"
    point.mkdir()
    if kind == "tmpfs":
        steps = [["mount", "-t", kind, "-o", f"size={size}m", kind, str(point)]]
    else:
        with image.open("wb") as file:
            file.truncate(size << 20)
        steps = [[f"mkfs.{kind}", "-q", str(image)], ["mount", "-t", kind, "-o", f"loop{options}", str(image), str(point)]]
    for step in steps:
        if not shutil.which(step[0]):
            pytest.skip(f"no {step[0]} on PATH")
        done = subprocess.run(step, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{' '.join(step[:3])}: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


needs_flock = _needs(importlib.util.find_spec("fcntl") is not None, "no flock(2), which the advisory backend needs")
needs_timed_signals = _needs(
    sys.platform != "darwin" and hasattr(signal, "sigtimedwait"),
    "sigtimedwait is missing: what another thread has taken is waited for",
)
needs_signal_masks = _needs(hasattr(signal, "pthread_sigmask"), "signals cannot be blocked: pthread_sigmask is missing")
needs_timers = _needs(hasattr(signal, "setitimer"), "signal.setitimer is missing: no timer sends signals")
needs_interpreters = _needs(
    importlib.util.find_spec("_xxsubinterpreters") or importlib.util.find_spec("_interpreters"),
    "this Python makes no interpreters beside the first",
)
needs_fork = _needs(hasattr(os, "fork"), "os.fork is missing")
needs_pids = _needs(PIDS, "no control group can be made that limits the number of processes")
needs_other_users = _needs(hasattr(os, "setresuid") and os.geteuid() == 0, "cannot become another user (needs CAP_SETUID)")
needs_zombies = _needs(hasattr(os, "waitid"), "os.waitid is missing: there are no zombies to be waited for and left")
needs_stopping = _needs(hasattr(signal, "SIGSTOP"), "SIGSTOP is missing: no process can be stopped and let go on")
needs_null_signals = _needs(hasattr(signal, "SIGKILL"), "kill(pid, 0) does not ask whether a process is there")
needs_modes = _needs(MODES, "files have no modes")
needs_links = _needs(LINKS, "there are no hard links")
needs_symlinks = _needs(SYMLINKS, "symbolic links cannot be made")
needs_fifos = _needs(FIFOS, "os.mkfifo is missing")
needs_undecodable_names = _needs(UNDECODABLE_NAMES, "no file can have a name that is no Unicode")
needs_names_of_any_character = _needs(NAMES_OF_ANY_CHARACTER, "file names cannot have quotes, question marks, newlines")
needs_one_case = _needs(not CASE, "the directory tells case apart")
needs_proc = _needs(PROC, "there is no /proc with process statistics")
needs_namespaces_shown = _needs(
    SYSTEM.here().namespace.startswith("pid:["), "the system does not tell pid namespaces apart, or its /proc is not there"
)
needs_bash = _needs(BASH, "no bash on PATH")
needs_sh = _needs(SH, "no sh on PATH")
needs_jobs = _needs(hasattr(ctypes, "WinDLL"), "there are no job objects, which end processes together")
needs_cmd = _needs(CMD, "no cmd.exe on PATH")
needs_pwsh = _needs(PWSH, "no pwsh (PowerShell 6 or later) on PATH")
needs_dev_full = _needs(_is_always_full("/dev/full"), "no /dev/full")
needs_posix_homes = _needs(os.name == "posix", "home directories are not told by the variable HOME")
needs_locale = {
    name: _needs(_has_locale(name), f"there is no locale {name}") for name in ("C", "POSIX", "de_DE.ISO-8859-1")
}
"""Made by `localedef -i de_DE -f ISO-8859-1 de_DE.ISO-8859-1`."""
needs_inotify = _needs(_has_inotify(), "inotify is missing")
needs_schemas = _needs(schemas.CAN_VALIDATE, "jsonschema is missing, or cannot be loaded")
needs_sqlite = _needs(importlib.util.find_spec("_sqlite3") is not None, "this Python was built without sqlite3")
needs_hatchling = _needs(importlib.util.find_spec("hatchling") is not None, "no hatchling to build the distribution with")
needs_yaml = _needs(importlib.util.find_spec("yaml") is not None, "no PyYAML to read workflows with")
