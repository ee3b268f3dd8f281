"""`netcheck`: a swarm of its own that measures the NAT in front of it: specs/nat_behaviour.md."""
