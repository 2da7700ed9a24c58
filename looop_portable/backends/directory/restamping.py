"""To give a directory's stamp another guard: to share it with looop from now on, or not to any more (`looop adopt`).

Does not guarantee: anything while a process uses the directory, and none can be seen that is paused in the middle of a
step. `claims/NAME.json` is removed by name: of two reapers that have looked before the change, the one that removes it
after the change removes a lease that looop has written since. A program that has read the stamp goes by what it has read.
So whoever calls it has to know that every such process has ended, on every host; one that is stopped has not.
Guarantees: what can be seen stops it, and nothing is changed: a session that may live, a claim that is held, or shown, a
waiter, a record that is being written. The stamp is replaced in one step, within the guard: a crash leaves the old one or
the new one, whole; of two that change it at once the second finds it changed. A claimer of this version or later that has
judged before the change, and sleeps through it, does not win by the old stamp.
How: after the stamp every name gets one more generation, released, and the common floor rises. Whoever has judged before
that publishes a number that is taken. Who loses reads the stamp again (`LedgerRoot.lost`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from looop_portable.backends.directory.projection import Projection
from looop_portable.errors import CannotExclude, LooopError, Unavailable, UsageError, answering, describe_error
from looop_portable.ledger.ledger import Ledger
from looop_portable.ledger.stamp import FLOCK, NAME, Format
from looop_portable.protocol.names import unspelled
from looop_portable.protocol.records import lease_in, record_of
from looop_portable.typed import NamedTuple, Protocol


class Store(Protocol):
    """What is needed of a `DirectoryBackend`."""

    ledger: Ledger
    projection: Projection


class Restamped(NamedTuple):
    """`users`: who uses the directory, so that it stays as it was; or, if it is `changed`, who came meanwhile.

    `trouble`: what failed after the change.
    """

    before: Format
    after: Format
    changed: bool = False
    users: tuple[str, ...] = ()
    trouble: str = ""


def restamp(store: Store, guard: str, users: Callable[[], Iterable[str]], *, dry_run: bool = False) -> Restamped:
    """Give the stamp that guard, `FLOCK` or none. `users` are those who can be seen above: sessions, holders, waiters.

    Raises `UsageError` where there is no stamp, `CannotExclude` where it cannot have that guard, or `Unavailable`.
    """
    ledger = store.ledger
    root = ledger.ledger_root
    with answering(root.root):
        root.start_anew()
        before = root.format()
        if before is None:
            raise UsageError(
                f"{root.root}: nobody has claimed anything here yet (there is no {NAME}), so the first claim decides: "
                f"make it with --backend {'advisory' if guard else 'auto'}"
            )
        found = Restamped(before, before._replace(guard=guard))
        if found.after == before:
            return found
        _refuse(ledger, before, guard)
        seen = tuple(users()) or tuple(_traces(store))
        if seen or dry_run:
            return found._replace(users=seen)
        if guard:
            root.try_guard(guard)
        with root.within(FLOCK):  # Looop holds it, and all who go by a stamp that has it.
            if root.read_anew() != before:
                raise Unavailable(f"{root.root}: its stamp has just been changed by somebody else; try again", root.root)
            if seen := tuple(users()) or tuple(_traces(store)):
                return found._replace(users=seen)
            root.change(found.after)
            trouble = _fence(ledger)
            return found._replace(changed=True, users=tuple(users()), trouble=trouble)


def _refuse(ledger: Ledger, before: Format, guard: str) -> None:
    root = ledger.root
    if not before.links:
        raise CannotExclude(
            f"{root}: there are no hard links here, so the guard stays, without which nobody excludes here",
            root,
        )
    if guard and ledger.ledger_root.policy.windows:
        raise CannotExclude(f"{root}: the guard of looop is flock, which Windows hosts cannot hold", root)
    if guard and any(ledger.spelling.is_none(name) for name in ledger.files.list(root) if not name.startswith(".")):
        raise CannotExclude(
            f"{root}: names of more than 140 bytes were claimed here, which have another spelling where looop shares them: "
            "use another directory with --data-dir or LOOOP_DATA_DIR",
            root,
        )


def _traces(store: Store) -> Iterator[str]:
    """What somebody is about to give its name, or to remove; or a crash has left it."""
    ledger, projection = store.ledger, store.projection
    for key, name in projection.foreign_names().items():
        if ledger.files.read(projection.path(key)) is not None and not projection.is_strange(key):
            yield f"claim {name}: {projection.path(key)} shows a lease"
    for key in ledger.names():
        with contextlib.suppress(FileNotFoundError):  # It was pruned.
            if any(name.startswith(".") for name in ledger.files.list(f"{ledger.root}/{key}")):
                yield f"claim {unspelled(key, once=True) or key}: a record is being written, or a crash has left it"


def _fence(ledger: Ledger) -> str:
    """One more generation of each name that is free. What failed; whoever holds one is seen by `users`."""
    failed, highest = [], 0
    for key in ledger.names():
        try:
            generation, data = ledger.head(key)
            highest = max(highest, generation)
            if not (generation and lease_in(data, key, generation)):
                ledger.advance(key, generation, record_of(None))
        except OSError as error:
            failed.append(describe_error(error))
        except LooopError as error:
            failed.append(str(error))
    try:
        ledger.floors.common.rise(highest + 2)
    except OSError as error:
        failed.append(describe_error(error))
    return next(iter(failed), "")
