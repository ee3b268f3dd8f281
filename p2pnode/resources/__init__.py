"""Who holds how much of this node, by network, peer and protocol: specs/resources.md."""
