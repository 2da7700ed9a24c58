"""The ledger's laws on a real directory, with errors before and after the deed, and what a store's files look like."""

import errno
import itertools
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.capabilities import NATIVE_POLICY, NativeBackend, NativeFiles, needs_modes, needs_symlinks

from looop_portable.errors import CannotExclude, Unavailable, UnknownProtocol
from looop_portable.ledger.ledger import KEEP, Ledger
from looop_portable.protocol.records import Head, Lease
from looop_portable.system.files import OS, Files

Deed = Callable[[], None]
Fault = Callable[[Deed], None]
KEY = "n"


def before(number: int) -> Fault:
    """The call fails, and nothing has happened."""

    def fault(deed: Deed) -> None:
        raise OSError(number, os.strerror(number))

    return fault


def after(number: int) -> Fault:
    """The call fails, and has happened: its reply was lost."""

    def fault(deed: Deed) -> None:
        deed()
        raise OSError(number, os.strerror(number))

    return fault


class Faulty(NativeFiles):
    """The real files; `faults[call]` are what becomes of the next calls of that name."""

    def __init__(self) -> None:
        self.faults: dict[str, list[Fault] | Iterator[Fault]] = {}
        self.calls: list[str] = []

    def _do(self, call: str, deed: Deed) -> None:
        self.calls.append(call)
        fault = next(iter(self.faults.get(call, [])), None)
        faults = self.faults.get(call)
        if isinstance(faults, list) and faults:
            faults.pop(0)
        if fault:
            fault(deed)
        else:
            deed()

    def link(self, private: str, public: str) -> None:
        self._do("link", lambda: NativeFiles.link(self, private, public))

    def create(self, path: str, data: bytes, *, shared: int = 0, durable: bool = False) -> None:
        self._do("create", lambda: NativeFiles.create(self, path, data, shared=shared, durable=durable))

    def replace(self, private: str, public: str) -> None:
        self._do("replace", lambda: NativeFiles.replace(self, private, public))


def ledger_in(root: str, files: Files = OS, keep: int = KEEP) -> Ledger:
    """As this platform's own backend uses one; `Ledger(root)` is as hosts of other systems do, without any guard."""
    return Ledger(root, files, keep, policy=NATIVE_POLICY)


@pytest.fixture
def files() -> Faulty:
    return Faulty()


@pytest.fixture
def ledger(tmp_path: Path, files: Faulty) -> Ledger:
    made = ledger_in(f"{tmp_path}/ledger", files)
    made.ledger_root.shared()
    return made


@pytest.fixture
def backend(tmp_path: Path, files: Faulty) -> NativeBackend:
    return NativeBackend(str(tmp_path), files)


def lease(session: str = "s", generation: int = 1) -> Lease:
    return Lease("n", session, "i", generation, "2026-01-02T03:04:05Z", "here")


def held(session: str = "s") -> dict[str, object]:
    return {"session": session, "name": "n"}


def names(ledger: Ledger) -> list[str]:
    return sorted(os.listdir(f"{ledger.root}/{KEY}"))


def publish(ledger: Ledger, expected: int, session: str = "s") -> bool:
    """As a claim does."""
    return ledger.advance(KEY, expected, held(session), shown_as=f"{ledger.root}.shown")


def test_a_name_without_generations_is_at_zero(ledger: Ledger) -> None:
    assert ledger.head(KEY) == (0, b"")
    assert ledger.names() == []
    os.mkdir(f"{ledger.root}/{KEY}")
    assert ledger.head(KEY) == (0, b"")


def test_what_is_published_is_the_head_complete_and_nothing_private_is_left(ledger: Ledger) -> None:
    assert publish(ledger, 0)
    generation, data = ledger.head(KEY)
    record = json.loads(data)
    assert generation == record["generation"] == 1
    assert (record["session"], record["name"]) == ("s", "n")
    assert names(ledger) == ["1"]
    assert ledger.names() == [KEY]


def test_a_generation_is_published_once(ledger: Ledger) -> None:
    assert publish(ledger, 0, "first")
    assert not publish(ledger, 0, "second")
    assert json.loads(ledger.head(KEY)[1])["session"] == "first"
    assert names(ledger) == ["1"]


