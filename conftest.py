"""The suite's own options (`tests/support/parts.py`), and what holds for each test of it (`orphans.py` and `garbage.py` there)."""

pytest_plugins = ["support.parts", "support.orphans", "support.garbage"]
