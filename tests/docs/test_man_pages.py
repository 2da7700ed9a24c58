"""The man pages have what click has, man(1) and mandoc(1) find no fault in them, and the wheel brings them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import roff
from manual import contexts, name_of, options_of, pages
from support.capabilities import needs_hatchling, program_or_skip, works_or_skip

from looop_portable.cli.root import SECTIONS, looop

ROOT = Path(__file__).parents[2]
PAGES = pages()
VERBS = {name_of(ctx): ctx for ctx in contexts()}
PLAIN = {**os.environ, "MANWIDTH": "80", "MANROFFSEQ": "", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("man1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        for name, text in pages().items():
            (where / name).write_text(text, encoding="ascii")
    return where


def unescaped(page: str) -> str:
    """Without fonts, and with the characters that roff has other names for."""
    for character, name in (("-", r"\-"), ("'", r"\(aq"), ("`", r"\(ga"), ("^", r"\(ha"), ("~", r"\(ti"), ("\\", r"\(rs")):
        page = page.replace(name, character)
    return re.sub(r"\\f[BIR]|\\&", "", page)


def shown(page: Path) -> str:
    works_or_skip("man -l", ["man", "--warnings", "-l", str(page)])
    done = subprocess.run(["man", "-l", str(page)], env=PLAIN, capture_output=True, text=True, check=True)
    return re.sub(r".\x08|\x1b\[[\d;]*m", "", done.stdout)


def test_each_verb_has_a_page_and_nothing_else_has() -> None:
    named = {f"looop-{verb}" for verbs in SECTIONS.values() for verb in verbs}
    session = looop.get_command(click.Context(looop), "session")
    assert isinstance(session, click.Group)
    named |= {f"looop-session-{verb}" for verb in session.list_commands(click.Context(session))}
    assert {name.removesuffix(".1") for name in PAGES} == {"looop", *named}


@pytest.mark.parametrize("name", VERBS)
def test_a_page_has_the_sections_that_readers_look_for(name: str) -> None:
    found = re.findall(r"^\.SH (.*)$", PAGES[f"{name}.1"], flags=re.MULTILINE)
    examples = ["EXAMPLES"] if getattr(VERBS[name].command, "examples", None) else []
    verbs = ["VERBS"] if isinstance(VERBS[name].command, click.Group) else []
    assert found == ["NAME", "SYNOPSIS", "DESCRIPTION", *verbs, "OPTIONS", "EXIT STATUS", *examples, "SEE ALSO"]


@pytest.mark.parametrize("name", VERBS)
def test_each_option_is_on_the_page_with_what_it_does(name: str) -> None:
    page = unescaped(PAGES[f"{name}.1"])
    for words, text in options_of(VERBS[name]):
        assert f".TP\n{words}\n" in page
        assert " ".join(text.replace("`", "").split()) in " ".join(page.split())
    if not isinstance(VERBS[name].command, click.Group):
        assert all(f"\n{word}" in page for word in ("--data-dir DIR", "--backend NAME|URL", "--json", "-q, --quiet", "-v"))


@pytest.mark.parametrize("name", VERBS)
def test_what_help_says_is_on_the_page(name: str) -> None:
    page = set(re.findall(r"[\w$]+", unescaped(PAGES[f"{name}.1"])))
    command = VERBS[name].command
    told = " ".join([command.help or "", *getattr(command, "examples", {}), *getattr(command, "examples", {}).values()])
    assert set(re.findall(r"[\w$]+", told)) - page <= {"Exit", "codes", "code", "the", "The"}


@pytest.mark.parametrize("name", VERBS)
def test_lines_that_stay_as_they_are_fit_into_80_columns(name: str) -> None:
    for block in re.findall(r"^\.nf\n(.*?)\n\.fi$", unescaped(PAGES[f"{name}.1"]), flags=re.MULTILINE | re.DOTALL):
        assert [line for line in block.splitlines() if len(line) > 80 - 7 - 4] == []


def test_what_help_hides_is_on_no_page() -> None:
    assert "incarnation" not in PAGES["looop-session-keep.1"]
    assert "_" not in {each.info_name for each in VERBS.values()}


def test_the_exit_codes_are_the_verb_s_own_or_those_of_all() -> None:
    codes = {name: re.findall(r"^\.TP\n\\fB(\d+)\\fR$", page, flags=re.MULTILINE) for name, page in PAGES.items()}
    assert codes["looop-run.1"] == ["1", "2", "3", "123", "124", "126", "127"]
    assert codes["looop-doctor.1"] == ["0", "1", "2", "3"]
    assert codes["looop-claim.1"] == codes["looop.1"] == ["0", "1", "2", "3", "124", "130"]


@pytest.mark.parametrize("name", VERBS)
def test_whom_a_page_names_there_is(name: str) -> None:
    page = unescaped(PAGES[f"{name}.1"])
    also = re.findall(r"(looop[a-z-]*)\(1\)", page.partition(".SH SEE ALSO")[2])
    assert set(also) <= VERBS.keys() - {name}
    assert name == "looop" or "looop" in also


def test_man_has_no_warning_and_cuts_no_option(written: Path) -> None:
    works_or_skip("man --warnings", ["man", "--warnings", "-l", str(written / "looop.1")])
    for page in written.iterdir():
        done = subprocess.run(
            ["man", "--warnings", "-l", str(page)], env=PLAIN, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), page.name
    run = shown(written / "looop-run.1")
    assert "--until-all-end" in run
    assert "looop run --claim nightly -- rsync -a /srv/ backup:\n" in run
    assert "2023-11-14" in run


def test_mandoc_has_nothing_to_say(written: Path) -> None:
    program_or_skip("mandoc")
    command = ["mandoc", "-T", "lint", "-W", "warning", *map(str, written.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def test_no_text_is_taken_for_a_request(tmp_path: Path) -> None:
    hostile = [".SH NO", "'so /etc/hostname", r"back\slash \fBnot bold\fR", "it's 'quoted' `x", '"double"', "a -- b"]
    page = tmp_path / "page.1"
    lines = [
        '.TH PAGE 1 "" "" ""',
        roff.section("NAME", r"page \- hostile"),
        roff.section("TEXT", *map(roff.verbatim, hostile)),
    ]
    page.write_text("\n".join([*lines, *map(roff.paragraph, hostile)]) + "\n", encoding="ascii")
    text = shown(page)
    for each in hostile:
        assert text.count(each) == 2, each


def test_a_page_is_dated_by_the_build_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("LOOOP_LEASE", "77")
    monkeypatch.setenv("COLUMNS", "40")
    undated = pages()
    assert undated["looop.1"].startswith('.TH LOOOP 1 "" ')
    assert all("77" not in page for page in undated.values())
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    dated = pages()
    assert dated["looop.1"].startswith('.TH LOOOP 1 "2023-11-14" ')
    assert {name: page.replace('"2023-11-14"', '""') for name, page in dated.items()} == undated


@needs_hatchling
def test_the_wheel_brings_them_and_man_finds_them(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*-py3-none-any.whl")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--prefix", str(tmp_path / "usr")]
    if subprocess.run([*install[:3], "--version"], capture_output=True, check=False).returncode:
        pytest.skip("no pip")
    subprocess.run([*install, "--ignore-installed", str(wheel)], capture_output=True, check=True)
    share = tmp_path / "usr" / "share"
    assert {path.name for path in (share / "man" / "man1").iterdir()} == PAGES.keys()
    scripts = ["bash-completion/completions/looop", "fish/vendor_completions.d/looop.fish", "zsh/site-functions/_looop"]
    assert [name for name in scripts if not (share / name).is_file()] == []
    if not shutil.which("man"):
        pytest.skip("no man on PATH")
    command = ["man", "-w", "looop-session-start"]
    environment = {**os.environ, "MANPATH": str(share / "man")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(share / "man" / "man1" / "looop-session-start.1")
