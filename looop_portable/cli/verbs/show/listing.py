"""`claims`."""

from __future__ import annotations

import os

import click

from looop_portable.cli.output.refusals import Told, told_of
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.output.tables import form_of, show_some
from looop_portable.cli.verb import Verb
from looop_portable.cli.verbs.show.rows import COLUMNS, fields_of, row_of
from looop_portable.cli.verbs.show.selecting import Selection, is_unreadable, selecting
from looop_portable.protocol.outcomes import Status
from looop_portable.typed import Any


@click.command(
    "claims",
    cls=Verb,
    short_help="List the claims that are held, and by whom.",
    examples={
        "looop claims": "All of them.",
        'looop claims "ci-*" --older-than 1h --sort age': "What has been held for too long, the oldest first.",
    },
)
@selecting
@form_of(prometheus="for the node exporter's textfile collector")
@click.pass_obj
def claims(out: Setting, /, form: str | None, **selection: Any) -> int:
    """List the claims that are held: by whom, since when, and whether the holder is alive.

    Only those whose name fits PATTERN, if there is one: `*`, `?` and `[abc]` stand for characters, so quote it ('ci-*').
    There is a column for notes if any has one. Exit 3: some claim could not be read.
    """
    store = out.claims()
    selected, listed = Selection(**selection), store.list()
    found = selected.of(listed)
    unreadable = [status for status in listed if is_unreadable(status) and selected.names(status.name)]
    rows: list[dict[str, str]] = []
    for status in found:
        assert status.lease
        assert status.verdict
        told = told_of(store, status.lease, status.verdict) if form == "wide" else None  # It costs two looks for each.
        if out.as_json and form != "prometheus":
            _print(out, "claims", status, told)
        rows.append(_row(status, told))
    if form == "prometheus":
        _expose(out, found, len(unreadable))
    elif rows:
        show_some(out, rows, form, {"NOTE"}, giving={"NOTE"})
    elif listed:
        out.hint(f"no such claims are held, of {len(listed)}")
    else:
        there = os.path.isdir(out.config.data_dir)
        out.hint("no claims are held" if there else f"no claims are held: {out.config.data_dir} is not there yet")
    for status in unreadable:
        out.trouble(f"looop: {status.name}: {status.verdict.evidence if status.verdict else ''}")
    return 3 if unreadable else 0


def _row(status: Status, told: Told | None) -> dict[str, str]:
    """The cells of a claim, by their columns. `told`: what is for wide tables."""
    row = dict(zip(COLUMNS, row_of(status), strict=True))
    if not told:
        return row
    waiting, last = "-" if told.line is None else str(told.line.number), {key: row.pop(key) for key in COLUMNS[-2:]}
    row |= {"HOST": told.lease.host or "-", "USER": told.user or "-", "COMMAND": told.command or "-"}
    return row | {"UNTIL": told.verdict.until or "-", "WAITING": waiting} | last


def _expose(out: Setting, found: list[Status], unreadable: int) -> None:
    from looop_portable.cli.verbs.show.prometheus import exposition

    if out.as_json:
        raise click.UsageError("-o prometheus is no JSON: without --json")
    for line in exposition(found, unreadable):
        out.drawn(line)


def _print(out: Setting, verb: str, status: Status, told: Told | None) -> None:
    more = told.fields() if told else {}
    out.answer(verb, "held" if status.lease else "free", "", {**fields_of(status), **more})
