"""`paths` and `completion`."""

from __future__ import annotations

from importlib import import_module

import click

from looop_portable.cli.output.setting import Setting
from looop_portable.cli.verb import Verb


@click.command(
    cls=Verb,
    short_help="Print where things are.",
    examples={
        "looop paths": "Where claims are kept, and what happened to them.",
    },
)
@click.pass_obj
def paths(out: Setting) -> int:
    """Print where things are."""
    config = out.config
    found = {"data_dir": config.data_dir, "claims": config.claims, "sessions": config.sessions, "events": config.events}
    if not isinstance(config.backend, str):
        found["backend"] = str(config.backend)
    if out.as_json:
        out.answer("paths", "paths", "", found)
    else:
        for what, path in found.items():
            out.line(f"{what:<10}{path}")
    return 0


@click.command(
    cls=Verb,
    short_help="Print a shell's completion script.",
    examples={
        'eval "$(looop completion bash)"': "In ~/.bashrc, or with zsh in ~/.zshrc.",
        "looop completion powershell | Out-String | Invoke-Expression": "In PowerShell's $PROFILE.",
    },
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish", "powershell"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a SHELL."""
    from click.shell_completion import get_completion_class

    if shell == "powershell":
        import_module("looop_portable.cli.completion.powershell")
    found = get_completion_class(shell)
    assert found
    script = found(ctx.find_root().command, {}, "looop", "_LOOOP_COMPLETE").source()
    out = ctx.find_object(Setting)
    assert out
    if out.as_json:
        out.answer("completion", "script", "", {"shell": shell, "script": script})
    else:
        out.exactly(script)
    return 0