def test_one_of_two_machines_whose_random_numbers_repeat_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those do that were resumed from one snapshot. Where there are hard links their clocks may be equal, too."""
    root = f"{tmp_path}/ledger"
    ledger_in(root).ledger_root.shared()
    with monkeypatch.context() as now:
        now.setattr(os, "urandom", bytes)
        assert [publish(ledger_in(root), 0) for _ in range(2)] == [True, False]
    if ledger_in(root).ledger_root.make().links:
        monkeypatch.setattr(NativeFiles, "nonce", lambda files: "0" * 16)
        assert [publish(ledger_in(root), 1) for _ in range(3)] == [True, False, False]


def test_every_record_is_unique_even_if_it_says_the_same(ledger: Ledger) -> None:
    assert publish(ledger, 0)
    assert publish(ledger, 1)
    one, two = (json.loads(Path(ledger.root, KEY, number).read_bytes())["token"] for number in "12")
    assert one != two


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EIO, errno.ESTALE, errno.ENOENT, errno.EPERM])
def test_an_error_after_the_deed_is_a_win(ledger: Ledger, files: Faulty, number: int) -> None:
    files.faults["link"] = [after(number)]
    assert publish(ledger, 0)
    assert names(ledger) == ["1"]
    assert publish(ledger, 1)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_an_error_before_the_deed_is_raised_and_leaves_nothing(ledger: Ledger, files: Faulty, number: int) -> None:
    assert publish(ledger, 0)
    files.faults["link"] = [before(number)]
    with pytest.raises(OSError, match=r".") as raised:
        publish(ledger, 1)
    assert raised.value.errno == number
    assert names(ledger) == ["1"]
    assert publish(ledger, 1)


def test_an_error_before_the_deed_while_another_wins_is_not_taken_for_ours(ledger: Ledger, files: Faulty) -> None:
    def overtaken(deed: Deed) -> None:
        assert publish(Ledger(ledger.root), 0, "other")
        raise OSError(errno.EIO, "lost")

    files.faults["link"] = [overtaken]
    with pytest.raises(OSError, match="lost"):
        publish(ledger, 0, "us")
    assert json.loads(ledger.head(KEY)[1])["session"] == "other"


def test_a_stale_handle_is_tried_again(ledger: Ledger, files: Faulty) -> None:
    files.faults["link"] = [before(errno.ESTALE), before(errno.ESTALE)]
    assert publish(ledger, 0)
    ledger.sweep(KEY)
    assert names(ledger) == ["1"]


def test_a_private_file_that_was_swept_while_being_written_is_made_again(ledger: Ledger, files: Faulty) -> None:
    """NFS 3 says that the handle is stale, when it is closed."""

    def swept(deed: Deed) -> None:
        deed()
        assert ledger_in(ledger.root).sweep(KEY) == 1
        raise OSError(errno.ESTALE, "Stale file handle")

    ledger.files.mkdir(f"{ledger.root}/{KEY}")
    files.faults["create"] = [swept, swept]
    assert publish(ledger, 0)
    assert names(ledger) == ["1"]


def test_a_win_after_a_retry_whose_first_try_had_happened_is_still_ours(ledger: Ledger, files: Faulty) -> None:
    """The first reply is lost and the file not yet seen; the second try meets our own record."""
    unseen = iter([True])
    seen = files.read

    def late(path: str) -> bytes | None:
        return None if path.endswith("/1") and next(unseen, False) else seen(path)

    files.faults["link"] = [after(errno.ESTALE)]
    files.read = late  # type: ignore[method-assign]
    assert publish(ledger, 0)


def test_a_private_file_that_was_swept_away_is_made_again(ledger: Ledger, files: Faulty) -> None:
    def swept(deed: Deed) -> None:
        assert ledger_in(ledger.root).sweep(KEY) == 1
        deed()

    files.faults["link"] = [swept, swept]
    assert publish(ledger, 0)
    assert names(ledger) == ["1"]
    assert files.calls.count("link") == 5  # One of them published the stamp, and one tried two names.


def test_private_files_that_vanish_for_ever_are_no_answer(ledger: Ledger, files: Faulty) -> None:
    files.faults["link"] = itertools.repeat(before(errno.ENOENT))
    with pytest.raises(Unavailable, match="try again"):
        publish(ledger, 0)
    assert ledger.head(KEY)[0] == 0


def test_a_private_name_that_is_taken_after_a_lost_reply_is_left_for_another(ledger: Ledger, files: Faulty) -> None:
    assert publish(ledger, 0)
    files.faults["create"] = [after(errno.EEXIST)]
    assert publish(ledger, 1)
    assert ledger.head(KEY)[0] == 2
    assert ledger.sweep(KEY) == 1


NO_LINKS = [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK]
NO_LINKS += [errno.EACCES, errno.EXDEV, errno.EROFS, errno.EINVAL, errno.ENOTTY]


@pytest.mark.parametrize("number", NO_LINKS)
def test_a_filesystem_without_hard_links_is_refused_with_the_remedy(tmp_path: Path, files: Faulty, number: int) -> None:
    files.faults["link"] = itertools.repeat(before(number))
    ledger = Ledger(f"{tmp_path}/deep/er/ledger", files)
    with pytest.raises(CannotExclude, match="--data-dir or LOOOP_DATA_DIR") as refusal:
        publish(ledger, 0)
    assert ledger.root in str(refusal.value)
    assert refusal.value.path == ledger.root
    assert os.listdir(ledger.root) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ENOMEM])
def test_a_probe_that_failed_for_another_reason_says_nothing_about_links(
    tmp_path: Path, files: Faulty, number: int
) -> None:
    files.faults["link"] = [before(number)]
    ledger = ledger_in(f"{tmp_path}/ledger", files)
    with pytest.raises(OSError, match=os.strerror(number)):
        publish(ledger, 0)
    assert os.listdir(ledger.root) == []
    assert publish(ledger, 0)


def test_hard_links_are_probed_once(ledger: Ledger, files: Faulty) -> None:
    links = files.calls.count("link")
    again = ledger_in(ledger.root, files)
    assert publish(again, 0)
    assert files.calls.count("link") == links + 1
    assert json.loads(Path(ledger.root, ".protocol.json").read_bytes())["protocol"] == 1
    assert {name for name in os.listdir(ledger.root) if name.startswith(".")} - {".guard"} == {".protocol.json"}


def test_a_stamp_that_another_published_meanwhile_is_as_good(tmp_path: Path, files: Faulty) -> None:
    def overtaken(deed: Deed) -> None:
        Ledger(f"{tmp_path}/ledger").ledger_root.shared()
        deed()

    files.faults["link"] = [overtaken]
    assert publish(ledger_in(f"{tmp_path}/ledger", files), 0)


@pytest.mark.parametrize("stamp", ['{"protocol": 2}', '{"protocol": "1"}', "", "garbage"])
def test_a_protocol_that_is_not_ours_is_refused_and_named(tmp_path: Path, stamp: str) -> None:
    (tmp_path / ".protocol.json").write_text(stamp)
    ledger = ledger_in(str(tmp_path))
    for ask in (lambda: publish(ledger, 0), lambda: ledger.head(KEY)):
        with pytest.raises(UnknownProtocol, match="this is protocol 1") as refusal:
            ask()
        assert str(tmp_path) in str(refusal.value)
    assert os.listdir(tmp_path) == [".protocol.json"]


def test_a_number_that_was_pruned_long_ago_is_not_won_again(ledger: Ledger) -> None:
    for expected in range(KEEP + 4):
        assert publish(ledger, expected)
    head = ledger.head(KEY)
    assert head[0] == KEEP + 4
    for pruned in range(4):
        assert not publish(ledger, pruned, "old view")
        assert not ledger.advance(KEY, pruned, {"released": True})
        assert not ledger.release(KEY, pruned)
    assert ledger.head(KEY) == head
    assert names(ledger) == sorted(str(number) for number in range(5, KEEP + 5))


@pytest.mark.parametrize("keep", [2, KEEP])
def test_pruning_keeps_the_newest(tmp_path: Path, keep: int) -> None:
    ledger = ledger_in(str(tmp_path), keep=keep)
    for expected in range(3 * keep):
        assert publish(ledger, expected)
        newest = range(max(1, expected + 2 - keep), expected + 2)
        assert names(ledger) == sorted(map(str, newest))
    assert KEEP == 16


@pytest.mark.parametrize("released", [False, True])
def test_what_a_crash_kept_from_being_pruned_is_pruned_by_the_next(tmp_path: Path, released: bool) -> None:
    ledger, another = ledger_in(str(tmp_path), keep=2), ledger_in(str(tmp_path), keep=2)
    for expected in range(6):
        assert publish(ledger, expected)
    left = tmp_path / KEY / "4"
    left.write_bytes((tmp_path / KEY / "5").read_bytes())
    assert another.release(KEY, 6) if released else publish(another, 6)
    assert names(ledger) == ["6", "7"]


def test_what_this_process_has_pruned_itself_is_not_looked_for_again(
    ledger: Ledger, files: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    def remove(path: str) -> bool:
        removed.append(path.rpartition("/")[2])
        return NativeFiles.remove(files, path)

    for expected in range(0, KEEP + 4, 2):
        assert ledger.advance(KEY, expected, {"session": "s"}, f"{ledger.root}/shown")
        assert ledger.release(KEY, expected + 1)
    monkeypatch.setattr(files, "remove", remove)
    assert ledger.advance(KEY, KEEP + 4, {"session": "s"}, f"{ledger.root}/shown")
    assert ledger.release(KEY, KEEP + 5)
    assert removed == ["5", "6"]


def test_a_generation_that_cannot_be_pruned_is_no_trouble(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def sticky(path: str) -> bool:
        if path.endswith("/1"):
            raise PermissionError(errno.EPERM, "another user's", path)
        return NativeFiles.remove(ledger.files, path)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger.files, "remove", sticky)
    for expected in range(KEEP + 2):
        assert publish(ledger, expected)
    assert ledger.head(KEY)[0] == KEEP + 2


def test_numbers_go_on_after_a_release_and_are_never_used_again(backend: NativeBackend) -> None:
    seen = []
    generation = 0
    for _ in range(2 * KEEP):
        assert backend.advance("n", generation, lease())
        assert backend.read("n").lease is not None
        assert backend.advance("n", generation + 1, None)
        head = backend.read("n")
        assert head.lease is None
        seen += [generation + 1, head.generation]
        generation = head.generation
        assert backend.tidy() == []
    assert seen == list(range(1, 4 * KEEP + 1))
    assert NativeBackend(backend.projection.directory.removesuffix("/claims")).read("n").generation == generation


def test_there_is_an_end_of_numbers_and_it_is_told(ledger: Ledger) -> None:
    for verb in (publish, Ledger.release):
        with pytest.raises(Unavailable, match="no numbers left"):
            verb(ledger, 10**15) if verb is publish else ledger.release(KEY, 10**15)


@pytest.mark.parametrize("junk", ["007", "\u0663", "-1", "1e9", "9x", " 9", ".9", "\u00b2"])
def test_only_numbers_as_we_spell_them_are_generations(ledger: Ledger, junk: str) -> None:
    assert publish(ledger, 0)
    assert publish(ledger, 1)
    Path(ledger.root, KEY, junk).write_bytes(b"junk")
    assert ledger.head(KEY)[0] == 2
    assert publish(ledger, 2)


def test_a_head_that_is_pruned_while_it_is_read_is_read_again(ledger: Ledger, files: Faulty) -> None:
    assert publish(ledger, 0)
    real = files.read
    vanished: list[str] = []

    def twice_gone(path: str) -> bytes | None:
        if len(vanished) < 2:
            vanished.append(path)
            return None
        return real(path)

    files.read = twice_gone  # type: ignore[method-assign]
    assert ledger.head(KEY)[0] == 1
    files.read = lambda path: None  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="generation 1 is listed and cannot be opened"):
        ledger.head(KEY)


def test_a_repeat_says_nothing_new_and_makes_no_file(ledger: Ledger, files: Faulty) -> None:
    assert publish(ledger, 0)
    files.calls.clear()
    assert ledger.release(KEY, 1)
    assert files.calls == ["link"]
    generation, data = ledger.head(KEY)
    assert (generation, json.loads(data)["generation"]) == (2, 1)
    assert os.path.samefile(f"{ledger.root}/{KEY}/1", f"{ledger.root}/{KEY}/2")


def test_a_repeat_of_what_is_not_the_head_is_lost(ledger: Ledger) -> None:
    assert publish(ledger, 0)
    assert publish(ledger, 1)
    assert not ledger.release(KEY, 1)
    assert not ledger.release(KEY, 7)
    assert names(ledger) == ["1", "2"]


def test_a_repeat_whose_reply_was_lost_has_happened_all_the_same(ledger: Ledger, files: Faulty) -> None:
    assert publish(ledger, 0)
    files.faults["link"] = [after(errno.EIO)]
    assert ledger.release(KEY, 1)
    assert ledger.head(KEY)[0] == 2
    files.faults["link"] = [before(errno.EIO)]
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        ledger.release(KEY, 2)
    assert ledger.head(KEY)[0] == 2


def test_a_claim_is_released_on_a_full_disk(backend: NativeBackend, files: Faulty, tmp_path: Path) -> None:
    assert backend.advance("n", 0, lease())
    files.faults["create"] = itertools.repeat(before(errno.ENOSPC))
    assert backend.advance("n", 1, None)
    assert backend.read("n") == Head(2, None)
    assert not (tmp_path / "claims/n.json").exists()
    with pytest.raises(Unavailable, match=os.strerror(errno.ENOSPC)):
        backend.advance("n", 2, lease())
    assert backend.read("n") == Head(2, None)


def test_another_user_s_record_that_cannot_be_linked_is_released_by_one_of_our_own(
    backend: NativeBackend, files: Faulty
) -> None:
    assert backend.advance("n", 0, lease())
    files.faults["link"] = [before(errno.EPERM)]
    assert backend.advance("n", 1, None)
    assert backend.read("n") == Head(2, None)
    assert files.calls[-2:] == ["create", "link"]


def test_a_create_that_fails_half_way_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    writes = iter([1, 0])

    def short(fd: int, data: bytes) -> int:
        if next(writes):
            return real(fd, data[:3])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="full"):
        NativeFiles().create(f"{tmp_path}/x", b"0123456789")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_is_short_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    NativeFiles().create(f"{tmp_path}/x", b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_a_read_that_is_short_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b'{"session": "s", "name": "n"}\n')
    real = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: real(fd, 5))
    assert NativeFiles().read(f"{tmp_path}/x") == b'{"session": "s", "name": "n"}\n'


def test_what_is_created_takes_the_place_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    (tmp_path / "y").write_bytes(b"new")
    with pytest.raises(FileExistsError):
        NativeFiles().create(f"{tmp_path}/x", b"new")
    for publish_alone in (NativeFiles().link, NativeFiles().rename):
        with pytest.raises(FileExistsError):
            publish_alone(f"{tmp_path}/y", f"{tmp_path}/x")
    assert (tmp_path / "x").read_bytes() == b"old"


@needs_symlinks
def test_nor_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(FileExistsError):
        NativeFiles().create(f"{tmp_path}/link", b"new")
    with pytest.raises(FileExistsError):
        NativeFiles().link(f"{tmp_path}/x", f"{tmp_path}/link")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("call", ["list", "read"])
def test_a_stale_handle_is_opened_again_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "x").write_bytes(b"data")
    path = str(tmp_path / "x") if call == "read" else str(tmp_path)
    stale = [3]

    def flaky(real: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object) -> object:
            if str(args[0]).replace("\\", "/").endswith(path.replace("\\", "/")) and stale[0]:
                stale[0] -= 1
                raise OSError(errno.ESTALE, "stale")
            return real(*args)

        return called

    files = NativeFiles()
    monkeypatch.setattr(files, "_open", flaky(files._open))
    monkeypatch.setattr(os, "listdir", flaky(os.listdir))
    assert getattr(files, call)(path) == (b"data" if call == "read" else ["x"])
    stale[0] = 10**6
    with pytest.raises(OSError, match="stale"):
        getattr(files, call)(path)


def test_a_sweep_removes_what_crashes_left_and_nothing_else(ledger: Ledger) -> None:
    for expected in range(KEEP + 2):
        assert publish(ledger, expected)
    expected_names = names(ledger)
    for left in (".5-0123456789abcdef01234567-0", ".19-0123456789abcdef", "1", "2"):
        Path(ledger.root, KEY, left).write_bytes(b"left")
    assert ledger.sweep(KEY) == 4
    assert names(ledger) == expected_names
    assert ledger.sweep(KEY) == 0


def test_a_sweep_never_removes_the_head_even_of_a_released_claim(ledger: Ledger) -> None:
    assert publish(ledger, 0)
    assert ledger.release(KEY, 1)
    assert ledger.sweep(KEY) == 0
    assert ledger.head(KEY)[0] == 2


def test_what_is_forgotten_leaves_nothing_and_can_be_forgotten_again(ledger: Ledger) -> None:
    assert publish(ledger, 0)
    Path(ledger.root, KEY, ".1-0123456789abcdef01234567-0").write_bytes(b"left")
    ledger.forget(KEY)
    assert ledger.names() == []
    ledger.forget(KEY)
    assert publish(ledger, 0)


def test_a_directory_that_is_forgotten_while_it_is_written_to_is_made_again(ledger: Ledger, files: Faulty) -> None:
    assert publish(ledger, 0)

    def forgotten(deed: Deed) -> None:
        ledger_in(ledger.root).forget(KEY)
        deed()

    files.faults["create"] = [forgotten]
    publish(ledger, 1)
    assert ledger.head(KEY)[0] == 2


def projection(tmp_path: Path) -> dict[str, object] | None:
    path = tmp_path / "claims/n.json"
    return json.loads(path.read_bytes()) if path.exists() else None


def in_step(backend: NativeBackend, tmp_path: Path) -> bool:
    head, shown = backend.read("n"), projection(tmp_path)
    if head.lease is None or shown is None:
        return head.lease is None and shown is None
    return (shown["session"], shown["generation"]) == (head.lease.session, head.generation)


def test_the_projection_is_in_step_after_each_verb(backend: NativeBackend, tmp_path: Path) -> None:
    assert in_step(backend, tmp_path)
    assert backend.advance("n", 0, lease("one"))
    assert in_step(backend, tmp_path)
    assert projection(tmp_path) is not None
    assert backend.advance("n", 1, lease("two", 2))
    assert in_step(backend, tmp_path)
    assert not backend.advance("n", 1, lease("three", 2))
    assert in_step(backend, tmp_path)
    assert backend.advance("n", 2, None)
    assert projection(tmp_path) is None
    assert in_step(backend, tmp_path)


def test_a_release_that_lost_puts_back_what_it_hid(backend: NativeBackend, tmp_path: Path) -> None:
    assert backend.advance("n", 0, lease("one"))
    assert backend.advance("n", 1, lease("two", 2))
    assert not backend.advance("n", 1, None)
    assert in_step(backend, tmp_path)
    assert projection(tmp_path) is not None


def missing(path: Path) -> None:
    path.unlink()


def stale(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.write_text('{"session": "old", "name": "n", "generation": 1}')


def torn(path: Path) -> None:
    path.unlink()
    path.write_text('{"session"')


@pytest.mark.parametrize("spoil", [missing, stale, torn])
def test_a_projection_that_is_out_of_step_is_not_believed_and_is_mended(
    backend: NativeBackend, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    assert backend.advance("n", 0, lease("one"))
    assert backend.advance("n", 1, lease("two", 2))
    truth = backend.read("n")
    spoil(tmp_path / "claims/n.json")
    assert backend.read("n") == truth
    assert backend.tidy() == []
    assert in_step(backend, tmp_path)
    assert backend.tidy() == []
    assert names(backend.ledger) == ["1", "2"]


@needs_modes
def test_the_projection_cannot_be_written_into(backend: NativeBackend, tmp_path: Path) -> None:
    """It is one more name of the record: an editor that saves in place, or a shell's `>`, would change who holds."""
    assert backend.advance("n", 0, lease("one"))
    for name in ("claims/n.json", "claims/.ledger/n/1"):
        assert not (tmp_path / name).stat().st_mode & 0o222


