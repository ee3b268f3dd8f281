"""Fuzz targets for a relay and for the ends of its circuits."""

from random import Random
from typing import Final

from p2pnode.clock import UnixTime
from p2pnode.machine import Received, SocketAddr, SocketId, StreamMachine
from p2pnode.protocols.relay import (
    CIRCUIT_HOP_PROTOCOL_ID,
    CIRCUIT_TYPE,
    HEADER_SIZE,
    HOP_PROTOCOL_ID,
    AccessList,
    MonthlyVolume,
    RelayLimits,
)
from p2pnode.protocols.relay.circuit_messages import (
    CircuitClosing,
    CircuitConnect,
    CircuitStatus,
    encode_circuit,
)
from p2pnode.protocols.relay.messages import (
    ConnectRequest,
    HopStatus,
    ReserveRequest,
    StopStatus,
    encode_hop,
    encode_stop,
)
from p2pnode.swarm.circuits import Circuits
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.demultiplexer import demultiplex
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.relay.server import RelayServer
from p2pnode.swarm.services.service import OpenStream
from p2pnode.transports.route import Route
from p2pnode.wire.framing import encode_frame
from tests.fuzz.choices import Choices
from tests.support.addresses import NOISE_UDP
from tests.support.autonat_swarm import FakeFacts
from tests.support.identities import peer_id, private_key

MAX_ACTIONS: Final = 80
SOCKET: Final = SocketId(1)
PEERS: Final = [peer_id(name) for name in ("a", "b", "c")]
LIMITS: Final = RelayLimits(max_circuits=4, max_circuits_per_peer=3, max_reservations=2)
WORDS: Final = [
    encode_hop(ReserveRequest()),
    *(encode_hop(ConnectRequest(peer)) for peer in PEERS),
    *(encode_circuit(CircuitConnect(peer, bytes(8))) for peer in PEERS),
    encode_circuit(CircuitStatus(100, bytes(range(8)))),
    encode_circuit(CircuitStatus(203)),
    encode_circuit(CircuitClosing(203, 1.0)),
    encode_stop(StopStatus(100)),
    encode_stop(StopStatus(203)),
    encode_hop(HopStatus(100)),
]
"""What streams of relays say."""


def address(connection: int) -> SocketAddr:
    return SocketAddr(f"9.8.{connection}.1", 4001)


