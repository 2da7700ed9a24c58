"""Is a session alive: the words and the times of that question. What decides it is `inquiry`.

Pure. What is not known is UNKNOWN, and UNKNOWN is treated as alive, always.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = ["Basis", "Holder", "Liveness", "Registration", "Verdict"]

FOREIGN = "looop:"
"""How the incarnation of a session that looop itself started begins: its pid and its start follow."""

PASSING = " tmpfs"
"""How a disk's name ends that no reboot survives: another boot identity there is that of another container."""

DEFAULT_TTL = 30
"""How long a session that promises heartbeats may be silent, unless it is told otherwise."""

LONGEST_LEASE = 10**8
"""Seconds: three years. What a record says beyond that nobody has promised."""

MOST_PID = 2**31 - 1
"""No system has greater process ids, and most take none."""

SHORTEST_LEASE = 3
"""Seconds. In less, a filesystem that is merely slow would look like a host that is gone."""


class Liveness(Enum):
    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class ProcessState(Enum):
    """What the operating system says of a process id that a session recorded."""

    RUNNING = "runs"
    STOPPED = "is stopped"
    ZOMBIE = "has ended (a zombie)"
    GONE = "is gone"
    REUSED = "is gone (its process id belongs to a later process)"
    UNREADABLE = "could not be examined"


class Basis(Enum):
    """What a verdict rests on."""

    NOTHING = "nothing"
    REGISTRATION = "its registration"
    PROCESS = "its process"
    LOCK = "its lock"
    HEARTBEAT = "its heartbeat"
    KERNEL = "its kernel"


_LOOKED_AT = {Basis.REGISTRATION: "read now", Basis.PROCESS: "seen now", Basis.LOCK: "seen now", Basis.KERNEL: "seen now"}
"""What has no age. A heartbeat has one, and its evidence tells it."""


class Verdict(NamedTuple):
    """`evidence` is for people: what the verdict rests on. `age`: how old that was when it was judged, in seconds.

    Only a heartbeat has an age: everything else is looked at when the verdict is asked for. `inferred`: the death is not
    fully proven. The session has to be ended before anybody acts on that verdict.
    """

    liveness: Liveness
    evidence: str
    basis: Basis = Basis.NOTHING
    age: float = 0.0
    inferred: bool = False

    @property
    def description(self) -> str:
        """`evidence`, and how old it is."""
        looked = _LOOKED_AT.get(self.basis)
        return f"{self.evidence} ({looked})" if looked else self.evidence

    @property
    def dead(self) -> bool:
        return self.liveness is Liveness.DEAD


class Silence(NamedTuple):
    """How long a heartbeat has been silent, in seconds of the store's clock.

    `seconds`: since the last beat; negative if the clock was set back since. `watched`: for how long a watch has seen no
    beat, however the clock was set before; 0 while there was no reason to watch.
    """

    seconds: float
    watched: float = 0.0


class Lock(Enum):
    """What there is to be seen of a session's own lock (see `session_locks`)."""

    HELD = "its lock is held"
    INHERITED = "its lock is held by a child that it left behind, if by anybody"
    FREE = "its lock is free"
    MISSING = "its lock is missing"


class Holder(NamedTuple):
    """Somebody who may hold: a session id and the incarnation of its registration (empty: not registered)."""

    session: str
    incarnation: str


class Registration(NamedTuple):
    """What a session says of itself when it registers.

    `boot` identifies the kernel, `namespace` its pid namespace, `start` the process among all that ever had its `pid`;
    each is empty where the platform does not tell, and all three are empty in a session that looop started (`foreign`).
    `ended`: it has ended, by its own word or somebody else's. `ttl`: for how long it may be silent; 0: it has
    promised no heartbeat. `disk`: what tells its local disk from others', empty if it is none, or not known. `locked`: its
    process holds a lock of its own for as long as it lives. `kept`: a process of its own gives its heartbeats. `own`: the
    process has registered itself, so the lock is its own too, and not that of whoever runs it. `heirs`: what its process
    starts inherits a part in that lock, and the session lives as long as any of them (`looop run`).
    """

    session: str
    incarnation: str
    pid: int
    start: str = ""
    boot: str = ""
    namespace: str = ""
    host: str = ""
    started_at: str = ""
    foreign: bool = False
    ended: bool = False
    ttl: int = 0
    disk: str = ""
    locked: bool = False
    kept: bool = False
    own: bool = False
    heirs: bool = False

    def as_record(self) -> dict[str, object]:
        """The fields as a record on disk has them, where `ttl` has its older name."""
        return {"lease_seconds" if key == "ttl" else key: value for key, value in self._asdict().items()}

    @property
    def holder(self) -> Holder:
        return Holder(self.session, self.incarnation)


class Here(NamedTuple):
    """The kernel, the pid namespace and the process of whoever asks; empty where they cannot be told.

    `given`: the kernel's identity is not its own word, but a person's ($LOOOP_HOST_ID).
    """

    boot: str
    namespace: str
    given: bool = False
    pid: int = 0


def interval(ttl: float) -> float:
    """Seconds from one heartbeat to the next: a third of the lease."""
    return ttl / 3


def resumes_after(ttl: float) -> float:
    """Seconds without a heartbeat after which a session publishes that it goes on: an interval, and a quarter of one.

    It is less than `suspicion`. A judge that has seen nothing for that long publishes that the session has ended. The two
    publications race for one number, and one of them wins.
    """
    return interval(ttl) * 5 / 4


def suspicion(ttl: float) -> float:
    """Seconds without a heartbeat after which a hint is believed on a local disk: an interval, and half of one for a beat
    that is late.
    """
    return interval(ttl) * 3 / 2


def patience(ttl: float) -> float:
    """Seconds without a heartbeat after which a session stops itself: two thirds of the lease."""
    return ttl * 2 / 3


_NUMBERED = "pid:["
"""How Linux's namespaces begin, which it numbers: no two have one number at a time."""

_THE_ONLY_ONE = ("pids of darwin", "pids of freebsd", "pids of netbsd", "pids of openbsd", "pids of dragonfly")
"""How those begin of systems that have but one; a jail of FreeBSD's is told as none. Windows' containers are told alike."""

_MADE_UP = " booted at "
"""In the identities that 0.1 made up from a host's name and the time of its boot."""


def is_nearby(registration: Registration, here: Here) -> bool:
    """Whether its process can be seen from here, as far as the identities of kernel and namespace show.

    Looop records neither kernel nor namespace: its sessions are taken to be of these.
    """
    if registration.pid <= 0 or not here.namespace:
        return False
    return registration.foreign or (registration.boot, registration.namespace) == here[:2]


def may_be_nearby(registration: Registration, here: Here) -> bool:
    """Whether its process can be seen from here if its store is on a local disk, which one kernel at a time has mounted.

    On Linux the number of the namespace decides, whatever the kernels call themselves. On systems with one namespace,
    two identities that are both known and differ are two kernels.
    """
    if registration.pid <= 0 or registration.namespace != here.namespace:
        return False
    one_kernel = here.namespace.startswith(_THE_ONLY_ONE) and not are_two_kernels(registration.boot, here.boot)
    return one_kernel or here.namespace.startswith(_NUMBERED)


def are_two_kernels(one: str, other: str) -> bool:
    """Whether two identities are those of two kernels: both are known, and of one kind."""
    return bool(one and other) and one != other and (_MADE_UP in one) == (_MADE_UP in other)
