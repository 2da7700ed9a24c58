"""Units: what they have in common is in conftest.py, and of this name there is another."""
