"""What a node keeps over a restart: specs/store.md."""
