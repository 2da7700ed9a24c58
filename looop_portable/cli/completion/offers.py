"""What the shell's completion offers. A store that cannot be read offers nothing."""

from __future__ import annotations

import re

import click

from looop_portable.claims.gate import Claims
from looop_portable.errors import LooopError
from looop_portable.system.opening.locales import for_children

_PLAIN = re.compile(r"[\w%+,./@:][\w%+,./@:=-]*")
"""A word that means itself in every shell, and is no option. Without this, a claim `$(command)` would be run by whoever
completes it: bash does not quote what it is offered."""


def claim_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 (click's signature)
    """Claims that are held."""
    try:
        return [name for name in _claims(ctx).backend.claims() if _is_offered(name, incomplete)]
    except (LooopError, OSError):
        return []


def session_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 (click's signature)
    """Sessions that are, or were, registered."""
    try:
        return [session for session in _claims(ctx).sessions.ids() if _is_offered(session, incomplete)]
    except (LooopError, OSError):
        return []


def _is_offered(name: str, incomplete: str) -> bool:
    """What a terminal of this locale cannot show, it cannot type either. Shells put it on the command line as it is."""
    return name.startswith(incomplete) and bool(_PLAIN.fullmatch(name)) and for_children(name) == name


def _claims(ctx: click.Context) -> Claims:
    root = ctx.find_root().params
    return Claims.open(root.get("data_dir"), root.get("backend"))
