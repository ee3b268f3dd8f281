"""TCP for links: listeners, connections, and the one task that serves all of them."""
