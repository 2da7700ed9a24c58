"""The suite's own options: see `tests/parts.py`."""

pytest_plugins = ["parts"]
