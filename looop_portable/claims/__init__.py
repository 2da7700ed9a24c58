"""Claiming, releasing and reaping: read, judge, advance."""
