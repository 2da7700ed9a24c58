"""What each verb has and click has not: the options of `looop` behind the verb too, durations, and optional values.

A duration is written as people do: `30`, `30s`, `5m`, `1h30m`. A number alone is seconds. Else each number has its unit, in
any order, each unit once.

An option that is a `Patience` (`--wait`) takes the next word as its value only if that is a duration. Without this, `claim
--wait repo-x` would wait for `repo-x` seconds, and `claim repo-x --wait 5` would claim `5`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import click

from looop_portable.cli.output import Output

SECONDS_IN = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
HOW = "30, 30s, 5m or 1h30m"
"""What to write, for people."""

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_ALONE = re.compile(rf"{_NUMBER}(?:[eE][+-]?\d+)?", re.ASCII)
_PART = re.compile(rf"({_NUMBER})(ms|[smhdw])", re.ASCII)
_UNIT = "(?:ms|[smhdw]|msecs?|millis\\w*|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?)"
_LIKE_A_DURATION = re.compile(
    rf"-{_NUMBER}\w*|(?:{_NUMBER} *{_UNIT} *)+|\d+(?::\d\d)+|\d+,\d+ *{_UNIT}?", re.ASCII | re.IGNORECASE
)
"""What people write for one, and would else be a name: `--wait 5min`, `5M`, `5 m`, `1:30`, `1,5h`."""

FOR_EVER = "for ever"
"""The value of a `Patience` that was given none."""


def seconds_in(text: str) -> float:
    """The seconds of a duration, from 0 on and finite. Raises ValueError."""
    text = text.strip()
    if _ALONE.fullmatch(text):
        seconds = float(text)
    else:
        parts, end = [], 0
        for part in _PART.finditer(text):
            if part.start() != end:
                break
            parts.append(part.groups())
            end = part.end()
        units = [unit for _, unit in parts]
        if not parts or end != len(text) or len(set(units)) != len(units):
            raise ValueError(f"{text!r} is no duration: write {HOW}")
        seconds = sum(float(number) * SECONDS_IN[unit] for number, unit in parts)
    if not math.isfinite(seconds):
        raise ValueError(f"{text!r} is too long")
    return seconds


def written(seconds: float) -> str:
    """Whole seconds as a duration with one unit: `30m`, `90s`."""
    whole = max(1, int(seconds))
    unit = next(unit for unit in ("d", "h", "m", "s") if whole % SECONDS_IN[unit] == 0)
    return f"{int(whole // SECONDS_IN[unit])}{unit}"


if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    OfSeconds = click.ParamType[float]
else:  # Click 8.2 has one for all.
    OfSeconds = click.ParamType


class Duration(OfSeconds):
    """Seconds, from `least` to `most`, written as a duration."""

    name = "duration"

    def __init__(self, least: float = 0, most: float = math.inf, *, whole: bool = False) -> None:
        self._least, self._most, self._whole = least, most, whole

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return value
        try:
            seconds = seconds_in(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._least <= seconds <= self._most:
            to = f"to {self._most:g} s" if self._most < math.inf else "on"
            self.fail(f"{value}: it is from {self._least:g} s {to}", param, ctx)
        if self._whole and seconds != int(seconds):
            self.fail(f"{value}: it is a number of whole seconds", param, ctx)
        return int(seconds) if self._whole else seconds


class _Wait(Duration):
    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return math.inf if value == FOR_EVER else super().convert(value, param, ctx)


class Patience(click.Option):
    """An option that may have a duration."""

    def __init__(self, words: Sequence[str], **attributes: Any) -> None:
        super().__init__(words, **attributes | {"type": _Wait(), "is_flag": False, "flag_value": FOR_EVER})

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What stands behind it is a duration, which nobody can offer, or what the verb takes."""
        arguments = [each for each in ctx.command.params if isinstance(each, click.Argument)]
        return arguments[0].shell_complete(ctx, incomplete) if arguments else []


