"""Benchmarks: `python -m tests.bench.run` (README there: docstring of run.py)."""
