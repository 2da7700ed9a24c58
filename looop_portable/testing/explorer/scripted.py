"""A filesystem whose every call is a step that somebody else, or a crash, can come before.

How: the world is a value, and a process is a function of what the world has answered it so far. `Recorded` runs the
real code with the answers known, up to the first call that has none yet; so a process can be taken up at any step, in any
world, without threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from looop_portable.protocol.liveness import Here, Liveness, Lock, ProcessState, Verdict
from looop_portable.protocol.records import Registration
from looop_portable.system.files.rooms import NamedRoom, Room
from looop_portable.system.mounts.mount import Mount
from looop_portable.testing.explorer.world import QUEUE, Answer, Failure, Op


class Paused(BaseException):
    """The process has come to a call that has no answer yet: `op`."""

    def __init__(self, op: Op) -> None:
        super().__init__(op)
        self.op = op


def word(actor: str, number: int) -> str:
    """The token that `actor` makes as its `number`th."""
    return f"{actor}{number}".encode().hex().rjust(24, "0")[-24:]


class Recorded:
    """`Files`, liveness and an oracle, for one process: answers what is recorded, then pauses.

    `who` is its session and incarnation, as one word. A file is made in two steps, empty and then filled: a process can
    die in between. `stamp` is what the directory's says; it never changes once it is there. `time` is the filesystem's, in
    seconds, and stands still: what a beat leaves is a file that contains it. `mount`: what it is mounted on; None: nobody
    knows. `lock`: what all see of every session's lock; None: there are no locks. `slow`: paths that begin so are
    looked up in a step before the one that uses them.
    """

    time = 0
    mount: Mount | None = None
    lock: Lock | None = None
    slow = ""
    stamp = b'{"protocol": 1, "links": true}\n'

    def __init__(self, actor: str, answers: tuple[Answer, ...]) -> None:
        self.actor = actor
        self._answers = iter(answers)
        self._nonces = 0
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

    def nonce(self) -> str:
        """In hexadecimal, as all are: what is swept is known by that."""
        self._nonces += 1
        return word(self.actor, self._nonces)

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:
        self._ask("creat", path)
        self.ask("fill", path, data.decode())

    def link(self, private: str, public: str) -> None:
        self._ask("link", private, public)

    def rename(self, private: str, public: str) -> None:
        self._ask("rename new", private, public)

    def replace(self, private: str, public: str) -> None:
        self._ask("rename", private, public)

    def _ask(self, verb: str, *paths: str) -> None:
        """Of each path the last name is looked up when it is used."""
        if not self.slow or not all(path.startswith(self.slow) for path in paths):
            self.ask(verb, *paths)
            return
        handles = {directory: str(number) for number, directory in enumerate(dict.fromkeys(map(_above, paths)))}
        for directory, handle in handles.items():
            self.ask("open", handle, directory)
        self.ask(verb, *(f"@{handles[_above(path)]}/{path.rpartition('/')[2]}" for path in paths))

    def remove(self, path: str) -> bool:
        return bool(self.ask("remove", path))

    def list(self, path: str) -> list[str]:
        if self.slow and path.startswith(self.slow):
            self.ask("open", "0", path)
            path = "@0"
        found = self.ask("list", path)
        assert isinstance(found, tuple)
        return list(found)

    def read(self, path: str) -> bytes | None:
        if path.endswith("/.protocol.json"):
            return self.stamp
        found = self.ask("read", path)
        assert found is None or isinstance(found, str)
        return None if found is None else found.encode()

    def opens_by_both(self, path: str, other: str) -> bool:
        return True

    def mount_of(self, path: str) -> Mount | None:
        return self.mount

    def mkdir(self, path: str, *, shared: int = 0) -> None:
        self.ask("mkdir", path)

    def refuse_link(self, path: str) -> None:
        """There are no symbolic links here."""

    def written_at(self, path: str) -> int:
        """Time stands still, so nobody can tell."""
        return 0

    def is_untouched(self, path: str, since: int) -> bool:
        """As above."""
        return False

    @contextmanager
    def room(self, path: str, deep: int) -> Iterator[Room]:
        yield NamedRoom(self, path, deep)

    def rmdir(self, path: str) -> None:
        self.ask("rmdir", path)

    def age(self, path: str) -> float | None:
        """Time does not pass here."""
        return 0.0

    def now(self, directory: str) -> int:
        return self.time * 1_000_000_000

    def make_beat(self, path: str, *, shared: int = 0) -> None:
        self.ask("creat", path)
        self.beat(path)

    def beat(self, path: str) -> None:
        self.ask("beat", path, str(self.time))

    def changed(self, path: str) -> int | None:
        found = self.ask("read", path)
        assert found is None or isinstance(found, str)
        if QUEUE in path:
            return None if found is None else len(found)
        return None if found is None else int(found if found.isdecimal() else 0) * 1_000_000_000

    def keep_young(self, path: str, older: float) -> None:
        """Nothing is removed here for its age. Whoever waits shows with it that it lives."""
        if QUEUE in path:
            self.ask("touch", path)

    def floor(self, path: str, mark: int) -> int:
        """Nothing but what the code itself removes is ever gone here: so the common floor has to do alone."""
        return 0

    def raise_floor(self, path: str, mark: int, number: int, *, shared: int = 0) -> bool:
        """See `floor`."""
        return True

    def keep_lock(self, path: str, *, shared: int = 0) -> bool:
        return self.lock is not None

    def let_lock_go(self, path: str) -> None:
        """None is held."""

    def hold_lock(self, path: str) -> None:
        """None is held."""

    def lock_of(self, path: str, *, heirs: bool = False) -> Lock:
        return self.lock or Lock.MISSING

    def is_same(self, path: str, other: str) -> bool | None:
        """Contents differ here wherever files do."""
        return None

    def in_use(self, error: OSError) -> bool:
        return False

    def shared_bits(self, path: str) -> int:
        return 0

    @contextmanager
    def guard(self, path: str, *, shared: int = 0) -> Iterator[None]:
        """Whoever has to wait for it is not run before it is free."""
        self.ask("guard", path)
        try:
            yield
        finally:
            self.ask("unguard", path)

    def guard_excludes(self, path: str, *, shared: int = 0) -> bool:
        return True


def _above(path: str) -> str:
    return path.rpartition("/")[0]


class ScriptedSessions:
    """Liveness as the world has it: one step a question. Stands in for `Sessions`."""

    def __init__(self, files: Recorded) -> None:
        self._files = files
        self.evidence = ScriptedEvidence(files)

    def verdict(self, session: str, incarnation: str) -> Verdict:
        alive = self._files.ask("alive?", f"{session}/{incarnation}")
        return Verdict(Liveness.ALIVE if alive else Liveness.DEAD, "scripted")

    def tidy(self) -> None:
        """There is nothing to tidy."""

    def statuses(self) -> list[object]:
        """None: so that the reaper asks for each session when it has read its lease."""
        return []


class ScriptedEvidence:
    """Stands in for `Evidence`: those who wait are the processes of the world's actors, each called `process NAME`."""

    def __init__(self, files: Recorded) -> None:
        self._files = files

    def this_process(self) -> Registration:
        return Registration("", "", 1, f"process {self._files.actor}")

    def examine(self, registration: Registration) -> Verdict:
        """One step. Of one that names no process nobody knows whether it lives."""
        if not registration.start:
            return Verdict(Liveness.UNKNOWN, "scripted")
        alive = self._files.ask("alive?", registration.start)
        return Verdict(Liveness.ALIVE if alive else Liveness.DEAD, "scripted")

    def has_left(self, waiter: Registration) -> bool:
        return self.examine(waiter).dead

    def process_of(self, session: str, incarnation: str) -> None:
        """Nobody hears it end."""

    def is_seen(self, registration: Registration) -> bool:
        return False


class ScriptedProcesses:
    """Processes as the world has them: a pid is alive or gone. `boot` is the kernel that they are on."""

    def __init__(self, files: Recorded, boot: str = "boot") -> None:
        self._files = files
        self._boot = boot

    def here(self) -> Here:
        return Here(self._boot, "namespace")

    def start_of(self, pid: int) -> str:
        return "start"

    def state(self, pid: int, start: str) -> ProcessState:
        return ProcessState.RUNNING if self._files.ask("alive?", f"pid {pid}") else ProcessState.GONE
