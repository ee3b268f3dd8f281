"""Takes the packets of the handshake: Initial, Handshake and Retry.

Those that came before their keys are kept, for reordered ones would have to be sent again.  Nothing
of them is authenticated, so few are.
"""

from typing import Final

from p2pnode.clock import Instant
from p2pnode.machine import Received
from p2pnode.transports.quic_v1.connection_id import RemoteIds
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.handshaking import Handshaking, PacketIds
from p2pnode.transports.quic_v1.packet import Packet, PacketType, is_retry_intact
from p2pnode.transports.quic_v1.packet_receiver import PacketReceiver
from p2pnode.transports.quic_v1.packet_space import PacketSpace
from p2pnode.transports.quic_v1.path import Path
from p2pnode.transports.route import route_of

MAX_EARLY_PARTS: Final = 10
"""packets of one connection; chosen: the flight of a server, or an initial window"""
MAX_EARLY_BYTES: Final = 16 * 1024
"""bytes of their datagrams; chosen: ten of a path with an MTU of 1500"""


class EarlyReceiver:
    """Of one connection, until its handshake is over."""

    __slots__ = (
        "_handshaking",
        "_kept",
        "_path",
        "_peer_source",
        "_receiver",
        "_remote_ids",
        "_retry_source",
        "_size",
    )

    def __init__(
        self,
        handshaking: Handshaking,
        receiver: PacketReceiver,
        remote_ids: RemoteIds,
        path: Path,
        peer_source: bytes,
    ) -> None:
        """`peer_source` is that of the peer's first Initial, empty where it is still to come."""
        self._handshaking = handshaking
        self._receiver = receiver
        self._remote_ids = remote_ids
        self._path = path
        self._peer_source = peer_source if not handshaking.is_client else None
        self._retry_source: bytes | None = None
        self._kept: list[tuple[Received, Packet]] = []
        self._size = 0

    def packet_ids(self, original_destination: bytes | None) -> PacketIds:
        """Returns what the peer's parameters have to say."""
        assert self._peer_source is not None
        return PacketIds(self._peer_source, original_destination, self._retry_source)

    def take(self, received: Received, packet: Packet, now: Instant) -> bool:
        """Takes a packet of a datagram; returns whether it was authentic.  Raises TransportError.

        1-RTT packets are kept: they come here while there are no keys for them.
        """
        handshaking = self._handshaking
        match packet.kind:
            case PacketType.INITIAL | PacketType.HANDSHAKE:
                is_initial = packet.kind is PacketType.INITIAL
                space = handshaking.initial if is_initial else handshaking.handshake
                if self._peer_source not in (None, packet.source):
                    return False
                if space.read is not None:
                    return self._open(received, packet, space, now)
                if not space.is_discarded:
                    self._keep(received, packet)
            case PacketType.RETRY:
                self._on_retry(bytes(received.buffer), packet)
            case PacketType.SHORT:
                self._keep(received, packet)
            case PacketType.ZERO_RTT:
                pass
        return False

    def take_kept(self) -> tuple[Received, Packet] | None:
        """Returns a packet whose keys have come, or are gone, or None."""
        for index, (received, packet) in enumerate(self._kept):
            if packet.kind is PacketType.SHORT:
                is_ready = self._handshaking.keys is not None
            else:
                space = self._handshaking.handshake
                is_ready = space.read is not None or space.is_discarded
            if is_ready:
                del self._kept[index]
                self._size -= len(received.buffer)
                return received, packet
        return None

    def _keep(self, received: Received, packet: Packet) -> None:
        size = len(received.buffer)
        if len(self._kept) < MAX_EARLY_PARTS and self._size + size <= MAX_EARLY_BYTES:
            self._kept.append((received, packet))
            self._size += size

    def _open(self, received: Received, packet: Packet, space: PacketSpace, now: Instant) -> bool:
        datagram, route = bytes(received.buffer), route_of(received)
        is_first, previous = self._peer_source is None, self._remote_ids.current
        if is_first:
            # Believed if the packet proves authentic: what answers it has to know.
            self._remote_ids.replace_first(packet.source)
            self._peer_source = packet.source
        if not self._receiver.take_early(datagram, packet, space, route, now):
            if is_first:
                self._remote_ids.replace_first(previous)
                self._peer_source = None
            return False
        handshaking = self._handshaking
        if space.epoch is Epoch.HANDSHAKE and not handshaking.is_client:
            self._path.is_proven = True
            if not handshaking.initial.is_discarded:
                handshaking.initial.discard()
        return True

    def _on_retry(self, datagram: bytes, packet: Packet) -> None:
        """The server wants proof of our address first; once, or it would go on for ever."""
        destination = self._remote_ids.current
        if (
            not self._handshaking.is_client
            or self._retry_source is not None
            or self._receiver.packets_received
            or packet.source == destination
            or not is_retry_intact(datagram[packet.start :], destination)
        ):
            return
        self._retry_source = packet.source
        self._remote_ids.replace_first(packet.source)
        self._handshaking.token = packet.token
        self._handshaking.set_initial_keys(packet.source)
        self._handshaking.restart()
