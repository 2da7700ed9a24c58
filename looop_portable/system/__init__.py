"""What the operating system does. Nothing in here knows of a claim."""
