"""The public names: what a program or an engine needs is exported, once, and costs a start of the command nothing."""

from __future__ import annotations

import enum
import importlib
import inspect
import subprocess
import sys
import types
import typing
from collections.abc import Iterator

import pytest

import looop_portable
from looop_portable import errors, testing
from looop_portable.backends import base

SURFACES = ["looop_portable", "looop_portable.aio", "looop_portable.testing"]
FOR_ENGINES = {getattr(base, name) for name in base.__all__}
"""What only the author of a backend needs is where `Backend` is."""
FOR_PROGRAMS = ("aio", "holding", "testing", "waiting", "running", "doctor")
"""Rooms that an import of the package leaves alone: the command pays for that at each start."""


def objects(surface: str) -> dict[str, object]:
    module = importlib.import_module(surface)
    return {name: getattr(module, name) for name in module.__all__}


PUBLIC = {name: each for surface in SURFACES for name, each in objects(surface).items()}


def parts(hint: object) -> Iterator[object]:
    """The classes that an annotation is made of."""
    yield hint
    for argument in typing.get_args(hint):
        yield from (each for one in (argument if isinstance(argument, list) else [argument]) for each in parts(one))


def is_ours(found: object) -> bool:
    return isinstance(found, type) and found.__module__.split(".")[0] == "looop_portable"


def annotated(public: object) -> Iterator[object]:
    """Itself, if a function; of a class its fields, and the methods that a user calls."""
    if isinstance(public, types.FunctionType):
        yield public
    elif isinstance(public, type) and not issubclass(public, (enum.Enum, testing.BackendExam)):
        yield public
        for name, member in vars(public).items():
            if name == "__enter__" or not name.startswith("_"):
                function = member.fget if isinstance(member, property) else inspect.unwrap(getattr(public, name))
                if isinstance(function, types.FunctionType):
                    yield function


ANNOTATED = [(name, each) for name, public in PUBLIC.items() for each in annotated(public)]


@pytest.mark.parametrize(
    ("name", "each"), ANNOTATED, ids=[f"{name}-{getattr(each, '__name__', '')}" for name, each in ANNOTATED]
)
def test_what_a_public_signature_names_is_public(name: str, each: typing.Any) -> None:
    for hint in typing.get_type_hints(each).values():
        hidden = {found for found in parts(hint) if is_ours(found)} - {*PUBLIC.values()} - FOR_ENGINES
        assert not hidden, f"{name} names what cannot be imported from a public module"


def test_every_error_that_can_be_caught_is_public() -> None:
    raised = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)}
    assert raised <= {*looop_portable.__all__}


@pytest.mark.parametrize("name", ["Sessions", "Holder", "UsageError", "HoldAll", "Registration", "SessionStatus", "Basis"])
def test_what_users_need_is_exported(name: str) -> None:
    assert name in looop_portable.__all__
    assert getattr(looop_portable, name).__name__ == name


@pytest.mark.parametrize("surface", SURFACES)
def test_a_star_import_gives_exactly_the_public_names(surface: str) -> None:
    found: dict[str, object] = {}
    exec(f"from {surface} import *", found)
    del found["__builtins__"]
    assert found == objects(surface)


@pytest.mark.parametrize("surface", SURFACES)
def test_the_public_names_are_listed_once_and_completed(surface: str) -> None:
    module = importlib.import_module(surface)
    assert len(set(module.__all__)) == len(module.__all__)
    assert {*module.__all__} <= {*dir(module)}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("name", sorted(name for name, each in PUBLIC.items() if hasattr(each, "__module__")))
def test_the_module_that_defines_a_public_name_lists_it(name: str) -> None:
    module = importlib.import_module(getattr(PUBLIC[name], "__module__", ""))
    if module.__name__.split(".")[0] == "looop_portable":
        assert name in module.__all__


def test_a_start_of_the_command_imports_nothing_that_only_programs_use() -> None:
    new = imported_by("import sys\nimport looop_portable\nprint(*sys.modules)")
    assert "looop_portable.claims.gate" in new
    assert not [name for name in new if name.startswith(tuple(f"looop_portable.{room}" for room in FOR_PROGRAMS))]


def imported_by(program: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {*done.stdout.split()}
