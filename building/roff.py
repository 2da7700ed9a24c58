"""Text as roff(7) has it, in the macros of man(7): groff's man and mandoc show the same.

Guarantees: no character of the text means anything to roff; a hyphen and a quote can be copied out of the page.
Does not guarantee: characters beyond ASCII; a reader of pages may not know their encoding.
"""

from __future__ import annotations

import re
import textwrap

_SPECIAL = {"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
_WIDTH = 78
"""Of a line of the source, which nobody reads but those who look for a fault in it."""


def plain(text: str) -> str:
    """`text`, meaning itself."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def bold(text: str) -> str:
    return rf"\fB{plain(text)}\fR"


def italic(text: str) -> str:
    return rf"\fI{plain(text)}\fR"


def prose(text: str) -> str:
    """Sentences, each on lines of its own, as roff wants them. What stands in backticks is bold."""
    sentences = re.split(r"(?<=[.?!:])\s+(?=[A-Z])|(?<=[.?!]\))\s+(?=[A-Z])", " ".join(text.split()))
    return "\n".join(_filled(_with_code(each)) for each in sentences)


def paragraph(text: str) -> str:
    return f".PP\n{prose(text)}"


def verbatim(text: str) -> str:
    """Lines as they are, indented."""
    lines = [_not_a_request(plain(line.rstrip())) for line in textwrap.dedent(text).strip("\n").splitlines()]
    return "\n".join([".PP", ".RS 4", ".nf", *lines, ".fi", ".RE"])


def entry(term: str, text: str) -> str:
    """`term` is roff already."""
    return f".TP\n{term}\n{prose(text)}"


def section(heading: str, *parts: str) -> str:
    return "\n".join([f".SH {plain(heading)}", *_without_first_break(parts)])


def subsection(heading: str, *parts: str) -> str:
    return "\n".join([f".SS {plain(heading)}", *_without_first_break(parts)])


def _without_first_break(parts: tuple[str, ...]) -> list[str]:
    """A heading begins a paragraph by itself."""
    first, *rest = parts
    return [first.removeprefix(".PP\n"), *rest]


def _with_code(text: str) -> str:
    pieces = re.split(r"`([^`]+)`", text)
    return "".join(bold(piece) if at % 2 else plain(piece) for at, piece in enumerate(pieces))


def _filled(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(_not_a_request, lines))


def _not_a_request(line: str) -> str:
    return rf"\&{line}" if line.startswith(".") else line
