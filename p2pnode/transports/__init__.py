"""What carries streams between peers: one contract, and the transports that keep it."""
