"""Addresses with source and lifetime: p2pnode/swarm/address_book.py."""

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.swarm.address_book import (
    LIFETIMES,
    MAX_ADDRESSES_PER_PEER,
    MAX_PEERS,
    MAX_TOKENS,
    AddressBook,
    AddressSource,
)
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.addresses import TCP, noise_udp_multiaddr


def address(port: int) -> Multiaddr:
    return parse_multiaddr(f"/ip4/1.2.3.4/udp/{port}/noise")


def peer(seed: int) -> PeerId:
    return PeerId.from_public_key(PrivateKey(seed.to_bytes(32, "big")).public_key)


def test_better_sources_come_first_and_outlive_worse_news() -> None:
    book = AddressBook()
    book.add(peer(1), (address(1), address(2)), AddressSource.HEARSAY, 0.0)
    book.add(peer(1), (address(2),), AddressSource.CONNECTED, 1.0)
    book.add(peer(1), (address(2),), AddressSource.HEARSAY, 2.0)
    assert book.addresses(peer(1), 3.0) == (address(2), address(1))
    later = LIFETIMES[AddressSource.HEARSAY] + 5
    assert book.addresses(peer(1), later) == (address(2),)
    assert book.entries(peer(1), later)[0].source is AddressSource.CONNECTED


def test_everything_expires() -> None:
    book = AddressBook()
    for source in AddressSource:
        book.add(peer(2), (address(source),), source, 0.0)
    assert len(book.addresses(peer(2), 1.0)) == len(AddressSource)
    assert book.addresses(peer(2), max(LIFETIMES.values())) == ()


def test_addresses_and_peers_are_bounded() -> None:
    book = AddressBook()
    book.add(peer(3), tuple(address(p) for p in range(1, 100)), AddressSource.IDENTIFY, 0.0)
    assert len(book.addresses(peer(3), 1.0)) == MAX_ADDRESSES_PER_PEER
    small = AddressBook()
    ids = [PeerId(b"\x12\x20" + i.to_bytes(32, "big")) for i in range(MAX_PEERS + 1)]
    for peer_id in ids:
        small.add(peer_id, (address(1),), AddressSource.HEARSAY, 0.0)
    assert small.addresses(ids[0], 1.0) == ()
    assert small.addresses(ids[1], 1.0) == (address(1),)


def test_an_address_that_led_elsewhere_can_be_forgotten() -> None:
    book = AddressBook()
    book.add(peer(4), (address(1),), AddressSource.USER, 0.0)
    book.remove(peer(4), address(1))
    book.remove(peer(5), address(1))
    assert book.addresses(peer(4), 1.0) == ()


def test_so_many_tokens_are_kept_the_newest() -> None:
    book = AddressBook()
    for port in range(MAX_TOKENS + 3):
        book.keep_token(at(port), b"t")
    book.keep_token(at(3), b"new")
    kept = [port for port in range(MAX_TOKENS + 3) if book.token(at(port))]
    assert kept == list(range(3, MAX_TOKENS + 3))
    assert book.token(at(3)) == b"new"
    book.keep_token(at(MAX_TOKENS + 3), b"t")
    assert book.token(at(4)) is None, "the oldest goes"
    assert book.token(transport_multiaddr(SocketAddr("7.0.0.1", 3), TCP)) is None


def at(port: int) -> Multiaddr:
    return noise_udp_multiaddr(SocketAddr("7.0.0.1", port))
