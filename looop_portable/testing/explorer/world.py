"""The world that scripted processes share: files, directories, who is alive, who believes to hold; and each step in it.

A path is looked up in the step that uses it, or (`Recorded.slow`) in one before that.
Does not model: what network filesystems cache, and listings of a directory in several steps. Crashes are of processes:
what was written stays.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from looop_portable.testing.explorer.handles import Handles, looked_up, removed, without

Op = tuple[str, ...]
"""A call and its arguments; content is text here."""

Answer = object
"""What a call returns, or an `OSError` class and errno in a `Failure`."""


class Failure(NamedTuple):
    """A call that raises OSError."""

    errno: int
    path: str


class World(NamedTuple):
    """Everything that the processes share.

    `files` maps a path to its content and `dirs` are the directories; `alive` holds (session, incarnation) pairs and the
    ids of processes; `holders` are those that believe to hold alone, with their generation, and `readers` those that
    believe to share it; `top` is the greatest ever won, and `alone` the greatest ever won alone;
    `guards` are the guards that are held, and by whom. Of several claims, a holder's word is `claim|who`. `patient`: time
    stands still, so that nobody who waits misses a turn.
    """

    files: frozenset[tuple[str, str]] = frozenset()
    dirs: frozenset[str] = frozenset()
    alive: frozenset[str] = frozenset()
    holders: frozenset[tuple[str, int]] = frozenset()
    top: int = 0
    guards: frozenset[tuple[str, str]] = frozenset()
    patient: bool = False
    readers: frozenset[tuple[str, int]] = frozenset()
    alone: int = 0
    handles: Handles = frozenset()


class Violation(Exception):
    """A law was broken; `kind` is one of the constants below."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kind = kind


TWO_HOLDERS = "two live holders"
ROBBED = "a live holder lost its claim"
GENERATION = "a generation was used again or went backwards"
STUCK = "a claim was left that nobody can take"
OUT_OF_STEP = "the projection was left out of step"
OVERTAKEN = "one that waits was overtaken by one that came later, or lost its place"
QUEUE = "/.queue/"
"""In the path of whatever is in a line."""


def apply(world: World, actor: str, op: Op) -> tuple[World, Answer]:
    """One step of `actor`."""
    verb, *args = op
    if not any(arg.startswith("@") for arg in args):
        return _STEPS[verb](world, actor, *args)
    world, paths = world._replace(handles=without(world.handles, actor)), looked_up(world.handles, actor, args)
    return (world, Failure(errno.ENOENT, args[0])) if paths is None else _STEPS[verb](world, actor, *paths)


def blocked(world: World, actor: str, op: Op) -> bool:
    """Whether `actor` has to wait before it can do `op`: another holds the guard."""
    return op[0] == "guard" and any(path == op[1] and holder != actor for path, holder in world.guards)


def _open(world: World, actor: str, handle: str, path: str) -> tuple[World, Answer]:
    if path not in world.dirs:
        return world, Failure(errno.ENOENT, path)
    return world._replace(handles=world.handles | {(f"{actor}@{handle}", path)}), None


def _guard(world: World, actor: str, path: str) -> tuple[World, Answer]:
    assert not any(held == path for held, _ in world.guards), "a guard is not reentrant"
    return world._replace(guards=world.guards | {(path, actor)}), None


def _unguard(world: World, actor: str, path: str) -> tuple[World, Answer]:
    return world._replace(guards=world.guards - {(path, actor)}), None


def _creat(world: World, actor: str, path: str) -> tuple[World, Answer]:
    if path.rpartition("/")[0] not in world.dirs:
        return world, Failure(errno.ENOENT, path)
    if _content(world, path) is not None:
        return world, Failure(errno.EEXIST, path)
    return world._replace(files=world.files | {(path, "")}), None


def _fill(world: World, actor: str, path: str, text: str) -> tuple[World, Answer]:
    """Writing into a file that is open: if it has lost its name since, nobody sees it."""
    if _content(world, path) is None:
        return world, None
    return _put(world, path, text), None


def _beat(world: World, actor: str, path: str, time: str) -> tuple[World, Answer]:
    if _content(world, path) is None:
        return world, Failure(errno.ENOENT, path)
    return _put(world, path, time), None


