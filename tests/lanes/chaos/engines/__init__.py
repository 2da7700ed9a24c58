"""Chaos on real servers: holders that are hosts to each other, killed and stopped, and their server too. See `__main__`."""
