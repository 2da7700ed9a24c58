"""What each verb has and click has not: examples, the options of `looop` behind the verb too, and optional values.

An option that is a `Patience` (`--wait`) takes the next word as its value only if that is a duration. Without this, `claim
--wait repo-x` would wait for `repo-x` seconds, and `claim repo-x --wait 5` would claim `5`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import import_module

import click

from looop_portable.cli.output import Output
from looop_portable.cli.words import HOW
from looop_portable.cli.words.clicks import Patience, argument_of, option_of
from looop_portable.cli.words.declared import FOR_EVER, Misuse
from looop_portable.cli.words.durations import is_like_one, is_one
from looop_portable.cli.words.table import EVERYWHERE, VERBS
from looop_portable.typed import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Misuse as error:
            raise click.UsageError(str(error), ctx) from None

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
                given = bool(rest) and is_one(rest[0])
                if rest and not given and is_like_one(rest[0]) and not ctx.resilient_parsing:
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
        return made(cmd_name) if cmd_name in VERBS else cast("click.Command", _found(target))

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


@functools.cache
def made(name: str) -> click.Command:
    """The command of a verb of the declaration."""
    verb = VERBS[name]
    do = _found(verb.where)
    return Verb(
        name,
        callback=click.pass_obj(do),
        params=[argument_of(verb.argument), *map(option_of, verb.options)],
        help=do.__doc__,
        short_help=verb.summary,
        examples=verb.examples,
        context_settings={} if verb.mixed else {"allow_interspersed_args": False},
    )


def _found(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(f"looop_portable.cli.{module}"), attribute)


def _is_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-")


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
    heard = {"data_dir": _replace, "backend": _replace, "quiet": _be_quiet, "verbose": _be_verbose}
    return [option_of(each, hidden=True, expose_value=False, callback=heard.get(each.to)) for each in EVERYWHERE]


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
