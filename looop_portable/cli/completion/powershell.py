"""Completion in PowerShell, which click does not know. To import this module is to make it known."""

from __future__ import annotations

import os
import shlex

from click.shell_completion import CompletionItem, ShellComplete, add_completion_class

SHELL = "powershell"

_SCRIPT = """\
Register-ArgumentCompleter -Native -CommandName %(prog_name)s, %(prog_name)s.exe -ScriptBlock {
    param($word, $line, $cursor)
    # As `%(complete_var)s=powershell_complete %(prog_name)s` elsewhere, with what was typed in COMP_WORDS.
    $typed = $line.ToString()
    $end = [Math]::Min($typed.Length, $cursor - $line.Extent.StartOffset)
    try {
        $env:%(complete_var)s = 'powershell_complete'
        $env:COMP_WORDS = $typed.Substring(0, $end)
        $env:COMP_CWORD = $word
        %(prog_name)s | ForEach-Object {
            $kind, $value = $_ -split ',', 2
            $text = if ($value -match '^[\\w./:+=-]+$') { $value } else { "'" + $value.Replace("'", "''") + "'" }
            if ($kind -eq 'plain') {
                [System.Management.Automation.CompletionResult]::new($text, $value, 'ParameterValue', $value)
            }
        }
    } finally {
        Remove-Item -ErrorAction Ignore Env:%(complete_var)s, Env:COMP_WORDS, Env:COMP_CWORD
    }
}
"""


@add_completion_class
class PowerShellComplete(ShellComplete):
    """What is offered where PowerShell asks. Files and directories are left to it."""

    name = SHELL
    source_template = _SCRIPT

    def get_completion_args(self) -> tuple[list[str], str]:
        """Those before the word that is typed at the moment, and that word."""
        words = _words(os.environ.get("COMP_WORDS", ""))[1:]
        incomplete = "".join(_words(os.environ.get("COMP_CWORD", "")))
        if incomplete and words and words[-1] == incomplete:
            words.pop()
        return words, incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Of `--session=w` PowerShell replaces all: the option is offered with its value."""
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if option.startswith("-") and equals:
            for item in found:
                item.value = f"{option}={item.value}"
        return found

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value}"


def _words(typed: str) -> list[str]:
    """As PowerShell takes them: a backslash is one, and quotes need not be closed yet."""
    lexer = shlex.shlex(typed, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape, lexer.escapedquotes = True, "", "`", '"'
    found: list[str] = []
    try:
        found.extend(lexer)
    except ValueError:
        found.append(lexer.token)
    return found
