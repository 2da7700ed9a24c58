"""Who may hold: registering sessions, their heartbeats, and whether one is alive."""
