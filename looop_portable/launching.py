"""Starting this Python with this package, as a process that outlives ours: a keeper.

Guarantees: when it is told to be there, it has said so itself; else it is said why not, and nothing is left behind.
"""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from looop_portable.standby import Standby

KEPT_BY = "kept by "
"""What a keeper says when it is there; its process id follows."""

_PATIENCE = 30.0
"""Seconds."""


def launch(command: list[str]) -> str:
    """A process that has nothing to do with ours, nor with the terminal; the first line that it says, or why there is none.

    It outlives us, and holds nothing of ours open. Windows: with a console that nobody sees and not without one, as a
    virtual environment's launcher starts another Python, which would be given one that is seen.
    """
    from looop_portable.standby import Standby

    reader = Standby("looop keeper")  # First. Without it, a keeper would be left behind that nobody hears.
    try:
        return _launched(command, reader)
    finally:
        reader.dismiss()


def _launched(command: list[str], reader: Standby) -> str:
    import subprocess
    import threading

    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    child = subprocess.Popen(  # noqa: S603 (this Python, and this package)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=os.path.abspath(os.sep),
        env=_environment(),
        start_new_session=True,
        creationflags=flags,
    )
    assert child.stdout
    stdout, lines, heard = child.stdout, list[str](), threading.Event()

    def listen() -> None:
        try:
            _read(stdout, lines)
        finally:
            heard.set()

    reader.do(listen)
    if not heard.wait(_PATIENCE):
        child.kill()
        return f"it said nothing for {_PATIENCE:.0f} s"
    child.stdout.close()
    if lines and lines[-1].startswith(KEPT_BY):
        child.returncode = 0  # It goes on without us. Without this, Python would complain of that.
        return lines[-1]
    code = child.wait()
    said = lines[-1].removeprefix("looop: ") if lines else "it said nothing"
    return f"{said} (it ended with code {code})"


def _read(stream: IO[bytes], lines: list[str]) -> None:
    """Until it is there, or has ended: a launcher may hold the pipe open for as long as it lives."""
    for line in iter(stream.readline, b""):
        lines.append(line.decode(errors="replace").strip())
        if lines[-1].startswith(KEPT_BY):
            return


def _environment() -> dict[str, str]:
    """Ours, in which the package is found from anywhere."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if os.path.basename(package) not in ("site-packages", "dist-packages"):
        paths.append(package)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)} if paths else dict(os.environ)
