"""Names: what may be one, and that its spelling is safe, portable, and nobody else's."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from looop_portable.errors import InvalidName, UsageError
from looop_portable.protocol.names import LONGEST, canonical, cut, spelled, spellings, unspelled

UNHURRIED = settings(deadline=None)
DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    "conin$",
    "conout$",
    *(f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"),
}
TRICKY = st.text(alphabet="%~%~.. :0124589AEFaef\u0301\u0338éK", min_size=1, max_size=6)
DEVICE = st.builds(
    lambda device, letters, rest: device[:letters].upper() + device[letters:] + rest,
    st.sampled_from(sorted(DEVICES)),
    st.integers(0, 4),
    st.sampled_from(["", ".", " ", ".txt", " .txt", "x", "%", ":", ". ."]),
)
LONG = st.tuples(TRICKY, st.integers(60, 260), st.sampled_from(["a", "é", "語", ":", "%", " ", "."])).map(
    lambda parts: parts[0] + parts[2] * parts[1]
)
ANY = st.one_of(st.text(), st.text(alphabet=st.characters()), TRICKY, DEVICE, LONG)


def canonical_or_none(name: str) -> str | None:
    try:
        return canonical(name)
    except InvalidName:
        return None


def as_text(name: str) -> str:
    """A name in UTF-8 that came where the locale knows of none; any other as it is."""
    try:
        return name.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        return name


NAMES = ANY.map(canonical_or_none).filter(lambda name: name is not None).map(str)


@UNHURRIED
@given(ANY)
@example("")
@example(".")
@example("..")
@example("../x")
@example("a\\b")
@example("\ud800")
@example("stra\udcc3\udc9fe")
def test_any_text_is_refused_or_has_one_canonical_form(name: str) -> None:
    found = canonical_or_none(name)
    assert found in (None, unicodedata.normalize("NFC", as_text(name)))
    assert found is None or canonical(found) == found


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/", "a\\b", "\ud800", "é\udfff"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"\Ainvalid claim name") as refusal:
        canonical(name)
    assert isinstance(refusal.value, InvalidName)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("name", ["team/repo", "team\\repo"])
def test_a_name_with_a_slash_is_told_what_to_write(name: str) -> None:
    with pytest.raises(InvalidName, match="a slash or a backslash: write - instead"):
        canonical(name)


def test_a_refusal_says_what_was_to_be_named() -> None:
    with pytest.raises(InvalidName, match=r"\Ainvalid session id: it is empty\Z"):
        canonical("", "session id")


@UNHURRIED
@given(NAMES)
@example("con")
@example("NUL.tar.gz")
@example("com¹")
@example("x.")
@example("x ")
@example("\x7f\x00\x1f")
@example(":" * 300)
def test_a_spelling_stays_in_its_directory_and_can_be_stored_everywhere(name: str) -> None:
    spelling = spelled(name)
    assert spelling
    assert not set(spelling) & set('/\\<>:"|?*\x7f')
    assert all(ord(letter) >= 32 for letter in spelling)
    assert not spelling.startswith(".")
    assert not spelling.endswith((".", " "))
    assert spelling.partition(".")[0].rstrip(" ").lower() not in DEVICES
    assert len(spelling.encode()) <= LONGEST
    assert len(cut(name, spelling).encode()) + len(".json") <= 143


@UNHURRIED
@given(NAMES)
@example(":\u0301")
def test_a_spelling_is_normal_so_that_no_filesystem_changes_it(name: str) -> None:
    """Some filesystems take canonically equivalent file names for one: ':' + acute and '%3' + A-acute must differ there."""
    assert unicodedata.is_normalized("NFC", spelled(name))


@UNHURRIED
@given(NAMES, NAMES)
@example("%3A", ":")
@example("%253A", "%3A")
@example("con", "%63on")
@example("x.", "x%2E")
@example("a%~b", "a%25~b")
@example("a" * 300, "a" * 301)
def test_different_names_are_spelled_differently(one: str, other: str) -> None:
    assert (spelled(one) == spelled(other)) == (one == other)


@UNHURRIED
@given(NAMES)
def test_the_spelling_of_a_spelling_is_another_name(name: str) -> None:
    """Whoever names a claim by a file name that was made up for another one does not get that one's."""
    spelling = spelled(name)
    if spelling != name:
        assert spelled(canonical(spelling)) != spelling


