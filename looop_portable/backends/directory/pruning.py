"""To prune a directory's names: those that nobody has used for long leave no file behind. See `ledger.pruning`.

Guarantees: only a name is pruned that is free, for which nobody waits, of which nothing is shown, and in whose directory
there is nothing but ours. Whoever claims it meanwhile has it, and it stays.
Does not guarantee: the age to the second. It is that of the directory's latest change, by the filesystem's clock; Windows
does not tell that of directories, so there it is the age of the latest record.
Refuses: network mounts. A host there goes by paths that it has looked up a while ago: it could publish in a directory that
was taken away.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

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
from looop_portable.typed import NamedTuple, Protocol


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
            now = ledger.files.now(store.projection.directory)  # First: who is slow takes a name for younger than it is.
    except LooopError as error:
        return Sweep(skipped=str(error), dry_run=dry_run)
    failed: list[tuple[str, str]] = []
    found = [each for key in sorted(names) if (each := _old(store, key, now - int(older_than * 1e9), failed))]
    pruned = found if dry_run else _prune_all(store, found, failed, say)
    kept = max(len(names) - len(pruned) - len(failed), 0)
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
    for each, nonce in aside.items():
        try:
            store.ledger.floors.common.remove(nonce)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # Else somebody late has put something in: it is swept.
                failed.append((f"{each.name}, which was pruned", describe_error(error)))
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
    """What its directory was taken away with; empty: somebody has moved it, and it stays."""
    ledger, common = store.ledger, store.ledger.floors.common
    with ledger.ledger_root.guard():
        if not _is_free(store, found):
            return ""
        common.rise(found.generation + 2)  # Above what comes now, too.
        nonce = common.announce()
        taken = False
        try:
            if _ends(ledger, found, nonce):
                common.take_away(found.key, nonce)
                taken = True
        except FileNotFoundError:
            return ""  # Somebody was about to build upon it, and does. Or it was pruned.
        finally:
            if not taken:
                common.void(nonce)  # It must not keep others waiting.
    return nonce if taken else ""


def _ends(ledger: Ledger, found: _Found, nonce: str) -> bool:
    """Whether the last generation of a name was published, and is its head: else it was a number of long ago."""
    if not ledger.advance(found.key, found.generation, {**record_of(None), ENDS: nonce}):
        return False
    return highest(ledger.files.list(f"{ledger.root}/{found.key}")) == found.generation + 1
