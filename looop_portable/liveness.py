"""From evidence to a verdict: is this session alive?

Pure: whoever asks brings the evidence. What is not known is UNKNOWN, and UNKNOWN is treated as alive, always.

Does not guarantee: that a session which is only known to be silent is dead. Silence is evidence, not proof: whoever acts on
it ends the session first (`Sessions.conclude`), and the session stops itself before (`pulse`). Nor a right answer for a
session that looop itself started on another host or in another container: looop records only a pid.
"""

from enum import Enum
from typing import NamedTuple

FOREIGN = "looop:"
"""How the incarnation of a session that looop itself started begins: its pid and its start follow."""


_PASSING = " tmpfs"
"""What no reboot survives: two kernels that see one have some way to share it."""


LEASE_SECONDS = 30
"""How long a session that promises heartbeats may be silent, unless it is told otherwise."""

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

    Only a heartbeat has an age: all else is looked at when the verdict is asked for.
    """

    liveness: Liveness
    evidence: str
    basis: Basis = Basis.NOTHING
    age: float = 0.0

    @property
    def told(self) -> str:
        """`evidence`, and how old it is."""
        looked = _LOOKED_AT.get(self.basis)
        return f"{self.evidence} ({looked})" if looked else self.evidence

    @property
    def dead(self) -> bool:
        return self.liveness is Liveness.DEAD

    @property
    def inferred(self) -> bool:
        """Whether it is dead by its silence alone: then it has to be ended before anybody acts on it."""
        return self.dead and self.basis is Basis.HEARTBEAT


class Silence(NamedTuple):
    """Of a heartbeat, by the clock of the store, in seconds.

    `seconds` since the last beat; negative if that clock has been set back since. `watched`: for how long it is known not
    to have changed, whatever the clock said before; 0 as long as there was no reason to watch.
    """

    seconds: float
    watched: float = 0.0


class Sign(Enum):
    """Where to look for a sign of life of one session."""

    NONE = "none"
    PROCESS = "process"
    LOCK = "lock"
    HEARTBEAT = "heartbeat"
    KERNEL = "kernel"


class Holder(NamedTuple):
    """Somebody who may hold: a session id and the incarnation of its registration (empty: not registered)."""

    session: str
    incarnation: str


class Registration(NamedTuple):
    """What a session says of itself when it registers.

    `boot` identifies the kernel, `namespace` its pid namespace, `start` the process among all that ever had its `pid`;
    each is empty where the platform does not tell, and all three are empty in a session that looop started (`foreign`).
    `ended`: it has ended, by its own word or somebody else's. `lease_seconds`: for how long it may be silent; 0: it has
    promised no heartbeat. `disk`: what tells its local disk from others', empty if it is none, or not known. `locked`: its
    process holds a lock of its own for as long as it lives. `kept`: a process of its own gives its heartbeats.
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
    lease_seconds: int = 0
    disk: str = ""
    locked: bool = False
    kept: bool = False

    @property
    def holder(self) -> Holder:
        return Holder(self.session, self.incarnation)


class Here(NamedTuple):
    """The kernel and the pid namespace of whoever asks; empty where they cannot be told.

    `given`: the kernel's identity is not its own word, but a person's ($LOOOP_HOST_ID).
    """

    boot: str
    namespace: str
    given: bool = False


def interval(lease_seconds: float) -> float:
    """Seconds from one heartbeat to the next: a third of the lease."""
    return lease_seconds / 3


def patience(lease_seconds: float) -> float:
    """Seconds without a heartbeat after which a session stops itself: two thirds of the lease."""
    return lease_seconds * 2 / 3


