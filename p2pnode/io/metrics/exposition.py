"""Prometheus metrics of a node, for `--metrics ADDR` (specs/metrics.md).

Numbers are read when somebody scrapes: nothing is counted twice, and a node that nobody scrapes
does no work for it.  Rule: only this node's loop reads the node, so a scrape sees one moment.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from p2pnode.io.metrics.facts import Histogram, MetricsSource, NodeFacts
from p2pnode.io.metrics.table import METRICS, Metric

MAX_SERIES: Final = 512
"""series of one metric; chosen: far above what the labels' own words make"""
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""What `generate_latest` writes."""

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class NodeMetrics(Collector):
    """The metrics of one node, in a registry of their own: a process may have several nodes."""

    def __init__(self, source: MetricsSource, *, of_process: bool = True) -> None:
        """`of_process`: also CPU, memory and open files of the process, where the system tells."""
        self._source = source
        self.registry = CollectorRegistry()
        self.registry.register(self)
        if of_process:
            ProcessCollector(registry=self.registry)

    def describe(self) -> Iterator[Family]:
        """Yields what `collect` would, without numbers and without asking the node."""
        return (_family(metric) for metric in METRICS)

    def collect(self) -> Iterator[Family]:
        """Yields the numbers of now."""
        facts = self._source.metric_facts()
        return (_filled(metric, facts) for metric in METRICS)

    def render(self) -> bytes:
        """Returns the text that Prometheus scrapes."""
        return generate_latest(self.registry)


def _family(metric: Metric) -> Family:
    match metric.kind:
        case "counter":
            return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        case "gauge":
            return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        case "histogram":
            return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)


def _filled(metric: Metric, facts: NodeFacts) -> Family:
    family = _family(metric)
    for labels, value in islice(metric.read(facts), MAX_SERIES):
        if isinstance(family, HistogramMetricFamily):
            assert isinstance(value, Histogram)
            buckets = [(_bound(bound), count) for bound, count in value.cumulative()]
            family.add_metric(labels, buckets, value.total)
        else:
            assert not isinstance(value, Histogram)
            family.add_metric(labels, value)
    return family


def _bound(bound: float) -> str:
    """As Go writes numbers, so that the series of its nodes and ours have equal labels."""
    if bound == float("inf"):
        return "+Inf"
    if bound < 1e6:
        return repr(bound).removesuffix(".0")
    digits = str(int(bound))
    mantissa = f"{digits[0]}.{digits[1:]}".rstrip("0").rstrip(".")
    return f"{mantissa}e+{len(digits) - 1:02}"
