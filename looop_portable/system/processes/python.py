"""Starting this Python with this package: a keeper, which outlives us, and children, which their starter ends.

Guarantees: the package is found wherever ours was, and nothing that lies in the current directory is taken for a module
(`-P`). Neither hears Ctrl-C. When a keeper is told to be there, it has said so itself; else it is said why not, and nothing
is left behind. On Windows no job of whoever called us ends it that lets it go; where one does not, that is told.
Does not guarantee: that no job ends it of which Windows tells nothing.
How: what a child is to do it reads as one JSON object on its stdin: paths of any spelling arrive whole. A keeper has
CREATE_BREAKAWAY_FROM_JOB. Our own launcher (`looop.exe`) has a job that nothing may leave so, but in which nothing is
that we start: it is in those around that one. So a keeper that finds itself in one that would end it starts anew, outside.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import sys
from collections.abc import Mapping

from looop_portable.typed import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import subprocess

    from looop_portable.system.threads.standby import Standby

KEPT_BY = "kept by "
"""What a keeper says when it is there; its process id follows."""

TIED = "in a job that ends it"
"""What it says before that, if it is."""

PATIENCE = 60.0
"""Seconds: how long a Python may take to start on a very slow machine."""
_BREAKAWAY_OK, _SILENT_BREAKAWAY_OK, _KILL_ON_JOB_CLOSE = 0x800, 0x1000, 0x2000


class Launched(NamedTuple):
    """`said`: what it said, or why it said nothing; `tied`: it ends with the job that it was started in."""

    said: str
    tied: bool = False


class Fate(enum.Enum):
    """Of a process, in the job that it is in."""

    FREE = "it outlives the job"
    LEAVES = "it ends with the job, unless it starts anew outside of it"
    TIED = "it ends with the job"


def fate_in(limits: int) -> Fate:
    """In a job with these limits (JOBOBJECT_BASIC_LIMIT_INFORMATION)."""
    if not limits & _KILL_ON_JOB_CLOSE or limits & _SILENT_BREAKAWAY_OK:  # As a launcher's, which waits for it.
        return Fate.FREE
    return Fate.LEAVES if limits & _BREAKAWAY_OK else Fate.TIED


def command(*arguments: str) -> list[str]:
    """This Python, with these arguments."""
    return [sys.executable, "-P", *arguments]


def start(module: str, job: Mapping[str, object]) -> subprocess.Popen[str]:
    """A process that runs `serve()` of a module of this package, until it is ended (`end`)."""
    import subprocess

    found = _popen(command("-c", f"from {module} import serve; serve()"), subprocess.PIPE, talks=True)
    assert found.stdin
    with contextlib.suppress(OSError):  # It has ended already; its stderr says why.
        found.stdin.write(json.dumps(job) + "\n")
        found.stdin.flush()
    return found


def job() -> dict[str, object]:
    """In a child: what it is to do."""
    found = json.loads(sys.stdin.readline())
    assert isinstance(found, dict)
    return found


def end(child: subprocess.Popen[str]) -> str:
    """End it, if it has not ended. The last line that it wrote on stderr."""
    import subprocess

    if child.poll() is None:
        child.kill()
    try:
        said = child.communicate(timeout=10)[1] or ""
    except subprocess.TimeoutExpired:  # Stuck in the filesystem: the kernel keeps it until that answers.
        return "it hangs in a call to the filesystem"
    except (OSError, ValueError):
        return ""
    return (said.strip().splitlines() or [""])[-1]


def launch(command: list[str], environment: Mapping[str, str] | None = None) -> Launched:
    """A process that has nothing to do with ours, nor with the terminal; what it says, or why it says nothing.

    `environment`: what it has there beside ours. What nobody else may see is there, and not in the command.
    It outlives us, and holds nothing of ours open.
    """
    from looop_portable.system.threads.standby import Standby

    reader = Standby("looop keeper")  # First. Without it, a keeper would be left behind that nobody hears.
    try:
        return _launched(command, environment or {}, reader)
    finally:
        reader.dismiss()


def leave_job() -> bool:
    """In what was launched: start it anew outside of a job that would end it. Whether that is done; then this one ends.

    Where the job lets nothing go, it says so on stdout, and stays.
    """
    fate = fate_in(_own_limits())
    if fate is Fate.LEAVES:
        try:
            _popen([sys.executable, *sys.orig_argv[1:]], sys.stdout, breaks_away=True)
        except PermissionError:
            fate = Fate.TIED
        else:
            return True
    if fate is Fate.TIED:
        sys.stdout.write(f"{TIED}\n")
        sys.stdout.flush()
    return False


def _launched(command: list[str], environment: Mapping[str, str], reader: Standby) -> Launched:
    import threading

    child, tied = _started(command, environment)
    assert child.stdout
    stdout, lines, heard = child.stdout, list[str](), threading.Event()

    def listen() -> None:
        try:
            _read(stdout, lines)
        finally:
            heard.set()

    reader.do(listen)
    if not heard.wait(PATIENCE):
        child.kill()
        return Launched(f"it said nothing for {PATIENCE:.0f} s")
    child.stdout.close()
    if lines and lines[-1].startswith(KEPT_BY):
        child.returncode = 0  # It goes on without us. Without this, Python would complain of that.
        return Launched(lines[-1], tied or TIED in lines)
    code = child.wait()
    said = lines[-1].removeprefix("looop: ") if lines else "it said nothing"
    return Launched(f"{said} (it ended with code {code})")


def _started(command: list[str], environment: Mapping[str, str]) -> tuple[subprocess.Popen[str], bool]:
    """Its process, and whether it is in a job of ours that does not let it go."""
    import subprocess

    try:
        return _popen(command, subprocess.PIPE, environment, breaks_away=True), False
    except PermissionError:  # A launcher's job forbids it too: what we start is not in that.
        return _popen(command, subprocess.PIPE, environment), not _own_limits() & _SILENT_BREAKAWAY_OK


def _popen(
    command: list[str],
    stdout: int | IO[str],
    more: Mapping[str, str] | None = None,
    *,
    breaks_away: bool = False,
    talks: bool = False,
) -> subprocess.Popen[str]:
    """Without the launcher of a virtual environment, which has a job of its own. `talks`: it stays in our directory.

    Windows: with a console that nobody sees and not without one, as a virtual environment's launcher starts another Python,
    which would be given one that is seen.
    """
    import subprocess

    program, environment, flags, directory = command[0], {**_environment(), **(more or {})}, 0, os.path.abspath(os.sep)
    if sys.platform == "win32":
        from looop_portable.system.processes.windows_system import CREATE_BREAKAWAY_FROM_JOB, system_directory

        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        flags |= CREATE_BREAKAWAY_FROM_JOB if breaks_away else 0
        directory = system_directory()
        base = str(getattr(sys, "_base_executable", "")) or program
        if program == sys.executable != base:
            program, environment["__PYVENV_LAUNCHER__"] = base, sys.executable
    return subprocess.Popen(  # noqa: S603 (this Python, and this package)
        [program, *command[1:]],
        stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE if talks else subprocess.STDOUT,
        cwd=None if talks else directory,
        env=environment,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        creationflags=flags,
    )


def _own_limits() -> int:
    """Of the innermost job that this process is in; 0: there is none."""
    if sys.platform == "win32":
        from looop_portable.system.processes.windows_system import own_limits

        return own_limits()
    return 0


def _read(stream: IO[str], lines: list[str]) -> None:
    """Until it is there, or has ended: a launcher may hold the pipe open for as long as it lives."""
    for line in iter(stream.readline, ""):
        lines.append(line.strip())
        if lines[-1].startswith(KEPT_BY):
            return


def _environment() -> dict[str, str]:
    """Ours, in which the package is found from anywhere: also where it lies in what somebody has unpacked."""
    import site

    package = os.path.abspath(f"{__file__}/../../../..")
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    own = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    if os.path.normcase(package) not in map(os.path.normcase, own):  # What is beside it would come before Python's own.
        paths.append(package)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)} if paths else dict(os.environ)
