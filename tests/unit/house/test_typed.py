"""`typed.NamedTuple` makes what `typing.NamedTuple` makes, without compiling anything, and a start imports no `typing`."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import typing
from typing import Any

import pytest

from looop_portable.protocol.records import Registration
from looop_portable.typed import NamedTuple


class Ours(NamedTuple):
    """A point."""

    x: int
    y: str = "y"
    z: tuple[int, ...] = ()

    @property
    def both(self) -> str:
        return f"{self.x}{self.y}"

    def again(self) -> Ours:
        return self._replace(x=self.x + 1)


class Theirs(typing.NamedTuple):
    """A point."""

    x: int
    y: str = "y"
    z: tuple[int, ...] = ()


class Many(NamedTuple):
    a: int
    b: int
    c: int
    d: int
    e: int
    f: int
    g: int
    h: int
    i: int
    j: int
    k: int
    m: int = 12


@pytest.mark.parametrize(
    "what",
    [
        lambda kind: kind._fields,
        lambda kind: kind._field_defaults,
        lambda kind: kind.__match_args__,
        lambda kind: kind.__doc__,
        lambda kind: kind.__mro__[1:],
        type,
        lambda kind: [str(each) for each in inspect.signature(kind).parameters],
        lambda kind: [each.default for each in inspect.signature(kind).parameters.values()],
        typing.get_type_hints,
        lambda kind: tuple(kind(1, z=(2,))),
        lambda kind: kind(1) == (1, "y", ()),
        lambda kind: hash(kind(1)),
        lambda kind: kind(1)._asdict(),
        lambda kind: tuple(kind._make([1, 2, 3])),
        lambda kind: repr(kind(1)).partition("(")[2],
        lambda kind: [kind(1)._replace(y="z").y, kind(1).z, kind(x=5).x],
        lambda kind: (copy.copy(kind(1)), copy.deepcopy(kind(1)), pickle.loads(pickle.dumps(kind(1)))),
        lambda kind: hasattr(kind(1), "__dict__"),
    ],
)
def test_it_is_made_as_typing_makes_it(what: Any) -> None:
    assert what(Ours) == what(Theirs)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda kind: kind(),
        lambda kind: kind(1, 2, 3, 4),
        lambda kind: kind(1, w=2),
        lambda kind: kind._make([1]),
        lambda kind: setattr(kind(1), "x", 2),
        lambda kind: setattr(kind(1), "w", 2),
    ],
)
def test_it_refuses_what_typing_refuses(wrong: Any) -> None:
    for kind in (Ours, Theirs):
        with pytest.raises((TypeError, AttributeError)):
            wrong(kind)


def test_fields_that_are_unknown_are_not_replaced() -> None:
    with pytest.raises(TypeError, match="unexpected field"):
        Ours(1)._replace(w=2)  # type: ignore[call-arg]


def test_it_has_methods_and_properties_of_its_own() -> None:
    assert (Ours(1).both, Ours(1).again().x) == ("1y", 2)


def test_it_may_have_more_fields_than_any_of_ours() -> None:
    made = Many(*range(11))
    assert (made.k, made.m, made._replace(a=7).a) == (10, 12, 7)
    assert len(Registration._fields) != len(Many._fields)


def test_a_field_without_a_default_stands_before_those_with_one() -> None:
    with pytest.raises(TypeError, match="no default"):

        class _(NamedTuple):
            x: int = 1
            y: int  # type: ignore[misc]


UNNEEDED = "typing", "json", "re", "threading", "signal", "weakref", "importlib", "math", "struct", "logging", "click"
WRAPPED = (
    "import sys\nbefore = set(sys.modules)\nfrom looop_portable.__main__ import main\ntry:\n    main()\nfinally:\n    "
)


@pytest.mark.parametrize("line", ["claim n --session s", "unclaim n --session s", "check n --generation 1", "-q show n"])
def test_a_start_imports_nothing_that_it_does_not_need(line: str, tmp_path: Any) -> None:
    program = f"{WRAPPED}print('NEW', *(set(sys.modules) - before))"
    command = [sys.executable, "-c", program, "--data-dir", str(tmp_path / "store"), *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    new = done.stdout.split("NEW")[1].split()
    assert "looop_portable.claims.gate" in new
    unneeded = ("click",) if {"ctypes", "psutil"}.intersection(new) else UNNEEDED  # Where the system is asked by these.
    assert not {name for name in new if name.split(".")[0] in unneeded}


def test_no_tuple_of_a_start_is_compiled(tmp_path: Any) -> None:
    """Each number of fields that one has is provided for in `typed`."""
    program = (
        "import collections, sys\n"
        "def compiled(*_, **__): raise AssertionError('compiled')\n"
        "import functools\n"  # It has one of its own.
        "collections.namedtuple = compiled\n"
        "import looop_portable.cli.verbs.claim, looop_portable.cli.verbs.run, looop_portable.running.command\n"
        "import looop_portable.backends.directory.policies\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
