"""Relaying in the swarm: its user (`client`), and its giver (`server`): specs/relay.md."""
