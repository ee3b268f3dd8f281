"""A whole swarm, and authenticated peers of it that say whatever they are told to.

What the swarm does is watched by netsim's `Contract`, so that it may raise nothing.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import ParamSpec, TypeVar

from p2pnode.clock import UnixTime
from p2pnode.drain import drain_once
from p2pnode.errors import P2PNodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import Received, SocketAddr, SocketId, Transmit
from p2pnode.netsim.contract import Contract
from p2pnode.protocols.relay import CIRCUIT_TYPE, HEADER_SIZE
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.events import ConnectionEstablished, SwarmEvent
from p2pnode.swarm.swarm import Swarm
from p2pnode.transports.delivery.frame import Ack, stream_header
from p2pnode.transports.makers import all_makers
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.frame import encode_ack
from p2pnode.wire.multiaddr import Multiaddr
from p2pnode.wire.multistream.messages import encode_message
from tests.support.addresses import noise_udp_multiaddr
from tests.support.identities import private_key
from tests.support.noise_udp import parameters
from tests.support.raw_peer import RawPeer

SOCKET, PROBE_SOCKET = SocketId(0), SocketId(1)
OWN = SocketAddr("9.9.9.9", 4001)
HEADER = encode_message("/multistream/1.0.0")
MAX_ROUNDS = 1000
P = ParamSpec("P")
T = TypeVar("T")


class BrokenContractError(AssertionError):
    """The swarm did what a machine must not do."""


class RawSwarm:
    """A swarm with two sockets, in virtual time."""

    def __init__(self, config: SwarmConfig, seed: int = 1) -> None:
        self.now = 100.0
        entropy = Random(f"{seed}/entropy").randbytes
        self.swarm = Swarm(
            private_key("swarm"),
            config=config,
            makers=all_makers(
                TransportConfig(), secret=entropy(32), entropy=entropy, rng=Random(seed)
            ),
            entropy=entropy,
            rng=Random(seed),
            now=self.now,
            unix_now=UnixTime(1.7e9),
        )
        self.machine: Contract[SwarmEvent] = Contract(self.swarm, BrokenContractError)
        self.events: list[SwarmEvent] = []
        self.peers: dict[SocketAddr, RawSwarmPeer] = {}
        self.sent: list[Transmit] = []
        """What went to others than the peers."""
        self.call(self.swarm.handle_interfaces_changed, (OWN.ip,), self.now)
        self.call(self.swarm.add_socket, SOCKET, OWN, self.now)
        self.call(self.swarm.add_probe_socket, PROBE_SOCKET, OWN._replace(port=4002))

    def peer(self, number: int, *, is_initiator: bool) -> "RawSwarmPeer":
        """Returns a peer that is connected."""
        peer = RawSwarmPeer(self, number, is_initiator=is_initiator)
        self.peers[peer.address] = peer
        peer.connect()
        return peer

    def call(self, command: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Gives a command; None where it told its caller that this cannot be."""
        try:
            return self.machine.call(command, *args, **kwargs)
        except P2PNodeError:
            return None
        finally:
            self.drain()

    def receive(self, *received: Received) -> None:
        self.machine.handle_received(received, self.now)
        self.drain()

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        end = self.now + seconds
        while (deadline := self.machine.poll_timeout()) is not None and deadline.at <= end:
            self.now = max(self.now, deadline.at)
            self.machine.handle_timeout(self.now)
            self.drain()
        self.now = end

    def drain(self) -> None:
        for _ in range(MAX_ROUNDS):
            if not drain_once(self.machine, self.now, self._send, self.events.append):
                return
        raise BrokenContractError("the swarm does not come to rest")

    def _send(self, transmit: Transmit) -> None:
        if transmit.buffer[0] == CIRCUIT_TYPE:  # it goes on to whoever it is for
            size, inside = transmit.segment_size, bytes(transmit.buffer)
            for start in range(0, len(inside), size):
                for each in self.peers.values():
                    each.take(inside[start + HEADER_SIZE : start + size])
            return
        peer = self.peers.get(transmit.remote)
        if peer is None:
            self.sent.append(transmit)
            return
        buffer, step = bytes(transmit.buffer), transmit.segment_size
        for start in range(0, len(buffer), step):
            peer.take(buffer[start : start + step])


class RawSwarmPeer(RawPeer):
    """One connection with a `RawSwarm`."""

    def __init__(self, world: RawSwarm, number: int, *, is_initiator: bool) -> None:
        super().__init__(
            is_initiator=is_initiator,
            seed=number,
            name=f"raw peer {number}",
            our_parameters=parameters(0xABCD00 + number),
        )
        self.world = world
        self.address = SocketAddr(f"{20 + number}.7.7.7", 7777)
        self.streams: dict[int, int] = {}
        """Streams of either side -> how many bytes we have sent on them."""
        self._next_stream = 0 if is_initiator else 1
        self._acked = 0
        self._seen = 0

    @property
    def peer_id(self) -> PeerId:
        return self._credentials.peer_id

    @property
    def multiaddr(self) -> Multiaddr:
        return noise_udp_multiaddr(self.address)

    def connect(self, payload: bytes = b"\x01") -> None:
        if self.is_initiator:
            self._connect_as_initiator(payload)
        else:
            self._connect_as_responder(payload)
        (self.handle,) = [
            event.connection
            for event in self.world.events
            if isinstance(event, ConnectionEstablished) and event.peer_id == self.peer_id
        ]

    def dial(self) -> None:
        swarm = self.world.swarm
        self.world.call(swarm.dial, self.peer_id, [self.multiaddr], self.world.now)

    def deliver(self, *datagrams: bytes, source: SocketAddr | None = None) -> None:
        make = partial(Received, SOCKET, OWN.ip, source or self.address, 0)
        self.world.receive(*[make(max(1, len(d)), d) for d in datagrams])

    def drain(self) -> list[object]:
        self.world.drain()
        return []

    # what an honest peer does as well

    def acknowledge(self) -> None:
        """Acknowledges all that came since the last time."""
        for path_id in {packet.path_id for packet in self.opened[self._acked :]}:
            numbers = [p.number for p in self.opened[self._acked :] if p.path_id == path_id]
            for number in sorted(set(numbers))[-8:]:
                self.send(encode_ack(Ack(path_id, 0, ((number, number + 1),))))
        self._acked = len(self.opened)

    def ask(self, protocol: str, data: bytes) -> int:
        """Opens a stream, and says the first thing on it."""
        stream_id = self._next_stream
        self._next_stream += 2
        self.say(stream_id, HEADER + encode_message(protocol) + data)
        return stream_id

    def say(self, stream_id: int, data: bytes, *, is_end: bool = False) -> None:
        """Says more on a stream."""
        offset = self.streams.get(stream_id, 0)
        self.streams[stream_id] = offset + len(data)
        self.send(stream_header(stream_id, offset, is_end, len(data)) + data)

    def asked(self) -> list[tuple[int, str]]:
        """Returns the streams that the swarm opened since the last time, with their protocols."""
        found = list[tuple[int, str]]()
        for packet in self.opened[self._seen :]:
            for each in packet.frames:
                if type(each) is tuple and each[1] == 0 and each[2].startswith(HEADER):
                    line = each[2][len(HEADER) + 1 :]
                    found.append((each[0], line.partition(b"\n")[0].decode("utf-8", "replace")))
        self._seen = len(self.opened)
        return [(stream, name) for stream, name in found if stream % 2 != self._next_stream % 2]
