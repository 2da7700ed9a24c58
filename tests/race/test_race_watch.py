"""`looop watch` at a real terminal: what it shows, its keys, and the terminal as it was whatever ends it."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import BASH, needs_bash, needs_null_signals, needs_stopping

from looop_portable import Claims

fcntl = pytest.importorskip("fcntl", reason="no ioctl(2), to take a terminal")
termios = pytest.importorskip("termios", reason="no terminals to be made")

SOON = 30.0
WATCH = [sys.executable, "-m", "looop_portable", "watch", "--interval", "0.2"]
FAULTY = """
import sys
from looop_portable.cli.verbs.show.watching import drawing
from looop_portable.__main__ import main

def fail(*args, **more):
    raise RuntimeError("a fault")

drawing.page = fail
main()
"""
_PIECE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")
IDLER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"]


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # A script's `pytest &`, and nohup, ignore them.
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """A terminal, with a program at it that leads its session, and what its screen shows."""

    def __init__(self, directory: Path, command: list[str], environment: dict[str, str]) -> None:
        self.ours, self.theirs = os.openpty()
        self.height, self.width = 12, 100
        self._set_size()
        self.modes = termios.tcgetattr(self.theirs)
        self.raw = ""
        self._rest = ""
        self._row, self._column = 1, 1
        self._lines: dict[int, str] = {}
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("LOOOP_", "NO_COLOR"))}
        self.environment = {**keep, "LOOOP_DATA_DIR": str(directory), "TERM": "xterm", "PS1": "$ ", **environment}
        self.process = subprocess.Popen(
            command,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            preexec_fn=_take_terminal,  # noqa: PLW1509 (no threads)
            env=self.environment,
        )

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def resize(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._set_size()

    @property
    def text(self) -> str:
        return "\n".join(self._lines.get(row, "").rstrip() for row in range(1, self.height + 1))

    def shows(self, what: Callable[[str], object]) -> str:
        """The screen, once it is so."""
        ends = time.monotonic() + SOON
        while not what(self.text):
            assert self._heard(ends), f"it never came: {self.text}"
        return self.text

    def says(self, pattern: str) -> None:
        """Something like this is sent, from now on or since the last such call."""
        ends = time.monotonic() + SOON
        while not (found := re.search(pattern, self.raw)):
            assert self._heard(ends), f"never said {pattern}: {self.raw!r}"
        self.raw = self.raw[found.end() :]

    def code(self) -> int:
        """What it ends with. Its last words are heard."""
        ends = time.monotonic() + SOON
        while self.process.poll() is None:
            assert time.monotonic() < ends, f"it does not end: {self.text}"
            self._heard(time.monotonic() + 0.05)
        while self._heard(time.monotonic()):
            pass
        return self.process.returncode

    def is_as_it_was(self) -> bool:
        """The modes, the first screen, the cursor."""
        last = dict(re.findall(r"\x1b\[\?(25|1049)([hl])", self.raw))
        assert last in ({"1049": "l", "25": "h"}, {})
        return bool(termios.tcgetattr(self.theirs) == self.modes)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for fd in {self.ours, self.theirs} - {-1}:
            os.close(fd)

    def _set_size(self) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", self.height, self.width, 0, 0))

    def _heard(self, ends: float) -> bool:
        readable, _, _ = select.select([self.ours], [], [], max(ends - time.monotonic(), 0))
        if not readable:
            return False
        said = os.read(self.ours, 65536).decode(errors="replace")
        self.raw += said
        self._rest = self._draw(self._rest + said)
        return True

    def _draw(self, text: str) -> str:
        at = 0
        while found := _PIECE.match(text, at):
            arguments, what, back, down, words = found.groups()
            if words:
                line = self._lines.get(self._row, "").ljust(self._column - 1)
                self._lines[self._row] = line[: self._column - 1] + words + line[self._column - 1 + len(words) :]
                self._column += len(words)
            elif back or down:
                self._row, self._column = (self._row, 1) if back else (self._row + 1, self._column)
            elif what == "H":
                row, _, column = arguments.partition(";")
                self._row, self._column = int(row or 1), int(column or 1)
            elif what == "h" and arguments == "?1049":
                self._lines = {}
            at = found.end()
        return text[at:]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOOP_LEASE", "0")
    return tmp_path / "data"


@pytest.fixture
def claims(store: Path) -> Iterator[Claims]:
    """With claims of a session that lives (a, c), and of one that nobody has registered (b)."""
    idler = subprocess.Popen(IDLER, stdin=subprocess.DEVNULL)
    found = Claims.open(str(store))
    found.sessions.register("lives", pid=idler.pid)
    for name, session in (("a-1", "lives"), ("b-2", "gone"), ("c-3", "lives")):
        found.claim(name, session)
    yield found
    idler.kill()
    idler.wait()


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for each in made:
        each.close()


@pytest.fixture
def watch(claims: Claims, store: Path, terminals: list[Terminal]) -> Callable[..., Terminal]:
    def begin(command: list[str] = WATCH, **environment: str) -> Terminal:
        terminals.append(Terminal(store, command, environment))
        return terminals[-1]

    return begin


def names(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[2:-1] if line]


def test_it_shows_what_is_held_and_what_comes_and_goes_without_a_key(
    watch: Callable[..., Terminal], store: Path, claims: Claims
) -> None:
    terminal = watch()
    shown = terminal.shows(lambda text: "q quit" in text and "c-3" in text)
    assert shown.splitlines()[0] == "3 claims, 1 dead; by name"
    assert names(shown) == ["a-1", "b-2", "c-3"]
    subprocess.run(
        [*WATCH[:3], "claim", "new", "--session", "x"], check=True, env=terminal.environment, capture_output=True
    )
    terminal.shows(lambda text: names(text) == ["a-1", "b-2", "c-3", "new"])
    claims.release("a-1", "lives")
    terminal.shows(lambda text: names(text) == ["b-2", "c-3", "new"])


def test_keys_filter_sort_choose_and_end_it(watch: Callable[..., Terminal]) -> None:
    terminal = watch()
    terminal.shows(lambda text: "c-3" in text)
    terminal.type("r")
    terminal.shows(lambda text: names(text) == ["c-3", "b-2", "a-1"])
    terminal.type("rd")
    terminal.shows(lambda text: names(text) == ["b-2"] and "only dead" in text)
    terminal.type("h")
    terminal.shows(lambda text: names(text) == ["a-1", "c-3"])
    terminal.type("hs")
    terminal.shows(lambda text: "by age" in text)
    terminal.type("s")
    terminal.shows(lambda text: names(text) == ["b-2", "a-1", "c-3"] and "by session" in text)
    terminal.type("/[ab]-*")
    terminal.shows(lambda text: names(text) == ["b-2", "a-1"] and "/[ab]-*_" in text)
    terminal.type("\r")
    terminal.shows(lambda text: "filter [ab]-*" in text and "q quit" in text)
    terminal.type("\x1b")
    terminal.shows(lambda text: len(names(text)) == 3)
    terminal.type("?")
    terminal.shows(lambda text: "any key: back" in text)
    terminal.type("?")
    terminal.shows(lambda text: len(names(text)) == 3)
    assert not termios.tcgetattr(terminal.theirs)[3] & termios.ICANON
    terminal.type("q")
    assert terminal.code() == 0
    assert terminal.is_as_it_was()


def test_it_scrolls(watch: Callable[..., Terminal], claims: Claims) -> None:
    for number in range(30):
        claims.claim(f"d-{number:02}", "gone")
    terminal = watch()
    terminal.shows(lambda text: "33 claims, 31 dead; 1-9; by name" in text)
    terminal.type("\x1b[6~\x1b[B")
    terminal.shows(lambda text: "11-19" in text and names(text)[0] == "d-07")
    terminal.type("\x1bOF")
    terminal.shows(lambda text: names(text)[-1:] == ["d-29"])
    terminal.type("\x1b[H")
    terminal.shows(lambda text: names(text)[0] == "a-1")


def test_a_terminal_that_is_resized_is_drawn_anew(watch: Callable[..., Terminal]) -> None:
    terminal = watch([*WATCH[:-1], "1h"])
    terminal.shows(lambda text: "c-3" in text and "q quit" in text)
    terminal.resize(5, 60)
    shown = terminal.shows(lambda text: "q quit" in text.splitlines()[-1])
    assert names(shown) == ["a-1", "b-2"]
    terminal.resize(20, 120)
    terminal.shows(lambda text: len(names(text)) == 3 and "q quit" in text.splitlines()[-1])


@pytest.mark.parametrize(
    ("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT), ("", signal.SIGTERM), ("", signal.SIGHUP)]
)
@needs_null_signals
def test_whatever_ends_it_the_terminal_is_as_it_was(watch: Callable[..., Terminal], key: str, number: int) -> None:
    terminal = watch()
    terminal.shows(lambda text: "c-3" in text)
    if key:
        terminal.type(key)
    else:
        terminal.process.send_signal(number)
    assert terminal.code() == 128 + number
    assert terminal.is_as_it_was()


def test_a_fault_of_ours_leaves_the_terminal_as_it_was(watch: Callable[..., Terminal]) -> None:
    terminal = watch([sys.executable, "-c", FAULTY, *WATCH[3:]])
    assert terminal.code() == 3
    assert "a fault of looop itself" in terminal.raw
    assert terminal.is_as_it_was()


def test_when_the_terminal_hangs_up_it_ends(watch: Callable[..., Terminal]) -> None:
    terminal = watch()
    terminal.shows(lambda text: "c-3" in text)
    os.close(terminal.theirs)
    os.close(terminal.ours)
    terminal.ours = terminal.theirs = -1
    assert terminal.process.wait(SOON) == 128 + signal.SIGHUP


@needs_bash
@needs_stopping
def test_ctrl_z_gives_the_terminal_back_and_fg_goes_on(watch: Callable[..., Terminal]) -> None:
    terminal = watch([BASH, "--norc", "--noediting", "-i"])
    terminal.says(r"\$ ")
    before = termios.tcgetattr(terminal.theirs)
    terminal.type(f"{shlex.join(WATCH)}\n")
    terminal.shows(lambda text: "c-3" in text and "q quit" in text)
    for _ in range(2):
        assert termios.tcgetattr(terminal.theirs) != before
        terminal.type("\x1a")
        terminal.says(r"\x1b\[\?1049l")
        terminal.says("Stopped")
        terminal.says(r"\$ ")
        assert termios.tcgetattr(terminal.theirs) == before
        terminal.type("fg\n")
        terminal.says(r"\x1b\[\?1049h")
        terminal.shows(lambda text: "c-3" in text and "q quit" in text)
    terminal.type("q")
    terminal.says(r"\x1b\[\?1049l")
    terminal.type("echo code:$?.\n")
    terminal.says(r"code:0\.")
    assert termios.tcgetattr(terminal.theirs) == before


def test_the_dead_have_a_colour_unless_nobody_wants_any(watch: Callable[..., Terminal]) -> None:
    terminal = watch()
    terminal.says(r"\x1b\[31mdead")
    terminal = watch(NO_COLOR="1")
    terminal.shows(lambda text: "c-3" in text)
    assert not re.search(r"\x1b\[[\d;]*m[a-zA-Z]", terminal.raw.replace("\x1b[0m", ""))


def test_a_store_that_cannot_be_read_is_told_and_waited_for(watch: Callable[..., Terminal], store: Path) -> None:
    terminal = watch()
    terminal.shows(lambda text: "c-3" in text)
    store.rename(store.with_name("away"))
    terminal.shows(lambda text: "cannot be read" in text and len(names(text)) == 3)
    store.with_name("away").rename(store)
    terminal.shows(lambda text: "q quit" in text and len(names(text)) == 3)


def test_a_store_that_cannot_be_read_at_first_is_no_answer(watch: Callable[..., Terminal], store: Path) -> None:
    (store / "claims" / ".ledger").rename(store / "away")
    (store / "claims" / ".ledger").write_text("a file")
    terminal = watch()
    assert terminal.code() == 3
    assert terminal.is_as_it_was()


def test_without_a_keyboard_it_is_shown_without_keys(watch: Callable[..., Terminal]) -> None:
    terminal = watch([BASH or "sh", "-c", f"exec {shlex.join(WATCH)} </dev/null"])
    shown = terminal.shows(lambda text: "c-3" in text and "Ctrl-C" in text)
    assert shown.splitlines()[-1] == "Ctrl-C ends"
    assert termios.tcgetattr(terminal.theirs) == terminal.modes
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.code() == 128 + signal.SIGINT
    assert terminal.is_as_it_was()


def test_a_terminal_that_moves_no_cursor_has_lines(watch: Callable[..., Terminal], claims: Claims) -> None:
    terminal = watch(TERM="dumb")
    terminal.says("a-1 ")
    claims.claim("new", "gone")
    terminal.says("claimed  new  session=gone")
    assert "\x1b" not in terminal.raw