class _Relay:
    """A relay with three peers, whose streams and packets the fuzzer makes."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.now = 0.0
        self.facts = FakeFacts(SocketAddr("9.9.9.9", 4001))
        for connection, peer in enumerate(PEERS, 1):
            route = Route(SOCKET, None, address(connection))
            self.facts.peers[connection] = Peer(connection, peer, route, False, NOISE_UDP)
        unix = UnixTime(1.7e9)
        self.server = RelayServer(
            self.facts,
            private_key("relay"),
            limits=LIMITS,
            access=AccessList(),
            volume=MonthlyVolume(0, now=0.0, unix_now=unix),
            mode=RelayMode.ALWAYS,
            own_addresses=lambda peer: (),
            entropy=Random(1).randbytes,
            now=0.0,
            unix_now=unix,
        )
        self.streams: list[tuple[int, StreamMachine]] = []

    def act(self) -> None:
        choices = self.choices
        connection = 1 + choices.byte() % len(PEERS)
        match choices.byte() % 8:
            case 0 | 1:
                protocol = (HOP_PROTOCOL_ID, CIRCUIT_HOP_PROTOCOL_ID)[choices.byte() % 2]
                peer = self.facts.peers.get(connection)
                machine = None if peer is None else self.server.accept(peer, protocol, self.now)
                if machine is not None:
                    self.streams.append((connection, machine))
            case 2 | 3:
                self.speak()
            case 4:
                self.end()
            case 5:
                self.send(connection)
            case 6:
                self.now += choices.byte()
                self.tick()
            case _:
                peer = self.facts.peers.get(connection)
                if peer is not None and choices.byte() % 4 == 0:
                    self.disconnect(peer)
        self.drain()

    def speak(self) -> None:
        if not self.streams:
            return
        connection, machine = self.streams[self.choices.byte() % len(self.streams)]
        word = WORDS[self.choices.byte() % len(WORDS)]
        machine.handle_data(encode_frame(self.choices.mutate(word)), self.now)
        self.server.on_progress(connection, machine, self.now)

    def end(self) -> None:
        if not self.streams:
            return
        connection, machine = self.streams[self.choices.byte() % len(self.streams)]
        if self.choices.byte() % 2:
            machine.handle_eof(self.now)
        else:
            machine.handle_reset(self.choices.byte(), self.now)
        self.server.on_progress(connection, machine, self.now)

    def send(self, connection: int) -> None:
        """Sends circuit packets, with ids that are right as often as not."""
        ids = list(self.server._table._flows) or [bytes(8)]
        header = bytes([CIRCUIT_TYPE]) + ids[self.choices.byte() % len(ids)]
        packet = self.choices.mutate(header + self.choices.take(self.choices.byte() % 40))
        if packet:
            step = 1 + self.choices.byte() % len(packet)
            received = Received(SOCKET, None, address(connection), 0, step, packet)
            self.server.handle_circuit_packets([received], self.now)

    def tick(self) -> None:
        self.server.handle_timeout(self.now)
        for connection, machine in list(self.streams):
            machine.handle_timeout(self.now)
            self.server.on_progress(connection, machine, self.now)

    def disconnect(self, peer: Peer) -> None:
        del self.facts.peers[peer.connection]
        for connection, machine in list(self.streams):
            if connection == peer.connection:
                machine.handle_reset(0, self.now)
                self.server.on_stream_failed(connection, machine, "gone", self.now)
                self.streams.remove((connection, machine))
        self.server.on_disconnected(peer, self.now)

    def drain(self) -> None:
        """Takes what comes out, and runs the streams that the relay opens."""
        while commands := self.server.poll_commands():
            for command in commands:
                match command:
                    case OpenStream(connection, _, machine) if connection in self.facts.peers:
                        self.streams.append((connection, machine))
                    case OpenStream(connection, _, machine):
                        self.server.on_stream_failed(connection, machine, "gone", self.now)
                    case _:
                        pass
        self.server.poll_events()
        known = {peer.route.remote: None for peer in self.facts.peers.values()}
        for transmit in self.server.poll_transmits(self.now):
            assert transmit.remote in known, "a packet to somebody who is not connected"
            assert transmit.buffer[0] == CIRCUIT_TYPE
        assert self.server.circuits <= LIMITS.max_circuits
        assert len(self.server.reservations()) <= LIMITS.max_reservations
        for connection, machine in list(self.streams):
            machine.poll_output()
            if machine.is_done and machine.poll_timeout() is None:
                self.server.on_progress(connection, machine, self.now)
                self.streams.remove((connection, machine))


def fuzz_relay_server(data: bytes) -> None:
    """Whatever its peers say and send, a relay keeps its limits, and nothing stays behind."""
    choices = Choices(data)
    relay = _Relay(choices)
    for _ in range(MAX_ACTIONS):
        if choices.is_empty:
            break
        relay.act()
    for peer in list(relay.facts.peers.values()):
        relay.disconnect(peer)
        relay.drain()
    assert relay.server.circuits == 0
    assert relay.server.reservations() == {}
    assert not relay.server._table
    assert relay.server._streams._asking == {}


def fuzz_circuits(data: bytes) -> None:
    """Whatever a read brings, each datagram has one owner, and circuits keep theirs apart."""
    choices = Choices(data)
    hop = Route(SOCKET, None, address(1))
    circuits = Circuits({1: hop}.get)
    routes = [circuits.open(1, bytes([n]) * 8, bytes([n]) * 8) for n in range(3)]
    source = address(1 + choices.byte() % 2)
    joined = bytearray()
    step = 1 + choices.byte() % 40
    while not choices.is_empty:
        head = (bytes([CIRCUIT_TYPE]) + bytes([choices.byte() % 4]) * 8, b"\x98", b"\x80", b"")
        joined += (head[choices.byte() % 4] + choices.take(step))[:step].ljust(step, b"\0")
    cut = joined[: len(joined) - choices.byte() % step] if joined else joined
    batch = [Received(SOCKET, None, source, 0, step, bytes(cut))]
    transport, wrapped, probes = demultiplex(batch)
    sizes = [len(part.buffer) for part in (*transport, *wrapped, *probes)]
    assert sum(sizes) == len(cut)
    ours, rest = circuits.unwrap(wrapped)
    assert not ours or source == hop.remote, "a packet from elsewhere than the relay"
    for part in ours:
        assert part.socket in [route.socket for route in routes if route is not None]
        assert part.segment_size + HEADER_SIZE <= max(step, len(part.buffer) + HEADER_SIZE)
    assert sum(len(part.buffer) for part in (*ours, *rest)) <= sum(
        len(part.buffer) for part in wrapped
    )
