"""The examples of a document, and whether they do what the document says. The documents' own words are what is run.

Does not guarantee that a block which says `not run` is true. It has to say why, and a test counts those.

Each block of code is one of these, by its language and by the comment in the line above it:

- `sh`: bash runs it, as somebody would who pastes it; each command of it must succeed.
- `console`: lines that begin with `$ ` are run. What they print, on stderr too, must be the lines below them. `...` stands
  for anything within a line, and a line of `...` alone for any lines. `> ` begins the rest of a command of several lines.
- `bat`: cmd.exe runs it, line by line, where there is one (`tests/docs/test_bat_blocks.py`).
- `python`: a program; it must end with 0. What it prints must be the next block, if that says `<!-- prints -->`.
- `<!-- file: NAME -->`: the block becomes that file. Nothing is run.
- `<!-- shell: NAME -->`: another terminal. The blocks of one name are run in one shell; one that has ended begins anew.
- `<!-- needs: redis-server -->`: the page from here on needs these programs, or `module:NAME`; else it ends here.
- `<!-- not run: WHY -->`: tests cannot run it, for that reason.

All blocks of a page share a directory of their own, which is the home too, and are run in the order of the page.
"""

from __future__ import annotations

import importlib.util
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

RUN = {"sh", "console", "python"}
SECONDS = 120
"""How long a block may take. Not what is measured: a bound, so that a test ends."""


class Block(NamedTuple):
    line: int
    language: str
    text: str
    says: dict[str, str]
    """What the comment above it says: `file`, `shell`, `needs`, `not run`, `prints`."""


def environment_in(home: Path) -> dict[str, str]:
    """That of somebody who has just installed it: no setting of ours, a home of one's own.

    Raises `Lacking` where the package is installed without its script.
    """
    scripts = os.path.dirname(sys.executable)
    if not shutil.which("looop", path=scripts):
        raise Lacking("the package is not installed with its script `looop`")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOOOP_", "XDG_", "PYTHON", "COV_"))}
    path = os.pathsep.join([scripts, os.environ["PATH"]])
    return {**kept, "HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8"}


class Untrue(AssertionError):
    """An example does not do what its document says."""


class Lacking(Exception):
    """What a page needs is not here."""


def blocks_of(document: Path) -> list[Block]:
    found, says = [], dict[str, str]()
    for token in MarkdownIt().enable("table").parse(document.read_text(encoding="utf-8")):
        if token.type == "html_block":
            for name, value in re.findall(r"<!-- *([a-z ]+?)(?:: *(.*?))? *-->", token.content):
                says[name] = value
        elif token.type == "fence":
            line = (token.map or [0])[0] + 1
            found.append(Block(line, token.info.split()[0] if token.info.strip() else "", token.content, says))
            says = {}
        else:
            says = {}
    return found


def is_accounted_for(block: Block) -> bool:
    """Whether it is run, becomes a file, is compared, or says why not. `text` shows output; `{...}` is for the site."""
    known = block.language in RUN | {"bat", "text", ""} or block.language.startswith("{")
    return known or bool(block.says.keys() & {"file", "prints", "not run"})


