"""What to say of a word that a verb, a group of verbs or `looop` does not know: the nearest, or what people mean by it.

Does not guarantee: that it is what was meant. Nothing is done for a word that was guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_ALIKE, _SYNONYM, _OPTION = 0.7, 0.75, 0.6
"""How alike two words have to be, from 0 to 1: a verb, a word of another tool, an option. `watch` is less like `attach`."""

_MEANT = {
    **dict.fromkeys(("-a", "--all"), ("--pattern",)),
    **dict.fromkeys(("-b", "--block", "--blocking"), ("--wait",)),
    **dict.fromkeys(("-d", "--dir", "--directory", "--path", "--root", "--store"), ("--data-dir",)),
    **dict.fromkeys(("--interval", "--every", "--loop"), ("--watch",)),
    **dict.fromkeys(("-f", "--tailf"), ("--follow",)),
    **dict.fromkeys(("-g", "--gen", "--token", "--fencing-token"), ("--generation",)),
    **dict.fromkeys(("-i", "--id", "--owner", "--holder", "--user", "-u", "--as"), ("--session",)),
    **dict.fromkeys(("-l", "--lock", "--name", "--resource", "--key"), ("--claim",)),
    **dict.fromkeys(("-m", "--message", "--comment", "--description", "--desc", "--why"), ("--note", "--reason")),
    **dict.fromkeys(("--filter", "--selector", "--match", "--glob"), ("--pattern",)),
    **dict.fromkeys(("--format", "--out", "--wide"), ("--output",)),
    **dict.fromkeys(("--last", "--limit", "--lines"), ("--tail",)),
    **dict.fromkeys(("--max", "--count", "--permits", "--concurrency"), ("--slots",)),
    **dict.fromkeys(("--from", "--after", "--start"), ("--since",)),
    **dict.fromkeys(("--noop", "--simulate", "--what-if", "--whatif", "--pretend", "--check"), ("--dry-run",)),
    **dict.fromkeys(("--expires", "--expire", "--lifetime", "--duration", "--max-time"), ("--max-hold", "--ttl")),
    **dict.fromkeys(("--target", "--into", "--new-owner", "--recipient"), ("--to",)),
    **dict.fromkeys(("--exit-code",), ("--conflict-exit-code",)),
    "--wait": ("--timeout",),
    "-n": ("--dry-run", "--tail"),
    "-p": ("--pid",),
    "-t": ("--timeout", "--ttl"),
    "-w": ("--timeout", "--watch"),
    "-V": ("--version",),
}
"""What other tools call it, and what it is called here, where the verb has it."""

_FLOCK = "`looop run --claim NAME -- COMMAND` runs it, and takes flock's -n, -w, -E and -x"
_BREAK = "`looop break NAME --generation N --reason TEXT` ends another's claim"
_NO_WAIT = "it does not wait, unless --wait or --timeout tells it to"
_ELSEWHERE = {
    **dict.fromkeys(("-f", "--force", "--steal", "--kill", "--overwrite"), _BREAK),
    **dict.fromkeys(("-n", "--nb", "--no-wait", "--nowait", "--non-blocking", "--nonblock", "--try"), _NO_WAIT),
    **dict.fromkeys(("--name", "--lock", "--resource", "--key"), "the name stands without an option"),
    **dict.fromkeys(("--filter", "--selector", "--match", "--glob"), "the pattern stands without an option"),
    **dict.fromkeys(("-c", "--command"), "the command stands last, behind --"),
    **dict.fromkeys(("-a", "--all"), "without it, all are listed"),
    **dict.fromkeys(("-w", "--watch"), "`looop watch` shows the claims live"),
    "--id": "the id stands without an option",
}
"""What no option of the verb does."""
_OF = {
    ("looop session stop", "--all"): "one at a time; `looop session list -o name` lists them",
    ("looop session start", "--name"): "the id stands without an option",
    ("looop session stop", "--force"): "it ends the session, whoever it is",
}


def instead_of_verb(word: str, path: str, verbs: Iterable[str], synonyms: Mapping[str, str]) -> str:
    """What is said behind an unknown verb of `path`; empty: it is like nothing."""
    verbs, word = list(verbs), word.lower()
    if word in synonyms or "/" in word:
        return f": {synonyms.get(word, _FLOCK)}"
    if near := get_close_matches(word, verbs, n=2, cutoff=_ALIKE):
        return f": did you mean {' or '.join(f'`{path} {each}`' for each in near)}?"
    near = get_close_matches(word, synonyms, n=1, cutoff=_SYNONYM)
    return f": {synonyms[near[0]]}" if near else ""


def instead_of_option(word: str, path: str, options: Iterable[str], of_verbs: Iterable[str] = ()) -> str:
    """What is said behind an unknown option of `path`. `options`: what is there; `of_verbs`: what stands behind a verb."""
    there, behind = list(options), list(of_verbs)
    if meant := [each for each in _MEANT.get(word, ()) if each in there]:
        return f": did you mean {meant[0]}?"
    elsewhere = _OF.get((path, word)) or _ELSEWHERE.get(word)
    if elsewhere and not behind:
        return f": {elsewhere}"
    if near := _near(word, there):
        return f": did you mean {near}?"
    if behind and len(word) == 2:
        return f": {_FLOCK}"
    near = _near(word, behind)
    return f": {near} stands behind a verb" if near else ""


def _near(word: str, options: list[str]) -> str:
    """The long option that it begins, or that is the most like it. One letter is like nothing."""
    if len(word) < 4 or not word.startswith("--"):
        return ""
    begun = [each for each in options if each.startswith(word)]
    bare = [each.removeprefix("--") for each in options if each.startswith("--")]
    near = [f"--{each}" for each in get_close_matches(word.removeprefix("--").lower(), bare, n=1, cutoff=_OPTION)]
    return next(iter([*begun, *near]), "")
