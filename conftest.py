"""The suite's own options (`tests/parts.py`), and what holds for each test of it (`tests/orphans.py`)."""

pytest_plugins = ["parts", "orphans"]
