"""Whether two addresses may name one store: a directory remembers which its claims are in, and refuses another."""

from __future__ import annotations

import pytest

from looop_portable.protocol.addresses import Address, may_be_one

ONE = [
    ("redis://host/0", "redis://host:6379/0"),
    ("redis://host", "redis://host/0"),
    ("redis://host/", "redis://host:6379"),
    ("etcd://h1:2379", "etcd://h1"),
    ("postgresql://db/claims", "postgresql://db:5432/claims"),
    ("redis://HOST./1", "redis://host/1"),
    ("redis://localhost", "redis://127.0.0.1"),
    ("redis://localhost", "redis://[::1]:6379"),
    ("redis://me:one@host/0", "redis://me:other@host/0"),
    ("redis://me:one@host/0", "redis://you@host/0"),
    ("redis://host/0", "redis://:s3cret@host/0"),
    ("redis://host?a=1&prefix=ci", "redis://host?prefix=ci&a=1"),
    ("redis://host?prefix=ci;a=1", "redis://host?prefix=ci"),
    ("redis://host?timeout=5", "redis://host?timeout=9&sslmode=require"),
    ("redis://host?password=one", "redis://host?password=other"),
    ("etcd://h1,h2:2379,h3", "etcd://h3"),
    ("etcd://h1:1,h2:2", "etcd://h2:2,h4:1"),
    ("s3://bucket/a%20b/c/", "s3://bucket/a b//c".replace(" ", "%20")),
    ("s3://bucket/a?region=eu-1", "s3://bucket/a?region=eu-1&sig=x"),
    ("sqlite:///srv/claims", "sqlite:///srv//claims"),
    ("redis://me:s3cret?a@host/0", "redis://elsewhere"),
]
TWO = [
    ("redis://host", "redis://other"),
    ("redis://host", "redis://host:6380"),
    ("redis://host/0", "redis://host/1"),
    ("redis://me:one@host", "redis://me:one@other"),
    ("redis://host?prefix=ci", "redis://host?prefix=cd"),
    ("redis://host?prefix=ci", "redis://host"),
    ("redis://host?db=1", "redis://host?db=2&timeout=1"),
    ("etcd://h1,h2", "etcd://h3,h4"),
    ("etcd://h1:1,h2:2", "etcd://h1:2"),
    ("s3://bucket/a", "s3://bucket/b"),
    ("s3://bucket/a", "s3://bucket/A"),
    ("tape://host", "tape://host:1"),
    ("sqlite:///srv/a", "sqlite:///srv/b"),
    ("postgresql:///claims?host=/run/a", "postgresql:///claims?host=/run/b"),
]


def alike(one: str, other: str) -> bool:
    first, second = str(Address(one)), str(Address(other))
    found = may_be_one(first, second)
    assert found == may_be_one(second, first)
    return found


@pytest.mark.parametrize(("one", "other"), [*ONE, *((url, url) for pair in [*ONE, *TWO] for url in pair)])
def test_another_spelling_is_the_same_store(one: str, other: str) -> None:
    assert alike(one, other)


@pytest.mark.parametrize(("one", "other"), TWO)
def test_another_place_is_another_store(one: str, other: str) -> None:
    assert not alike(one, other)
