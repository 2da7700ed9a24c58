"""The suite's own options (`tests/support/parts.py`), and what holds for each test of it (`tests/support/orphans.py`)."""

pytest_plugins = ["support.parts", "support.orphans"]
