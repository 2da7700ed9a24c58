"""The process that `looop run` runs a command in, on each system, and all that it starts."""
