"""A race of processes for one claim, and the arbiter that watches it."""
