"""Is a session alive: the words and the times of that question. What decides it is `inquiry`.

Pure. What is not known is UNKNOWN, and UNKNOWN is treated as alive, always.
"""

from __future__ import annotations

from enum import Enum

from looop_portable.protocol.records import Registration
from looop_portable.typed import NamedTuple

__all__ = ["Basis", "Liveness", "Verdict"]


PASSING = " tmpfs"
"""How a disk's name ends that no reboot survives: another boot identity there is that of another container."""

DEFAULT_TTL = 30
"""How long a session that promises heartbeats may be silent, unless it is told otherwise."""


SHORTEST_TTL = 4
"""Seconds, of a session that lives by its renewals: its lease is the shortest one."""

SHORTEST_LEASE = 3
"""Seconds. In less, a filesystem that is merely slow would look like a host that is gone."""


class Liveness(Enum):
    """Whether a session lives. UNKNOWN is treated as ALIVE, always."""

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
    fully proven. The session has to be ended before anybody acts on that verdict. `left`: for how many
    seconds it lives on if nobody renews it; None: it does not live by heartbeats. `until`: when that is, by the clock of
    the host that judged it.
    """

    liveness: Liveness
    evidence: str
    basis: Basis = Basis.NOTHING
    age: float = 0.0
    inferred: bool = False
    left: float | None = None
    until: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of --json: `basis` is what it rests on, `evidence_age` how old that is, in seconds."""
        return {
            "liveness": self.liveness.value,
            "evidence": self.evidence,
            "basis": self.basis.name.lower(),
            "evidence_age": None if self.basis is Basis.NOTHING else round(self.age, 3),
            "until": self.until or None,
        }

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


class Here(NamedTuple):
    """The kernel, the pid namespace and the process of whoever asks; empty where they cannot be told.

    `given`: the kernel's identity is not its own word, but a person's ($LOOOP_HOST_ID).
    """

    boot: str
    namespace: str
    given: bool = False
    pid: int = 0


def lease_of(ttl: float) -> int:
    """The lease of a session that is to be dead `ttl` seconds after its last heartbeat: that takes 4/3 of it."""
    return -int(-ttl * 3 // 4)


def time_to_live(lease_seconds: float) -> float:
    """Seconds after a heartbeat from which on a session may be dead, to those who have watched it."""
    return lease_seconds + interval(lease_seconds)


def interval(lease_seconds: float) -> float:
    """Seconds from one heartbeat to the next: a third of the lease."""
    return lease_seconds / 3


def resumes_after(lease_seconds: float) -> float:
    """Seconds without a heartbeat after which a session publishes that it goes on: an interval, and a quarter of one.

    It is less than `suspicion`. A judge that has seen nothing for that long publishes that the session has ended. The two
    publications race for one number, and one of them wins.
    """
    return interval(lease_seconds) * 5 / 4


def suspicion(lease_seconds: float) -> float:
    """Seconds without a heartbeat after which a hint is believed on a local disk: an interval, and half of one for a beat
    that is late.
    """
    return interval(lease_seconds) * 3 / 2


def patience(lease_seconds: float) -> float:
    """Seconds without a heartbeat after which a session stops itself: two thirds of the lease."""
    return lease_seconds * 2 / 3


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
