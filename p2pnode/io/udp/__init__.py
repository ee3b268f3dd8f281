"""UDP sockets: the plain path of every platform, and Linux's batches."""
