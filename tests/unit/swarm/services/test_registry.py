"""Which built-in protocols a node has, and what they register."""

from random import Random

import pytest

from p2pnode.clock import UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.protocols import autonat, dcutr, identify, kad, nat_behaviour, ping, relay
from p2pnode.swarm import Swarm, SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.inbound_streams import InboundLimit, LimitScope
from p2pnode.swarm.services.autonat.client import MAX_DIAL_BACK_STREAMS
from p2pnode.swarm.services.relay.client import MAX_OFFERED
from p2pnode.swarm.services.service import Service
from p2pnode.transports.makers import all_makers
from p2pnode.transports.noise_udp.config import TransportConfig

REGISTERED = {
    ping.PROTOCOL_ID: InboundLimit(2),
    identify.PROTOCOL_ID: InboundLimit(16),
    identify.PUSH_PROTOCOL_ID: InboundLimit(16),
    kad.PROTOCOL_ID: InboundLimit(4),
    nat_behaviour.PROTOCOL_ID: InboundLimit(16),
    dcutr.PROTOCOL_ID: InboundLimit(2),
    autonat.V1_PROTOCOL_ID: InboundLimit(2),
    autonat.DIAL_REQUEST_PROTOCOL_ID: InboundLimit(2),
    autonat.DELEGATION_PROTOCOL_ID: InboundLimit(2),
    autonat.HELPER_PROTOCOL_ID: InboundLimit(autonat.HELPER_LIMITS.concurrent_per_peer),
    autonat.DIAL_BACK_PROTOCOL_ID: InboundLimit(MAX_DIAL_BACK_STREAMS, LimitScope.NODE),
    relay.HOP_PROTOCOL_ID: InboundLimit(32),
    relay.CIRCUIT_HOP_PROTOCOL_ID: InboundLimit(32),
    relay.CIRCUIT_STOP_PROTOCOL_ID: InboundLimit(MAX_OFFERED),
}


def swarm(mode: RelayMode = RelayMode.WHEN_PUBLIC) -> Swarm:
    entropy = Random(1).randbytes
    return Swarm(
        PrivateKey.generate(entropy),
        config=SwarmConfig(relay_mode=mode),
        makers=all_makers(TransportConfig(), secret=entropy(32), entropy=entropy, rng=Random(1)),
        entropy=entropy,
        rng=Random(1),
        now=0.0,
        unix_now=UnixTime(1_700_000_000.0),
    )


def registered(mode: RelayMode) -> dict[str, InboundLimit]:
    services = swarm(mode)._services.all
    found = {protocol: limit for each in services for protocol, limit in each.inbound.items()}
    assert len(found) == sum(len(each.inbound) for each in services), "a protocol has one service"
    return found


@pytest.mark.spec("SWARM-24", "NATB-7", "KAD-18", "AUTONAT-23")
def test_each_protocol_registers_how_many_streams_it_takes() -> None:
    assert registered(RelayMode.WHEN_PUBLIC) == REGISTERED


def test_a_node_that_is_no_relay_does_not_speak_its_protocols() -> None:
    hop = {relay.HOP_PROTOCOL_ID, relay.CIRCUIT_HOP_PROTOCOL_ID}
    assert REGISTERED.keys() - registered(RelayMode.OFF).keys() == hop


def test_every_service_that_has_a_name_is_called_and_none_twice() -> None:
    services = swarm()._services
    named = [each for each in vars(services).values() if isinstance(each, Service)]
    assert sorted(map(id, named)) == sorted(map(id, services.all))


def test_a_protocol_that_is_not_served_now_is_not_offered() -> None:
    node = swarm()
    hop = {relay.HOP_PROTOCOL_ID, relay.CIRCUIT_HOP_PROTOCOL_ID}
    assert set(node._services.offered_ids) == REGISTERED.keys() - hop

    node._services.relay_server.set_public(True, 0.0)
    assert set(node._services.offered_ids) == REGISTERED.keys()
