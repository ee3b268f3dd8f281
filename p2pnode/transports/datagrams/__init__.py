"""What transports over datagrams share beside delivery: turns, batches, the end."""