def _touch(world: World, actor: str, path: str) -> tuple[World, Answer]:
    """There are no times here: a ticket that is touched grows."""
    content = _content(world, path)
    return (world if content is None else _put(world, path, f"{content} ")), None


def _link(world: World, actor: str, private: str, public: str) -> tuple[World, Answer]:
    content = _content(world, private)
    if content is None or public.rpartition("/")[0] not in world.dirs:
        return world, Failure(errno.ENOENT, private)
    if _content(world, public) is not None:
        return world, Failure(errno.EEXIST, public)
    return world._replace(files=world.files | {(public, content)}), None


def _rename_new(world: World, actor: str, private: str, public: str) -> tuple[World, Answer]:
    """As Windows renames: not over another."""
    if _content(world, private) is not None and _content(world, public) is not None:
        return world, Failure(errno.EEXIST, public)
    return _rename(world, actor, private, public)


def _rename(world: World, actor: str, private: str, public: str) -> tuple[World, Answer]:
    if private in world.dirs:
        return _rename_directory(world, private, public)
    content = _content(world, private)
    if content is None or public.rpartition("/")[0] not in world.dirs:
        return world, Failure(errno.ENOENT, private)
    world = world._replace(files=world.files - {(private, content)})
    return _put(world, public, content), None


def _rename_directory(world: World, private: str, public: str) -> tuple[World, Answer]:
    """With all that is in it; over an empty one at most."""
    if public.rpartition("/")[0] not in world.dirs:
        return world, Failure(errno.ENOENT, public)
    if _is_in_use(world, public):
        return world, Failure(errno.ENOTEMPTY, public)
    return world._replace(
        files=frozenset((_moved(path, private, public), content) for path, content in world.files),
        dirs=frozenset(_moved(path, private, public) for path in world.dirs),
        handles=frozenset((who, _moved(path, private, public)) for who, path in removed(world.handles, public)),
    ), None


def _moved(path: str, private: str, public: str) -> str:
    return public + path[len(private) :] if path == private or path.startswith(f"{private}/") else path


def _is_in_use(world: World, path: str) -> bool:
    """Whether it is a directory with something in it."""
    below = f"{path}/"
    return any(name.startswith(below) for name in (*(name for name, _ in world.files), *world.dirs))


def _remove(world: World, actor: str, path: str) -> tuple[World, Answer]:
    content = _content(world, path)
    if content is None:
        return world, False
    if world.patient and _turn_is_taken(world, actor, path):
        raise Violation(OVERTAKEN, f"{actor} has removed {path}")
    return world._replace(files=world.files - {(path, content)}), True


def _list(world: World, actor: str, path: str) -> tuple[World, Answer]:
    path = path.removesuffix("/.")
    if path not in world.dirs:
        return world, Failure(errno.ENOENT, path)
    below = len(path) + 1
    names = [name[below:] for name, _ in world.files] + [name[below:] for name in world.dirs]
    parents = [name for name, _ in world.files] + list(world.dirs)
    found = [name for name, full in zip(names, parents, strict=True) if full.rpartition("/")[0] == path]
    return world, tuple(sorted(found))


def _read(world: World, actor: str, path: str) -> tuple[World, Answer]:
    return world, _content(world, path)


def _mkdir(world: World, actor: str, path: str) -> tuple[World, Answer]:
    parent = path.rpartition("/")[0]
    if parent and parent not in world.dirs:
        return world, Failure(errno.ENOENT, path)
    return world._replace(dirs=world.dirs | {path}), None


def _is_alive(world: World, actor: str, who: str) -> tuple[World, Answer]:
    return world, who in world.alive


def _won(world: World, actor: str, who: str, generation: str) -> tuple[World, Answer]:
    """`actor` believes to hold from here on; generation 0: it has no number. Only a live session counts."""
    if who not in world.alive:
        return world, None
    number = int(generation)
    claim = who.rpartition("|")[0]
    others = [holder for holder, _ in world.holders if holder != who and holder.rpartition("|")[0] == claim]
    others += [reader for reader, _ in world.readers]
    if others:
        raise Violation(TWO_HOLDERS, f"{who} won generation {number} while {others[0]} holds")
    mine = [held for holder, held in world.holders if holder == who]
    if number and number <= world.top and number not in mine:
        raise Violation(GENERATION, f"{who} won generation {number}, after {world.top}")
    elsewhere = frozenset(held for held in world.holders if held[0] != who)
    top, alone = max(number, world.top), max(number, world.alone)
    return world._replace(holders=elsewhere | {(who, number)}, top=top, alone=alone), None


