"""A quick reader of command lines, for the verbs of the declaration: importing click takes longer than all that they do.

Guarantees: what it reads, click reads the same. What it does not know it does not read: an error, a page of help, any word
that is not declared. Then click reads the line, and says what there is to be said.
Does not guarantee: that it reads all that click could.
"""

from __future__ import annotations

import os

from looop_portable.cli.words.declared import FOR_EVER, Misuse, Option, Seconds
from looop_portable.cli.words.table import EVERYWHERE, VERBS
from looop_portable.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from looop_portable.cli.output.setting import Setting


class _Unread(Exception):
    """Click is to read it."""


class Line:
    """A command line that was read: the root's values, before the verb and behind it, and what the verb is told."""

    def __init__(self, verb: str, before: Mapping[str, Any], behind: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        self.verb, self.before, self.behind, self.told = verb, before, behind, told

    def do(self, out: Setting) -> int | None:
        """Do it: the exit code; None, and nothing was done: click is to tell what is wrong."""
        module, _, function = VERBS[self.verb].where.partition(":")
        do = getattr(__import__(f"looop_portable.cli.{module}", fromlist=(function,)), function)
        out.begin(self.verb, **self.before)
        out.go_on(**self.behind)
        try:
            return int(do(out, **self.told))
        except Misuse:
            return None


def read(args: Sequence[str]) -> Line | None:
    """None: click is to read it."""
    try:
        before, words = _options_of(args, EVERYWHERE, mixed=False)
        command = VERBS.get(words[0]) if words else None
        if command is None:
            return None
        options = (*command.options, *EVERYWHERE)
        given, rest = _options_of(words[1:], options, mixed=command.mixed)
        argument = command.argument
        if (argument.required and not rest) or (len(rest) > 1 and not argument.many):
            return None
        told = {each.to: _value_of(each, given) for each in command.options}
        told = {each.to: told[each.to] for each in command.options if each.told}
        told[argument.to] = tuple(rest) if argument.many else rest[0]
        return Line(words[0], _values_of(EVERYWHERE, before), _values_of(EVERYWHERE, given), told)
    except (_Unread, ValueError):
        return None


def _options_of(args: Sequence[str], options: Sequence[Option], *, mixed: bool) -> tuple[dict[str, list[str]], list[str]]:
    """What was given for each option, by the name of its value; and the words that are no options.

    Not `mixed`: no options stand behind the first of these.
    """
    by_word = {word: option for option in options for word in option.words}
    given: dict[str, list[str]] = {}
    words: list[str] = []
    rest = list(reversed(args))
    while rest:
        word = rest.pop()
        if word == "--":
            break
        if word[:1] != "-" or word == "-":
            words.append(word)
            if not mixed:
                break
        elif word[:2] == "--":
            name, equals, value = word.partition("=")
            option = _known(by_word, name)
            if option.has_value:
                value = value if equals else _following(option, rest)
                if _is_optional(option) and value[:1] == "-":  # To click that is an option of its own.
                    raise _Unread
            elif equals:
                raise _Unread
            else:
                value = _mark(option)
            given.setdefault(option.to, []).append(value)
        else:
            _letters(word, by_word, given, rest)
    return given, words + rest[::-1]


def _letters(word: str, by_word: Mapping[str, Option], given: dict[str, list[str]], rest: list[str]) -> None:
    """Short options in one word; what stands behind one that has a value is its value: `-qw5`, `-qw 5`."""
    for end, letter in enumerate(word[1:], start=2):
        option = _known(by_word, f"-{letter}")
        value = (word[end:] or _following(option, rest)) if option.has_value else _mark(option)
        given.setdefault(option.to, []).append(value)
        if option.has_value:
            return


def _mark(option: Option) -> str:
    """What stands for a flag that was given: empty, if that says no."""
    return "given" if option.sets else ""


def _known(by_word: Mapping[str, Option], word: str) -> Option:
    if word not in by_word:
        raise _Unread
    return by_word[word]


def _is_optional(option: Option) -> bool:
    """Whether it may stand without its value."""
    return isinstance(option.kind, Seconds) and option.kind.optional


def _following(option: Option, rest: list[str]) -> str:
    """The value that stands in the next word."""
    if _is_optional(option):
        from looop_portable.cli.words.durations import is_like_one, is_one

        if not rest or not is_one(rest[-1]):
            if rest and is_like_one(rest[-1]):
                raise _Unread
            return FOR_EVER
    if not rest:
        raise _Unread
    return rest.pop()


def _values_of(options: Sequence[Option], given: Mapping[str, list[str]]) -> dict[str, Any]:
    return {each.to: _value_of(each, given) for each in options}


def _value_of(option: Option, given: Mapping[str, list[str]]) -> Any:
    """Raises ValueError, or `_Unread`, for what is none of its values."""
    texts = given.get(option.to, [])
    if not texts and option.variable and (set_to := os.environ.get(option.variable)):
        texts = [set_to]
    if not texts:
        if option.required:
            raise _Unread
        return option.default
    if not option.has_value:
        return len(texts) if option.counted else bool(texts[-1])
    values = [option.kind.read(text) for text in (texts if option.many else texts[-1:])]
    if option.refuse and any(map(option.refuse, values)):
        raise _Unread
    return tuple(values) if option.many else values[0]
