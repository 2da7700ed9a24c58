"""Click's parameters, made of the declared ones; and durations, which click has not.

An option that may stand alone (`--wait`, a `Patience`) takes the next word as its value only if that is a duration: see
`cli/verb.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import click

from looop_portable.cli.completion import offers
from looop_portable.cli.words.declared import FOR_EVER, RAW, Argument, OneOf, Option, Seconds, Text, Whole
from looop_portable.typed import TYPE_CHECKING, Any, TypeVar

F = TypeVar("F", bound=Callable[..., object])

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    OfSeconds = click.ParamType[float]
else:  # Click 8.2 has one for all.
    OfSeconds = click.ParamType


class Duration(OfSeconds):
    """Seconds, from `least` to `most`, written as a duration."""

    name = "duration"

    def __init__(self, least: float = 0, most: float = math.inf, *, whole: bool = False, optional: bool = False) -> None:
        self._kind = Seconds(least, most, whole=whole, optional=optional)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return value
        try:
            return self._kind.read(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Patience(click.Option):
    """An option that may have a duration."""

    def __init__(self, words: Sequence[str], **attributes: Any) -> None:
        super().__init__(words, **attributes | {"is_flag": False, "flag_value": FOR_EVER})

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What stands behind it is a duration, which nobody can offer, or what the verb takes."""
        arguments = [each for each in ctx.command.params if isinstance(each, click.Argument)]
        return arguments[0].shell_complete(ctx, incomplete) if arguments else []


def option_of(declared: Option, **more: Any) -> click.Option:
    """`more`: click's attributes that replace what is declared."""
    return _class_of(declared)([*declared.words, declared.to], **_attributes_of(declared) | more)


def argument_of(declared: Argument) -> click.Argument:
    return click.Argument([declared.to], **_of_argument(declared))


def with_option(declared: Option) -> Callable[[F], F]:
    """For a verb that click alone knows."""
    return click.option(*declared.words, declared.to, cls=_class_of(declared), **_attributes_of(declared))


def with_argument(declared: Argument) -> Callable[[F], F]:
    return click.argument(declared.to, **_of_argument(declared))


def _class_of(declared: Option) -> type[click.Option]:
    return Patience if isinstance(declared.kind, Seconds) and declared.kind.optional else click.Option


def _attributes_of(declared: Option) -> dict[str, Any]:
    found: dict[str, Any] = {**declared.shown, "expose_value": declared.told}
    if declared.flag or declared.counted:
        found |= {"is_flag": True} if declared.flag else {"count": True}
        if not declared.sets:
            found |= {"flag_value": False, "default": False}
    else:
        found |= {"type": _type_of(declared.kind), "multiple": declared.many, "required": declared.required}
        if declared.default is not None and not declared.many:
            found["default"] = declared.default
    if declared.variable:
        found["envvar"] = declared.variable
    if declared.refuse:
        found["callback"] = _refusing(declared.refuse)
    return found | _offering(declared.offers)


def _of_argument(declared: Argument) -> dict[str, Any]:
    found = {"type": _type_of(declared.kind), "nargs": -1 if declared.many else 1, "required": declared.required}
    return {**found, "metavar": declared.metavar, **_offering(declared.offers)}


def _type_of(kind: Text) -> click.ParamType[Any]:
    if isinstance(kind, Seconds):
        return Duration(kind.least, kind.most, whole=kind.whole, optional=kind.optional)
    if isinstance(kind, Whole):
        return click.IntRange(kind.least, kind.most)
    if isinstance(kind, OneOf):
        return click.Choice(list(kind.words))
    return click.UNPROCESSED if kind is RAW else click.STRING


def _offering(name: str) -> dict[str, Any]:
    return {"shell_complete": getattr(offers, name)} if name else {}


def _refusing(refuse: Callable[[Any], str]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:  # noqa: ARG001 (click's signature)
        if reason := refuse(value):
            raise click.BadParameter(reason)
        return value

    return callback
