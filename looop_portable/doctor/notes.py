"""What else is to be known about a directory, from its filesystem and its mount's options. Pure.

Sources: nfs(5), mount.cifs(8), and what was measured on Linux 6.1 with two hosts and Samba 4.17 (default options).
"""

from __future__ import annotations

from looop_portable.doctor.findings import Filesystem, Findings

_NFS = ("nfs", "nfs4")
_SMB = ("cifs", "smb", "smb2", "smb3", "smbfs")
_MANY = 20
_NEEDED, _LOOOPS = 143, 230
"""Bytes: the longest file name that we make, and one with which looop itself can have any name that is likely."""
_BLOCKED = {"nfs4": "90 s (the server's lease)", "nfs": "longer than 100 s", **dict.fromkeys(_SMB, "longer than 2 minutes")}


def notes(found: Findings) -> tuple[str, ...]:
    """One sentence or two each."""
    filesystem = found.filesystem
    lines = [*_copies(found), *_guards(filesystem), *_options(found), *_measures(found)]
    sizes = [race.acquisitions for race in found.races if race.acquisitions]
    few = min([*sizes, found.across.turns] if found.across else sizes, default=_MANY)
    if few < _MANY:
        lines.append(f"{few} acquisitions are few to see anything: --seconds makes it more")
    if filesystem.network and not found.across:
        lines.append("other hosts were not asked: looop doctor DIR --with-hosts N, on each of them at the same time")
    if not filesystem.type:
        lines.append("the system does not tell what filesystem this is, so that its options could not be looked at")
    elif filesystem.type.startswith("fuse") and not filesystem.network:
        lines.append(f"what {filesystem.type} does is up to a program: if it shows other hosts' files, try --with-hosts N")
    return tuple(lines)


def _copies(found: Findings) -> list[str]:
    if not found.kept_by:
        return []
    lines = f"{found.kept_by} keeps this directory on several machines. Each has a copy: what one claims, the others see"
    return [f"{lines} too late, so claims keep nobody out there: use a directory outside of it, or a share that all mount"]


def _guards(filesystem: Filesystem) -> list[str]:
    if filesystem.local_guard:
        return [
            f"'{filesystem.local_guard}': flock and fcntl's locks are kept on this host alone: advisory is refused here"
        ]
    if filesystem.type in _BLOCKED:
        return [
            f"advisory: a host that dies inside the guard blocks the others for {_BLOCKED[filesystem.type]}; posix does not"
        ]
    return []


def _options(found: Findings) -> list[str]:
    filesystem = found.filesystem
    options, lines = filesystem.options, []
    if filesystem.type in _NFS:
        if "soft" in options or "softerr" in options:
            lines.append("'soft': a call may fail after it was done; each is looked at again, but 'hard' fails less")
        if "async" in options or "nocto" in options:
            lines.append("'nocto', 'async': other hosts see changes later; use the defaults")
        lines.append("NFS remembers names that were absent for 30 s: a script should list claims/, and not poll for a file")
    if found.primitives.hard_link.works and found.primitives.second_name.works is False:
        lines.append("a file cannot be open by two names here, so records keep one name: it takes two calls more a claim")
    if filesystem.type in _SMB:
        if "nolease" not in options:
            lines.append(
                "SMB: while several hosts contend for a claim, calls may stall for 5 to 35 s, as one host's lease on a "
                "file has to be broken for another: mount with nolease on every host"
            )
            if "closetimeo=0" not in options:
                lines.append(
                    "SMB may show a script that polls claims/NAME.json an old one: mount with nolease or closetimeo=0, or "
                    "use looop show"
                )
        lines.append(
            "SMB does not keep modes: the mount's uid, gid, file_mode and dir_mode say who may share the directory"
        )
    if "ro" in options:
        lines.append("'ro': it is mounted read-only")
    return lines


def _measures(found: Findings) -> list[str]:
    measures, lines = found.measures, []
    if measures.case_sensitive is False:
        lines.append("case is not told apart: claims that differ only in case are one claim")
    if measures.longest_name is not None and measures.longest_name < _LOOOPS:
        who = "claims with longer names fail" if measures.longest_name < _NEEDED else "looop itself can have no longer ones"
        lines.append(f"names end at {measures.longest_name} bytes here: {who}")
    if measures.offset is not None and abs(measures.offset) > max(1.0, 2 * (measures.uncertainty or 0.0)):
        way = "ahead of" if measures.offset > 0 else "behind"
        lines.append(
            f"the filesystem's clock is {abs(measures.offset):.1f} s {way} this host's: nothing here compares the two, but "
            "times in the event log are the hosts'"
        )
    return lines
