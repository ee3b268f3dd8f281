"""Metrics: go-libp2p's names over plain facts, and an HTTP server that nobody can hold up."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from p2pnode.errors import AddressError, ListenError
from p2pnode.io import client_places
from p2pnode.io.metrics import exposition as metrics_module
from p2pnode.io.metrics import server as metrics_server
from p2pnode.io.metrics.exposition import MAX_SERIES, NodeMetrics
from p2pnode.io.metrics.facts import (
    DIAL_BOUNDS,
    DURATION_BOUNDS,
    HANDSHAKE_BOUNDS,
    AutonatFacts,
    ConnectionLabels,
    Histogram,
    NodeFacts,
    OwnRelayFacts,
    PunchFacts,
    RelayFacts,
)
from p2pnode.io.metrics.server import (
    MAX_REQUEST_SIZE,
    MAX_SCRAPES,
    REQUEST_TIMEOUT,
    MetricsAddress,
    parse_metrics_address,
    serve_metrics,
)
from p2pnode.io.metrics.table import METRICS, Metric
from tests.support.addresses import NOISE_UDP, TCP
from tests.support.spec_tables import section, tables

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
GO_LIBP2P = {
    "libp2p_swarm_connections_opened_total": (
        "counter",
        "dir transport security muxer early_muxer ip_version",
    ),
    "libp2p_swarm_connections_closed_total": (
        "counter",
        "dir transport security muxer early_muxer ip_version",
    ),
    "libp2p_swarm_dial_errors_total": ("counter", "transport error ip_version"),
    "libp2p_swarm_connection_duration_seconds": (
        "histogram",
        "dir transport security muxer early_muxer ip_version",
    ),
    "libp2p_swarm_handshake_latency_seconds": (
        "histogram",
        "transport security muxer early_muxer ip_version",
    ),
    "libp2p_swarm_dials_per_peer_total": ("counter", "outcome num_dials"),
    "libp2p_swarm_dial_latency_seconds": ("histogram", "outcome num_dials"),
    "libp2p_autonat_reachability_status": ("gauge", ""),
    "libp2p_autonat_reachability_status_confidence": ("gauge", ""),
    "libp2p_autonat_received_dial_response_total": ("counter", "response_status"),
    "libp2p_autonat_outgoing_dial_response_total": ("counter", "response_status"),
    "libp2p_autonat_outgoing_dial_refused_total": ("counter", "refusal_reason"),
    "libp2p_autorelay_status": ("gauge", ""),
    "libp2p_autorelay_reservations_opened_total": ("counter", ""),
    "libp2p_autorelay_reservations_closed_total": ("counter", ""),
    "libp2p_autorelay_reservation_requests_outcome_total": ("counter", "request_type outcome"),
    "libp2p_autorelay_relay_addresses_updated_total": ("counter", ""),
    "libp2p_autorelay_relay_addresses_count": ("gauge", ""),
    "libp2p_autorelay_desired_reservations": ("gauge", ""),
    "libp2p_host_addrs_reachable": ("gauge", "ipv transport"),
    "libp2p_host_addrs_unreachable": ("gauge", "ipv transport"),
    "libp2p_host_addrs_unknown": ("gauge", "ipv transport"),
    "libp2p_autonatv2_requests_completed_total": (
        "counter",
        "server_error response_status dial_status dial_data_required ip_or_dns_version transport",
    ),
    "libp2p_autonatv2_client_requests_total": ("counter", "outcome"),
    "libp2p_relaysvc_status": ("gauge", ""),
    "libp2p_relaysvc_reservations_total": ("counter", "type"),
    "libp2p_relaysvc_reservation_request_response_status_total": ("counter", "status"),
    "libp2p_relaysvc_reservation_rejections_total": ("counter", "reason"),
    "libp2p_relaysvc_connections_total": ("counter", "type"),
    "libp2p_relaysvc_connection_request_response_status_total": ("counter", "status"),
    "libp2p_relaysvc_connection_rejections_total": ("counter", "reason"),
    "libp2p_relaysvc_data_transferred_bytes_total": ("counter", ""),
    "libp2p_holepunch_direct_dials_total": ("counter", "outcome"),
    "libp2p_holepunch_outcomes_total": ("counter", "side num_attempts outcome"),
    "libp2p_identify_identify_total": ("counter", "dir"),
    "libp2p_identify_identify_push_total": ("counter", "dir"),
    "libp2p_identify_protocols_count": ("gauge", ""),
    "libp2p_identify_addrs_count": ("gauge", ""),
}
"""Kind and labels, read from the sources of go-libp2p at commit 0d9029257."""


class FakeNode:
    """A node whose facts a test sets."""

    def __init__(self, facts: NodeFacts | None = None) -> None:
        self.facts = facts or NodeFacts()
        self.scrapes = 0

    def metric_facts(self) -> NodeFacts:
        self.scrapes += 1
        return self.facts


def samples(facts: NodeFacts) -> dict[str, dict[tuple[str, ...], float]]:
    """Returns what a scrape finds: name -> the labels' words in the table's order -> value."""
    order = {metric.name: metric.labels for metric in METRICS}
    text = NodeMetrics(FakeNode(facts), of_process=False).render().decode()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            words = dict(sample.labels)
            bound = words.pop("le", None)
            labels = order.get(sample.name) or order.get(family.name) or tuple(words)
            key = tuple(words[label] for label in labels) + ((bound,) if bound else ())
            found.setdefault(sample.name, {})[key] = sample.value
    return found


# names


@pytest.mark.spec("METRICS-1")
def test_the_metrics_are_those_of_the_spec() -> None:
    groups = {
        f"*{name}*": labels
        for name, labels in re.findall(
            r"\*(\w+)\* is ((?:`\w+`,?\s*)+)", section("metrics.md", "Names")
        )
    }
    written = []
    for name, kind, labels, meaning in tables("metrics.md", "Names")[0]:
        for group, members in groups.items():
            labels = labels.replace(group, members)
        written.append((name.strip("`"), kind, tuple(re.findall(r"`(\w+)`", labels)), meaning))

    assert groups.keys() == {"*connection*", "*request*"}
    assert written == [(m.name, m.kind, m.labels, m.help) for m in METRICS]
    assert {m.name for m in METRICS if m.name.startswith("libp2p_")} == set(GO_LIBP2P)


@pytest.mark.spec("METRICS-1")
def test_the_registry_serves_what_the_table_names() -> None:
    metrics = NodeMetrics(FakeNode(), of_process=False)

    served = {family.name: family.type for family in metrics.registry.collect()}

    assert served == {m.name.removesuffix("_total"): m.kind for m in METRICS}
    assert len(served) == len(METRICS)


@pytest.mark.spec("METRICS-2")
@pytest.mark.parametrize(
    "metric", [m for m in METRICS if m.name in GO_LIBP2P], ids=lambda m: m.name
)
def test_go_libp2ps_names_have_its_labels(metric: Metric) -> None:
    assert (metric.kind, " ".join(metric.labels)) == GO_LIBP2P[metric.name]


@pytest.mark.spec("METRICS-2")
def test_nothing_else_has_a_name_of_libp2p() -> None:
    assert {m.name for m in METRICS if m.name.startswith("libp2p_")} == set(GO_LIBP2P)


@pytest.mark.spec("METRICS-2")
def test_the_histograms_have_go_libp2ps_bounds() -> None:
    assert (len(DURATION_BOUNDS), DURATION_BOUNDS[:2]) == (25, (0.0625, 0.125))
    assert (len(HANDSHAKE_BOUNDS), HANDSHAKE_BOUNDS[2]) == (35, 0.0016900000000000003)
    assert DURATION_BOUNDS[-1] == 2**20  # seconds, twelve days
    assert DIAL_BOUNDS[-1] == 2.0


# numbers


def test_a_node_that_has_done_nothing_is_served() -> None:
    found = samples(NodeFacts(version="1"))

    assert found["libp2p_autonat_reachability_status"] == {(): 0}
    assert found["libp2p_relaysvc_status"] == {(): 0}
    assert found["p2pnode_info"] == {("1",): 1}


@pytest.mark.spec("METRICS-2")
def test_connections_are_told_apart_like_quics() -> None:
    labels = ConnectionLabels("outbound", "p2p-circuit", "ip6")
    lasted = Histogram(DURATION_BOUNDS)
    lasted.observe(0.1)
    lasted.observe(1e9)

    found = samples(
        NodeFacts(
            connections={("outbound", "direct", TCP): 2},
            connections_opened={labels: 3},
            connection_durations={labels: lasted},
        )
    )

    state = ("outbound", "p2p-circuit", "", "", "false", "ip6")
    assert found["libp2p_swarm_connections_opened_total"] == {state: 3}
    assert found["p2pnode_connections"] == {("outbound", "direct", "tcp"): 2}
    buckets = found["libp2p_swarm_connection_duration_seconds_bucket"]
    assert buckets[*state, "0.0625"] == 0
    assert buckets[*state, "0.125"] == 1
    assert buckets[*state, "1.048576e+06"] == 1
    assert buckets[*state, "+Inf"] == 2
    assert found["libp2p_swarm_connection_duration_seconds_count"] == {state: 2}
    assert found["libp2p_swarm_connection_duration_seconds_sum"] == {state: 1e9 + 0.1}


def test_dials_of_a_peer_are_counted_by_the_addresses_tried() -> None:
    quick, slow = Histogram(DIAL_BOUNDS), Histogram(DIAL_BOUNDS)
    quick.observe(0.01)
    slow.observe(3.0)
    slow.observe(3.0)

    found = samples(NodeFacts(dial_times={("success", 1): quick, ("failed", 6): slow}))

    assert found["libp2p_swarm_dials_per_peer_total"] == {("success", "1"): 1, ("failed", ">=6"): 2}
    buckets = found["libp2p_swarm_dial_latency_seconds_bucket"]
    assert buckets["success", "1", "0.01"] == 1
    assert buckets["failed", ">=6", "2"] == 0


@pytest.mark.parametrize(
    ("reachability", "status"), [("unknown", 0), ("public", 1), ("private", 2)]
)
def test_reachability_is_go_libp2ps_number(reachability: str, status: int) -> None:
    autonat = AutonatFacts(reachability=reachability, confidence=3)  # type: ignore[arg-type]

    found = samples(NodeFacts(autonat=autonat))

    assert found["libp2p_autonat_reachability_status"] == {(): status}
    assert found["libp2p_autonat_reachability_status_confidence"] == {(): 3}


@pytest.mark.spec("METRICS-2")
def test_statuses_get_go_libp2ps_words() -> None:
    found = samples(
        NodeFacts(
            autonat=AutonatFacts(
                v1_received={"OK": 1, "E_DIAL_ERROR": 2, "surprise": 3},
                v2_served={("OK", "E_DIAL_ERROR", True, "ip4", NOISE_UDP): 4},
                addresses={("public", "ip4", NOISE_UDP): 1, ("unknown", "ip6", NOISE_UDP): 2},
            ),
            relay=RelayFacts(
                reserve_answers={"OK": 5, "RESERVATION_REFUSED": 1, "PERMISSION_DENIED": 2},
                connect_answers={"NO_RESERVATION": 6, "CONNECTION_FAILED": 7, "surprise": 8},
                reservation_steps={"opened": 2, "renewed": 3},
            ),
            own_relays=OwnRelayFacts(
                is_active=True, answers={("new", "OK"): 1, ("refresh", ""): 2, ("refresh", "X"): 3}
            ),
            punches=PunchFacts(
                rounds={("initiator", 1, "success"): 1, ("receiver", 6, "failed"): 2},
                strategies={("plain", "success"): 1},
            ),
        )
    )

    assert found["libp2p_autonat_received_dial_response_total"] == {
        ("ok",): 1,
        ("dial error",): 2,
        ("unknown",): 3,
    }
    assert found["libp2p_autonatv2_requests_completed_total"] == {
        ("nil", "OK", "E_DIAL_ERROR", "true", "ip4", "noise-udp"): 4
    }
    assert found["libp2p_host_addrs_reachable"] == {("ip4", "noise-udp"): 1}
    assert found["libp2p_host_addrs_unknown"] == {("ip6", "noise-udp"): 2}
    assert "libp2p_host_addrs_unreachable" not in found
    assert found["libp2p_relaysvc_reservation_request_response_status_total"] == {
        ("ok",): 5,
        ("rejected",): 3,
    }
    assert found["libp2p_relaysvc_reservation_rejections_total"] == {
        ("ip constraint violation",): 1,
        ("permission denied",): 2,
    }
    assert found["libp2p_relaysvc_connection_request_response_status_total"] == {
        ("rejected",): 6,
        ("error",): 7,
        ("unknown",): 8,
    }
    assert found["libp2p_relaysvc_connection_rejections_total"] == {("no reservation",): 6}
    assert found["libp2p_relaysvc_reservations_total"] == {("opened",): 2, ("renewed",): 3}
    assert found["libp2p_autorelay_status"] == {(): 1}
    assert found["libp2p_autorelay_reservation_requests_outcome_total"] == {
        ("new", "success"): 1,
        ("refresh", "err other"): 5,
    }
    assert found["libp2p_holepunch_outcomes_total"] == {
        ("initiator", "1", "success"): 1,
        ("receiver", "> 5", "failed"): 2,
    }


@pytest.mark.spec("METRICS-1")
def test_every_fact_reaches_a_metric() -> None:
    """A fact that no metric read would be counted for nothing."""
    assert {name for name, values in samples(everything()).items() if values} >= {
        name + ("_count" if m.kind == "histogram" else "") for m in METRICS for name in [m.name]
    }


@pytest.mark.spec("METRICS-3")
def test_a_metric_has_a_bounded_number_of_series() -> None:
    streams = {(f"/protocol/{n}", "inbound"): 1 for n in range(MAX_SERIES + 100)}

    found = samples(NodeFacts(streams=streams))  # type: ignore[arg-type]

    assert len(found["p2pnode_streams"]) == MAX_SERIES


def test_the_process_is_measured_as_well() -> None:
    assert b"p2pnode_info" in NodeMetrics(FakeNode()).render()
    two_in_one_process = NodeMetrics(FakeNode()).registry, NodeMetrics(FakeNode()).registry
    assert two_in_one_process[0] is not two_in_one_process[1]


@pytest.mark.parametrize(
    ("value", "counts"), [(0.5, [1, 1, 1]), (1.0, [1, 1, 1]), (1.5, [0, 1, 1]), (2.5, [0, 0, 1])]
)
def test_a_histogram_counts_upper_ends_in(value: float, counts: list[int]) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(value)

    assert [count for _, count in histogram.cumulative()] == counts
    assert histogram.total == value


# over HTTP


@pytest.mark.spec("METRICS-4")
async def test_a_scrape_gets_the_numbers_of_now() -> None:
    node = FakeNode()
    async with server(node) as address:
        await request(address, SCRAPE)
        node.facts = NodeFacts(advertised=7)
        head, body = await request(address, SCRAPE)

    assert head[0] == "HTTP/1.1 200 OK"
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert f"Content-Length: {len(body)}" in head
    assert b"libp2p_identify_addrs_count 7.0\n" in body
    assert node.scrapes == 2


@pytest.mark.spec("METRICS-4")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /metrics HTTP/1.0", 200),
        (b"GET /metrics?name[]=up HTTP/1.1", 200),
        (b"GET / HTTP/1.1", 404),
        (b"GET /metrics/ HTTP/1.1", 404),
        (b"GET http://localhost/metrics HTTP/1.1", 404),
        (b"POST /metrics HTTP/1.1", 405),
        (b"HEAD /metrics HTTP/1.1", 405),
        (b"GET /metrics", 400),
        (b"GET /metrics HTTP/2", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"", 400),
    ],
)
async def test_only_a_get_of_metrics_is_answered(line: bytes, status: int) -> None:
    node = FakeNode()
    async with server(node) as address:
        head, _ = await request(address, line + b"\r\nHost: x\r\n\r\n")

    assert head[0].startswith(f"HTTP/1.1 {status} ")
    assert node.scrapes == (1 if status == 200 else 0)


@pytest.mark.spec("METRICS-5")
async def test_a_request_without_end_is_refused() -> None:
    async with server(FakeNode()) as address:
        head, _ = await request(address, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * MAX_REQUEST_SIZE)

    assert head[0].startswith("HTTP/1.1 431 ")


@pytest.mark.spec("METRICS-5")
async def test_clients_that_break_off_do_no_harm() -> None:
    async with server(FakeNode()) as address:
        for start in (b"", b"GET /met", SCRAPE):
            stream = await trio.open_tcp_stream(address.host, address.port)
            if start:
                await stream.send_all(start)
            await trio.aclose_forcefully(stream)
        head, _ = await request(address, SCRAPE)

    assert head[0] == "HTTP/1.1 200 OK"


@pytest.mark.spec("METRICS-5")
@pytest.mark.parametrize("said", [b"", b"GET /met", SCRAPE])
async def test_who_asks_is_served_whatever_others_leave_open(
    mock_clock: trio.testing.MockClock, said: bytes
) -> None:
    """The clock stands still: nobody's time is up."""
    async with server(FakeNode()) as address, AsyncExitStack() as stack:
        for _ in range(2 * MAX_SCRAPES):
            stream = await trio.open_tcp_stream(address.host, address.port)
            await stack.enter_async_context(stream)
            if said:
                await stream.send_all(said)
            if said == SCRAPE:
                await stream.receive_some()
        head, _ = await request(address, SCRAPE)

    assert head[0] == "HTTP/1.1 200 OK"


