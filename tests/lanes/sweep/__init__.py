"""A fault at each filesystem call of each verb, one after the other, as pebble's errorfs does it: see run.py."""
