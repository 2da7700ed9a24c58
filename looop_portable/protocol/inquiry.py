"""The rule of evidence: what is looked at of a session, and what it proves.

Does not guarantee: that a session which seems gone, or is only silent, is dead. A judge that acts on such a death ends the
session first (`Sessions.conclude`). The session publishes that it goes on after each pause that others may have taken for
its end (`resumes_after`). It stops itself (`patience`) before its silence alone counts as its end. Nor a right answer for a
session that looop itself started on another host or in another container: looop records only a pid.
How: real environments (containers, cloned machines, sandboxes) copy, fake and hide boot ids, process ids and locks. So each
sign has a worth (`WORTH`): it proves life; it proves death; it is a hint; or it is worth nothing. A hint counts after half
of the lease without a heartbeat (`suspicion`), or after all of it. Pure: `inquiry` says where to look, and its caller looks
(`evidence`).
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum

from looop_portable.protocol.liveness import (
    PASSING,
    Basis,
    Here,
    Liveness,
    Lock,
    ProcessState,
    Silence,
    Verdict,
    are_two_kernels,
    interval,
    is_nearby,
    may_be_nearby,
    suspicion,
    time_to_live,
)
from looop_portable.protocol.records import Registration
from looop_portable.typed import NamedTuple


class Sign(Enum):
    """Where to look, and what is found there."""

    DISK = "whether this session's store is on a disk that only this kernel can have mounted: a bool"
    PROCESS = "the process: a ProcessState"
    LOCK = "the lock: a Lock"
    HEARTBEAT = "the latest heartbeat: a Silence"
    WATCH = "the same, which is watched from now on if it was not: a Silence"

    __hash__ = object.__hash__
    """Members are compared by identity, and are looked up by it: `Enum` hashes their names, in Python."""


class Worth(Enum):
    """What something that is seen of a session proves."""

    LIFE = "alive"
    PROOF = "dead"
    HINT = "dead once no heartbeat was heard for half of the lease; a younger one voids it"
    FAR_HINT = "dead once no heartbeat was heard for the lease, before which it has stopped itself; a younger one voids it"
    NOTHING = "the next sign is asked"


class Seen(Enum):
    """What can be seen of a session, in the order in which it is looked for."""

    ENDED = "it was published that it has ended, or there is none of that id"
    PROCESS = "its process is there, in our own pid namespace"
    PROCESS_MAYBE = "it seems to be there, but another kernel of the same identity may have the mount too"
    FORMER_SELF = "its process is this one, which has executed another program since (execv): its lock is free"
    GONE_HERE = "its process is gone, in our own pid namespace and on a local disk"
    HEIRS = "its process is gone, and what it started, or who ends that, has its lock (`looop run`)"
    GONE = "its process is gone, but another kernel of the same identity may have the mount too"
    HIDDEN = "its process cannot be examined, or its start is not known"
    LOCK_HELD = "its lock is held"
    LOCK_FREE = "its lock is free"
    LOCK_INHERITED = "its lock is held by a child that it left behind"
    LOCK_UNCLEAR = "its lock is missing, or cannot be read"
    ANOTHER_BOOT = "another boot identity, on a local disk: of before a reboot, or of a container"
    BEAT = "a heartbeat that is not older than its lease (after a hint: than a third of it)"
    SILENCE = "no heartbeat for its lease, and a third of it more that was watched"
    NO_PROMISE = "no heartbeat was promised, or it cannot be read: nobody can tell"

    __hash__ = object.__hash__


WORTH: dict[Seen, Worth] = {
    Seen.ENDED: Worth.PROOF,
    Seen.PROCESS: Worth.LIFE,
    Seen.PROCESS_MAYBE: Worth.NOTHING,
    Seen.FORMER_SELF: Worth.PROOF,
    Seen.GONE_HERE: Worth.PROOF,
    Seen.HEIRS: Worth.LIFE,
    Seen.GONE: Worth.FAR_HINT,
    Seen.HIDDEN: Worth.NOTHING,
    Seen.LOCK_HELD: Worth.LIFE,
    Seen.LOCK_FREE: Worth.HINT,
    Seen.LOCK_INHERITED: Worth.NOTHING,
    Seen.LOCK_UNCLEAR: Worth.NOTHING,
    Seen.ANOTHER_BOOT: Worth.HINT,
    Seen.BEAT: Worth.LIFE,
    Seen.SILENCE: Worth.HINT,  # One that is believed.
    Seen.NO_PROMISE: Worth.NOTHING,
}
"""The rule of evidence, which `inquiry` goes by. A test compares it with the table in docs/explanation/evidence.md."""


Found = ProcessState | Lock | Silence | bool | None
"""What was found where a `Sign` was looked for; None: it could not be read."""

Inquiry = Generator[Sign, Found, Verdict]


class Observation(NamedTuple):
    """`evidence` says it to people."""

    seen: Seen
    evidence: str
    basis: Basis


Look = Generator[Sign, Found, Observation | None]
"""One step of an inquiry; None: there is nothing to be seen there."""


def inquiry(registration: Registration | None, here: Here) -> Inquiry:
    """Where to look, one sign after the other; returns the verdict. The first sign that proves something counts.

    A missing process proves death on a local disk, because one kernel at a time has such a disk mounted. A live session
    would be on this kernel. Its pid namespace would be ours, since no other has that number meanwhile. So its process
    would be seen here. The proof needs no identity of a kernel.
    """
    if registration is None or registration.ended:
        evidence = "the session has ended" if registration else "no such session"
        return Verdict(Liveness.DEAD, evidence, Basis.REGISTRATION)
    hint = likely = None
    for look in (_process, _lock, _boot):
        found = yield from look(registration, here)
        worth = WORTH[found.seen] if found else Worth.NOTHING
        if found and worth in (Worth.LIFE, Worth.PROOF):
            return Verdict(Liveness.ALIVE if worth is Worth.LIFE else Liveness.DEAD, found.evidence, found.basis)
        if worth in (Worth.HINT, Worth.FAR_HINT):
            hint = found
        if found and found.seen is Seen.PROCESS_MAYBE:
            likely = found
        if hint or (found and found.seen is Seen.LOCK_INHERITED):  # So it is of this boot.
            break
    silence: Found = None
    if registration.lease_seconds:
        silence = yield Sign.WATCH if hint else Sign.HEARTBEAT
    if not isinstance(silence, Silence):
        if likely:
            return Verdict(Liveness.ALIVE, likely.evidence, likely.basis)
        return Verdict(Liveness.UNKNOWN, _why_unknown(registration, here, hint))
    return _by_heartbeat(registration, silence, hint)


def _process(registration: Registration, here: Here) -> Look:
    """Look at the process. On a local disk the namespace alone decides whether it is one of ours."""
    local: Found = False
    if not is_nearby(registration, here):
        local = may_be_nearby(registration, here) and (yield Sign.DISK)
        if not local:
            return None
    process = yield Sign.PROCESS
    if not isinstance(process, ProcessState) or process is ProcessState.UNREADABLE:
        return Observation(Seen.HIDDEN, "", Basis.PROCESS)
    evidence = f"pid {registration.pid} {process.value}"
    if process not in (ProcessState.RUNNING, ProcessState.STOPPED):
        local = registration.foreign or local or (yield Sign.DISK)
        return (yield from _gone(registration, evidence, local=bool(local)))
    if not (registration.start or registration.foreign):
        return Observation(Seen.HIDDEN, "", Basis.PROCESS)  # It may be a later process of that id.
    itself = registration.own and registration.locked and registration.pid == here.pid
    if itself and (yield Sign.DISK) and (yield Sign.LOCK) is Lock.FREE:
        return Observation(Seen.FORMER_SELF, f"{evidence}, and has executed another program since", Basis.PROCESS)
    certain = registration.foreign or registration.disk
    return Observation(Seen.PROCESS if certain else Seen.PROCESS_MAYBE, evidence, Basis.PROCESS)


def _gone(registration: Registration, evidence: str, *, local: bool) -> Look:
    """The process is gone. What `looop run` has started may still live."""
    if local and registration.heirs:
        lock = yield Sign.LOCK
        if lock in (Lock.HELD, Lock.INHERITED):
            return Observation(Seen.HEIRS, f"{evidence}, but what it started is left, and has its lock", Basis.LOCK)
        local = lock is Lock.FREE  # What cannot be read proves nothing.
    return Observation(Seen.GONE_HERE if local else Seen.GONE, evidence, Basis.PROCESS)


def _lock(registration: Registration, here: Here) -> Look:
    """What other namespaces of the same kernel can see of it."""
    if not registration.locked or not (yield Sign.DISK):
        return None
    lock = yield Sign.LOCK
    where = _where(registration)
    if registration.namespace != here.namespace:
        where = f"{where}, in another pid namespace,"
    if lock is Lock.HELD or (registration.heirs and lock is Lock.INHERITED):
        return Observation(Seen.LOCK_HELD, f"{where} holds its lock", Basis.LOCK)
    if lock is Lock.FREE:
        return Observation(Seen.LOCK_FREE, f"{where} seems to be gone, as its lock is free", Basis.LOCK)
    return Observation(Seen.LOCK_INHERITED if lock is Lock.INHERITED else Seen.LOCK_UNCLEAR, "", Basis.LOCK)


def _boot(registration: Registration, here: Here) -> Look:
    """Compare the kernels: the other one may be gone, or may be a container with an identity of its own."""
    another = are_two_kernels(registration.boot, here.boot) and not here.given
    if not another or registration.disk.endswith(PASSING) or not (yield Sign.DISK):
        return None
    evidence = f"{_where(registration)} is of another container, or of before a reboot"
    return Observation(Seen.ANOTHER_BOOT, evidence, Basis.KERNEL)


def _where(registration: Registration) -> str:
    if not registration.pid:
        return "a session whose registration is missing"
    return f"pid {registration.pid} on {registration.host or 'an unnamed host'}"


def _by_heartbeat(registration: Registration, silence: Silence, hint: Observation | None) -> Verdict:
    """Dead: silent for the lease, and for one interval more that somebody watched; after a hint, watched for `suspicion`,
    or for the lease where a server may keep its heartbeats waiting.

    A clock that is set forward would end every session if silence were not watched. After a clock was set back, the age of
    a heartbeat says nothing: it has to be watched for the whole lease.
    """
    lease, (seconds, watched) = registration.lease_seconds, silence
    age = max(seconds, watched)
    heard = f"was last heard {age:.0f} s ago, by the store's clock; its lease is {lease} s"
    heard = f"{hint.evidence}; it {heard}" if hint else f"{_where(registration)} {heard}"
    if registration.timed:
        heard = f"last renewed {age:.0f} s ago, by the store's clock; it lives for {int(time_to_live(lease))} s after that"
    young = -interval(lease) <= seconds <= (interval(lease) if hint else lease)
    if young and not hint:
        left = time_to_live(lease) - max(seconds, 0.0) if registration.timed else None
        return Verdict(Liveness.ALIVE, heard, Basis.HEARTBEAT, max(age, 0.0), left=left)
    wanted = interval(lease) if seconds > lease else lease + interval(lease)
    if hint:
        wanted = min(wanted, lease if WORTH[hint.seen] is Worth.FAR_HINT else suspicion(lease))
    if watched >= wanted:
        return Verdict(Liveness.DEAD, heard, hint.basis if hint else Basis.HEARTBEAT, age, inferred=True)
    why = "" if hint or seconds > lease else ", and that clock was set back"
    return Verdict(
        Liveness.ALIVE if young else Liveness.UNKNOWN,
        f"{heard}{why}: dead if it is silent for {wanted - watched:.0f} s more",
        Basis.HEARTBEAT,
        max(age, 0.0),
        left=wanted - watched if registration.timed else None,
    )


def _why_unknown(registration: Registration, here: Here, hint: Observation | None) -> str:
    if registration.pid <= 0:
        return "its registration names no process"
    where = _where(registration)
    silent = "its heartbeat could not be read" if registration.lease_seconds else "it promised no heartbeat"
    if hint:
        return f"{hint.evidence}, which proves nothing here by itself, and {silent}"
    if not (registration.boot and here.boot):
        return f"{where} cannot be examined: the kernel's identity is not known, and {silent}"
    if registration.boot != here.boot:
        another = "it is of another kernel, or of this one before a reboot"
        return f"{where} cannot be examined from here: {another}, and {silent}"
    if registration.namespace != here.namespace:
        return f"{where} cannot be examined from here: it is in another pid namespace, and {silent}"
    return f"{where} cannot be examined, and {silent}"
