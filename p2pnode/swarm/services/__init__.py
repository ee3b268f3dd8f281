"""The built-in protocols of a swarm, a module or a folder each."""
