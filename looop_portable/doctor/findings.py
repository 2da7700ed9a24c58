"""What was found out about a directory: values, for `advice` and for the command line. Pure.

Every `Probe` says what works, or what stood in the way, in the system's words; None means that it could not be told here.
"""

from __future__ import annotations

from looop_portable.typed import NamedTuple


class Probe(NamedTuple):
    """Whether something works; `reason` says why not, or what is to be known about it."""

    works: bool | None
    reason: str = ""


class Filesystem(NamedTuple):
    """As this host has it mounted; `type` is empty where the system does not tell. `local_guard`: see `mounts`."""

    type: str = ""
    source: str = ""
    point: str = ""
    options: tuple[str, ...] = ()
    network: bool = False
    local_guard: str = ""


class Primitives(NamedTuple):
    """What the filesystem's calls do in the directory, each tried. A lock works if another process is refused it.

    `second_name`: a file that is open by one of its names can be opened by another.
    """

    exclusive_create: Probe
    hard_link: Probe
    second_name: Probe
    rename_no_replace: Probe
    rename_over: Probe
    exclusive_mkdir: Probe
    flock: Probe
    byte_range_lock: Probe


class Measures(NamedTuple):
    """`resolution` and `offset` are seconds, `uncertainty` that of `offset`; None: it could not be measured.

    `offset` is by how much the filesystem's clock is ahead of this host's.
    """

    case_sensitive: bool | None = None
    longest_name: int | None = None
    resolution: float | None = None
    offset: float | None = None
    uncertainty: float | None = None


class Race(NamedTuple):
    """How many processes took one claim in turn with `backend`, by the count of an arbiter that knows nothing of it.

    `overlaps`: how often one came in while another was inside; `repeats`: how often a generation was not above all
    before it. `refused`: why the backend cannot be used here; `failures`: what processes died of.
    """

    backend: str
    processes: int = 0
    seconds: float = 0
    acquisitions: int = 0
    overlaps: int = 0
    repeats: int = 0
    refused: str = ""
    failures: tuple[str, ...] = ()


class Stamped(NamedTuple):
    """What a data directory's stamp says; `unreadable`: why it cannot be told; `backend`: that the claims are there."""

    links: bool = True
    guard: str = ""
    unreadable: str = ""
    backend: str = ""


class Across(NamedTuple):
    """A race of several hosts. `turns`: the acquisitions, by the share's own count; `per_host`: how many each had.

    `overlaps`, `repeats`, `failures`: as in `Race`, of all hosts; `miscounted` says what does not add up.
    """

    backend: str
    hosts: tuple[str, ...] = ()
    per_host: tuple[int, ...] = ()
    processes: int = 0
    seconds: float = 0
    turns: int = 0
    overlaps: int = 0
    repeats: int = 0
    miscounted: str = ""
    refused: str = ""
    failures: tuple[str, ...] = ()


class Findings(NamedTuple):
    """All of it. `asked` is the backend that was asked for, or `auto`; `windows`: this is a Windows host.

    `kept_by`: the program that keeps the directory on several machines (see `synced`).
    """

    directory: str
    filesystem: Filesystem
    primitives: Primitives
    measures: Measures
    races: tuple[Race, ...]
    stamp: Stamped | None = None
    across: Across | None = None
    asked: str = "auto"
    windows: bool = False
    kept_by: str = ""