class Exemplified(click.Command):
    """What has examples in its help: command lines, and what each is for. Nothing breaks them: they are there to be copied.

    They stand above the options. A comment has a line of its own: `#` begins none in cmd.
    """

    def __init__(self, *args: Any, examples: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from looop_portable.cli.output.suggestions import instead_of_option

            options = [word for each in self.get_params(ctx) for word in each.opts if word.startswith("-")]
            instead = instead_of_option(error.option_name, ctx.command_path, options, self.options_behind(ctx))
            raise click.UsageError(f"there is no option '{error.option_name}'{instead}", ctx) from None
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def options_behind(self, _: click.Context, /) -> list[str]:
        """Those of verbs of its own: none."""
        return []

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        if self.examples:
            formatter.write("\nExamples:\n")
        for line, purpose in self.examples.items():
            formatter.write(f"  # {purpose}\n  {line}\n")


class Verb(Exemplified):
    """A verb. Its context's object is an `Output`, of which the root's options are told here too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_everywhere())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Of the options of `looop` too, which --help shows elsewhere."""
        from click.shell_completion import CompletionItem

        found = super().shell_complete(ctx, incomplete)
        words = [word for each in _everywhere() for word in each.opts if word.startswith("--")]
        return found + [CompletionItem(word) for word in words if incomplete and word.startswith(incomplete)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(self._read(ctx, args)))

    def _read(self, ctx: click.Context, args: list[str]) -> Iterator[str]:
        """`args`, in which each `Patience` has its value. --json is heard at once: errors of the rest are said so."""
        options = {word: each for each in self.params if isinstance(each, click.Option) for word in each.opts}
        rest = list(args)
        while rest:
            word = rest.pop(0)
            if word == "--" or (not ctx.allow_interspersed_args and not _is_option(word)):
                rest.insert(0, word)
                break
            option = options.get(word)
            if option and option.name == "as_json" and isinstance(ctx.obj, Output):
                ctx.obj.as_json = True
            if isinstance(option, Patience):
                given = bool(rest) and _is_duration(rest[0])
                if rest and not given and _LIKE_A_DURATION.fullmatch(rest[0]) and not ctx.resilient_parsing:
                    raise click.BadParameter(f"{rest[0]!r} is no duration: write {HOW}; a name behind --", ctx, option)
                yield f"{word}={rest.pop(0) if given else FOR_EVER}"
                continue
            yield word
            if rest and _takes_the_next(word, options):
                yield rest.pop(0)
        yield from rest


class Verbs(Exemplified, click.Group):
    """A group of verbs, in sections: `module:attribute` below `looop_portable.cli`, imported when used."""

    command_class = Verb

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Mapping[str, str]] | None = None,
        unlisted: Mapping[str, str] | None = None,
        synonyms: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections or {}
        self._verbs = {name: target for verbs in self._sections.values() for name, target in verbs.items()}
        self._unlisted = unlisted or {}
        self._synonyms = synonyms or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._verbs, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = self._verbs.get(cmd_name) or self._unlisted.get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = target.partition(":")
        return cast("click.Command", getattr(import_module(f"looop_portable.cli.{module}"), attribute))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if ctx.resilient_parsing or word.startswith("-") or self.get_command(ctx, word):
            return super().resolve_command(ctx, args)
        from looop_portable.cli.output.suggestions import instead_of_verb

        instead = instead_of_verb(word, ctx.command_path, self.list_commands(ctx), self._synonyms)
        raise click.UsageError(f"there is no verb {word!r}{instead}", ctx)

    def options_behind(self, ctx: click.Context, /) -> list[str]:
        verbs = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        return [word for verb in verbs if verb for each in verb.params for word in each.opts if word.startswith("--")]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each section has a heading, and all have their summaries in one column."""
        sections = dict(self._sections) or {"Verbs": dict.fromkeys(super().list_commands(ctx), "")}
        widest = max(map(len, self.list_commands(ctx)))
        for heading, verbs in sections.items():
            found = [(name, self.get_command(ctx, name)) for name in verbs]
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{widest}}", verb.get_short_help_str(100)) for name, verb in found if verb])


def _is_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-")


def _is_duration(word: str) -> bool:
    try:
        seconds_in(word)
    except ValueError:
        return False
    return True


def _takes_the_next(word: str, options: dict[str, click.Option]) -> bool:
    """Whether the value of `word` is the word behind it: of `-E`, of `-nE`, and not of `-E3` or `--timeout=3`."""
    if word.startswith("--") or not _is_option(word):
        return word in options and _has_value(options[word])
    for at, letter in enumerate(word[1:], start=2):
        option = options.get(f"-{letter}")
        if option is None or _has_value(option):
            return option is not None and at == len(word)
    return False


def _has_value(option: click.Option) -> bool:
    return not option.is_flag and not option.count


def _everywhere() -> list[click.Option]:
    """The options of `looop`, for behind the verb. What is given there replaces what was given before it."""
    return [
        click.Option(["--json", "as_json"], is_flag=True, hidden=True, expose_value=False),
        click.Option(["--data-dir"], metavar="DIR", hidden=True, expose_value=False, callback=_replace),
        click.Option(["--backend"], metavar="NAME", hidden=True, expose_value=False, callback=_replace),
        click.Option(["-q", "--quiet"], is_flag=True, hidden=True, expose_value=False, callback=_be_quiet),
        click.Option(["-v", "--verbose"], count=True, hidden=True, expose_value=False, callback=_be_verbose),
    ]


def _replace(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None and param.name:
        ctx.find_root().params[param.name] = value
        if ctx.obj is not None:  # Completion has none.
            ctx.obj.replace(param.name, value)


def _be_quiet(ctx: click.Context, _: click.Parameter, quiet: bool) -> None:
    if quiet and isinstance(ctx.obj, Output):
        ctx.obj.quiet = True


def _be_verbose(ctx: click.Context, _: click.Parameter, times: int) -> None:
    if isinstance(ctx.obj, Output):
        ctx.obj.verbose += times
