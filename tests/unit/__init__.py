"""Units: tests of one room each. What they have in common is in conftest.py, and of this name there is another."""
