"""Sharing a directory with the real looop, the Rust program of the same name."""
