"""What `run` makes of the node's events."""

import json

import pytest

from p2pnode.cli.node_report import NodeReport
from p2pnode.cli.node_reports import Reporter
from p2pnode.errors import IdleTimeout
from p2pnode.io.node.events import (
    AddressObserved,
    BootstrapFailed,
    ClockSkewChanged,
    EventsDropped,
    ListenAddressesChanged,
    NodeEvent,
    PathChanged,
    PeerConnected,
    PeerDisconnected,
    PeerIdentified,
    PunchEnded,
    ReachabilityChanged,
    ReservationsChanged,
)
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.protocols.autonat import Evidence, Prober, Reachability, Verdict
from p2pnode.protocols.identify import Disposition, MappingKind, ObservedAddress, SocketReport
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.shell.fake_node import HOSTILE_INFO, OURS, PEER, RELAY
from tests.support.addresses import NOISE_UDP

REMOTE = SocketAddr("192.0.2.7", 4001)
VIA = parse_multiaddr("/ip4/192.0.2.7/udp/4001/noise")


def report_of(event: NodeEvent) -> NodeReport:
    (report,) = Reporter().reports_of(event)
    return report


def line_of(report: NodeReport) -> str:
    """Returns its line for a person, where there is one only."""
    (line,) = report.lines
    return line


def test_a_connection_is_reported_with_its_way() -> None:
    report = report_of(PeerConnected(PEER, False, "direct", VIA, NOISE_UDP, False))
    assert report.event == "connected"
    assert report.fields == {
        "peer": str(PEER),
        "path": "direct",
        "via": str(VIA),
        "transport": "noise-udp",
        "limited": False,
        "direction": "inbound",
    }


def test_a_lost_peer_is_reported_with_the_reason() -> None:
    report = report_of(PeerDisconnected(PEER, IdleTimeout()))
    assert report.fields == {"peer": str(PEER), "reason": str(IdleTimeout())}
    assert str(IdleTimeout()) in line_of(report)


def test_a_change_of_path_is_reported() -> None:
    report = report_of(
        PathChanged(PEER, "relayed", VIA, "the direct path is dead", NOISE_UDP, True)
    )
    assert (report.event, report.fields["path"]) == ("path", "relayed")
    assert report.fields["limited"] is True
    assert "is relayed, limited via" in line_of(report)
    assert "the direct path is dead" in line_of(report)


def test_a_peers_account_of_itself_stays_on_one_line() -> None:
    report = report_of(PeerIdentified(HOSTILE_INFO))
    assert line_of(report).isprintable()
    assert report.fields["agent_version"] == HOSTILE_INFO.agent_version


@pytest.mark.parametrize(("observers", "verdict"), [(2, "2 of 4 observers so far")])
def test_an_observed_address_is_reported_with_its_evidence(observers: int, verdict: str) -> None:
    seen = ObservedAddress(REMOTE, observers, 0.0, 1.0)
    socket = SocketReport(SocketId(1), (seen,), MappingKind.UNKNOWN, "too few observers", ())
    report = report_of(AddressObserved(PEER, VIA, Disposition.COUNTED, socket))
    assert verdict in line_of(report)
    assert report.fields["observers"] == observers
    assert report.fields["addr"] == str(VIA)


def test_an_observation_that_does_not_count_says_why() -> None:
    socket = SocketReport(SocketId(1), (), MappingKind.UNKNOWN, "nobody has told", ())
    report = report_of(AddressObserved(PEER, VIA, Disposition.LOOPBACK, socket))
    assert Disposition.LOOPBACK.value in line_of(report)
    assert report.fields["observers"] == 0


def test_new_addresses_and_lost_events_are_reported() -> None:
    assert report_of(ListenAddressesChanged((VIA,))).fields == {"addresses": [str(VIA)]}
    assert report_of(EventsDropped(3)).fields == {"count": 3}


RELAY_ADDRESS = parse_multiaddr(f"{VIA}/p2p/{RELAY}/p2p-circuit/p2p/{OURS}")
EVIDENCE = Evidence(3.0, True, Prober.STRANGER, "192.0.2.9", "192.0.2.8", "a probe arrived")


