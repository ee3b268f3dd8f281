"""What `run` makes of the node's events."""

import pytest

from p2pnode.cli.node_reports import report_of
from p2pnode.errors import IdleTimeout
from p2pnode.io.node_events import (
    AddressObserved,
    EventsDropped,
    ListenAddressesChanged,
    PathChanged,
    PeerConnected,
    PeerDisconnected,
    PeerIdentified,
)
from p2pnode.machine import SocketId, UdpAddr
from p2pnode.protocols.identify import Disposition, MappingKind, ObservedAddress, SocketReport
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.shell.fake_node import HOSTILE_INFO, PEER

REMOTE = UdpAddr("192.0.2.7", 4001)
VIA = parse_multiaddr("/ip4/192.0.2.7/udp/4001/noise")


def test_a_connection_is_reported_with_its_way() -> None:
    report = report_of(PeerConnected(PEER, False, "direct", VIA))
    assert report.event == "connected"
    assert report.fields == {
        "peer": str(PEER),
        "path": "direct",
        "via": str(VIA),
        "direction": "inbound",
    }


def test_a_lost_peer_is_reported_with_the_reason() -> None:
    report = report_of(PeerDisconnected(PEER, IdleTimeout()))
    assert report.fields == {"peer": str(PEER), "reason": str(IdleTimeout())}
    assert str(IdleTimeout()) in report.text


def test_a_change_of_path_is_reported() -> None:
    report = report_of(PathChanged(PEER, "relayed", VIA, "the direct path is dead"))
    assert (report.event, report.fields["path"]) == ("path", "relayed")
    assert "the direct path is dead" in report.text


def test_a_peers_account_of_itself_stays_on_one_line() -> None:
    report = report_of(PeerIdentified(HOSTILE_INFO))
    assert "\n" not in report.text
    assert report.fields["agent_version"] == HOSTILE_INFO.agent_version


@pytest.mark.parametrize(("observers", "verdict"), [(2, "2 of 4 observers so far")])
def test_an_observed_address_is_reported_with_its_evidence(observers: int, verdict: str) -> None:
    seen = ObservedAddress(REMOTE, observers, 0.0, 1.0)
    socket = SocketReport(SocketId(1), (seen,), MappingKind.UNKNOWN, "too few observers", ())
    report = report_of(AddressObserved(PEER, VIA, Disposition.COUNTED, socket))
    assert verdict in report.text
    assert report.fields["observers"] == observers
    assert report.fields["addr"] == str(VIA)


def test_an_observation_that_does_not_count_says_why() -> None:
    socket = SocketReport(SocketId(1), (), MappingKind.UNKNOWN, "nobody has told", ())
    report = report_of(AddressObserved(PEER, VIA, Disposition.LOOPBACK, socket))
    assert Disposition.LOOPBACK.value in report.text
    assert report.fields["observers"] == 0


def test_new_addresses_and_lost_events_are_reported() -> None:
    assert report_of(ListenAddressesChanged((VIA,))).fields == {"addresses": [str(VIA)]}
    assert report_of(EventsDropped(3)).fields == {"count": 3}