@pytest.mark.spec("METRICS-5")
async def test_a_silent_client_is_given_up_soon(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.05  # real sockets need a moment
    async with server(FakeNode()) as address:
        began = trio.current_time()
        assert await request(address, b"GET /met") == ([""], b"")
        assert trio.current_time() - began == pytest.approx(REQUEST_TIMEOUT, abs=0.5)


@pytest.mark.spec("METRICS-6")
@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9464", "127.0.0.1", 9464),
        (":9464", "127.0.0.1", 9464),
        ("192.0.2.1:0", "192.0.2.1", 0),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        (" 0.0.0.0:9464\n", "0.0.0.0", 9464),
        ("[::]:9464", "::", 9464),
        ("[fe80::1%eth0]:9464", "fe80::1%eth0", 9464),
    ],
)
def test_an_address_is_a_port_or_an_ip_address_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_metrics_address(text) == MetricsAddress(host, port)
    assert parse_metrics_address(str(MetricsAddress(host, port))) == (host, port)


@pytest.mark.spec("METRICS-6")
@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":",
            "x",
            "65536",
            "127.0.0.1",
            "localhost:1",
            "::1:9464",
            "[127.0.0.1]:1",
            "1:-1",
            "²",
        ),
        *("224.0.0.1:9464", "255.255.255.255:9464", "[ff02::1]:9464", "[fe80::1]:9464"),
    ],
)
def test_what_is_no_address_is_one_sentence(text: str) -> None:
    with pytest.raises(AddressError, match=r"127\.0\.0\.1:9464$"):
        parse_metrics_address(text)


