"""A claim for as long as a block runs, for threads and for tasks."""
