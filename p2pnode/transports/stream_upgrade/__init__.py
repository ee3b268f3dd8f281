"""From an ordered byte link to a muxed connection: what TCP and relayed streams share."""
