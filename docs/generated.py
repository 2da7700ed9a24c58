"""A Sphinx extension: pages that are read out of the code are as readable as those that are written.

Help pages are for terminals: what is aligned there stays so, examples are shown, and no character of them is markup. The
library's public names are shown where users import them from.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from docutils.nodes import Element, Node, TextElement
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

import looop_portable
from looop_portable import aio, testing
from looop_portable.cli.words.clicks import Patience

PUBLIC = {name: f"{module.__name__}.{name}" for module in (testing, aio, looop_portable) for name in module.__all__}
"""Where the page has what the code has elsewhere. `looop_portable` comes last: its names win."""

SCHEMA = Path(__file__).parent / "reference" / "schema"
COMMON: dict[str, Any] = json.loads((SCHEMA / "common.json").read_text(encoding="utf-8"))["$defs"]


def escaped(text: str) -> str:
    """As it stands, but for code in backticks."""
    return re.sub(r"(?<!\\)([*|\\]|_(?!\w))", r"\\\1", text)


def paragraphs(text: str) -> Iterator[str]:
    """A help text as reStructuredText. A paragraph after `\\b` keeps its lines."""
    for paragraph in text.split("\n\n"):
        head, _, rest = paragraph.partition("\n")
        if head.strip() == "\b":
            title, _, body = rest.partition("\n") if re.match(r"\S.*:$", rest.partition("\n")[0]) else ("", "", rest)
            yield from ([escaped(title), ""] if title else [])
            yield from literal(body, "text")
        else:
            yield from [*(escaped(line) for line in paragraph.splitlines()), ""]


def literal(text: str, language: str) -> Iterator[str]:
    yield from [f".. code-block:: {language}", "", *(f"   {line}" for line in textwrap.dedent(text).splitlines()), ""]


def describe(_: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    lines[:] = paragraphs(inspect.cleandoc(ctx.command.help or ctx.command.short_help or ""))
    examples: dict[str, str] = getattr(ctx.command, "examples", {})
    if examples:
        lines += ["Examples:", ""]
        lines += literal("\n".join(f"# {purpose}\n{line}" for line, purpose in examples.items()), "sh")


def show_options(_: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """No character of them is markup; a value that may be left out is in brackets, one of several words is one of them."""
    known = {word: each for each in ctx.command.params for word in each.opts}
    for at, line in enumerate(lines):
        if line.startswith(".. option:: "):
            words, _, value = line.removeprefix(".. option:: ").partition(" <")
            option, value = known[words.split(", ")[0]], value.removesuffix(">")
            if value == option.name:
                value = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else value.upper()
            shown = f"[{value}]" if isinstance(option, Patience) else f"<{value}>"
            lines[at] = f".. option:: {words} {shown if value else ''}".rstrip()
        elif line.strip().startswith(":options:"):
            lines[at] = ""
        elif line.strip().startswith(":default:"):
            lines[at] = line.replace("'", "")
        else:
            lines[at] = escaped(line).replace(r"\*\*Required\*\*", "**Required.**")


def show_arguments(_: Sphinx, __: click.Context, lines: list[str]) -> None:
    """One that a variable may say instead is in brackets, and may be left out."""
    for at, line in enumerate(lines):
        if line.startswith(".. option:: ["):
            rest = lines[at:]
            lines[at:] = [each.replace("Required argument", "Optional argument") for each in rest[:3]] + rest[3:]


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, found: TextElement) -> Element | None:
    """A name of the library's, wherever it is in the code, is on the page by its public name."""
    public = PUBLIC.get(str(node.get("reftarget", "")).rpartition(".")[2])
    if node.get("refdomain") != "py" or public is None:
        return None
    domain = env.get_domain("py")
    known = domain.resolve_any_xref(env, node["refdoc"], app.builder, public, node, found)
    return known[0][1] if known else None  # One that is on no page is warned of.


def is_left_out(_: Sphinx, __: str, ___: str, member: object, *____: object) -> bool | None:
    """The fields of a named tuple: its class tells them."""
    return True if type(member).__name__ == "_tuplegetter" else None


def tell_fields(_: Sphinx, what: str, __: str, member: object, ___: object, lines: list[str]) -> None:
    """Of a named tuple, whose signature has no types."""
    if what != "class" or not isinstance(member, type) or "_fields" not in vars(member):
        return
    types = member.__annotations__
    lines += [f"Fields: {', '.join(f'``{field}``: ``{types[field]}``' for field in types)}.", ""]


class ShowSchema(SphinxDirective):
    """Tables of the fields of a schema, one a variant. The file itself can be downloaded."""

    required_arguments = 1

    def run(self) -> list[Node]:
        path = SCHEMA / self.arguments[0]
        self.env.note_dependency(str(path))
        text = [f"Schema: {{download}}`schema/{path.name}`", ""]
        for variant in json.loads(path.read_text(encoding="utf-8"))["oneOf"]:
            outcomes = variant["properties"].get("outcome", variant["properties"].get("event"))["enum"]
            text += [f"{', '.join(f'`{each}`' for each in outcomes)}: {variant['title']}.", ""]
            text += ["| field | type | |", "|---|---|---|", *fields_of(variant), ""]
        return self.parse_text_to_nodes("\n".join(text))


def fields_of(schema: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The rows of a table; what is in an object comes behind it."""
    for name, given in schema["properties"].items():
        found = COMMON[given["$ref"].rpartition("/")[2]] if "$ref" in given else given
        if name in ("verb", "outcome", "event"):
            continue
        optional = "" if name in schema["required"] else " May be absent."
        yield f"| `{before}{name}` | {type_of(found)} | {found.get('description', '')}{optional} |"
        inner = found.get("items", found)
        inner = COMMON[inner["$ref"].rpartition("/")[2]] if "$ref" in inner else inner
        if "properties" in inner:
            yield from fields_of(inner, f"{before}{name}{'[]' if 'items' in found else ''}.")


def type_of(schema: Mapping[str, Any]) -> str:
    if "oneOf" in schema:
        return ", ".join(
            type_of(COMMON[each["$ref"].rpartition("/")[2]] if "$ref" in each else each) for each in schema["oneOf"]
        )
    types = schema.get("type", "string")
    if "enum" in schema:
        return ", ".join("null" if each is None else f"`{each}`" for each in schema["enum"])
    return types if isinstance(types, str) else ", ".join(types)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("json-schema", ShowSchema)
    app.connect("sphinx-click-process-description", describe)
    app.connect("sphinx-click-process-options", show_options)
    app.connect("sphinx-click-process-arguments", show_arguments)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", tell_fields)
    app.connect("autodoc-skip-member", is_left_out)
    return {"parallel_read_safe": True}
