"""`claims` and `show`."""

from __future__ import annotations

import os
from typing import Any

import click

from looop_portable.cli.output import lease_fields, verdict_fields
from looop_portable.cli.output.ages import age
from looop_portable.cli.output.tables import form_of, show_table
from looop_portable.cli.root import Setting
from looop_portable.cli.verb import Verb
from looop_portable.cli.verbs.options import NAME
from looop_portable.cli.verbs.show.selecting import Selection, is_unreadable, selecting
from looop_portable.protocol.outcomes import Status
from looop_portable.protocol.standings import Standing


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
    selected, listed = Selection(**selection), out.claims().list()
    found = selected.of(listed)
    unreadable = [status for status in listed if is_unreadable(status) and selected.names(status.name)]
    rows: list[tuple[str, ...]] = []
    for status in found:
        if out.as_json and form != "prometheus":
            _print(out, "claims", status)
        assert status.lease
        assert status.verdict
        lease, verdict = status.lease, status.verdict
        told = status.name, lease.session, str(status.generation), age(lease.claimed_at), verdict.liveness.value
        rows.append((*told, lease.note, verdict.description))
    columns: tuple[str, ...] = ("NAME", "SESSION", "GENERATION", "AGE", "LIVENESS", "NOTE", "EVIDENCE")
    if form != "wide" and not any(row[-2] for row in rows):
        columns, rows = (*columns[:-2], columns[-1]), [(*row[:-2], row[-1]) for row in rows]
    if form == "prometheus":
        _expose(out, found, len(unreadable))
    elif rows:
        show_table(out, columns, rows, form, giving=2 if "NOTE" in columns else 1)
    elif listed:
        out.hint(f"no such claims are held, of {len(listed)}")
    else:
        there = os.path.isdir(out.config.data_dir)
        out.hint("no claims are held" if there else f"no claims are held: {out.config.data_dir} is not there yet")
    for status in unreadable:
        out.trouble(f"looop: {status.name}: {status.verdict.evidence if status.verdict else ''}")
    return 3 if unreadable else 0


def _expose(out: Setting, found: list[Status], unreadable: int) -> None:
    from looop_portable.cli.verbs.show.prometheus import exposition

    if out.as_json:
        raise click.UsageError("-o prometheus is no JSON: without --json")
    for line in exposition(found, unreadable):
        out.drawn(line)


@click.command(
    cls=Verb,
    short_help="Show one claim: who holds it, on what evidence alive.",
    examples={
        "looop show repo-x": "Who holds it, and is he alive?",
        "looop show -q repo-y": "For a script: exit 1, it can be had.",
    },
)
@NAME
@click.pass_obj
def show(out: Setting, name: str) -> int:
    """Show one claim: whether it is held, by whom, and on what evidence its holder is alive or dead.

    With -q the exit code tells. 0: it is held by somebody who is alive, or may be; 1: it can be had.
    """
    status = out.claims().show(name)
    if out.quiet:
        return 0 if status.standing is Standing.HELD else 1
    if out.as_json:
        _print(out, "show", status)
        return 0
    lease, verdict = status.lease, status.verdict
    if lease is None or verdict is None:
        out.line(f"{status.name}: free, at generation {status.generation}")
        return 0
    out.line(f"{status.name}: held by session '{lease.session}', generation {status.generation}")
    out.line(f"  session     {verdict.liveness.value}: {verdict.description}")
    if lease.claimed_at:
        out.line(f"  claimed     {lease.claimed_at} ({age(lease.claimed_at)} ago by this host's clock), on {lease.host}")
    if lease.note:
        out.line(f"  note        {lease.note}")
    if verdict.left is not None:
        out.line(f"  until       {verdict.until} by this host's clock, unless it is renewed")
    if verdict.dead:
        out.line("  next        whoever claims it takes it over at once")
    return 0


def _print(out: Setting, verb: str, status: Status) -> None:
    out.answer(
        verb,
        "held" if status.lease else "free",
        "",
        {
            "name": status.name,
            "generation": status.generation,
            **lease_fields(status.lease),
            **verdict_fields(status.verdict),
        },
    )
