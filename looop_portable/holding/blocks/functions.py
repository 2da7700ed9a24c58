"""`hold` as a decorator: each call of the function enters a block of its own.

Does not guarantee: anything for a function whose work begins after it has returned, so those are refused: generators; and
for `hold` of threads what is to be awaited, for `aio` what is not.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, ParamSpec, TypeVar

from looop_portable.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


def guarded(block: Callable[[], AbstractContextManager[object]], function: Callable[P, R]) -> Callable[P, R]:
    """`function`, each call of which is in a `block()`. Raises `UsageError`."""
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"{_name(function)} is async, and would not be held while it runs: use looop_portable.aio.hold")
    _refuse_generators(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with block():
            return function(*args, **kwargs)

    return call


def guarded_async(
    block: Callable[[], AbstractAsyncContextManager[object]], function: Callable[P, Coroutine[Any, Any, R]]
) -> Callable[P, Coroutine[Any, Any, R]]:
    """The same for what is awaited. Raises `UsageError`."""
    _refuse_generators(function)
    if not inspect.iscoroutinefunction(function):
        raise UsageError(f"{_name(function)} is not async: use looop_portable.hold")

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        async with block():
            return await function(*args, **kwargs)

    return call


def _refuse_generators(function: Callable[..., object]) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"{_name(function)} is a generator, and would not be held while it runs: hold within it")


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", function))
