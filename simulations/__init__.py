"""Studies: one question each, answered with a number (README.md)."""
