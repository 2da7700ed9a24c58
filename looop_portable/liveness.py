"""From evidence to a verdict: is this session alive?

Pure: whoever asks brings the evidence. What is not known is UNKNOWN, and UNKNOWN is treated as alive, always.

Does not guarantee: an answer for a session on another kernel or in another pid namespace: until sessions give heartbeats
those are UNKNOWN. Nor a right one for a session that looop itself started on another host or in another container: looop
records only a pid.
"""

from enum import Enum
from typing import NamedTuple

FOREIGN = "looop:"
"""How the incarnation of a session that looop itself started begins: its pid and its start follow."""


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


class Verdict(NamedTuple):
    """`evidence` is for people: what the verdict rests on."""

    liveness: Liveness
    evidence: str

    @property
    def dead(self) -> bool:
        return self.liveness is Liveness.DEAD


class Holder(NamedTuple):
    """Somebody who may hold: a session id and the incarnation of its registration (empty: not registered)."""

    session: str
    incarnation: str


class Registration(NamedTuple):
    """What a session says of itself when it registers.

    `boot` identifies the kernel, `namespace` its pid namespace, `start` the process among all that ever had its `pid`;
    each is empty where the platform does not tell, and all three are empty in a session that looop started (`foreign`).
    `ended`: it says itself that it has ended.
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

    @property
    def holder(self) -> Holder:
        return Holder(self.session, self.incarnation)


class Here(NamedTuple):
    """The kernel and the pid namespace of whoever asks; empty where they cannot be told."""

    boot: str
    namespace: str


def process_matters(registration: Registration, here: Here) -> bool:
    """Whether looking at the process can tell anything: a pid means nothing on another kernel or in another namespace."""
    if registration.ended or registration.pid <= 0:
        return False
    if not (here.boot and here.namespace):
        return False
    # Looop records no kernel: its sessions are taken to be of this one, and of this namespace.
    return registration.foreign or (registration.boot, registration.namespace) == (here.boot, here.namespace)


def verdict(registration: Registration | None, here: Here, process: ProcessState | None) -> Verdict:
    """`process` is what was seen of the session's process; None when `process_matters` said not to look."""
    if registration is None:
        return Verdict(Liveness.DEAD, "no such session")
    if registration.ended:
        return Verdict(Liveness.DEAD, "the session has ended")
    if process is None:
        return Verdict(Liveness.UNKNOWN, _why_unknown(registration, here))
    evidence = f"pid {registration.pid} {process.value}"
    if process in (ProcessState.RUNNING, ProcessState.STOPPED):
        return Verdict(Liveness.ALIVE, evidence)
    if process is ProcessState.UNREADABLE:
        return Verdict(Liveness.UNKNOWN, evidence)
    return Verdict(Liveness.DEAD, evidence)


def _why_unknown(registration: Registration, here: Here) -> str:
    if registration.pid <= 0:
        return "its registration names no process"
    where = f"pid {registration.pid} on {registration.host or 'an unnamed host'}"
    if not (registration.boot and here.boot):
        return f"{where} cannot be examined: the kernel's identity is not known"
    if registration.boot != here.boot:
        return f"{where} cannot be examined from here: it is of another kernel, or of this one before a reboot"
    return f"{where} cannot be examined from here: it is in another pid namespace"
