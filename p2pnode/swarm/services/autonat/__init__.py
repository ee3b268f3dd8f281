"""AutoNAT in the swarm: who asks (`client`), and who answers (`server`): specs/autonat.md."""
