"""What people and other programs type: the command line as both readers take it, completion, durations, names, URLs."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

from lanes.fuzzing.target import Target, ours, part, text
from looop_portable.cli import main
from looop_portable.cli.completion import powershell
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verbs.events import moment
from looop_portable.cli.verbs.show.selecting import fits
from looop_portable.cli.words import durations
from looop_portable.cli.words.quick import read
from looop_portable.cli.words.table import VERBS
from looop_portable.config import located, recognized
from looop_portable.protocol import addresses, names

VOCABULARY = [
    *VERBS,
    *("claims", "watch", "wait", "queue", "events", "session", "start", "stop", "list", "keep", "break", "reap", "doctor"),
    *("--wait", "--timeout", "--note", "--slots", "--shared", "--session", "--json", "-q", "-v", "--data-dir", "--claim"),
    *(
        "--generation",
        "--lease",
        "--max-hold",
        "--format",
        "-o",
        "--output",
        "--since",
        "--tail",
        "--pid",
        "--id",
        "--help",
    ),
    *("--", "-", "", "repo-x", "5m", "1", "-1", "=", "--wait=5m", "-h", "_", "completion", "bash", "--to", "--backend"),
]


def arguments(data: bytes) -> list[str]:
    """Words: a byte above 127 is one of the vocabulary, others are themselves; NUL ends one."""
    found = [""]
    for byte in data[:200]:
        if byte >= 128:
            found += [VOCABULARY[(byte - 128) % len(VOCABULARY)], ""]
        elif byte == 0:
            found.append("")
        else:
            found[-1] += chr(byte)
    return [word for word in found if word][:12]


def _command(data: bytes) -> None:
    words = arguments(data)
    line = read(words)
    assert line is None or callable(line.do)
    _quietly(words)


def _quietly(words: list[str], **environment: str) -> int:
    """The exit code of the command, of which nothing is done; what it says is one line an object with --json."""
    nothing = _parser()
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape", write_through=True) for _ in "12")
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, environment),
        mock.patch("looop_portable.cli._by_click", return_value=nothing),
        mock.patch("looop_portable.cli.read", return_value=None),
    ):
        try:
            main(words)
        except SystemExit as end:
            code = int(end.code or 0)
    said = _of(out) + _of(err)
    assert code in (0, 2), (code, said)
    assert "a fault of looop itself" not in said, said
    if "--json" in words[:1] and code == 2:
        assert [json.loads(each) for each in said.splitlines()], said
    return code


def _of(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8", "surrogateescape")


@functools.cache
def _parser() -> Callable[[list[str], Setting], int]:
    """click, up to where a verb would begin."""
    import click

    from looop_portable.cli import root

    def answer(words: list[str], out: Setting) -> int:
        with (
            mock.patch.object(click.Command, "invoke", return_value=0),
            mock.patch.object(Setting, "begin", return_value=None),
        ):
            return root.answer(words, out)

    return answer


def _completion(data: bytes) -> None:
    typed = text(data).replace("\0", "")
    shell = ("bash_complete", "zsh_complete", "fish_complete", "powershell_complete")[len(data) % 4]
    powershell._words(typed)
    position = {"bash_complete": "2", "zsh_complete": "2"}.get(shell, "cl")
    _complete(shell, f"looop {typed}", position)


def _complete(shell: str, words: str, position: str) -> None:
    _quietly([], _LOOOP_COMPLETE=shell, COMP_WORDS=words, COMP_CWORD=position, LOOOP_DATA_DIR="/nonexistent/x")


def _durations(data: bytes) -> None:
    typed = text(data)
    seconds = ours(lambda: durations.seconds_in(typed), ValueError)
    assert seconds is None or 0 <= seconds < float("inf")
    durations.is_like_one(typed)
    moment(typed)


def _names(data: bytes) -> None:
    name = text(data)
    canonical = ours(lambda: names.canonical(name))
    if canonical is not None:
        key = names.spelled(canonical)
        assert "/" not in key
        assert key not in ("", ".", "..")
        assert not any(each < " " or each == "\x7f" for each in key)
        assert len(key.encode()) <= 255
        assert names.unspelled(key) in (canonical, None)
    names.unspelled(name)
    names.unspelled(name, once=True)
    names.excerpt(name).encode()
    names.printable(name).encode()
    assert names.printable(name).isprintable()
    ours(lambda: names.as_note(name))


def _patterns(data: bytes) -> None:
    pattern, _, name = text(data).partition("\n")
    fits(name, pattern)
    fits("ci-1", pattern)


def _urls(data: bytes) -> None:
    url = text(data)
    found = ours(lambda: addresses.chosen(url))
    if isinstance(found, addresses.Address):
        for windows in (False, True):
            ours(lambda: addresses.in_files(found, windows=windows))  # noqa: B023 (called at once)
        assert ":secret-word@" not in str(found) or found.scheme == "file", url
    addresses.may_be_one(url, "redis://h/0?prefix=x")
    ours(lambda: located("/nonexistent/x", recognized(url)))


def _clients(data: bytes) -> None:
    """What each engine makes of a URL."""
    url = text(data)
    for read_one in _readers():
        ours(lambda: read_one(url))  # noqa: B023 (called at once)


@functools.cache
def _readers() -> list[Callable[[str], Any]]:
    found: list[Callable[[str], Any]] = []
    for name, reads in (
        ("redis.address", "read_url"),
        ("etcd.address", "Address"),
        ("objects.place", "place_in"),
        ("postgres.address", "target_in"),
    ):
        with contextlib.suppress(ImportError):
            found.append(getattr(part(name), reads))
    return found


_URLS = (
    b"redis://u:p%40w@h:6379/0?prefix=ci&timeout=4",
    b"redis+sentinel://a:1,b:2/m/0",
    b"rediss://[::1]/1?ssl_ca_certs=/x",
    b"etcds://u:p@h:1,h:2/p?timeout=4&ca=/c",
    b"postgresql://u:p@h:5432/db?schema=x&listen=postgresql%3A//h/db",
    b"s3://bucket/prefix?endpoint=http%3A//h%3A9&region=r",
    b"az://c/p?account=a",
    b"file:///tmp/x",
    b"redis://u:secret-word@h/0",
)

TARGETS = [
    Target("command", _command, (b"\x80repo-x\0--wait\0005m", b"--json\0claim\0x\0--slots\0-1", b"\x84\x90\xa0"), 2),
    Target("completion", _completion, (b"cla", b"claim --wa", b"claim 'a b", b"session st"), 1),
    Target("durations", _durations, (b"1h30m", b"5m", b"1e3", b".5s", b"2026-01-31T12:00:00Z", b"1millis1millis"), 12),
    Target("names", _names, (b"repo-x", b"a:b", b"con.json", "é".encode(), b"\xff", b"x%3Ay", b"..", b"a/b"), 10),
    Target("patterns", _patterns, (b"ci-*\nci-1", b"[!a-z]?*\nx", b"[\nx"), 6),
    Target("urls", _urls, _URLS, 6),
    Target("clients", _clients, _URLS, 6),
]
