"""File names are bytes of UTF-8, whatever the locale's encoding: without that, `straße` would be one claim in a terminal
of Latin-1, another in one of UTF-8, and none at all under cron.

Does not guarantee: that names which a version before this one wrote under another encoding than UTF-8 are found.
How: Python gives file names to the system in the locale's encoding. A byte that is no text there has a form of its own, a
lone surrogate ("surrogateescape", PEP 383), which each encoding gives back as that byte. So a path whose bytes beyond
ASCII all have that form means the same bytes in every locale: it is *settled*. Under UTF-8 nothing has to be done.
What comes from outside (arguments, the environment) is in the locale's form, and is settled once, where it comes in
(`as_given`); the names that we make are text, and are settled where files are opened (`settled`). Both leave as it is what
is settled already.
"""

from __future__ import annotations

import codecs
import os
import sys

UTF8 = sys.platform == "win32" or codecs.lookup(sys.getfilesystemencoding()).name == "utf-8"
"""Whether the system takes names for UTF-8 anyway (on Windows, for Unicode)."""


def settled(path: str) -> str:
    """`path`, which stands for bytes of UTF-8, in the form that means those bytes in this locale."""
    if UTF8 or path.isascii():
        return path
    return path.encode("utf-8", "surrogateescape").decode("ascii", "surrogateescape")


def as_given(path: str) -> str:
    """The same of a path that an argument, or the environment, has given us: its bytes stay what they were.

    One that the locale cannot encode was given by a program, and stands for UTF-8. Raises UnicodeEncodeError if it is no
    Unicode either.
    """
    if UTF8 or path.isascii():
        return path
    try:
        return os.fsencode(path).decode("ascii", "surrogateescape")
    except UnicodeEncodeError:
        return settled(path)


def for_children(text: str) -> str:
    """`text` as an argument, or in the environment, of a process in this locale: of ours, it is the same there."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return settled(text)
    return text


def read_back(name: bytes) -> str:
    """A name that is on the disk, as text."""
    return name.decode("utf-8", "surrogateescape")


def for_people(text: str) -> str:
    """`text`, in which a path may be settled, with that path as text again. What is no text stays as it is."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text
