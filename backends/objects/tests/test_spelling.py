"""Every key has a name that S3, Google Cloud Storage and Azure take, and no two have one."""

from __future__ import annotations

import itertools

import pytest

from looop_portable_objects.spelling import key_in, spelled

ASCII = [chr(code) for code in range(32, 127)]
BEYOND = ["e\u0301", *"\u00a0\u00df\u00e9\u2028\u6f22\ufffd\ufffe\uffff\x85\x7f\U0001f600"]
LONG = [*(400 * each for each in ASCII), 200 * "\u00e9"]
KEYS = [*ASCII, *BEYOND, *map("".join, itertools.product("a=s+/.U_%", repeat=3)), *LONG]


@pytest.mark.parametrize("prefix", ["", "a" * 198, "a" * 199, "a" * 200])
def test_a_name_tells_its_key_and_no_other(prefix: str) -> None:
    keys = sorted({f"{prefix}{each}{prefix}" for each in KEYS})
    names = {spelled(key): key for key in keys}
    assert len(names) == len(keys)
    for name, key in names.items():
        assert key_in(name) == key
        assert not any(part in ("", ".", "..") or part[-1] in "./ " for part in name.split("/"))
        assert all(len(part.encode()) <= 210 for part in name.split("/"))
        assert not any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 or each in "\ufffe\uffff" for each in name)
    directories = {name[:at] for name in names for at in range(len(name)) if name[at] == "/"}
    assert not directories & names.keys()


def test_the_longest_key_has_a_name_that_all_take() -> None:
    longest = max(len(spelled(key).encode()) for key in KEYS if len(key.encode()) <= 400)
    assert longest <= 820


@pytest.mark.parametrize("name", ["=0/x/1", "=0", "=", "=Z", "a b", "=U20AC_", "=UZ_", "=U", "a=+/b", "=\u0660"])
def test_what_is_nobody_s_spelling_is_no_key(name: str) -> None:
    assert key_in(name) is None
