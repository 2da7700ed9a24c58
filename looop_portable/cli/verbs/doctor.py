"""`doctor`."""

from __future__ import annotations

import gc

import click

from looop_portable.cli.output import Fields
from looop_portable.cli.output.progress import working
from looop_portable.cli.output.setting import Setting
from looop_portable.cli.output.tables import show_table
from looop_portable.cli.verb import Verb
from looop_portable.cli.words.clicks import Duration
from looop_portable.config import refuse_homeless
from looop_portable.doctor import Report, examine, existing, nearest
from looop_portable.doctor.advice import Outcome
from looop_portable.doctor.findings import Across, Filesystem, Findings, Measures, Probe, Race, Stamped
from looop_portable.doctor.store import StoreReport, examine_store

_RACE = ("BACKEND", "PROCESSES", "ACQUISITIONS", "OVERLAPS", "")
_CODES = {Outcome.USE: 0, Outcome.NONE: 1, Outcome.UNANSWERED: 3}


@click.command(
    cls=Verb,
    short_help="Measure what a directory or a store can do, and say what to use.",
    examples={
        "looop doctor": "Where claims are kept.",
        "looop doctor . --processes 2 --seconds 500ms": "Another directory, in less time.",
    },
)
@click.argument("place", metavar="[DIR|URL]", required=False)
@click.option("--processes", type=click.IntRange(2, 64), default=4, metavar="N", show_default=True, help="How many race.")
@click.option(
    "--seconds",
    type=Duration(0.1, 600),
    default=2.0,
    metavar="DURATION",
    show_default=True,
    help="How long they race, with each backend.",
)
@click.option(
    "--with-hosts",
    "hosts",
    type=click.IntRange(2, 64),
    metavar="N",
    help="Race N hosts for one claim: call it on each of them at the same time, in the same directory.",
)
@click.option(
    "--timeout",
    type=Duration(1, 3600),
    default=60.0,
    metavar="DURATION",
    show_default=True,
    help="How long to wait for the other hosts, or for a store that settles.",
)
@click.pass_obj
def doctor(out: Setting, place: str | None, processes: int, seconds: float, hosts: int | None, timeout: float) -> int:
    """Measure what DIR can do, and say which backend to use there. [DIR: where claims are kept, or would be]

    With a URL, or `--backend URL`, it is the store there that is asked what it promises, and raced for.

    Every call that matters is tried, and processes race for a claim while a count that trusts no claim looks for two
    inside at once. It happens in a subdirectory, .looop-doctor-..., which is removed. With `--backend NAME` only that one
    is raced.

    \b
    Exit codes:
      0    a backend can be used (the last line says which)
      1    none excludes, or two were inside at once
      2    there is no such directory
      3    could not answer
    """
    gc.enable()
    if place and "://" in place:
        out.replace("backend", place)
        place = None
    with working(out, "doctor") as show:

        def say(what: str) -> None:
            out.detail(what)
            show(what)

        chosen = out.backend()
        if not isinstance(chosen, str):
            if hosts:
                raise click.UsageError("--with-hosts: hosts race in a directory, and not in a store")
            place = nearest(out.config.data_dir)
            report: Report | StoreReport = examine_store(chosen, place, processes, seconds, say, timeout)
        else:
            directory = existing(place) if place else nearest(out.config.data_dir)
            if not place:
                refuse_homeless(out.config.data_dir, directory)
            report = examine(
                directory,
                backend=chosen,
                processes=processes,
                seconds=seconds,
                hosts=hosts or 0,
                timeout=timeout,
                say=say,
                announce=out.hint,
            )
    # Not before the line is gone: while it turns, what is said on stdout goes to the terminal, wherever stdout goes.
    if isinstance(report, StoreReport):
        return _answer_of_store(out, report)
    if not out.as_json:
        _show(out, report)
    out.answer("doctor", report.advice.outcome.value, report.advice.verdict, _fields(report))
    return _CODES[report.advice.outcome]


def _answer_of_store(out: Setting, found: StoreReport) -> int:
    if not out.as_json:
        for fact in found.facts:
            out.line(f"{fact.name:<16}{fact.found}")
        if found.facts:
            out.line("")
        if found.raced:
            show_table(out, _RACE, [_race(found.raced, {})], "wide")
            out.line("")
        for fact in found.facts:
            if fact.advice:
                out.line(f"note: {fact.name}: {fact.advice}")
    fields: Fields = {
        "store": found.where,
        "facts": [fact._asdict() for fact in found.facts],
        "race": {**found.raced._asdict(), "refused": found.raced.refused or None} if found.raced else None,
        "verdict": found.verdict,
    }
    out.answer("doctor", found.outcome.value, found.verdict, fields)
    return _CODES[found.outcome]


