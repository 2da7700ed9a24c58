"""On real network filesystems, and on real local ones, between machines with kernels of their own."""
