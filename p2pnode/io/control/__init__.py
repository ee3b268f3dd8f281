"""How other processes of a node's user act through it: specs/control.md."""
