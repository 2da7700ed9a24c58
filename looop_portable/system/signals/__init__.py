"""Signals of this process: taking them one by one, who asks for the end, and a terminal's keys."""
