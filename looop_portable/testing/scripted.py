"""A filesystem whose every call is a step that somebody else, or a crash, can come before.

Does not model: what network filesystems cache, and listings of a directory in several steps. Crashes are of processes:
what was written stays.
How: the world is a value, and a process is a function of what the world has answered it so far. `Recorded` runs the
real code with the answers known, up to the first call that has none yet; so a process can be taken up at any step, in any
world, without threads.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from looop_portable.liveness import Here, Liveness, ProcessState, Verdict

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
    ids of processes; `holders` are those that believe to hold, with their generation; `top` is the greatest ever won.
    """

    files: frozenset[tuple[str, str]] = frozenset()
    dirs: frozenset[str] = frozenset()
    alive: frozenset[str] = frozenset()
    holders: frozenset[tuple[str, int]] = frozenset()
    top: int = 0


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


def apply(world: World, actor: str, op: Op) -> tuple[World, Answer]:
    """One step of `actor`."""
    verb, *args = op
    return _STEPS[verb](world, actor, *args)


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


def _link(world: World, actor: str, private: str, public: str) -> tuple[World, Answer]:
    content = _content(world, private)
    if content is None or public.rpartition("/")[0] not in world.dirs:
        return world, Failure(errno.ENOENT, private)
    if _content(world, public) is not None:
        return world, Failure(errno.EEXIST, public)
    return world._replace(files=world.files | {(public, content)}), None


def _rename(world: World, actor: str, private: str, public: str) -> tuple[World, Answer]:
    content = _content(world, private)
    if content is None:
        return world, Failure(errno.ENOENT, private)
    world = world._replace(files=world.files - {(private, content)})
    return _put(world, public, content), None


def _remove(world: World, actor: str, path: str) -> tuple[World, Answer]:
    content = _content(world, path)
    if content is None:
        return world, False
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
    """`actor` believes to hold from here on. Only a live session counts."""
    if who not in world.alive:
        return world, None
    number = int(generation)
    others = [holder for holder, _ in world.holders if holder != who]
    if others:
        raise Violation(TWO_HOLDERS, f"{who} won generation {number} while {others[0]} holds")
    mine = [held for holder, held in world.holders if holder == who]
    if number <= world.top and number not in mine:
        raise Violation(GENERATION, f"{who} won generation {number}, after {world.top}")
    return world._replace(holders=frozenset({(who, number)}), top=max(number, world.top)), None


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
    "creat": _creat,
    "fill": _fill,
    "link": _link,
    "rename": _rename,
    "remove": _remove,
    "list": _list,
    "read": _read,
    "mkdir": _mkdir,
    "alive?": _is_alive,
    "won": _won,
    "leaves": _leaves,
    "robbed": _robbed,
    "registered": _registered,
}


def _content(world: World, path: str) -> str | None:
    return next((content for name, content in world.files if name == path), None)


def _put(world: World, path: str, content: str) -> World:
    kept = frozenset(entry for entry in world.files if entry[0] != path)
    return world._replace(files=kept | {(path, content)})


class Paused(BaseException):
    """The process has come to a call that has no answer yet: `op`."""

    def __init__(self, op: Op) -> None:
        super().__init__(op)
        self.op = op


class Recorded:
    """`Files`, liveness and an oracle, for one process: answers what is recorded, then pauses.

    `who` is its session and incarnation, as one word. A file is made in two steps, empty and then filled: a process can
    die in between.
    """

    def __init__(self, actor: str, answers: tuple[Answer, ...]) -> None:
        self.actor = actor
        self._answers = iter(answers)
        self._tokens = 0
        self._paused: Op | None = None

    def ask(self, *op: str) -> Answer:
        """The next answer, or the pause. Failures are raised.

        Once paused it stays so: what the code does on its way out, in a `finally`, is not what it does next.
        """
        if self._paused is None:
            for answer in self._answers:
                if isinstance(answer, Failure):
                    raise OSError(answer.errno, "scripted", answer.path)
                return answer
            self._paused = op
        raise Paused(self._paused)

    def token(self) -> str:
        self._tokens += 1
        return f"{self.actor}{self._tokens}"

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:
        self.ask("creat", path)
        self.ask("fill", path, data.decode())

    def link(self, private: str, public: str) -> None:
        self.ask("link", private, public)

    def replace(self, private: str, public: str) -> None:
        self.ask("rename", private, public)

    def remove(self, path: str) -> bool:
        return bool(self.ask("remove", path))

    def list(self, path: str) -> list[str]:
        found = self.ask("list", path)
        assert isinstance(found, tuple)
        return list(found)

    def read(self, path: str) -> bytes | None:
        if path.endswith("/.protocol.json"):
            return b'{"protocol": 1}\n'  # It never changes once it is there.
        found = self.ask("read", path)
        assert found is None or isinstance(found, str)
        return None if found is None else found.encode()

    def mkdir(self, path: str, *, shared: int = 0) -> None:
        self.ask("mkdir", path)

    def refuse_link(self, path: str) -> None:
        """There are no symbolic links here."""

    def rmdir(self, path: str) -> None:
        raise OSError(errno.ENOTEMPTY, "scripted", path)

    def age(self, path: str) -> float | None:
        """Time does not pass here."""
        return 0.0

    def shared_bits(self, path: str) -> int:
        return 0


class ScriptedSessions:
    """Liveness as the world has it: one step a question. Stands in for `Sessions`."""

    def __init__(self, files: Recorded) -> None:
        self._files = files

    def verdict(self, session: str, incarnation: str) -> Verdict:
        alive = self._files.ask("alive?", f"{session}/{incarnation}")
        return Verdict(Liveness.ALIVE if alive else Liveness.DEAD, "scripted")

    def tidy(self) -> None:
        """There is nothing to tidy."""

    def statuses(self) -> list[object]:
        """None: so that the reaper asks for each session when it has read its lease."""
        return []


class ScriptedProcesses:
    """Processes as the world has them: a pid is alive or gone."""

    def __init__(self, files: Recorded) -> None:
        self._files = files

    def here(self) -> Here:
        return Here("boot", "namespace")

    def start_of(self, pid: int) -> str:
        return "start"

    def state(self, pid: int, start: str) -> ProcessState:
        return ProcessState.RUNNING if self._files.ask("alive?", f"pid {pid}") else ProcessState.GONE
