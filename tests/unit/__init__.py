"""Tests of one room each: tests/unit/<room>."""
