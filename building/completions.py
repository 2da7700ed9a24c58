"""The files that shells load for completion: what `looop completion SHELL` prints, where each shell looks for it."""

from __future__ import annotations

from click.shell_completion import get_completion_class

from looop_portable.cli.root import looop

_PLACES = {
    "bash": "share/bash-completion/completions/looop",
    "zsh": "share/zsh/site-functions/_looop",
    "fish": "share/fish/vendor_completions.d/looop.fish",
}


def completions() -> dict[str, str]:
    """Where each file belongs below a prefix, and what is in it. No shell is asked: none may be there."""
    return {place: _script(shell) for shell, place in _PLACES.items()}


def _script(shell: str) -> str:
    found = get_completion_class(shell)
    if found is None:
        raise LookupError(f"click knows no completion for {shell}")
    complete = found(looop, {}, "looop", "_LOOOP_COMPLETE")
    return (complete.source_template % complete.source_vars()).strip("\n") + "\n"
