"""The suite's own options, and what holds for each test of it: see the heads of these."""

pytest_plugins = ["support.parts", "support.orphans", "support.garbage"]
