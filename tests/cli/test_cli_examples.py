"""The examples of --help: every verb has some, they stay whole in a narrow terminal, and each ends as its comment says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from support.capabilities import BASH, PWSH, needs_bash, needs_flock, needs_pwsh

import looop_portable
from looop_portable import Claims
from looop_portable.cli.root import looop as root

Run = Callable[..., subprocess.CompletedProcess[str]]
Living = Callable[[str], "subprocess.Popen[bytes]"]


PACKAGE = str(Path(looop_portable.__file__).parents[1])


class Example(NamedTuple):
    """`code`: the exit code that the comment names, as `exit N`, else 0."""

    verb: str
    line: str
    code: int

    @property
    def is_for_powershell(self) -> bool:
        return self.line.startswith("$env:") or "Invoke-Expression" in self.line

    @property
    def needs_a_shell(self) -> bool:
        return self.is_for_powershell or not self.line.startswith("looop ")


def verbs(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        assert found
        yield f"{above}{name}", found
        if isinstance(found, click.Group):
            yield from verbs(found, f"{name} ")


def examples_in(shown: str) -> list[tuple[str, str]]:
    """Pairs of comment and line of a page of help."""
    block = re.search(r"^Examples:\n(.*?)(?:\n\n|\Z)", shown, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^  # (.+)\n  (\S.*)$", block[1] if block else "", flags=re.MULTILINE)


def page(verb: str, found: click.Command) -> str:
    return found.get_help(click.Context(found, info_name=f"looop {verb}", terminal_width=80))


VERBS = dict(verbs(root))
PAGES = {verb: page(verb, found) for verb, found in VERBS.items()}
EXAMPLES = [
    Example(verb, line, int((re.findall(r"\bexit (\d+)", comment) or [0])[0]))
    for verb, shown in PAGES.items()
    for comment, line in examples_in(shown)
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_above_its_options(verb: str) -> None:
    shown = PAGES[verb]
    assert examples_in(shown)
    assert shown.index("\nExamples:\n") < shown.index("\nOptions:\n")
    assert all(f"looop {verb.partition(' ')[0]}" in line for _, line in examples_in(shown))


@pytest.mark.parametrize("verb", VERBS)
def test_an_example_is_a_line_of_a_narrow_terminal(verb: str) -> None:
    """What is shown is what is written: nothing has broken it."""
    written = getattr(VERBS[verb], "examples", {})
    assert examples_in(PAGES[verb]) == [(comment, line) for line, comment in written.items()]
    assert all(len(each) <= 78 for pair in examples_in(PAGES[verb]) for each in pair)


@pytest.fixture
def prepared(alive: Living, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of somebody for whom the examples are meant: sessions, claims, and the programs that are run."""
    for name in ("agent-8", "worker-1", "worker-2"):
        alive(name)
    Claims.open(str(data_dir)).sessions.register("agent-7", lease_seconds=1800, timed=True)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("rsync", "make"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
        (programs / name).chmod(0o755)
        (programs / f"{name}.bat").write_text("@exit /b 0\n")
    (programs / "looop").write_text(f'#!/bin/sh\nPYTHONPATH="{PACKAGE}" exec "{sys.executable}" -m looop_portable "$@"\n')
    (programs / "looop").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    return dict(os.environ)


def hold(name: str, session: str, generation: int) -> None:
    """`session` holds it, at that generation."""
    claims = Claims.open()
    while claims.show(name).generation < generation - 1:
        claims.claim(name, "worker-2")
        claims.release(name, "worker-2")
    claims.claim(name, session)
    assert claims.show(name).generation == generation


HELD = {
    "unclaim": [("repo-x", "agent-7", 1), ("ci-1", "agent-7", 1)],
    "check": [("repo-x", "worker-1", 7)],
    "wait": [("repo-y", "worker-1", 1)],
    "transfer": [("repo-x", "agent-7", 1)],
    "claims": [("ci-1", "worker-1", 1)],
    "show": [("repo-x", "worker-1", 1)],
    "events": [("repo-x", "worker-1", 1)],
    "break": [("repo-x", "worker-1", 7), ("ci-1", "worker-1", 1)],
}
"""What is held when the examples of a verb are tried: by whom, at which generation."""


def kept(run: Run) -> None:
    """Of `session keep`: a session that has a keeper."""
    assert run("session", "stop", "worker-1").returncode == 0
    assert run("session", "start", "worker-1", "--pid", str(os.getpid()), "--lease", "30").returncode == 0


def ended(run: Run, backend: str) -> None:
    """Of `adopt`: all have stopped who used the directory, in the other way."""
    for session in ("agent-7", "agent-8", "worker-1", "worker-2"):
        run("session", "stop", session)
    for verb in ("claim", "unclaim"):
        assert run("--backend", backend, verb, "repo-x", "--session", "nobody").returncode == 0


ENDS = [each for each in EXAMPLES if not each.needs_a_shell and each.verb != "watch"]


@pytest.mark.parametrize("example", ENDS, ids=lambda each: each.line)
def test_an_example_ends_as_it_says(
    run: Run, looop: Run, prepared: dict[str, str], example: Example, tmp_path: Path
) -> None:
    if example.verb == "session start":
        run("session", "stop", "agent-7")
    if example.verb == "session keep":
        kept(run)
    if example.verb == "adopt":
        if needs_flock.args[0]:
            pytest.skip(needs_flock.kwargs["reason"])
        ended(run, "advisory" if " auto " in example.line else "auto")
    for claim in HELD.get(example.verb, ()):
        hold(*claim)
    try:
        done = looop(*shlex.split(example.line)[1:], cwd=tmp_path)
        assert done.returncode == example.code, done.stderr
        assert "warning" not in done.stderr
    finally:
        run("session", "stop", "worker-1")  # And its keeper.


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.verb == "watch"], ids=lambda each: each.line)
def test_an_example_of_watch_shows_what_is_held_until_it_is_ended(
    start: Callable[..., subprocess.Popen[bytes]], prepared: dict[str, str], example: Example
) -> None:
    hold("ci-1", "worker-1", 1)
    watching = start(*shlex.split(example.line)[1:])
    assert watching.stdout
    lines = [watching.stdout.readline().split()[0] for _ in range(2)]
    assert lines == [b"NAME", b"ci-1"]
    assert watching.poll() is None


@needs_bash  # Where there is none, `looop` as one word is a script that cannot be run either.
@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.needs_a_shell], ids=lambda each: each.line)
def test_an_example_for_a_shell_ends_as_it_says(prepared: dict[str, str], example: Example) -> None:
    shell = [PWSH, "-NoProfile", "-Command"] if example.is_for_powershell else [BASH, "-c"]
    if not shell[0]:
        pytest.skip(needs_pwsh.kwargs["reason"])
    done = subprocess.run([*shell, example.line], env=prepared, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (example.code, False), done.stderr
