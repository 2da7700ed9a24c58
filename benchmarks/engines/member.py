"""Processes that want a contender of `engines`, as `member` has them: what a troupe of these starts.

python -m engines.member CONTENDER URL IN,OUT...
"""

from __future__ import annotations

from member import main

from engines.contenders import MAKERS

if __name__ == "__main__":
    main(MAKERS)