def _shares(world: World, actor: str, who: str, generation: str) -> tuple[World, Answer]:
    """`actor` believes to share the claim from here on. Only a live session counts."""
    number = int(generation)
    if who not in world.alive or (who, number) in world.readers:
        return world, None
    if world.holders:
        raise Violation(TWO_HOLDERS, f"{who} has joined, as generation {number}, while {min(world.holders)[0]} holds alone")
    if number <= world.alone or number in [held for _, held in world.readers]:  # They join in one order, and tell in any.
        raise Violation(GENERATION, f"{who} has joined as generation {number}, after {world.top}")
    return world._replace(readers=world.readers | {(who, number)}, top=max(number, world.top)), None


def _shares_no_more(world: World, actor: str, who: str, generation: str) -> tuple[World, Answer]:
    return world._replace(readers=world.readers - {(who, int(generation))}), None


def _overtakes(world: World, actor: str, process: str, *before: str) -> tuple[World, Answer]:
    """`actor`, the process so named, has won; `before` are the tickets that were there when it came."""
    for path, content in world.files:
        if path in before and _lives(world, content):
            raise Violation(OVERTAKEN, f"{process} has won, and {path} still waits")
    return world, None


def _lives(world: World, ticket: str) -> bool:
    return any(f'"{who}"' in ticket for who in world.alive)


def _turn_is_taken(world: World, actor: str, path: str) -> bool:
    """Whether it is the ticket of one that lives and that is not `actor`."""
    content = _content(world, path) or ""
    public = not path.rpartition("/")[2].startswith(".")
    return QUEUE in path and public and f'"process {actor}"' not in content and _lives(world, content)


def _rmdir(world: World, actor: str, path: str) -> tuple[World, Answer]:
    if _is_in_use(world, path):
        return world, Failure(errno.ENOTEMPTY, path)
    if path not in world.dirs:
        return world, Failure(errno.ENOENT, path)
    return world._replace(dirs=world.dirs - {path}, handles=removed(world.handles, path)), None


def _leaves(world: World, actor: str, who: str) -> tuple[World, Answer]:
    return world._replace(holders=frozenset(held for held in world.holders if held[0] != who)), None


def _registered(world: World, actor: str, who: str) -> tuple[World, Answer]:
    """`actor` believes that the session id is its own from here on."""
    others = [holder for holder, _ in world.holders if holder != who]
    if others and who in world.alive:
        raise Violation(TWO_HOLDERS, f"{who} has registered an id that {others[0]} has registered and not ended")
    return world._replace(holders=frozenset({(who, 0)})), None


def _robbed(world: World, actor: str, who: str) -> tuple[World, Answer]:
    if who in world.alive:
        raise Violation(ROBBED, f"{who} could not release what it had won")
    return world, None


_STEPS: dict[str, Callable[..., tuple[World, Answer]]] = {
    "open": _open,
    "creat": _creat,
    "fill": _fill,
    "beat": _beat,
    "touch": _touch,
    "link": _link,
    "rename": _rename,
    "rename new": _rename_new,
    "guard": _guard,
    "unguard": _unguard,
    "remove": _remove,
    "list": _list,
    "read": _read,
    "mkdir": _mkdir,
    "rmdir": _rmdir,
    "alive?": _is_alive,
    "won": _won,
    "shares": _shares,
    "shares no more": _shares_no_more,
    "overtakes": _overtakes,
    "leaves": _leaves,
    "robbed": _robbed,
    "registered": _registered,
}


def _content(world: World, path: str) -> str | None:
    return next((content for name, content in world.files if name == path), None)


def _put(world: World, path: str, content: str) -> World:
    kept = frozenset(entry for entry in world.files if entry[0] != path)
    return world._replace(files=kept | {(path, content)})