@UNHURRIED
@given(NAMES)
@example("%")
@example("%4")
@example("%%41")
@example("%4:")
@example("a%~")
@example("%~")
def test_a_spelling_tells_its_name_unless_that_is_too_long(name: str) -> None:
    told = unspelled(spelled(name))
    if len(name) * 3 <= LONGEST // 4 and not any(
        map(unicodedata.combining, name)
    ):  # However many of its letters are written as three.
        assert told == name
    else:
        assert told in (name, None)


@UNHURRIED
@given(ANY)
@example("%3a")
@example("%41")
@example("a%~b")
@example("con")
@example("x.")
def test_a_file_name_that_nobody_is_spelled_as_tells_no_name(file_name: str) -> None:
    told = unspelled(file_name)
    assert told is None or spelled(told) == file_name


@UNHURRIED
@given(st.from_regex(r"[A-Za-z0-9_~+@=,\-][A-Za-z0-9_~+@=,\- .]{0,137}[A-Za-z0-9_~\-]", fullmatch=True))
@example("repo-x")
@example("100%")
@example("a%b")
@example("50% of it")
@example("grüße")
def test_plain_names_are_spelled_as_themselves(name: str) -> None:
    if name.partition(".")[0].rstrip(" ").lower() not in DEVICES:
        assert spelled(name) == name


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("con", "%63on"),
        ("NUL.txt", "%4EUL.txt"),
        ("lpt9 .x", "%6Cpt9 .x"),
        ("console", "console"),
        ("a:b", "a%3Ab"),
        ("a\x01", "a%01"),
        ("x.", "x%2E"),
        ("x..", "x.%2E"),
        ("x ", "x%20"),
        ("%41", "%2541"),
        ("%4", "%4"),
        ("%~", "%25~"),
    ],
)
def test_spellings_that_are_on_disks_already_stay_as_they_are(name: str, spelling: str) -> None:
    assert spelled(name) == spelling
    assert unspelled(spelling) == name


def test_the_longest_spelling_is_as_long_as_it_says_and_one_more_is_abbreviated() -> None:
    assert spelled("a" * LONGEST) == "a" * LONGEST
    longer = spelled("a" * (LONGEST + 1))
    assert longer.startswith("a" * 100)
    assert "%~" in longer
    assert unspelled(longer) is None


def test_both_normal_forms_of_a_name_are_one_name() -> None:
    assert canonical("e\u0301") == canonical("\u00e9") == "\u00e9"


def test_a_name_that_the_locale_has_not_decoded_is_the_one_of_these_bytes() -> None:
    assert canonical("stra\udcc3\udc9fe") == canonical("straße") == "straße"
    assert canonical("e\udccc\udc81") == "\u00e9"
    with pytest.raises(InvalidName):
        canonical("stra\udcdfe")


def test_the_portable_spelling_begins_at_140_bytes_and_what_was_usual_before_is_known() -> None:
    assert spellings("a" * 139) == ("a" * 139, "")
    for size in (140, 200):
        now, once = spellings("é" * (size // 2))
        assert (len(now.encode()) <= 138, once) == (True, "é" * (size // 2))
        assert (unspelled(once), unspelled(once, once=True)) == (None, once)
    now, once = spellings("a" * 201)
    assert (len(now), len(once)) == (138, 154)
    assert once.startswith("a" * 120 + "%~")


@UNHURRIED
@given(NAMES, NAMES)
@example("a" * 150, "a" * 104 + "%~" + "0" * 32)
def test_what_a_name_was_spelled_like_is_no_other_name_s(one: str, other: str) -> None:
    assert one == other or not set(filter(None, spellings(one))) & set(filter(None, spellings(other)))
