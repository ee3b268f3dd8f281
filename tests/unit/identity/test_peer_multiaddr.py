"""Multiaddrs with peer ids."""

import pytest

from p2pnode.errors import AddressError
from p2pnode.identity.peer_multiaddr import split_peer_id, with_peer_id
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.identities import peer_id

ALICE, BOB = peer_id("alice"), peer_id("bob")


def test_a_peer_id_is_added_once_and_never_replaced() -> None:
    plain = parse_multiaddr("/ip4/1.2.3.4/udp/1/noise")
    named = with_peer_id(plain, ALICE)

    assert split_peer_id(named) == (plain, ALICE)
    assert split_peer_id(plain) == (plain, None)
    assert with_peer_id(named, ALICE) == named
    with pytest.raises(AddressError):
        with_peer_id(named, BOB)


def test_at_a_circuit_the_last_id_counts() -> None:
    relayed = parse_multiaddr(f"/ip4/1.2.3.4/udp/1/noise/p2p/{ALICE}/p2p-circuit")

    assert split_peer_id(relayed) == (relayed, None)
    assert split_peer_id(with_peer_id(relayed, BOB)) == (relayed, BOB)