def verdict_of(reachability: Reachability) -> Verdict:
    return Verdict(reachability, 2, "2 strangers got through", (EVIDENCE,), 99.0)


def test_reachability_is_reported_with_its_evidence() -> None:
    verdicts = ((VIA, verdict_of(Reachability.PUBLIC)),)
    report = report_of(ReachabilityChanged(Reachability.PUBLIC, verdicts))
    assert report.event == "reachability"
    assert report.fields == {
        "verdict": "public",
        "evidence": [
            {
                "addr": str(VIA),
                "verdict": "public",
                "confidence": 2,
                "why": "2 strangers got through",
                "probes": [
                    {
                        "heard": True,
                        "prober": Prober.STRANGER.value,
                        "witness": "192.0.2.9",
                        "server": "192.0.2.8",
                        "detail": "a probe arrived",
                    }
                ],
            }
        ],
    }
    assert line_of(report) == f"reachable  public: 2 strangers got through ({VIA})"
    json.dumps(report.fields)


def test_reachability_that_nobody_has_tried_says_so() -> None:
    report = report_of(ReachabilityChanged(Reachability.UNKNOWN, ()))
    assert report.fields == {"verdict": "unknown", "evidence": []}
    assert "nobody has tried yet" in line_of(report)


def test_a_reservation_is_reported_once_and_again_when_it_is_lost() -> None:
    reporter = Reporter()
    held = ReservationsChanged((RELAY,), (RELAY_ADDRESS,))
    (report,) = reporter.reports_of(held)
    assert (report.event, report.fields) == (
        "reservation",
        {"relay": str(RELAY), "addresses": [str(RELAY_ADDRESS)]},
    )
    assert reporter.reports_of(held) == []
    (report,) = reporter.reports_of(ReservationsChanged((), ()))
    assert report.fields == {"relay": str(RELAY), "addresses": []}
    assert "no longer" in line_of(report)


def test_addresses_that_are_told_again_are_not_printed_again() -> None:
    reporter = Reporter()
    assert len(reporter.reports_of(ListenAddressesChanged((VIA,)))) == 1
    assert reporter.reports_of(ListenAddressesChanged((VIA,))) == []
    assert len(reporter.reports_of(ListenAddressesChanged(()))) == 1


@pytest.mark.parametrize(
    ("is_direct", "reason", "outcome"),
    [(True, "", "a direct path is open"), (False, "no answer", "no answer")],
)
def test_a_punch_is_reported_with_its_outcome(is_direct: bool, reason: str, outcome: str) -> None:
    report = report_of(PunchEnded(PEER, 2, "low TTL", is_direct, reason))
    assert report.event == "punch"
    assert report.fields == {
        "peer": str(PEER),
        "round": 2,
        "strategy": "low TTL",
        "direct": is_direct,
        "reason": reason,
    }
    assert line_of(report).endswith(f"round 2 (low TTL): {outcome}")


@pytest.mark.spec("RELAY-38")
@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (-3600.0, "is 1 h behind ours"),
        (5400.0, "is 1.5 h ahead of ours"),
        (28_810.0, "is 8 h ahead of ours"),
        (-10 * 365.25 * 86_400, "is 10 years behind ours"),
        (0.0, "agrees with ours again"),
    ],
)
def test_a_relays_clock_is_reported_in_words(ahead: float, words: str) -> None:
    report = report_of(ClockSkewChanged(RELAY, ahead))
    assert report.event == "clock_skew"
    assert report.fields == {"relay": str(RELAY), "ahead_s": ahead}
    assert line_of(report) == f"clock      the clock of relay {RELAY} {words}"


def test_a_bootstrap_peer_that_does_not_answer_is_reported_with_what_comes_next() -> None:
    report = report_of(BootstrapFailed(str(VIA), "no answer", 2.0))
    assert (report.event, report.fields) == (
        "dial_failed",
        {"address": str(VIA), "reason": "no answer"},
    )
    assert "again in 2 s" in line_of(report)
