"""What a command line may say: verbs, their options, and what the values are.

It imports nothing: whoever is started for one short verb pays for each import. `cli/words/clicks.py` makes click's
parameters of it, `cli/words/quick.py` reads by it.
"""

from __future__ import annotations

from looop_portable.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FOR_EVER = "for ever"
"""The value of an option that may have a duration, and was given none."""


class Misuse(Exception):
    """A command line that can be read and makes no sense to its verb. Click tells of it, as of one that cannot be read."""


class Text:
    """Any text."""

    def read(self, text: str) -> object:
        """The value. Raises ValueError."""
        return text


class Raw(Text):
    """A word of another command's: bytes, to click."""


class Whole(Text):
    """A whole number, from `least` to `most`."""

    def __init__(self, least: int, most: int | None = None) -> None:
        self.least, self.most = least, most

    def read(self, text: str) -> object:
        number = int(text)
        if number < self.least or (self.most is not None and number > self.most):
            raise ValueError(f"{text}: it is out of range")
        return number


class OneOf(Text):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def read(self, text: str) -> object:
        if text not in self.words:
            raise ValueError(f"{text}: it is none of {self.words}")
        return text


class Seconds(Text):
    """A duration, from `least` to `most` seconds. `optional`: the option may stand alone, and the next word be no value."""

    def __init__(
        self, least: float = 0, most: float = float("inf"), *, whole: bool = False, optional: bool = False
    ) -> None:
        self.least, self.most, self.whole, self.optional = least, most, whole, optional

    def read(self, text: str) -> float:
        from looop_portable.cli.words.durations import seconds_in  # Who names none needs no patterns.

        if self.optional and text == FOR_EVER:
            return float("inf")
        seconds = seconds_in(text)
        if not self.least <= seconds <= self.most:
            to = f"to {self.most:g} s" if self.most < float("inf") else "on"
            raise ValueError(f"{text}: it is from {self.least:g} s {to}")
        if self.whole and seconds != int(seconds):
            raise ValueError(f"{text}: it is a number of whole seconds")
        return int(seconds) if self.whole else seconds


TEXT, RAW = Text(), Raw()


class Option:
    """An option: its words, and what its value is.

    `to`: the name of the value; by default that of the first long word. `flag`: it has no value; of several that set one
    value the last counts, and `sets` is what each sets it to. `counted`: nor has it one, and its number counts; `many`:
    all of its values count, and not only the last. `variable`: of the environment, which has the value where no option has
    it. `refuse`: why a value cannot be used; empty, if it can. `told`: the verb is told the value. `offers`: what
    completion offers, by its name in `cli/completion/offers.py`. `shown`: how --help shows it, in click's words.
    """

    def __init__(
        self,
        *words: str,
        to: str = "",
        kind: Text = TEXT,
        flag: bool = False,
        sets: bool = True,
        counted: bool = False,
        many: bool = False,
        default: object = None,
        required: bool = False,
        variable: str = "",
        refuse: Callable[[Any], str] | None = None,
        told: bool = True,
        offers: str = "",
        **shown: Any,
    ) -> None:
        long = [word for word in words if word[:2] == "--"]
        self.words, self.to, self.kind = words, to or long[0][2:].replace("-", "_"), kind
        self.flag, self.sets, self.counted, self.many = flag, sets, counted, many
        self.has_value = not (flag or counted)
        self.default = False if flag else 0 if counted else () if many else default
        self.required, self.variable, self.refuse = required, variable, refuse
        self.told, self.offers, self.shown = told, offers, shown


class Argument:
    """The words that are no options: one, or `many`, of which at least one is `required`."""

    def __init__(
        self, to: str, kind: Text = TEXT, *, many: bool = False, required: bool = True, offers: str = "", metavar: str = ""
    ) -> None:
        self.to, self.kind, self.many, self.required = to, kind, many, required
        self.offers, self.metavar = offers, metavar or None


class Command:
    """A verb: the function that does it, as `module:function` below `looop_portable.cli`, and what it takes.

    The function is given what the root's options have made (`cli/output/setting.py`), and the values by their names.
    `mixed`: options may stand behind words. Its docstring is the page of --help, with the `summary`, and with `examples`:
    command lines, and what each is for.
    """

    def __init__(
        self,
        where: str,
        argument: Argument,
        options: Sequence[Option],
        summary: str,
        examples: Mapping[str, str],
        *,
        mixed: bool = True,
    ) -> None:
        self.where, self.argument, self.options, self.mixed = where, argument, options, mixed
        self.summary, self.examples = summary, examples
