"""A claim that is taken where none is expected: within a signal's handler, at the end of a process, in an interpreter
of its own. There is an answer, or a `LooopError`; nobody waits for ever, and no session is left behind.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.capabilities import needs_interpreters

from looop_portable import Claims

PATIENCE = 60
BACKENDS = ["memory", "posix", "advisory"] if sys.platform != "win32" else ["memory", "auto"]
SOONER = "import os, sys; from looop_portable import *; store = sys.argv[1]\n"


def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("inner", ["n", "m"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_handler_gets_an_answer_wherever_it_comes_in_between(tmp_path: Path, backend: str, inner: str) -> None:
    found = run(HANDLER, str(tmp_path), backend, inner)
    assert (found.returncode, found.stderr) == (0, "")
    assert int(found.stdout) > 20


HANDLER = """
import sys
from looop_portable import LooopError, hold
store, backend, inner = sys.argv[1:]
stride, point, answers = 5, 1, 0

def handler():
    global answers
    for timeout in (0, None if inner == "m" else 0.01):
        try:
            with hold(inner, data_dir=store, backend=backend, timeout=timeout):
                answers += 1
        except LooopError:
            answers += 1

def profile(frame, event, arg):
    global left
    if frame.f_code.co_filename != "<string>" and (event in ("call", "c_return")):
        left -= 1
        if not left:
            handler()

left = 1
while left <= 0 or point == 1:
    left = point
    sys.setprofile(profile)
    try:
        with hold("n", data_dir=store, backend=backend, timeout=(point % 2) * 5):
            pass
    finally:
        sys.setprofile(None)
    point += stride
with hold("n", data_dir=store, backend=backend), hold("m", data_dir=store, backend=backend):
    print(answers)
"""

LATE = {
    "atexit": "import atexit\natexit.register(lambda: late())\n",
    "atexit, before ours": "",
    "__del__ at the end": "class Late:\n    def __del__(self, late=late): late()\nkept = Late()\n",
    "__del__ in a cycle": "class Late:\n    def __del__(self, late=late): late()\nkept = Late()\nkept.me = kept\n",
}


@pytest.mark.parametrize("used", [False, True], ids=["for the first time", "again"])
@pytest.mark.parametrize("when", LATE)
def test_at_the_end_of_a_process_there_is_an_answer_and_no_session_is_left(tmp_path: Path, when: str, used: bool) -> None:
    before = "import atexit, sys\natexit.register(lambda: late())\n" if when == "atexit, before ours" else ""
    use = 'with hold("n", data_dir=store): pass\n' if used else ""
    found = run(before + SOONER + LATE_HOLD + use + LATE[when], str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert "RuntimeError" not in found.stderr
    assert found.stdout.strip() in ("held", "refused")
    assert Claims.open(tmp_path).sessions.ids() == []
    assert Claims.open(tmp_path).list() == []


LATE_HOLD = """
def late(hold=hold, LooopError=LooopError, write=os.write, store=store):
    try:
        with hold("n", data_dir=store, timeout=1):
            answer = "held"
    except LooopError:
        answer = "refused"
    write(1, answer.encode())
"""


@needs_interpreters
def test_in_an_interpreter_of_its_own_there_is_an_answer_and_no_session_is_left(tmp_path: Path) -> None:
    found = run(INTERPRETER, str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() in ("held", "refused")
    assert Claims.open(tmp_path).sessions.ids() == []
    assert Claims.open(tmp_path).list() == []


INTERPRETER = """
import sys
if sys.version_info < (3, 13):
    import _xxsubinterpreters as interpreters
    run = interpreters.run_string
else:
    import _interpreters as interpreters
    run = interpreters.exec
code = f'''
import sys
sys.path[:] = {sys.path!r}
from looop_portable import LooopError, hold
try:
    with hold("n", data_dir={sys.argv[1]!r}, timeout=1):
        answer = "held"
except LooopError as error:
    answer = "refused"
print(answer, flush=True)
'''
made = interpreters.create()
run(made, code)
interpreters.destroy(made)
"""
