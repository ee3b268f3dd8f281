"""Prometheus metrics of a node: specs/metrics.md."""