def where_to_look(registration: Registration, here: Here, disk: str) -> Sign:
    """The best sign of life that can be seen from `here`; `disk` is what tells the store's local disk from others'.

    A pid means nothing on another kernel or in another namespace. A disk that was local to the session's kernel and is
    local to ours has changed its kernel: there was a reboot.
    """
    if registration.ended:
        return Sign.NONE
    same_kernel = bool(here.boot) and registration.boot == here.boot
    # Looop records no kernel: its sessions are taken to be of this one, and of this namespace.
    nearby = registration.foreign or (same_kernel and registration.namespace == here.namespace)
    if nearby and registration.pid > 0 and here.boot and here.namespace:
        return Sign.PROCESS
    if same_kernel and registration.locked and disk and registration.disk == disk:
        return Sign.LOCK
    another_kernel = registration.boot and here.boot and not same_kernel and not here.given
    if another_kernel and disk and registration.disk == disk and not disk.endswith(_PASSING):
        return Sign.KERNEL
    return Sign.HEARTBEAT if registration.lease_seconds else Sign.NONE


def verdict(
    registration: Registration | None,
    here: Here,
    sign: Sign = Sign.NONE,
    seen: ProcessState | Silence | bool | None = None,
) -> Verdict:
    """`sign` is where `where_to_look` said to look, and `seen` what was seen there: of a lock, whether it is held."""
    if registration is None or registration.ended:
        evidence = "the session has ended" if registration else "no such session"
        return Verdict(Liveness.DEAD, evidence, Basis.REGISTRATION)
    where = f"pid {registration.pid} on {registration.host or 'an unnamed host'}"
    if isinstance(seen, ProcessState):
        return _by_process(f"pid {registration.pid} {seen.value}", seen)
    if isinstance(seen, Silence):
        return _by_heartbeat(where, registration.lease_seconds, seen)
    if sign is Sign.LOCK:
        return _by_lock(f"{where}, in another pid namespace,", held=seen is not False)
    if sign is Sign.KERNEL:
        return Verdict(Liveness.DEAD, f"{where} is gone: there was a reboot since", Basis.KERNEL)
    return Verdict(Liveness.UNKNOWN, _why_unknown(registration, here, where))


def _by_lock(where: str, *, held: bool) -> Verdict:
    if held:
        return Verdict(Liveness.ALIVE, f"{where} holds its lock", Basis.LOCK)
    return Verdict(Liveness.DEAD, f"{where} is gone: its lock is free", Basis.LOCK)


def _by_process(evidence: str, process: ProcessState) -> Verdict:
    if process in (ProcessState.RUNNING, ProcessState.STOPPED):
        return Verdict(Liveness.ALIVE, evidence, Basis.PROCESS)
    if process is ProcessState.UNREADABLE:
        return Verdict(Liveness.UNKNOWN, evidence, Basis.PROCESS)
    return Verdict(Liveness.DEAD, evidence, Basis.PROCESS)


def _by_heartbeat(where: str, lease: int, silence: Silence) -> Verdict:
    """Dead: silent for the lease, and for one interval more that somebody watched.

    Without the second, a clock that is set forward would end everybody. Where it was set back, the age of a heartbeat says
    nothing; then it has to be watched for the whole lease.
    """
    seconds, watched = silence
    age = max(seconds, watched)
    heard = f"{where} was last heard {age:.0f} s ago, by the filesystem's clock; its lease is {lease} s"
    if -interval(lease) <= seconds <= lease:
        return Verdict(Liveness.ALIVE, heard, Basis.HEARTBEAT, max(age, 0.0))
    wanted = interval(lease) if seconds > lease else lease + interval(lease)
    if watched >= wanted:
        return Verdict(Liveness.DEAD, heard, Basis.HEARTBEAT, age)
    why = "" if seconds > lease else ", and that clock was set back"
    return Verdict(
        Liveness.UNKNOWN,
        f"{heard}{why}: dead if it is silent for {wanted - watched:.0f} s more",
        Basis.HEARTBEAT,
        max(age, 0.0),
    )


def _why_unknown(registration: Registration, here: Here, where: str) -> str:
    if registration.pid <= 0:
        return "its registration names no process"
    silent = ", and it promised no heartbeat" if not registration.lease_seconds else ""
    if not (registration.boot and here.boot):
        return f"{where} cannot be examined: the kernel's identity is not known{silent}"
    if registration.boot != here.boot:
        return f"{where} cannot be examined from here: it is of another kernel, or of this one before a reboot{silent}"
    return f"{where} cannot be examined from here: it is in another pid namespace{silent}"
