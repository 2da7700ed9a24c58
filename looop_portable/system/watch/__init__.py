"""What tells a waiter of a change: the kernel, or another thread of this process."""
