"""Whether this process is at a terminal, as job control has it.

Guarantees: what decides is the controlling terminal, whatever stdin is: `echo x | looop run -- ssh host` asks at it.
"""

from __future__ import annotations

import os
import sys

assert sys.platform != "win32"


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, and so is part of a job, in the foreground or the background.

    A command in a group of its own would be stopped when it reads from that terminal, and nobody would have it go on: the
    shell knows of our group only.
    """
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            os.tcgetpgrp(terminal.fileno())
    except OSError:  # There is none, or it has hung up.
        return False
    return True
