"""Claims in a directory: the ledger, the sessions and the lines of waiters, with what kernels tell of processes."""
