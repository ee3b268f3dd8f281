"""What a node says of itself, and to whom: swarm/self_description.py."""

from collections.abc import Sequence

import pytest

from p2pnode.clock import UnixTime
from p2pnode.identity.peer_record import decode_peer_record_untrusted, unix_time_of
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.protocols.relay import circuit_addrs
from p2pnode.swarm.config import SwarmConfig
from p2pnode.swarm.events import RecordSigned
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.self_description import MAX_RECORD_AGE, MAX_RECORDS, SelfDescription
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.addresses import NOISE_UDP
from tests.support.identities import peer_id, private_key

US = peer_id("us")
LOOPBACK, PRIVATE, PUBLIC = "127.0.0.1", "192.168.0.7", "8.8.4.4"
SEEN = parse_multiaddr("/ip4/9.9.9.9/udp/1/noise")
(BEHIND,) = circuit_addrs((parse_multiaddr(f"/ip4/7.7.7.7/udp/1/noise/p2p/{peer_id('r')}"),), US)


def description(
    interfaces: Sequence[str] = (LOOPBACK, PRIVATE, PUBLIC), last_record_seq: int = 0
) -> SelfDescription:
    addresses = OwnAddresses((NOISE_UDP,))
    addresses.add_socket(SocketId(1), SocketAddr("0.0.0.0", 4001), is_listening=True)
    addresses.set_interfaces(tuple(interfaces))
    config = SwarmConfig(last_record_seq=last_record_seq)
    made = SelfDescription(private_key("us"), config, addresses, 1_700_000_000.0)
    made.confirmed, made.relayed = (SEEN,), (BEHIND,)
    return made


def number(made: SelfDescription, now: float) -> int:
    """Returns the sequence number of the record that a peer gets."""
    record = made.message(at("5.5.5.5"), now).signed_peer_record
    assert record is not None
    return decode_peer_record_untrusted(record).seq


def at(ip: str, socket: int = 1) -> Peer:
    return Peer(
        1, peer_id("them"), Route(SocketId(socket), None, SocketAddr(ip, 5)), True, NOISE_UDP
    )


def listening(ip: str) -> Multiaddr:
    return parse_multiaddr(f"/ip4/{ip}/udp/4001/noise")


@pytest.mark.spec("SWARM-17")
@pytest.mark.parametrize(
    ("peer", "told"),
    [
        (at("5.5.5.5"), {SEEN, BEHIND, listening(PRIVATE)}),
        (at("192.168.0.9"), {SEEN, BEHIND, listening(PRIVATE)}),
        (at("127.0.0.1"), {SEEN, BEHIND, listening(PRIVATE), listening(LOOPBACK)}),
        (at("127.0.0.1", socket=-1), {SEEN, BEHIND, listening(PRIVATE)}),
    ],
)
def test_told_are_confirmed_relayed_and_shared_addresses(peer: Peer, told: set[Multiaddr]) -> None:
    message = description().message(peer, 0.0)
    assert set(message.listen_addrs) == told


@pytest.mark.spec("SWARM-17")
def test_a_public_address_is_not_told_before_strangers_were_seen_to_reach_it() -> None:
    made = description()
    for peer in (at("5.5.5.5"), at(PRIVATE), at(LOOPBACK)):
        assert listening(PUBLIC) not in made.message(peer, 0.0).listen_addrs
    made.confirmed = (listening(PUBLIC),)
    assert listening(PUBLIC) in made.message(at("5.5.5.5"), 0.0).listen_addrs


def test_where_a_peer_is_seen_is_told_unless_it_is_behind_a_relay() -> None:
    made = description()
    observed = made.message(at("5.5.5.5"), 0.0).observed_addr
    assert str(observed) == "/ip4/5.5.5.5/udp/5/noise"
    assert made.message(at("5.5.5.5", socket=-3), 0.0).observed_addr is None


def test_relays_addresses_are_without_those_through_relays() -> None:
    assert BEHIND not in description().direct()
    assert BEHIND in description().advertised()


def test_the_signed_record_says_the_same_and_is_signed_anew_only_for_news() -> None:
    made = description()
    first = made.message(at("5.5.5.5"), 0.0)
    assert first.signed_peer_record is not None
    record = decode_peer_record_untrusted(first.signed_peer_record)
    assert record.peer_id == US
    assert set(record.addrs) == set(first.listen_addrs)
    assert made.message(at("6.6.6.6"), 1.0).signed_peer_record == first.signed_peer_record
    made.renew()
    renewed = made.message(at("6.6.6.6"), 1.0).signed_peer_record
    assert renewed is not None
    assert decode_peer_record_untrusted(renewed).seq > record.seq


@pytest.mark.spec("SWARM-27")
def test_a_signed_record_tells_the_clock_to_a_minute() -> None:
    made = description()
    for now in (0.0, MAX_RECORD_AGE - 1, MAX_RECORD_AGE, 5000.0):
        record = made.message(at("5.5.5.5"), now).signed_peer_record
        assert record is not None
        stamp = unix_time_of(decode_peer_record_untrusted(record).seq)
        assert stamp is not None
        assert 0 <= 1_700_000_000 + now - stamp < MAX_RECORD_AGE


@pytest.mark.spec("IDENTITY-12")
@pytest.mark.parametrize("unix_now", [0.0, 1_600_000_000.0, 1_700_000_050.0, 2_000_000_000.0])
def test_no_setting_of_the_clock_lowers_the_number_of_a_record(unix_now: float) -> None:
    made = description()
    last = number(made, 0.0)
    made.handle_clock_changed(UnixTime(unix_now), 100.0)
    assert number(made, 100.0) == max(last + 1, int(unix_now) * 10**9)
    restarted = description(last_record_seq=last)
    restarted.handle_clock_changed(UnixTime(unix_now), 0.0)
    assert number(restarted, 0.0) > last


@pytest.mark.spec("STORE-9")
def test_each_number_is_told_to_who_stores_it() -> None:
    made = description()
    first = number(made, 0.0)
    number(made, 1.0)
    assert made.poll_events() == [RecordSigned(first)]
    assert made.poll_events() == []


def test_so_many_records_are_kept() -> None:
    made = description()
    for number in range(3 * MAX_RECORDS):
        made.confirmed = (parse_multiaddr(f"/ip4/9.9.9.9/udp/{number + 1}/noise"),)
        made.message(at("5.5.5.5"), 0.0)
        assert len(made._records) <= MAX_RECORDS
