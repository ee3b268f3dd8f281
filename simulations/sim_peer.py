"""A node on a simulated host, as studies need it: it dials, sends a file and takes one."""

from collections.abc import Callable

from p2pnode.errors import P2PNodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_multiaddr import udp_noise_multiaddr
from p2pnode.machine import UdpAddr
from p2pnode.netsim.host import Host
from p2pnode.swarm import Swarm, SwarmConfig
from p2pnode.swarm.events import (
    ConnectionClosed,
    DialFailed,
    DialSucceeded,
    StreamOpened,
    StreamReadable,
    StreamWritable,
    SwarmEvent,
)
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.wire.multiaddr import Multiaddr

PORT = 4001
FILE = "/study/file/1"
WRITE_SIZE = 64 * 1024


class SimPeer:
    """A swarm and the little that a study lets it do."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.connection: int | None = None
        self.has_failed = False
        self.close_reason = ""
        """Why the connection ended, once it has."""
        self.received = bytearray()
        self.is_received = False
        self._source: tuple[SwarmStream, bytes] | None = None
        self._sent = 0
        identity = PrivateKey.generate(host.entropy)
        self.swarm: Swarm = host.attach(
            lambda h: Swarm(
                identity,
                config=SwarmConfig(),
                secret=h.entropy(32),
                entropy=h.entropy,
                rng=h.rng,
                now=h.now,
                unix_now=h.unix_now,
            ),
            self._on_event,
        )
        socket = host.bind(PORT, "0.0.0.0")
        host.call(self.swarm.add_socket, socket, UdpAddr("0.0.0.0", PORT), host.now)
        host.call(self.swarm.handle_interfaces_changed, (host.ip,), host.now)
        host.call(self.swarm.handle_protocol, FILE, host.now)

    @property
    def address(self) -> Multiaddr:
        return udp_noise_multiaddr(UdpAddr(self.host.ip, PORT))

    def dial(self, other: "SimPeer") -> None:
        peer_id, now = other.swarm.peer_id, self.host.now
        self.host.call(self.swarm.dial, peer_id, (other.address,), now)

    def send(self, data: bytes) -> None:
        """Sends over the connection that `dial` made."""
        assert self.connection is not None
        stream = self.host.call(self.swarm.open_stream, self.connection, (FILE,), self.host.now)
        assert stream is not None
        self._source, self._sent = (stream, data), 0
        self.host.call(self._write)

    def _write(self) -> None:
        if self._source is None:
            return
        stream, data = self._source
        while self._sent < len(data):
            taken = stream.write(data[self._sent : self._sent + WRITE_SIZE])
            self._sent += taken
            if not taken:
                return
        stream.finish()
        self._source = None

    def _read(self, stream: SwarmStream) -> None:
        try:
            while data := stream.read(WRITE_SIZE):
                self.received += data
            self.is_received = stream.at_eof
        except P2PNodeError as error:
            self.close_reason = str(error)

    def _on_event(self, event: SwarmEvent) -> None:
        match event:
            case DialSucceeded(_, connection, _):
                self.connection = connection
            case DialFailed():
                self.has_failed = True
            case ConnectionClosed(_, _, reason, _):
                self.close_reason = str(reason)
            case StreamOpened(stream) | StreamReadable(stream) if stream.is_inbound:
                self._read(stream)
            case StreamWritable() if not self.close_reason:
                self.host.call(self._write)
            case _:
                pass


def connected(peer: SimPeer) -> Callable[[], bool]:
    """Returns the condition that a dial is over."""
    return lambda: peer.connection is not None or peer.has_failed
