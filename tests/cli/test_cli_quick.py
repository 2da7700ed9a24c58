"""The quick reader and click read a command line alike: the same values for the verb, or click tells an error."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from looop_portable.cli import verb
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.root import answer
from looop_portable.cli.words.declared import Misuse, Option
from looop_portable.cli.words.quick import read
from looop_portable.cli.words.table import EVERYWHERE, VERBS

MANY = int(os.environ.get("MANY_EXAMPLES", "1"))


class Told(NamedTuple):
    """What a verb was told, and how."""

    verb: str
    values: dict[str, Any]
    as_json: bool
    quiet: bool
    verbose: int
    aside: bool
    place: tuple[str | None, str | None]


TOLD: list[Told] = []


def recording(name: str) -> Callable[..., int]:
    def do(out: Setting, **values: Any) -> int:
        place = out._data_dir, out._backend
        TOLD.append(Told(name, values, out.as_json, out.quiet, out.verbose, out.aside, place))
        return 0

    return do


@pytest.fixture(autouse=True, scope="module")
def nothing_is_done() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name, command in VERBS.items():
            module, _, function = command.where.partition(":")
            stack.enter_context(mock.patch(f"looop_portable.cli.{module}.{function}", recording(name)))
        verb.made.cache_clear()
        yield
    verb.made.cache_clear()


def by_click(args: list[str]) -> Told | None:
    """What the verb was told; None: it was not called."""
    TOLD.clear()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = answer(args, Setting())
    assert len(TOLD) == (code == 0 and bool(TOLD))
    return TOLD[0] if TOLD else None


def quickly(args: list[str]) -> Told | None:
    """The same of the quick reader; None: it leaves the line to click."""
    TOLD.clear()
    line = read(args)
    if line:
        assert line.do(Setting()) == 0
    return TOLD[0] if TOLD else None


def types_of(told: Told) -> list[type]:
    return [type(value) for _, value in sorted(told.values.items())]


VALUES = [
    *("repo-x", "", "-", "--", "-5", "-q", "--json", "-x5", "x=y", "=", "=5", "a b", "übel", "\udcff", "\u0663", "\n"),
    *(
        "0",
        "1",
        "3",
        "5",
        " 5 ",
        "+5",
        "1_000",
        "007",
        "255",
        "256",
        "10000",
        "10001",
        "9" * 30,
        "0x1",
        "1e3",
        "nan",
        "inf",
    ),
    *(
        "5s",
        "5m",
        "1h30m",
        "1.5",
        ".5",
        "0.0001",
        "2",
        "4",
        "30d",
        "5min",
        "5 m",
        "1:30",
        "1,5h",
        "5M",
        "-5s",
        "1m1m",
        "5x",
    ),
    *(
        "term",
        "warn",
        "TERM",
        "for ever",
        "posix",
        "memory",
        "file:///nowhere",
        "claim",
        "run",
        "--help",
        "-h",
        "--version",
    ),
]
value = st.sampled_from(VALUES) | st.text(max_size=4)


def spelled(option: Option) -> st.SearchStrategy[list[str]]:
    """An option as people may write it, and as they must not."""
    word = st.sampled_from(option.words) | st.sampled_from(
        [option.words[-1][:-1], f"{option.words[-1]}s", option.words[0].upper()]
    )
    return st.one_of(
        word.map(lambda it: [it]),
        st.tuples(word, value).map(list),
        st.tuples(word, value).map(lambda it: ["=".join(it)]),
        st.tuples(word, value).map(lambda it: ["".join(it)]),
    )


LETTERS = "qvnxewEh5s-"
letters = st.text(LETTERS, min_size=1, max_size=4).map(lambda text: [f"-{text}"])
anything = st.lists(
    value | st.sampled_from([*VERBS, "--", "-", *(word for each in EVERYWHERE for word in each.words)]), max_size=6
)


def rightly(option: Option) -> st.SearchStrategy[list[str]]:
    """An option with a value that it can have, more often than not."""
    right = {"Seconds": ["5s", "30", "1m"], "Whole": ["1", "7"], "OneOf": ["term", "warn"], "Text": ["x", "übel", ""]}
    of_kind = st.sampled_from(right[type(option.kind).__name__])
    word = st.sampled_from(option.words)
    if not option.has_value:
        return word.map(lambda it: [it])
    return st.tuples(word, of_kind).flatmap(
        lambda it: st.sampled_from([list(it), ["=".join(it) if it[0][:2] == "--" else "".join(it)]])
    )


def lines_of(name: str, *, right: bool) -> st.SearchStrategy[list[str]]:
    """Lines of a verb. `right`: most of them can be read."""
    command = VERBS[name]
    one, everywhere = st.sampled_from([*command.options, *EVERYWHERE]).flatmap, st.sampled_from(EVERYWHERE).flatmap
    part, before = one(rightly), st.lists(everywhere(rightly), max_size=2)
    if not right:
        part = st.one_of(part, one(spelled), letters, value.map(lambda it: [it]))
        before = st.lists(everywhere(lambda it: rightly(it) | spelled(it)), max_size=2)
    words = st.sampled_from([["n"], ["n"], ["--", "n"], ["n", "--", "-x"], [] if name == "unclaim" else ["m"]])
    needed = [["--generation", "1"]] if name == "check" else []
    behind = st.tuples(st.lists(part, max_size=5), words).flatmap(
        lambda it: (
            st.permutations([*it[0], *needed]).map(lambda parts: [*parts, it[1]])
            if right
            else st.permutations([*it[0], *needed, it[1]])
        )
    )
    return st.tuples(before, behind).map(
        lambda it: [word for part in it[0] for word in part] + [name] + [word for part in it[1] for word in part]
    )


lines = st.one_of(*(lines_of(name, right=right) for name in VERBS for right in (True, False)), anything)
environments = st.fixed_dictionaries(
    {},
    optional={
        "LOOOP_LEASE": st.sampled_from(["", "0", "1", "3", "5m", "x", " 7 ", "-1", "\u0663"]),
        "LOOOP_SESSION_ID": st.sampled_from(["", "s", "übel"]),
        "LOOOP_DATA_DIR": st.sampled_from(["", "nowhere", "/nowhere"]),
        "LOOOP_BACKEND": st.sampled_from(["", "posix", "memory", "no backend", "redis://nobody@nowhere"]),
        "LOOOP_STRICT": st.just("1"),
        "LOOOP_WAIT": st.just("5"),
    },
)


@settings(max_examples=400 * MANY, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(args=lines, environment=environments)
@example(["claim", "n", "--wait=-q"], {})
@example(["claim", "n", "--wait=for ever"], {})
@example(["claim", "--wait=--", "--wait", "n"], {})
@example(["claim", "n", "--wait", "--", "5"], {})
@example(["run", "--wait", "-nw5", "--", "--", "x"], {"LOOOP_LEASE": "2"})
@example(["run", "-w=5", "x"], {})
@example(["--", "claim", "n"], {})
@example(["-qq", "--data-dir", "--", "claim", "n", "-vv", "--data-dir=", "-vq"], {})
@example(["unclaim"], {})
@example(["check", "n", "--generation", "1", "--generation", "x"], {})
@example(["check", "n", "--generation", "x", "--generation", "1"], {})
def test_both_read_the_same(args: list[str], environment: dict[str, str]) -> None:
    with mock.patch.dict(os.environ, environment):
        theirs, ours = by_click(list(args)), quickly(args)
    event("read by both" if ours else "read by click alone" if theirs else "an error, or help")
    assert ours is None or ours == theirs
    if ours and theirs:
        assert types_of(ours) == types_of(theirs)


PLAIN = [
    *(
        "claim n",
        "claim a b",
        "claim n --session s",
        "claim n --wait",
        "claim n --wait 5m",
        "claim --wait n",
        "claim --wait=5 n",
    ),
    *(
        "-q claim n",
        "--json claim n",
        "claim n --json",
        "claim -vvq n",
        "claim -- -n",
        "claim n --slots=3 --note x --ttl 5m --strict",
    ),
    *("--data-dir D claim n", "claim n --data-dir D", "--backend posix claim n --backend=advisory", "claim n --timeout 0"),
    *("unclaim n", "unclaim n --session s", "unclaim --pattern 'x*' --dry-run", "unclaim", "unclaim --slots 2 n"),
    *("check n --generation 7", "check --generation=7 n --session s", "show n", "show -q n", "-q show n"),
    *("run true", "run -- true", "run --claim n -- true -x --wait", "run --claim n --claim m -nE 0 true", "run -w5 true"),
    *(
        "run -w 5 --until-all-end --max-hold 1h --on-lost warn --lease 5m -x -- sh -c 'exit 1'",
        "run --session s -e true --",
    ),
]


@pytest.mark.parametrize("line", PLAIN)
def test_what_is_plain_is_read_quickly(line: str) -> None:
    args = shlex.split(line)
    ours = quickly(args)
    assert ours is not None
    assert ours == by_click(args)


UNUSUAL = ["", "--help", "-h claim", "claim", "claim n --help", "claim -h", "--version", "claims", "_ claim n", "lock n"]
UNUSUAL += [
    "claim n --wai 5",
    "claim n --wait 5min",
    "claim n --wait 1:30",
    "claim n --slots 0",
    "claim n -x",
    "claim n --json=1",
]
UNUSUAL += [
    "show a b",
    "show",
    "check n",
    "check n --generation -1",
    "run",
    "run -E 256 true",
    "run --lease 1 true",
    "claim n --note",
]


@pytest.mark.parametrize("line", UNUSUAL)
def test_what_is_unusual_is_left_to_click(line: str) -> None:
    assert quickly(shlex.split(line)) is None


def test_what_shells_complete_is_left_to_click(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from looop_portable.cli import main

    for variable, text in {"_LOOOP_COMPLETE": "bash_complete", "COMP_WORDS": "looop claim --se", "COMP_CWORD": "2"}.items():
        monkeypatch.setenv(variable, text)
    with pytest.raises(SystemExit):
        main(["claim", "n"])
    assert "--session" in capsys.readouterr().out


def test_what_makes_no_sense_to_a_verb_is_told_by_click(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def nonsense(out: Setting, **_: Any) -> int:
        raise Misuse("it makes no sense")

    monkeypatch.setattr("looop_portable.cli.verbs.claim.claim", nonsense)
    monkeypatch.setattr(verb, "made", verb.made.__wrapped__)
    done = run("claim", "n")
    assert (done.returncode, done.stderr) == (2, "looop: it makes no sense (see `looop claim --help`)\n")
