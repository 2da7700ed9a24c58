"""What the kernel holds for a process until that ends: guards, a session's lock, files of one process alone."""
