"""The man pages, out of click's commands: looop(1), and a page for each verb of each group.

Guarantees: what --help says is there, all of it, and each option of `looop` that may stand behind the verb. The same
commands and the same SOURCE_DATE_EPOCH make the same bytes.
Does not guarantee: a date; without SOURCE_DATE_EPOCH a page has none.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import click
from roff import bold, entry, italic, paragraph, plain, prose, section, subsection, verbatim

from looop_portable import __version__
from looop_portable.cli.root import SECTIONS, looop

_EXIT_CODES = re.compile(r"Exit codes?:\s*")
_EXIT_CODE = re.compile(r"(?:^\s*|\s{3,}|;\s+)(\d{1,3})\s+(?=\D)", re.MULTILINE)


def pages() -> dict[str, str]:
    """The name of each page's file, and what is in it."""
    return {f"{name_of(ctx)}.1": _page(ctx) for ctx in contexts()}


def contexts(ctx: click.Context | None = None) -> Iterator[click.Context]:
    """Of `looop`, and of each verb that is listed."""
    ctx = ctx or click.Context(looop, info_name="looop", resilient_parsing=True, **looop.context_settings)
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, name)
            if command is not None and not command.hidden:
                yield from contexts(click.Context(command, info_name=name, parent=ctx, resilient_parsing=True))


def name_of(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def options_of(ctx: click.Context) -> list[tuple[str, str]]:
    """Each option that is shown: its words and its value, and what it does."""
    found = [each.get_help_record(ctx) for each in ctx.command.get_params(ctx) if isinstance(each, click.Option)]
    return [record for record in found if record]


def _page(ctx: click.Context) -> str:
    description, codes = _description_of(ctx)
    summary = (
        ctx.command.get_short_help_str(200) if ctx.parent else "claim a named resource so that nobody else alive holds it"
    )
    examples: dict[str, str] = getattr(ctx.command, "examples", {})
    parts = [
        f'.TH {plain(name_of(ctx).upper())} 1 "{_date()}" "looop\\-portable {plain(__version__)}" "looop\\-portable"',
        ".nh\n.ad l",
        section("NAME", rf"{plain(name_of(ctx))} \- {plain(summary.removesuffix('.'))}"),
        section("SYNOPSIS", _synopsis(ctx)),
        section("DESCRIPTION", *description),
        *_verbs(ctx),
        _options(ctx),
        section("EXIT STATUS", *codes),
    ]
    if examples:
        shown = [part for line, purpose in examples.items() for part in (paragraph(purpose), verbatim(line))]
        parts.append(section("EXAMPLES", *shown))
    return "\n".join([*parts, section("SEE ALSO", _see_also(ctx))]) + "\n"


def _date() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%d") if epoch else ""


def _synopsis(ctx: click.Context) -> str:
    words = [f"[{italic(each[1:-1])}]" if each.startswith("[") else italic(each) for each in _usage(ctx)]
    return " ".join([bold(ctx.command_path), *words])


def _usage(ctx: click.Context) -> list[str]:
    return ctx.command.collect_usage_pieces(ctx)


def _description_of(ctx: click.Context) -> tuple[list[str], list[str]]:
    """What --help says; and of that the exit codes. Who says none has those of all verbs."""
    shown: list[str] = []
    codes: list[str] = []
    for text in _paragraphs(ctx.command):
        body = text.removeprefix("\b\n")
        if _EXIT_CODES.match(body):
            codes = _exit_codes(body)
        else:
            shown.append(verbatim(body) if body != text else paragraph(text))
    root = ctx.find_root()
    if not codes and ctx is not root:
        codes = [paragraph("As of every verb; what they mean here is said above."), *_description_of(root)[1]]
    return shown, codes


def _paragraphs(command: click.Command) -> list[str]:
    texts = [inspect.cleandoc(text).partition("\f")[0] for text in (command.help, command.epilog) if text]
    return [each for text in texts for each in re.split(r"\n{2,}", text.strip("\n"))]


def _exit_codes(text: str) -> list[str]:
    """`Exit code: the command's; and\\n  1  held   2  usage`: what stands before the first, then each."""
    _, _, said = text.partition(":")
    before, *found = _EXIT_CODE.split(said.strip(" "))
    before = before.strip()
    intro = [paragraph(f"{before[:1].upper()}{before[1:].rstrip()}:")] if before else []
    return intro + [
        entry(bold(code), meaning.strip().rstrip(";")) for code, meaning in zip(found[::2], found[1::2], strict=True)
    ]


def _verbs(ctx: click.Context) -> list[str]:
    """Of a group: what each of its verbs is for, in the sections of --help."""
    group = ctx.command
    if not isinstance(group, click.Group):
        return []
    below = {each.info_name: each for each in contexts(ctx) if each.parent is ctx}
    sections = SECTIONS if group is looop else {"": below}
    shown = []
    for heading, names in sections.items():
        verbs = [entry(_reference(below[name]), below[name].command.get_short_help_str(200)) for name in names]
        shown += [subsection(heading, *verbs)] if heading else verbs
    return [section("VERBS", *shown)]


def _options(ctx: click.Context) -> str:
    own = [_option(*record) for record in options_of(ctx)]
    everywhere = ctx.find_root()
    if ctx is everywhere:
        own.insert(0, prose("They stand before the verb. All but `--version` may stand behind it too."))
    elif not isinstance(ctx.command, click.Group):
        theirs = [_option(*record) for record in options_of(everywhere) if not re.search("--(help|version)", record[0])]
        own.append(subsection("Options of every verb", *theirs))
    return section("OPTIONS", *own)


def _option(words: str, text: str) -> str:
    """`-s, --size N`: what is typed as it is stands out from what it is given."""
    term = re.sub(
        r"(?<![\w-])(-{1,2}[A-Za-z][\w-]*)|([^\s,]\S*)",
        lambda found: bold(found[1]) if found[1] else italic(found[2]),
        words,
    )
    return entry(term, re.sub(r"\s{2,}(?=\[)", " ", text))


def _see_also(ctx: click.Context) -> str:
    """What stands above and below, what the text names, and the neighbours."""
    known = {each.command_path: each for each in contexts()}
    text = " ".join([*_paragraphs(ctx.command), *(text for _, text in options_of(ctx))])
    named = re.findall(r"looop(?: [a-z]+)+", text)
    near = [each.command_path for each in (ctx.find_root(), ctx.parent) if each]
    near += [path for path, each in known.items() if each.parent and each.parent.command_path == ctx.command_path]
    near += [path for each in named for path in (each, each.rpartition(" ")[0]) if path in known]
    near += [path for path, each in known.items() if ctx.parent and path != ctx.command_path and _are_neighbours(each, ctx)]
    others = dict.fromkeys(path for path in near if path != ctx.command_path)
    pages = [_reference(known[path]) for path in others] + ([rf"{bold('flock')}(1)"] if "flock(1)" in text else [])
    return ",\n".join(pages)


def _are_neighbours(one: click.Context, other: click.Context) -> bool:
    """Verbs of one section of --help, or of one group."""
    if one.parent is None or other.parent is None or one.parent.command_path != other.parent.command_path:
        return False
    return one.parent.command is not looop or any(
        {one.info_name, other.info_name} <= verbs.keys() for verbs in SECTIONS.values()
    )


def _reference(ctx: click.Context) -> str:
    return rf"{bold(name_of(ctx))}(1)"