def try_page(document: Path, directory: Path, environment: dict[str, str]) -> int:
    """Runs the examples of `document` in `directory`, and says how many. Raises `Untrue`, and `Lacking`."""
    ran = 0
    shells: dict[str, Shell] = {}
    blocks = blocks_of(document)
    try:
        for block, after in zip_longest(blocks, blocks[1:]):
            lacks = [each for each in block.says.get("needs", "").split() if not is_here(each)]
            if lacks:
                raise Lacking(f"{document.name}, line {block.line}: no {', '.join(lacks)}")
            if "file" in block.says:
                path = directory / block.says["file"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
                if block.text.startswith("#!"):
                    path.chmod(0o755)
            elif "not run" not in block.says and block.language in RUN:
                where = f"{document.name}, line {block.line}"
                if block.language == "python":
                    prints = after.text if after is not None and "prints" in after.says else None
                    run_program(block.text, prints, directory, environment, where)
                else:
                    name = block.says.get("shell", "")
                    if name in shells and not shells[name].lives():
                        shells.pop(name).close()
                    if name not in shells:
                        shells[name] = Shell(directory, environment)
                    run_block(shells[name], block, where)
                ran += 1
    finally:
        for shell in shells.values():
            shell.close()
    return ran


def is_here(what: str) -> bool:
    kind, _, name = what.partition(":")
    return importlib.util.find_spec(name) is not None if kind == "module" else shutil.which(what) is not None


def run_program(text: str, prints: str | None, directory: Path, environment: dict[str, str], where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise Untrue(f"{where}: the program ended with {done.returncode}:\n{done.stdout}")
    if prints is not None and not fits(prints, done.stdout):
        raise Untrue(f"{where}: it printed\n{done.stdout}and not\n{prints}")


def run_block(shell: Shell, block: Block, where: str) -> None:
    if block.language == "sh":
        printed, code = shell.run(f"set -e\n{block.text}\nset +e", (block.line, 0))
        if code:
            raise Untrue(f"{where}: it ended with {code}:\n{printed}")
        return
    for number, (command, expected) in enumerate(sessions_in(block.text)):
        printed, _ = shell.run(command, (block.line, number))
        if not fits(expected, printed):
            raise Untrue(f"{where}: `{command}` printed\n{printed}and not\n{expected}")


def sessions_in(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console, and what is below it."""
    command, expected = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "".join(expected)
            command, expected = line[2:], []
        elif line.startswith("> ") and not expected:
            command += f"\n{line[2:]}"
        else:
            expected.append(f"{line}\n")
    if command:
        yield command, "".join(expected)


def fits(expected: str, printed: str) -> bool:
    """Whether `printed` is what the document shows, blanks at the ends of lines aside."""
    pattern = ""
    for line in expected.rstrip().splitlines():
        rest = r"[^\n]*".join(re.escape(part) for part in line.rstrip().split("..."))
        pattern += r"(?:[^\n]*\n)*" if line.strip() == "..." else f"{rest}\n"
    lines = "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())
    return re.fullmatch(pattern, lines) is not None


class Shell:
    """A bash that is given one block after the other, as a terminal's is, but without a terminal."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def lives(self) -> bool:
        """Does not reap it: nobody else has its number before `close` has ended its group."""
        return os.waitid(os.P_PID, self._bash.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def run(self, commands: str, name: tuple[int, int]) -> tuple[str, int]:
        """What `commands` printed, and the last one's exit code; 0 where they have ended the shell by `exit` or SIGKILL."""
        mark = f"\x01{name[0]}.{name[1]} "
        assert self._bash.stdin is not None
        # As `eval`, so that bash reads nothing of what comes next, and no command reads the script: its stdin is empty.
        text = f"eval {shlex.quote(commands)} </dev/null\nprintf '%s%d\\n' {shlex.quote(mark)} $?\n"
        self._bash.stdin.write(text.encode())
        self._bash.stdin.flush()
        printed = self._read_until(mark.encode())
        told, _, code = printed.rpartition(mark)
        if not code:
            ended = os.waitid(os.P_PID, self._bash.pid, os.WEXITED | os.WNOWAIT)
            assert ended
            on_purpose = (ended.si_code, ended.si_status) in {(os.CLD_EXITED, 0), (os.CLD_KILLED, signal.SIGKILL)}
            return printed, 0 if on_purpose else ended.si_status
        return told, int(code)

    def _read_until(self, mark: bytes) -> str:
        assert self._bash.stdout is not None
        until, printed = time.monotonic() + SECONDS, b""
        while not re.search(re.escape(mark) + rb"\d+\n$", printed):
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._bash.stdout], [], [], left)[0]:
                raise Untrue(f"it did not end within {SECONDS} s:\n{printed.decode(errors='replace')}")
            more = os.read(self._bash.stdout.fileno(), 65536)
            if not more:
                break
            printed += more
        return printed.decode(errors="replace")

    def close(self) -> None:
        """Ends the shell, and what it has left in its process group."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait(SECONDS)
        self._bash.stdin.close()
        self._bash.stdout.close()