def test_the_projection_of_a_released_claim_is_removed(backend: NativeBackend, tmp_path: Path) -> None:
    assert backend.advance("n", 0, lease())
    assert backend.advance("n", 1, None)
    stale(tmp_path / "claims/n.json")
    assert backend.read("n").lease is None
    assert backend.tidy() == []
    assert projection(tmp_path) is None


def test_a_lease_of_looop_is_not_taken_for_a_projection(backend: NativeBackend, tmp_path: Path) -> None:
    assert backend.advance("n", 0, lease())
    assert backend.advance("n", 1, None)
    (tmp_path / "claims/n.json").write_text('{"session": "theirs", "name": "n"}')
    assert backend.tidy() == []
    found = backend.read("n").lease
    assert found is not None
    assert (found.session, found.foreign) == ("theirs", True)
    assert list(backend.claims()) == ["n"]
    assert backend.advance("n", 2, lease("ours", 3))
    assert in_step(backend, tmp_path)


def test_a_claim_stands_though_its_projection_cannot_be_shown(
    backend: NativeBackend, files: Faulty, tmp_path: Path
) -> None:
    assert backend.advance("n", 0, lease())
    assert backend.advance("n", 1, None)
    files.faults["replace"] = [before(errno.EACCES)]
    assert backend.advance("n", 2, lease())
    assert backend.read("n").lease is not None
    assert projection(tmp_path) is None
    assert backend.tidy() == []
    assert in_step(backend, tmp_path)


