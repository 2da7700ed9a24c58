"""What may be said of an address, and what is hidden: a password, wherever somebody has put it."""

from __future__ import annotations

import pytest

from looop_portable import UsageError
from looop_portable.protocol.addresses import Address, chosen, decoded, in_files

SHOWN = {
    "redis://:s3cret@host/0": "redis://:***@host/0",
    "REDIS://me:s3cret@host:6379/0?prefix=ci": "redis://me:***@host:6379/0?prefix=ci",
    "redis://me@host": "redis://me@host",
    "redis://me:@host": "redis://me:@host",
    "etcd://me:s3cret@h1:1,h2:2,[::1]:3/x": "etcd://me:***@h1:1,h2:2,[::1]:3/x",
    "etcd://h1:1,h2:2": "etcd://h1:1,h2:2",
    "redis://me:a:s3cret@host": "redis://me:***@host",
    "redis://me:a@s3cret@host": "redis://me:***@host",
    "redis://me:a/s3cret@host/0": "redis://me:***@host/0",
    "redis://me:s3cret?a@host/0": "redis://me:***",
    "redis://me:s3cret#a@host/0": "redis://me:***",
    "redis://:s3cret": "redis://:***",
    "redis://me:s3cret/0?db=1": "redis://me:***",
    "redis://host?s3cret@a": "redis://***",
    "redis://host?password=s3cret&db=1": "redis://host?password=***&db=1",
    "redis://host?db=1&pass%77ord=s3cret": "redis://host?db=1&pass%77ord=***",
    "redis://host?a=1;pw=s3cret": "redis://host?a=1;pw=***",
    "redis://host?s3cret": "redis://host?***",
    "redis://host#s3cret": "redis://host#***",
    "az://account/c?sv=2020&sig=s3cret%2Bx": "az://account/c?sv=2020&sig=***",
    "s3://bucket/a@b?secret_access_key=s3cret&region=eu-1": "s3://bucket/a@b?secret_access_key=***&region=eu-1",
    "postgresql://h/db?listen=postgresql://me:s3cret@h2/db&sslmode=require": "postgresql://h/db?listen=***&sslmode=require",
    "postgresql://h/db?listen=postgresql%3A%2F%2Fme%3As3cret%40h2%2Fdb": "postgresql://h/db?listen=***",
    "mysql://host?url=Server=a;Password=s3cret": "mysql://host?url=***;Password=***",
    "postgresql://": "postgresql://",
    "sqlite:////home/me@work/claims": "sqlite:////home/me@work/claims",
}


@pytest.mark.parametrize("url", SHOWN)
def test_an_address_is_shown_without_its_secrets(url: str) -> None:
    address = Address(url)
    assert str(address) == f"{address}" == SHOWN[url]
    assert repr(address) == f"Address({SHOWN[url]!r})"
    assert address.reveal() == url
    assert address.scheme == SHOWN[url].partition(":")[0]
    assert address.has_secrets == ("***" in SHOWN[url])


@pytest.mark.parametrize("url", [url for url in SHOWN if "s3cret" in url])
def test_a_message_that_repeats_the_address_or_a_part_of_it_is_hidden(url: str) -> None:
    hide = Address(url).hide
    place = url.partition("://")[2]
    for said in (url, f"cannot connect to {url}: no", place, repr(url), place.split("@")[0], decoded(url)):
        assert "s3cret" not in hide(said)
    if "s3cret%" not in url:
        assert hide("s3cret is wrong") == "*** is wrong"
    assert hide("cannot connect to anything") == "cannot connect to anything"


@pytest.mark.parametrize("spelling", ["p%2fw%20d'", "p/w d'", "p%2Fw%20d%27", "p/w%20d%27"])
def test_a_password_is_hidden_in_whatever_spelling_a_client_has_it(spelling: str) -> None:
    """As it was typed, as it is meant, and as it is quoted in the ways of `urllib`."""
    assert Address("redis://:p%2fw%20d'@host").hide(f"refused: {spelling}!") == "refused: ***!"


def test_a_password_that_is_short_is_hidden_where_it_is_a_word_of_its_own() -> None:
    assert Address("redis://:cat@host").hide("cat, concatenated: cat") == "***, concatenated: ***"


def test_addresses_are_compared_by_all_that_they_have() -> None:
    first, same, other = Address("redis://:a@host"), Address("redis://:a@host"), Address("redis://:b@host")
    assert first == same != other
    assert len({first, same, other}) == 2
    assert first != "redis://:a@host"


@pytest.mark.parametrize(
    "given",
    ["redis:s3cret@host", "://:s3cret@host", "s3cret@host", "//s3cret", "redis://s3cret x", "re dis://s3cret", "s3cret:"],
)
def test_what_is_neither_a_name_nor_a_url_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(UsageError, match="neither a name nor a URL") as refusal:
        chosen(given)
    assert "s3cret" not in str(refusal.value)


def test_a_name_is_a_name() -> None:
    for name in ("posix", "my-plugin", "my.plugin", "é"):
        assert chosen(name) == name


@pytest.mark.parametrize(
    ("url", "windows", "found"),
    [
        ("file:///srv/claims", False, ("/srv/claims", "")),
        ("FILE://localhost/srv/a%20b%25?backend=advisory", False, ("/srv/a b%", "advisory")),
        ("file:///srv/a@b:c", False, ("/srv/a@b:c", "")),
        ("file:///C:/looop", True, ("C:/looop", "")),
        ("file:///C:/looop", False, ("/C:/looop", "")),
        ("file://server/share/x", True, ("//server/share/x", "")),
    ],
)
def test_the_url_of_a_directory_names_it(url: str, windows: bool, found: tuple[str, str]) -> None:
    assert in_files(Address(url), windows=windows) == found


@pytest.mark.parametrize(
    "url",
    [
        *("file://", "file:///", "file://srv/claims", "file:///a?backend=", "file:///a?backend=a&b=c", "file:///a?s3cret"),
        *("file:///a#b", "file://me:s3cret@host/a", "file:///a?backend=file:///b"),
    ],
)
def test_a_url_that_names_no_directory_is_usage(url: str) -> None:
    with pytest.raises(UsageError, match="URL") as refusal:
        in_files(Address(url), windows=False)
    assert "s3cret" not in str(refusal.value)