def _show(out: Setting, report: Report) -> None:
    found, advice = report
    for what, lines in (
        ("directory", found.directory),
        ("filesystem", _filesystem(found.filesystem)),
        ("measured", _measures(found.measures)),
        ("stamp", _stamp(found.stamp)),
    ):
        out.line(f"{what:<12}{lines}")
    out.line("")
    primitives = [(_words(name), *_probe(probe)) for name, probe in found.primitives._asdict().items()]
    show_table(out, ("PRIMITIVE", "WORKS", ""), primitives, "wide")
    out.line("")
    objections = dict(advice.objections)
    races = [_race(race, objections) for race in found.races]
    show_table(out, _RACE, races, "wide")
    if found.across:
        out.line("")
        show_table(out, ("HOST", "ACQUISITIONS"), _hosts(found.across), "wide")
    out.line("")
    for note in (*advice.contradictions, *advice.notes):
        out.line(f"note: {note}")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _filesystem(found: Filesystem) -> str:
    if not found.type:
        return "unknown: the system does not tell"
    kind = "network" if found.network else "local"
    return f"{found.type}, {kind}, {found.source} on {found.point} ({','.join(found.options)})"


def _measures(found: Measures) -> str:
    lines = []
    if found.case_sensitive is not None:
        lines.append("case-sensitive" if found.case_sensitive else "case-insensitive")
    if found.longest_name is not None:
        lines.append(f"names of {found.longest_name} bytes")
    if found.resolution is not None:
        lines.append(f"times to {found.resolution:g} s")
    if found.offset is not None and found.uncertainty is not None:
        apart = f"clock {found.offset:+.3f} s from this host's" if abs(found.offset) >= 0.0005 else "clock as this host's"
        lines.append(f"{apart} (to {found.uncertainty:.1g} s)")
    return ", ".join(lines) or "nothing"


def _stamp(found: Stamped | None) -> str:
    if found is None:
        return "none: no claims have been made here"
    if found.backend:
        return f"the claims of this directory are in {found.backend}"
    return (
        found.unreadable
        or f"{_with(found.links)} hard links, {f'guard: {found.guard}' if found.guard else 'without a guard'}"
    )


def _with(links: bool) -> str:
    return "with" if links else "without"


def _probe(probe: Probe) -> tuple[str, str]:
    return ("-" if probe.works is None else "yes" if probe.works else "no"), probe.reason


def _race(race: Race, objections: dict[str, str]) -> tuple[str, str, str, str, str]:
    reason = objections.get(race.backend, "")
    if race.refused:
        return race.backend, "-", "-", "-", f"refused: {race.refused}"
    return race.backend, str(race.processes), f"{race.acquisitions:,}", f"{race.overlaps:,}", reason


def _hosts(across: Across) -> list[tuple[str, str]]:
    each = [(host, f"{turns:,}") for host, turns in zip(across.hosts, across.per_host, strict=True)]
    return [*each, (f"all of {len(each)}", f"{across.turns:,}, {across.overlaps:,} overlaps")]


def _fields(report: Report) -> Fields:
    """What --json says, all of it."""
    found, advice = report
    measures = found.measures
    return {
        "directory": found.directory,
        "platform": "windows" if found.windows else "posix",
        "filesystem": _filesystem_fields(found),
        "primitives": {
            name: {"works": probe.works, "reason": probe.reason or None}
            for name, probe in found.primitives._asdict().items()
        },
        "case_sensitive": measures.case_sensitive,
        "longest_name_bytes": measures.longest_name,
        "mtime_resolution_seconds": measures.resolution,
        "clock_offset_seconds": measures.offset,
        "clock_uncertainty_seconds": measures.uncertainty,
        "stamp": found.stamp._asdict() if found.stamp else None,
        "races": [{**race._asdict(), "refused": race.refused or None} for race in found.races],
        "across_hosts": _across_fields(found.across) if found.across else None,
        "recommended_backend": advice.backend or None,
        "chosen_by_auto": advice.by_auto,
        "objections": dict(advice.objections),
        "contradictions": advice.contradictions,
        "notes": advice.notes,
        "verdict": advice.verdict,
    }


def _across_fields(across: Across) -> Fields:
    return {**across._asdict(), "miscounted": across.miscounted or None, "refused": across.refused or None}


def _filesystem_fields(found: Findings) -> Fields | None:
    filesystem = found.filesystem
    if not filesystem.type:
        return None
    return {
        "type": filesystem.type,
        "source": filesystem.source,
        "mount_point": filesystem.point,
        "options": filesystem.options,
        "network": filesystem.network,
        "local_guard": filesystem.local_guard or None,
    }
