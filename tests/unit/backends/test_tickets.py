"""The line on a real directory: what happens to it in the middle of a step, and what lies there that is no ticket."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import NativeBackend, NativeFiles, needs_modes
from support.engines import InProcess

from looop_portable import Claims, Won
from looop_portable.backends.directory.tickets import TicketFiles
from looop_portable.backends.on_engine import OnEngine
from looop_portable.errors import Unavailable
from looop_portable.protocol.liveness import Liveness
from looop_portable.protocol.records import Registration
from looop_portable.system.clock import elapsed
from looop_portable.system.mounts.mount import Mount
from looop_portable.system.watch.waking import LocalWatcher
from looop_portable.waiting.claiming import waiter

ME = Registration("", "", 7, "start", "boot", "namespace", "host")
NFS = Mount("/mnt/share", "nfs4", "server:/export", ("rw",))
DISK = Mount("/", "ext4", "/dev/sda", ("rw",))
OVERLAY = Mount("/", "overlay", "overlay", ("rw",))


class Disturbed(NativeFiles):
    """The real files; `before[call]` happens before each such call in a line, for as often as there is one."""

    def __init__(self) -> None:
        self.before: dict[str, Iterator[Callable[[str], object]]] = {}
        self.mount: Mount | None = DISK

    def _meanwhile(self, call: str, path: str) -> None:
        happens = next(self.before.get(call, iter(())), None) if "/.queue/" in path else None
        if happens:
            happens(path)

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:
        self._meanwhile("create", path)
        super().create(path, data, shared=shared, durable=durable)

    def replace(self, private: str, public: str) -> None:
        self._meanwhile("replace", private)
        super().replace(private, public)

    def mount_of(self, path: str) -> Mount | None:
        return self.mount


@pytest.fixture
def files() -> Disturbed:
    return Disturbed()


@pytest.fixture
def tickets(tmp_path: Path, files: Disturbed) -> TicketFiles:
    (tmp_path / "claims").mkdir()
    return NativeBackend(str(tmp_path), files=files).tickets


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    return tmp_path / "claims" / ".queue"


def swept(path: str) -> None:
    os.remove(path)


def removed(path: str) -> None:
    os.rmdir(os.path.dirname(path))


def all_removed(path: str) -> None:
    os.rmdir(os.path.dirname(path))
    os.rmdir(os.path.dirname(os.path.dirname(path)))


def swept_and_removed(path: str) -> None:
    swept(path)
    removed(path)


def nothing(path: str) -> None:
    """Nothing happens."""


@pytest.mark.parametrize(
    ("call", "happens"),
    [
        ("replace", [swept]),
        ("replace", [swept_and_removed]),
        ("replace", [swept, swept, swept]),
        ("create", [nothing, removed]),
        ("create", [nothing, all_removed]),
    ],
    ids=["swept", "swept, and the line removed", "swept thrice", "the line removed", "all lines removed"],
)
def test_what_a_reaper_removes_in_the_middle_is_made_again(
    tickets: TicketFiles, files: Disturbed, queue: Path, call: str, happens: list[Callable[[str], object]]
) -> None:
    files.before[call] = iter(happens)
    ticket = tickets.take("repo-x", ME)
    assert next(files.before[call], None) is None
    assert tickets.line("repo-x") == [ticket] == os.listdir(queue / "repo-x")
    assert tickets.waiter("repo-x", ticket) == ME


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken")])
def test_a_waiter_that_cannot_line_up_leaves_nothing_in_the_line(
    tickets: TicketFiles, files: Disturbed, queue: Path, error: BaseException
) -> None:
    def fails(path: str) -> None:
        raise error

    files.before["replace"] = iter([fails])
    with pytest.raises((Unavailable, KeyboardInterrupt)):
        tickets.take("repo-x", ME)
    assert os.listdir(queue / "repo-x") == []


def test_a_line_that_is_removed_as_often_as_it_is_made_is_no_answer(
    tickets: TicketFiles, files: Disturbed, queue: Path
) -> None:
    files.before["replace"] = iter([swept_and_removed] * 1000)
    with pytest.raises(Unavailable, match="removed by others") as told:
        tickets.take("repo-x", ME)
    assert str(queue / "repo-x").replace(os.sep, "/") in str(told.value)


def test_two_that_come_at_once_are_in_one_order_for_everybody(tickets: TicketFiles, files: Disturbed) -> None:
    """Both have seen the same line: what decides is in the tickets."""
    first = tickets.take("repo-x", ME)
    others: list[str] = []
    files.before["create"] = iter([lambda _: others.append(tickets.take("repo-x", ME))])
    mine = tickets.take("repo-x", ME)
    line = tickets.line("repo-x")
    assert line[0] == first
    assert set(line[1:]) == {mine, *others}
    assert len({ticket.partition("-")[0] for ticket in line[1:]}) == 1
    assert tickets.take("repo-x", ME) == tickets.line("repo-x")[-1]


GARBAGE = [b"", b"\xff\x00", b"[]", b"null", b'{"pid": -1, "boot": null, "start": []}', b'{"pid": 1e999}', b"[" * 100_000]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_a_damaged_ticket_is_of_one_that_lives_and_nobody_waits_for_it_for_ever(tmp_path: Path, data: bytes) -> None:
    claims, now = Claims(NativeBackend(str(tmp_path))), [100.0]
    me = claims.sessions.register("w1").holder
    tickets = claims.backend.tickets
    assert tickets
    ticket = tickets.take("repo-x", ME)
    path = tmp_path / "claims" / ".queue" / "repo-x" / ticket
    path.chmod(0o600)
    path.write_bytes(data)
    found = tickets.waiter("repo-x", ticket)
    assert found
    assert claims.sessions.evidence.examine(found).liveness is not Liveness.DEAD
    assert not claims.reap().failed
    assert tickets.line("repo-x") == [ticket]
    waiting = waiter(claims, "repo-x", me, 0, LocalWatcher())
    assert waiting._turns
    waiting._turns._clock = lambda: now[0]
    assert not isinstance(waiting.look(), Won)
    now[0] += 3
    assert isinstance(waiting.look(), Won)
    assert tickets.line("repo-x") == []


@pytest.mark.parametrize("name", ["x" * 400, "ü" * 150, "репо", "con", "a:b?*", "a.", "%41", "A" * 300 + "#1"])
def test_names_of_any_kind_have_lines_of_their_own(tickets: TicketFiles, name: str) -> None:
    tickets.take("repo-x", ME)
    assert tickets.line(name) == []
    ticket = tickets.take(name, ME)
    assert tickets.line(name) == [ticket]
    assert tickets.waiter(name, ticket) == ME
    assert all(os.path.exists(path) for path in tickets.paths(name, ticket))
    tickets.give_back(name, ticket)
    assert tickets.line(name) == []
    assert tickets.waiter(name, ticket) is None
    tickets.give_back(name, ticket)
    assert len(tickets.line("repo-x")) == 1


def test_what_is_no_ticket_is_nobodys_place(tickets: TicketFiles, queue: Path) -> None:
    ticket = tickets.take("repo-x", ME)
    for name in (".nfs000001", "README", "1-x", "000000000009", "00000000000a-x", "-"):
        (queue / "repo-x" / name).touch()
    assert tickets.line("repo-x") == [ticket]
    assert tickets.take("repo-x", ME).startswith("000000000002-")


def test_a_sweep_removes_what_is_half_made_and_empty_lines_and_no_ticket(tickets: TicketFiles, queue: Path) -> None:
    ticket = tickets.take("repo-x", ME)
    tickets.give_back("repo-y", tickets.take("repo-y", ME))
    (queue / "repo-x" / ".000000000002-0123456789abcdef01234567").touch()
    tickets.tidy()
    assert {str(path.relative_to(queue).as_posix()) for path in queue.rglob("*")} == {"repo-x", f"repo-x/{ticket}"}
    assert tickets.claims() == ["repo-x"]


@needs_modes
@pytest.mark.parametrize(("mode", "more"), [(0o2775, 0o070), (0o2777, 0o077), (0o700, 0)])
def test_a_user_of_a_shared_directory_may_line_up_in_it(
    tmp_path: Path, mode: int, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    before = os.umask(0o077)
    try:
        backend = NativeBackend(str(data))
        assert backend.advance("repo-x", 0, None)
        backend.tickets.take("repo-x", ME)
    finally:
        os.umask(before)
    found = [data / "claims" / ".queue", data / "claims" / ".queue" / "repo-x"]
    assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in found] == [more, more]
    (ticket,) = found[1].iterdir()
    assert stat.S_IMODE(ticket.stat().st_mode) & 0o077 == more & 0o044


def test_news_are_the_paths_that_change(tickets: TicketFiles, tmp_path: Path) -> None:
    claims = f"{tmp_path}/claims".replace(os.sep, "/")
    assert tickets.paths("repo-x") == (f"{claims}/.ledger/repo-x",)
    assert tickets.paths("repo-x", "1-x") == (f"{claims}/.queue/repo-x/1-x",)
    assert tickets.paths("repo-x", foreign=True) == (f"{claims}/.ledger/repo-x", f"{claims}/repo-x.json")


@pytest.mark.parametrize(
    ("mount", "far"), [(NFS, True), (OVERLAY, False), (None, False)], ids=["nfs", "overlay", "unknown"]
)
def test_there_is_no_news_where_others_may_change_what_this_kernel_does_not_see(
    tickets: TicketFiles, files: Disturbed, mount: Mount | None, far: bool
) -> None:
    files.mount = mount
    assert tickets.paths("repo-x") == tickets.paths("repo-x", "1-x") == tickets.paths("repo-x", foreign=True) == ()
    assert tickets.far() is far


def test_a_line_that_cannot_be_read_is_no_answer(tickets: TicketFiles, queue: Path) -> None:
    queue.write_text("a file")
    with pytest.raises(Unavailable, match=r"claim repo-x: .*\.queue"):
        tickets.line("repo-x")
    with pytest.raises(Unavailable, match=r"claim repo-x: .*\.queue"):
        tickets.take("repo-x", ME)


def test_a_ticket_of_the_greatest_number_puts_nobody_out_of_the_line(tickets: TicketFiles, queue: Path) -> None:
    """Whoever can write there can plant one: those who come after it line up with it, and are seen."""
    (queue / "repo-x").mkdir(parents=True)
    (queue / "repo-x" / "999999999999-0").write_bytes(b"{}")
    mine = [tickets.take("repo-x", ME) for _ in range(3)]
    assert set(mine) < set(tickets.line("repo-x"))


def test_on_an_engine_neither() -> None:
    engine = InProcess()
    backend = OnEngine(engine, "far")
    assert backend.tickets
    engine.advance("ticket", "repo-x/999999999999-0", 0, b"{}", not_after=elapsed() + 5)
    mine = [backend.tickets.take("repo-x", ME) for _ in range(3)]
    assert set(mine) < set(backend.tickets.line("repo-x"))
