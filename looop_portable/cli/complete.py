"""What the shell's completion offers. A store that cannot be read offers nothing."""

from __future__ import annotations

import click

from looop_portable.claims import Claims
from looop_portable.errors import LooopError


def claim_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 (click's signature)
    """Claims that are held."""
    try:
        return [name for name in _claims(ctx).backend.claims() if name.startswith(incomplete) and name.isprintable()]
    except (LooopError, OSError):
        return []


def session_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 (click's signature)
    """Sessions that are, or were, registered."""
    try:
        return [
            session for session in _claims(ctx).sessions.ids() if session.startswith(incomplete) and session.isprintable()
        ]
    except (LooopError, OSError):
        return []


def _claims(ctx: click.Context) -> Claims:
    root = ctx.find_root().params
    return Claims.open(root.get("data_dir"), root.get("backend"))
