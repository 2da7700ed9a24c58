"""What a URL says, and what is wrong about one: a `UsageError` of one line, before anything is connected."""

from __future__ import annotations

import subprocess
import sys

import pytest

from looop_portable import UsageError
from looop_portable.backends import open_backend
from looop_portable.config import recognized
from looop_portable_etcd.address import Address, by_environment

SECRET = "s3cret"


def test_all_that_a_url_may_say() -> None:
    url = f"etcds://me:{SECRET}%40@a:1,[::1]:2,c/one/two%20?timeout=2.5&ca=/x/ca.pem&cert=c.pem&key=k.pem"
    found = Address(url, {})
    assert [str(each) for each in found.endpoints] == ["a:1", "[::1]:2", "c:2379"]
    assert (found.prefix, found.user, found.password, found.timeout) == ("one/two ", "me", f"{SECRET}@", 2.5)
    assert (found.is_tls, found.ca, found.cert, found.key) == (True, "/x/ca.pem", "c.pem", "k.pem")
    assert found.where == "etcds://a:1,[::1]:2,c:2379/one/two "


def test_what_a_url_leaves_out() -> None:
    found = Address("etcd://h", {})
    assert (found.where, found.user, found.timeout, found.is_tls) == ("etcd://h:2379/looop", "", 4.0, False)


def test_a_url_is_believed_before_the_environment() -> None:
    given = {"ETCDCTL_USER": "other:word", "ETCDCTL_CACERT": "other.pem"}
    found = Address(f"etcds://me:{SECRET}@h/?ca=mine.pem", given)
    assert (found.user, found.password, found.ca) == ("me", SECRET, "mine.pem")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("etcd://", "a host"),
        ("etcd:///x", "a host"),
        ("etcd://h:0/x", "a port"),
        ("etcd://h:65536/x", "a port"),
        ("etcd://h:port/x", "a port"),
        ("etcd://h:1,/x", "a host"),
        ("etcd://h,:2379/x", "a host"),
        (f"etcd://h/x?secret={SECRET}", "there are timeout, ca, cert and key"),
        (f"etcd://h/x?timeout={SECRET}", "in seconds"),
        ("etcd://h/x?timeout=0", "in seconds"),
        ("etcd://h/x?timeout=nan", "in seconds"),
        ("etcd://h/x?timeout=1&timeout=2", "said twice"),
        ("etcd://h/x?ca=/a.pem", "etcds://"),
        ("etcds://h/x?cert=/a.pem", "needs its key"),
        ("etcd://h/x%0ay", "control characters"),
        ("etcd://h/x#y", "'#'"),
        ("etcd://h/x/claim", "none of beat, claim"),
        ("etcd://[::1/x", "no URL of an etcd"),
        (f"etcd://me:{SECRET}@h\u2100/x", "no URL of an etcd"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(wrong: str, said: str) -> None:
    with pytest.raises(UsageError, match=r".") as refusal:
        Address(wrong, {})
    assert said in str(refusal.value)
    assert str(refusal.value).isprintable()
    assert SECRET not in str(refusal.value)


def test_by_its_name_alone_it_is_where_etcdctl_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="ETCDCTL_ENDPOINTS"):
        by_environment()
    monkeypatch.setenv("ETCDCTL_ENDPOINTS", "https://a:1,https://b:2")
    assert Address(by_environment()).where == "etcds://a:1,b:2/looop"
    monkeypatch.setenv("ETCDCTL_ENDPOINTS", "127.0.0.1:2379")
    assert Address(by_environment()).where == "etcd://127.0.0.1:2379/looop"


def test_opening_connects_to_nothing(tmp_path: object) -> None:
    assert open_backend(recognized("etcd://nowhere.invalid/x"), str(tmp_path)).name == "etcd"
    with pytest.raises(UsageError, match="a host of an etcd"):
        open_backend(recognized("etcd://:0/x"), str(tmp_path))


def test_the_client_is_imported_only_when_an_engine_is_opened() -> None:
    program = "import sys, looop_portable_etcd; print('socket' in sys.modules or 'looop_portable.backends' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
