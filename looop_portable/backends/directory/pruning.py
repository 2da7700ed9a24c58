"""To prune a directory's names: those that nobody has used for long leave no file behind. See `ledger.pruning`.

Guarantees: only a name is pruned that is free, for which nobody waits, of which nothing is shown, and in whose directory
there is nothing but ours. Whoever claims it meanwhile has it, and it stays.
Does not guarantee: the age to the second. It is that of the directory's latest change, by the filesystem's clock; Windows
does not tell that of directories, so there it is the age of the latest record.
Refuses: network mounts. A host there goes by paths that it has looked up a while ago: it could publish in a directory that
was taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from looop_portable.backends.directory.projection import Projection
from looop_portable.backends.directory.tickets import TicketFiles
from looop_portable.errors import LooopError, answering, describe_error
from looop_portable.ledger.ledger import Ledger
from looop_portable.ledger.numbers import highest, in_order
from looop_portable.ledger.pruning import ENDS
from looop_portable.ledger.spelling import recorded
from looop_portable.protocol.names import unspelled
from looop_portable.protocol.outcomes import Sweep
from looop_portable.protocol.records import Head, record_of

_TRIES = 8


class Store(Protocol):
    """What is needed of a `DirectoryBackend`."""

    ledger: Ledger
    projection: Projection
    tickets: TicketFiles

    def strange(self) -> str: ...
    def far(self) -> bool: ...
    def read_spelled(self, key: str, name: str) -> Head: ...


class _Found(NamedTuple):
    """A name that may be pruned, with the generation that was looked at."""

    key: str
    name: str
    generation: int


def prune(store: Store, older_than: float, *, dry_run: bool, say: Callable[[str], object]) -> Sweep:
    """See `Backend.prune`."""
    ledger = store.ledger
    try:
        if reason := store.strange() or _not_here(store):
            return Sweep(skipped=reason, dry_run=dry_run)
        with answering():
            if not ledger.ledger_root.format():
                return Sweep(dry_run=dry_run)
            if not dry_run:
                ledger.ledger_root.refuse_links(ledger.floors.common.directory)
            say("listing the names")
            names = ledger.names()
            now = ledger.files.now(ledger.root)  # First: whoever is slow takes a name for younger than it is.
    except LooopError as error:
        return Sweep(skipped=str(error), dry_run=dry_run)
    failed: list[tuple[str, str]] = []
    found = [each for key in sorted(names) if (each := _old(store, key, now - int(older_than * 1e9), failed))]
    pruned = found if dry_run else _prune_all(store, found, failed, say)
    kept = len(names) - len(pruned) - len(failed)
    told = tuple((each.name, each.generation) for each in pruned)
    return Sweep(kept=kept, failed=tuple(failed), dry_run=dry_run, pruned=told)


def _prune_all(
    store: Store, found: list[_Found], failed: list[tuple[str, str]], say: Callable[[str], object]
) -> list[_Found]:
    """Those that were pruned."""
    aside: dict[_Found, str] = {}
    for number, each in enumerate(sorted(found, key=lambda each: -each.generation), 1):
        say(f"pruning name {number} of {len(found)}: {each.name}")
        try:
            if taken := _prune(store, each):
                aside[each] = taken
        except OSError as error:
            failed.append((each.name, describe_error(error)))
        except LooopError as error:
            failed.append((each.name, str(error)))
    say("removing what was pruned")
    common, left = store.ledger.floors.common, False
    for each, taken in aside.items():
        try:
            common.remove(taken)
        except FileNotFoundError:
            left = True  # Somebody has raised the floor, so that it has another path.
        except OSError as error:
            failed.append((f"{each.name}, which was pruned", describe_error(error)))
    if left:
        common.sweep()
    return [each for each in found if each in aside]


def _not_here(store: Store) -> str:
    if not store.far():
        return ""
    return (
        f"{store.ledger.root}: this is a network mount, where other hosts go by paths that they have looked up before: "
        "names can be pruned on local disks only"
    )


def _old(store: Store, key: str, before: int, failed: list[tuple[str, str]]) -> _Found | None:
    """`key`, if it can be pruned: it is free, and was last changed at `before` or earlier, in nanoseconds."""
    files, directory = store.ledger.files, f"{store.ledger.root}/{key}"
    try:
        if files.written_at(directory) > before:
            return None
        generation = highest(names := files.list(directory))
        changed = files.changed(f"{directory}/{generation}") if generation else None
        if changed is None or changed > before or len(in_order(names)) < len(names):
            return None
        found = _Found(key, _name(store, key, generation), generation)
        return found if _is_free(store, found) else None
    except FileNotFoundError:
        return None
    except OSError as error:
        failed.append((key, describe_error(error)))
    except LooopError as error:
        failed.append((key, str(error)))
    return None


def _name(store: Store, key: str, generation: int) -> str:
    """As people know it, if that can be told."""
    if name := unspelled(key, once=True):
        return name
    return recorded(key, store.ledger.files.read(f"{store.ledger.root}/{key}/{generation}") or b"", "name") or key


def _is_free(store: Store, found: _Found) -> bool:
    """Whether it still is, at that generation."""
    head = store.read_spelled(found.key, found.name)
    return (
        head.generation == found.generation
        and head.lease is None
        and store.ledger.files.read(store.projection.path(found.key)) is None
        and not store.tickets.line_of(found.key)
    )


def _prune(store: Store, found: _Found) -> str:
    """The name under which its directory was taken away; empty: somebody has moved it, and it stays."""
    ledger = store.ledger
    with ledger.ledger_root.guard():
        if not _is_free(store, found):
            return ""
        for generation in range(found.generation, found.generation + _TRIES):
            floor = ledger.floors.common.rise(generation + 1)
            if not ledger.advance(found.key, generation, {**record_of(None), ENDS: floor}):
                return ""
            try:
                if highest(ledger.files.list(f"{ledger.root}/{found.key}")) != generation + 1:
                    return ""  # Ours was a number of long ago, and is no head.
                return ledger.floors.common.take_away(found.key, floor)
            except FileNotFoundError:
                continue  # Somebody has raised the floor: ours is a release as any other. Or he has pruned it himself.
            except OSError:
                ledger.floors.common.rise(floor + 1)  # It cannot be taken away, so it must not keep others waiting.
                raise
    return ""
