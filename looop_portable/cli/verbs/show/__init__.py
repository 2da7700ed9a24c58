"""What is held, by whom, and who waits."""
