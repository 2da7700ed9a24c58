"""Histories of `read` and `advance` on real servers under kills, for a checker of linearizability. See `__main__`."""
