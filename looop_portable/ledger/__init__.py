"""Generations on disk, each published exactly once: to be read line by line."""
