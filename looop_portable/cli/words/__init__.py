"""The words of the command line, declared once: of them click's commands are made, and by them a quick reader reads."""

HOW = "30, 30s, 5m or 1h30m"
"""What to write for a duration, for people."""