def test_a_claim_can_be_released_though_its_projection_cannot_be_removed(
    backend: NativeBackend, files: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sticky directory a dead user's projection can be neither replaced nor removed by the one who took over."""
    shown = f"{tmp_path}/claims/n.json"

    def sticky(path: str) -> bool:
        if path == shown:
            raise PermissionError(errno.EPERM, "another user's", path)
        return NativeFiles.remove(files, path)

    assert backend.advance("n", 0, lease("theirs"))
    files.faults["replace"] = [before(errno.EPERM)]
    assert backend.advance("n", 1, lease("ours", 2))
    monkeypatch.setattr(files, "remove", sticky)
    assert backend.advance("n", 2, None)
    assert backend.read("n") == Head(3, None)


def test_looop_s_empty_lease_is_being_written_until_it_is_old(backend: NativeBackend, tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    shown = tmp_path / "claims/n.json"
    shown.touch()
    young = backend.read("n").lease
    os.utime(shown, (1, 1))
    old = backend.read("n").lease
    assert young is not None
    assert old is not None
    assert (young.settled, old.settled) == (False, True)
    assert sorted(path.name for path in (tmp_path / "claims").iterdir()) == ["n.json"]


@pytest.fixture
def private_umask() -> Iterator[None]:
    """New files are the owner's alone."""
    previous = os.umask(0o077)
    yield
    os.umask(previous)


def modes(directory: Path) -> dict[str, int]:
    return {str(path.relative_to(directory)): stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*")}


@needs_modes
@pytest.mark.parametrize(("mode", "for_files", "for_directories"), [(0o2775, 0o060, 0o070), (0o2777, 0o066, 0o077)])
@pytest.mark.usefixtures("private_umask")
def test_what_a_shared_directory_s_group_may_do_it_may_do_to_all_that_is_made_in_it(
    tmp_path: Path, mode: int, for_files: int, for_directories: int
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    backend = NativeBackend(f"{tmp_path}/data")
    assert backend.advance("n", 0, lease())
    assert backend.advance("n", 1, None)
    assert backend.advance("n", 2, lease())
    found = modes(tmp_path / "data")
    assert "claims/.ledger/n/3" in found
    for name, has in found.items():
        wanted = for_directories if (tmp_path / "data" / name).is_dir() else for_files & 0o044
        assert has & wanted == wanted, (name, oct(has))


@needs_modes
@pytest.mark.usefixtures("private_umask")
def test_below_a_shared_ledger_everything_is_shared(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    ledger = ledger_in(str(tmp_path))
    assert publish(ledger, 0)
    assert ledger.advance(KEY, 1, {"released": True})
    for name, has in modes(tmp_path).items():
        wanted = 0o070 if (tmp_path / name).is_dir() else 0o040
        assert has & wanted == wanted, (name, oct(has))
        assert has & 0o007 == 0, (name, oct(has))


@needs_modes
@pytest.mark.usefixtures("private_umask")
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750])
def test_in_a_directory_that_only_its_owner_writes_the_umask_decides(tmp_path: Path, mode: int) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    backend = NativeBackend(f"{tmp_path}/data")
    assert backend.advance("n", 0, lease())
    assert {has & 0o077 for has in modes(tmp_path / "data").values()} == {0}


@needs_modes
@pytest.mark.parametrize(
    ("mode", "bits"),
    [(0o755, 0), (0o775, 0o070), (0o777, 0o077), (0o770, 0o070), (0o757, 0o007), (0o2775, 0o070), (0o700, 0)],
)
def test_only_those_who_may_write_share(tmp_path: Path, mode: int, bits: int) -> None:
    tmp_path.chmod(mode)
    assert NativeFiles().shared_bits(str(tmp_path)) & 0o072 == bits & 0o072
    assert NativeFiles().shared_bits(str(tmp_path)) == mode & bits
    tmp_path.chmod(0o700)
