"""Who gets what came, and what leaves, of a swarm over scripted transports: datagram_side.py."""

from random import Random
from typing import TYPE_CHECKING, cast

import pytest

from p2pnode.clock import UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.machine import Received, SocketAddr, SocketId, Transmit
from p2pnode.protocols.autonat import PROBE_FIRST_BYTE
from p2pnode.protocols.relay import CIRCUIT_TYPE
from p2pnode.swarm import Swarm, SwarmConfig
from p2pnode.transports.commons import Commons
from p2pnode.transports.registry import Makers
from p2pnode.transports.route import Route, transmit_of
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, QUIC_V1
from tests.support.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from p2pnode.transports.contract import DatagramTransport

HERE, PROBES = SocketId(1), SocketId(2)
THERE = SocketAddr("198.51.100.9", 4001)


class World:
    """A swarm with two transports, which share its sockets."""

    def __init__(self) -> None:
        self.own: list[ScriptedTransport] = []
        self.strangers: list[ScriptedTransport] = []
        rng = Random(1)
        self.swarm = Swarm(
            PrivateKey(bytes(32)),
            config=SwarmConfig(),
            makers=Makers((self._maker(NOISE_UDP, 128), self._maker(QUIC_V1, 64))),
            entropy=rng.randbytes,
            rng=rng,
            now=0.0,
            unix_now=UnixTime(0.0),
        )
        self.swarm.add_socket(HERE, SocketAddr("0.0.0.0", 4001), 0.0)
        self.swarm.add_probe_socket(PROBES, SocketAddr("0.0.0.0", 5001))

    def _maker(self, name: TransportName, first_byte: int):
        def make(identity: PrivateKey, commons: Commons, *, serves: bool, **_: object):
            made = ScriptedTransport(name, commons, [first_byte])
            (self.own if serves else self.strangers).append(made)
            return cast("DatagramTransport", made)

        return make

    def take(self, *pieces: bytes, socket: SocketId = HERE) -> None:
        data = b"".join(pieces)
        batch = [Received(socket, "10.0.0.1", THERE, 0, len(pieces[0]), data)]
        self.swarm.handle_received(batch, 1.0)

    def send(self) -> list[Transmit]:
        return self.swarm.poll_transmits(1.0)


@pytest.mark.spec("TRANSPORTS-8")
def test_each_transport_gets_its_own_of_a_read_and_probes_and_circuits_go_to_none() -> None:
    world = World()
    noise, quic = bytes([128, 1]), bytes([64, 2])
    world.take(noise, quic, bytes([PROBE_FIRST_BYTE, 3]), bytes([CIRCUIT_TYPE, 4]), noise)
    of_noise, of_quic = world.own
    assert b"".join(of_noise.received) == noise + noise
    assert of_quic.received == [quic]
    assert world.swarm.facts.counts.byte_totals()[2] == 3 * 2


def test_what_comes_where_dial_backs_leave_from_is_theirs_alone() -> None:
    world = World()
    world.take(bytes([128, 1]), socket=PROBES)
    assert [each.received for each in world.own] == [[], []]
    assert world.strangers[0].received == [bytes([128, 1])]


@pytest.mark.spec("SWARM-34")
def test_all_transports_leave_by_the_same_sockets_and_what_leads_nowhere_stays() -> None:
    world = World()
    world.take(bytes([64, 2]))  # a transport that nothing was given to sleeps
    for number, each in enumerate(world.own):
        each.out = [transmit_of(Route(HERE, None, THERE), bytes([number]))]
    world.own[0].out.append(transmit_of(Route(SocketId(-1), None, THERE), b"of a circuit"))
    assert [(sent.socket, bytes(sent.buffer)) for sent in world.send()] == [
        (HERE, b"\0"),
        (HERE, b"\1"),
    ]
    assert world.swarm.facts.counts.byte_totals()[0] == 2