@pytest.mark.spec("METRICS-6")
async def test_a_port_in_use_is_one_sentence() -> None:
    async with server(FakeNode()) as address:
        with pytest.raises(
            ListenError, match=rf"metrics at 127\.0\.0\.1:{address.port}.*--metrics"
        ):
            await serve_metrics(NodeMetrics(FakeNode()), address)


def test_the_limits_are_those_of_the_spec() -> None:
    for name, value, _source in tables("metrics.md", "Limits and timers")[0]:
        constant = name.strip("`")
        modules = (metrics_module, metrics_server, client_places)
        [found] = [vars(module)[constant] for module in modules if constant in vars(module)]
        assert found == float(value.split()[0]), constant


@asynccontextmanager
async def server(node: FakeNode) -> AsyncIterator[MetricsAddress]:
    async with trio.open_nursery() as nursery:
        wanted = MetricsAddress("127.0.0.1", 0)
        metrics = NodeMetrics(node, of_process=False)
        yield await nursery.start(serve_metrics, metrics, wanted)
        nursery.cancel_scope.cancel()


async def request(address: MetricsAddress, data: bytes) -> tuple[list[str], bytes]:
    """Returns the lines of the answer's head, and its body."""
    async with await trio.open_tcp_stream(address.host, address.port) as stream:
        await stream.send_all(data)
        answer = b"".join([part async for part in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


@pytest.mark.spec("METRICS-2")
def test_connections_over_tcp_name_security_and_muxer_as_go_does() -> None:
    found = samples(NodeFacts(connections_opened={ConnectionLabels("inbound", TCP, "ip4"): 1}))
    state = ("inbound", "tcp", "/noise", "/yamux/1.0.0", "", "ip4")
    assert found["libp2p_swarm_connections_opened_total"] == {state: 1}


def everything() -> NodeFacts:
    """Facts of which none is empty."""
    labels = ConnectionLabels("inbound", NOISE_UDP, "ip4")
    times = Histogram((1.0,))
    times.observe(0.5)
    return NodeFacts(
        version="1",
        connections={("inbound", "direct", NOISE_UDP): 1},
        connections_opened={labels: 1},
        connections_closed={labels: 1},
        connection_durations={labels: times},
        handshake_times={(NOISE_UDP, "ip4"): times},
        dial_errors={(NOISE_UDP, "timeout", "ip4"): 1},
        dial_times={("success", 1): times},
        streams={("/ipfs/ping/1.0.0", "inbound"): 1},
        sent_bytes={"direct": 1},
        received_bytes={"relayed": 1},
        path_changes={("direct", "better"): 1},
        faults=1,
        resources={"streams": (3, 100)},
        refusals={("streams", "peer"): 2},
        identifies={"inbound": 1},
        identify_pushes={"outbound": 1},
        observations={"COUNTED": 1},
        autonat=AutonatFacts(
            addresses={
                (verdict, "ip4", NOISE_UDP): 1 for verdict in ("public", "private", "unknown")
            },
            v1_received={"OK": 1},
            v1_sent={"OK": 1},
            v1_refused={"rate limited": 1},
            v2_requests={"success": 1},
            v2_served={("OK", "OK", False, "ip4", NOISE_UDP): 1},
            probes={("delegated", "reached"): 1},
        ),
        own_relays=OwnRelayFacts(answers={("new", "OK"): 1}),
        relay=RelayFacts(
            reservation_steps={"opened": 1},
            circuit_steps={"opened": 1},
            reserve_answers={"PERMISSION_DENIED": 1},
            connect_answers={"PERMISSION_DENIED": 1},
        ),
        punches=PunchFacts(
            direct_dials={"success": 1},
            rounds={("initiator", 1, "success"): 1},
            strategies={("plain", "success"): 1},
        ),
    )
