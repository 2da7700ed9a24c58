"""Which process a session lives by where nobody names one: launchers are passed over, whoever ends with us is not taken."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.capabilities import needs_cmd

from looop_portable.errors import NoSuchProcess, UsageError
from looop_portable.running import caller
from looop_portable.running.caller import (
    JUST_NOW,
    Seen,
    beyond_launchers,
    in_unix_shell,
    refuse_one_just_started,
    translated,
)

VENV, BASE, SCRIPT = r"C:\v\Scripts\python.exe", r"C:\Python\python.exe", r"C:\v\Scripts\looop"
CMD, POWERSHELL, BASH = r"C:\Windows\System32\cmd.exe", r"C:\Program Files\PowerShell\pwsh.exe", r"C:\Git\usr\bin\bash.exe"
SHELL = Seen(99, CMD, "cmd.exe")


@pytest.mark.parametrize(
    ("parents", "virtual", "found"),
    [
        ([(7, r"C:\Windows\cmd.exe"), (8, r"C:\Windows\explorer.exe")], False, 7),
        ([(7, r"C:\v\Scripts\looop.exe"), (8, r"C:\Windows\cmd.exe")], False, 8),
        ([(6, VENV), (7, r"C:\v\Scripts\LOOOP.EXE"), (8, r"C:\Windows\cmd.exe")], True, 8),
        ([(6, VENV), (7, BASE)], True, 7),
        ([(6, VENV), (7, VENV)], False, 6),
        ([(6, ""), (7, BASE)], True, 6),
        ([(7, r"C:\v\Scripts\looop.exe")], False, 0),
        ([(7, r"C:\Windows\py.exe"), (8, CMD)], False, 8),
        ([(7, r"C:\tools\uv.exe"), (8, CMD)], False, 8),
        ([], True, 0),
    ],
)
def test_the_caller_is_who_called_the_launcher(parents: list[tuple[int, str]], virtual: bool, found: int) -> None:
    assert beyond_launchers([Seen(*each) for each in parents], VENV, SCRIPT, virtual=virtual) == found


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (CMD, "CMD.EXE /C looop session start"),
        (CMD, r"C:\Windows\system32\cmd.exe /c looop session start 2>nul"),
        (CMD, "cmd /c looop --data-dir D:/x session start w1 --lease 60 2>&1 | findstr ."),
        (CMD, "cmd /d /c chcp 65001 >nul & looop session start"),
        (CMD, 'cmd /c "C:\\v\\Scripts\\python.exe" -m looop_portable session start'),
        (CMD, "cmd /c looop session start || exit /b 1"),
        (r"C:\Windows\py.exe", "py -3.12 -m looop_portable session start"),
        (r"C:\Users\x\.local\bin\uv.exe", "uv tool run --from looop-portable looop session start w1"),
        (r"C:\Users\x\.local\bin\uvx.exe", "uvx looop session start"),
        (r"C:\Python\Scripts\pipx.exe", "pipx run --spec looop-portable looop session start"),
        (BASE, r"C:\Python\python.exe C:\Python\Scripts\pipx.exe run looop session start"),
        (r"C:\shims\looop.exe", r"C:\shims\looop.exe session start"),
        (POWERSHELL, "pwsh -NoProfile -Command $env:LOOOP_SESSION_ID = (looop session start)"),
        (BASE, "python -c import subprocess; subprocess.run(['looop', 'session', 'start'])"),
    ],
)
def test_a_process_whose_command_line_ends_with_us_is_passed_over(program: str, line: str) -> None:
    assert beyond_launchers([Seen(7, program, line), SHELL], VENV, SCRIPT, virtual=False) == SHELL.pid


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (CMD, "cmd.exe"),
        (CMD, r"cmd /c C:\jobs\nightly.bat"),
        (CMD, "cmd /c looop session start w1 & looop claim x --session w1 & work"),
        (CMD, "cmd /c for /f %i in ('looop session start') do work %i"),
        (CMD, "cmd /k looop session start"),
        (CMD, r"C:\Windows\system32\cmd.exe /d /K looop session start"),
        (POWERSHELL, "pwsh -NoExit -Command looop session start"),
        (POWERSHELL, r"C:\Program Files\PowerShell\7\pwsh.exe -NoExit -Command looop session start"),
        (POWERSHELL, "pwsh -Command $s = looop session start; work $s"),
        (POWERSHELL, "pwsh -Command $s = looop session start\nwork $s"),
        (BASE, r"python C:\jobs\nightly.py"),
        (BASE, r"python C:\jobs\nightly.py --title session start"),
    ],
)
def test_one_that_goes_on_is_the_caller(program: str, line: str) -> None:
    assert beyond_launchers([Seen(7, program, line), SHELL], VENV, SCRIPT, virtual=False) == 7


def test_a_shell_that_has_forked_itself_to_run_us_is_passed_over() -> None:
    """As MSYS and Cygwin do: the copy has the command line of the shell, waits for us, and ends with us."""
    shell = Seen(9, BASH, "bash --login -i")
    parents = [Seen(7, BASH, "bash --login -i"), Seen(8, BASH.upper(), "bash --login -i"), shell, SHELL]
    assert beyond_launchers(parents, VENV, SCRIPT, virtual=False) == shell.pid
    assert beyond_launchers([shell, SHELL], VENV, SCRIPT, virtual=False) == shell.pid


def test_one_shell_of_windows_within_another_is_no_fork() -> None:
    assert beyond_launchers([Seen(7, CMD, "cmd"), Seen(8, CMD, "cmd")], VENV, SCRIPT, virtual=False) == 7


@pytest.mark.parametrize("program", [BASE, POWERSHELL, BASH, ""])
def test_one_that_was_started_just_now_is_refused_with_the_way_out(program: str) -> None:
    chain = [Seen(5, BASE, "", 100.0), Seen(7, program, "", 100.0 - JUST_NOW / 2), SHELL]
    with pytest.raises(UsageError, match=r"process 7 .*started just now.*--pid"):
        refuse_one_just_started(chain, 7)


@pytest.mark.parametrize(("program", "began"), [(BASE, 100.0 - JUST_NOW), (BASE, 0.0), (CMD, 99.9), (BASE, 101.0)], ids=str)
def test_one_that_is_older_or_has_no_word_for_its_own_id_is_not(program: str, began: float) -> None:
    refuse_one_just_started([Seen(5, BASE, "", 100.0), Seen(7, program, "", began)], 7)


def test_a_launcher_s_age_is_not_our_own() -> None:
    """A launcher that took its time does not make its caller older."""
    chain = [Seen(5, BASE, "", 100.0), Seen(6, VENV, "", 95.0), Seen(7, BASE, "", 94.9)]
    with pytest.raises(UsageError):
        refuse_one_just_started(chain, 7)


RUNS = {40, 44}


@pytest.mark.parametrize(
    ("pid", "of_windows", "above", "meant"),
    [
        (1234, 40, [], 40),  # What the shell calls 1234; Windows has no such process.
        (44, 40, [40], 40),  # Both run: one of them has called us.
        (44, 40, [44], 44),
        (44, 0, [], 44),
        (44, 44, [], 44),
    ],
)
def test_an_id_of_msys_or_cygwin_is_translated(pid: int, of_windows: int, above: list[int], meant: int) -> None:
    assert translated(pid, of_windows, above, RUNS.__contains__) == meant


def test_an_id_that_may_be_two_processes_is_refused() -> None:
    with pytest.raises(UsageError, match="may be two"):
        translated(44, 40, [8], RUNS.__contains__)


def test_where_such_a_shell_does_not_tell_the_way_out_is_told() -> None:
    with pytest.raises(NoSuchProcess, match=r"no such process: 1234: .*/proc/\$\$/winpid"):
        translated(1234, 0, [], RUNS.__contains__)


PS = """      PID    PPID    PGID     WINPID   TTY         UID    STIME COMMAND
S    1234       1    1234      15460  pty0      197609 10:00:00 /usr/bin/bash
"""


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        (PS, 15460),
        (PS.replace("S    1234", "     1234"), 15460),
        (PS.replace("1234", "1235"), 0),
        ("", 0),
        (PS.replace("WINPID", "WHAT"), 0),
        (PS.replace("15460", "x"), 0),
    ],
)
def test_the_shell_s_own_ps_tells_windows_id(printed: str, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "found", lambda *given: "ps.exe")
    done = subprocess.CompletedProcess(["ps"], 0, printed, "")
    assert caller.unix_pid(1234, lambda *args, **kwargs: done) == found


def test_a_ps_that_cannot_be_run_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired("ps", 10)

    monkeypatch.setattr(caller, "found", lambda *given: "ps.exe")
    assert caller.unix_pid(1234, fail) == 0


@pytest.mark.parametrize(
    ("environment", "programs", "unix"),
    [
        ({"MSYSTEM": "MINGW64"}, [BASE, CMD], True),
        ({}, [BASE, BASH, CMD], True),
        ({"SHELL": "/bin/bash"}, [BASE, CMD], False),
        ({"MSYSTEM": ""}, [BASE, POWERSHELL], False),
    ],
)
def test_such_a_shell_is_known_by_what_it_hands_down_or_by_itself(
    environment: dict[str, str], programs: list[str], unix: bool
) -> None:
    assert in_unix_shell(environment, [Seen(pid, program) for pid, program in enumerate(programs)]) is unix


@needs_cmd
def test_windows_takes_an_id_for_the_next_lower_one_and_we_do_not() -> None:
    pid = os.getpid()
    assert [caller._runs(each) for each in (pid, pid + 1, pid + 3, 1 << 32, 1 << 40)] == [True, False, False, False, False]


@needs_cmd
def test_a_process_that_has_ended_does_not_run_though_somebody_has_it_open() -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""]) as process:
        process.wait()
        assert not caller._runs(process.pid)
    assert caller._runs(os.getpid())


LOWEST = """
import os, psutil
psutil._LOWEST_PID = os.getpid()
psutil.pids = lambda: [os.getpid()]
from looop_portable.running import caller
print(*[each.pid for each in caller._chain()][:2], os.getpid())
"""


@needs_cmd
def test_those_above_us_are_seen_whatever_their_ids_are() -> None:
    """Wine gives ids anew from the lowest on; psutil says that the process of the lowest one has no parent."""
    done = subprocess.run([sys.executable, "-c", LOWEST], capture_output=True, text=True, check=True)
    first, second, own = done.stdout.split()
    assert (first, int(second)) == (own, os.getpid())
