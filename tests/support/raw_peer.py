"""A peer that seals whatever it is told to: frames and numbers that an honest one never sends."""

from collections import Counter
from dataclasses import dataclass, replace

from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.transports.delivery.frame import STREAM_TYPES, decode_stream_untrusted
from p2pnode.transports.events import Connected, TransportEvent
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.frame import Frame, NewConnectionId, decode_frame_untrusted
from p2pnode.transports.noise_udp.handshake import InitiatorHandshake, ResponderHandshake, Secrets
from p2pnode.transports.noise_udp.packet import (
    DATA,
    HandshakeType,
    decode_initial_untrusted,
    decode_message_untrusted,
)
from p2pnode.transports.noise_udp.parameters import TransportParameters
from tests.support.noise_udp import credentials, entropy, parameters, route
from tests.support.pair import make_endpoint
from tests.support.raw_packets import RawPackets

OUR_ID = 0xABCD
OUR_ADDRESS = SocketAddr("198.51.100.7", 7777)


@dataclass(frozen=True)
class Opened:
    """A packet that the endpoint sent to us."""

    path_id: int
    number: int
    size: int
    """bytes of the datagram"""
    payload: bytes

    @property
    def frames(self) -> list[Frame | tuple[int, int, bytes, bool]]:
        """Returns the frames; STREAM as (id, offset, data, fin), PADDING left out."""
        found: list[Frame | tuple[int, int, bytes, bool]] = []
        position = 0
        while position < len(self.payload):
            kind = self.payload[position]
            if kind == 0:
                position += 1
            elif kind in STREAM_TYPES:
                *stream, position = decode_stream_untrusted(self.payload, position)
                found.append(tuple(stream))
            else:
                frame, position = decode_frame_untrusted(self.payload, position)
                found.append(frame)
        return found


class RawPeer:
    """One connection with an endpoint under test, as its initiator or its responder."""

    def __init__(
        self,
        *,
        is_initiator: bool = True,
        seed: int = 1,
        aead: Aead = Aead.CHACHA20_POLY1305,
        config: TransportConfig | None = None,
        our_parameters: TransportParameters | None = None,
        name: str = "raw peer",
    ) -> None:
        self.now = 100.0
        self.aead = aead
        self.is_initiator = is_initiator
        self.address = OUR_ADDRESS
        config = config or TransportConfig()
        self.endpoint, self.endpoint_id = make_endpoint(
            "endpoint", config=config, now=self.now, seed=seed
        )
        self.parameters = our_parameters or parameters(OUR_ID)
        if is_initiator:
            self.parameters = replace(self.parameters, aeads=(int(aead),))
        self._packets: RawPackets | None = None
        self.opened: list[Opened] = []
        self.datagrams: list[bytes] = []
        """All that the endpoint sent, handshake packets too."""
        self.bytes_to: Counter[SocketAddr] = Counter()
        """How many bytes went to each address."""
        self.events: list[TransportEvent] = []
        self._credentials = credentials(name)
        self._entropy = entropy(f"raw/{seed}")

    def connect(self, payload: bytes = b"\x01") -> None:
        """Makes the connection; an initiator's first packet carries `payload`."""
        if self.is_initiator:
            self._connect_as_initiator(payload)
        else:
            self._connect_as_responder(payload)
        self.drain()
        (self.handle,) = [e.handle for e in self.events if isinstance(e.event, Connected)]

    @property
    def close_code(self) -> int | None:
        """The code of the CONNECTION_CLOSE that came last, if any did."""
        closes = [f.code for packet in self.opened for f in packet.frames if is_close(f)]
        return closes[-1] if closes else None

    @property
    def packets(self) -> RawPackets:
        assert self._packets is not None, "the handshake is not over"
        return self._packets

    @property
    def ids(self) -> dict[int, int]:
        """Returns the endpoint's id for each path id."""
        return self.packets.ids

    @property
    def next_number(self) -> dict[int, int]:
        """Returns the number of the next packet on each path id."""
        return self.packets.next_number

    def seal(self, payload: bytes, *, path_id: int = 0, number: int | None = None) -> bytes:
        """Returns a data packet of any payload."""
        return self.packets.seal(payload, path_id=path_id, number=number)

    def send(self, payload: bytes, **where: int) -> None:
        """Delivers a packet of any payload and takes what comes back."""
        self.deliver(self.seal(payload, **where))

    def deliver(self, *datagrams: bytes, source: SocketAddr | None = None) -> None:
        """Delivers datagrams in one batch and takes what comes back."""
        remote = source or self.address
        batch = [Received(SocketId(0), None, remote, 0, max(1, len(d)), d) for d in datagrams]
        self.endpoint.handle_received(batch, self.now)
        self.drain()

    def wait(self, seconds: float) -> None:
        """Lets time pass for the endpoint."""
        end = self.now + seconds
        while True:
            self.drain()
            deadline = self.endpoint.poll_timeout()
            if deadline is None or deadline.at > end:
                break
            self.now = max(self.now, deadline.at)
            self.endpoint.handle_timeout(self.now)
        self.now = end

    def drain(self) -> list[Opened]:
        """Takes everything out of the endpoint; returns the packets that came."""
        before = len(self.opened)
        for _ in range(1000):
            transmits = self.endpoint.poll_transmits(self.now)
            for transmit in transmits:
                self.bytes_to[transmit.remote] += len(transmit.buffer)
                step, buffer = transmit.segment_size, bytes(transmit.buffer)
                for start in range(0, len(buffer), step):
                    self.take(buffer[start : start + step])
            if not transmits:
                break
        self.events += self.endpoint.poll_events()
        return self.opened[before:]

    def open(self, datagram: bytes) -> Opened | None:
        """Opens a data packet for this peer; None for anybody else's."""
        opened = None if self._packets is None else self._packets.open(datagram)
        if opened is None:
            return None
        path_id, number, payload = opened
        return Opened(path_id, number, len(datagram), payload)

    def take(self, datagram: bytes) -> None:
        """Takes a datagram that was sent to us."""
        self.datagrams.append(datagram)
        if datagram[0] == HandshakeType.FINAL and not self.is_initiator:
            _, message, end = decode_message_untrusted(datagram)
            introduction, secrets = self._responder.read_final_untrusted(message)
            self._set_keys(introduction.parameters.connection_id, secrets)
            datagram = datagram[end:]
        if not datagram or datagram[0] & 0xFE != DATA or self._packets is None:
            return
        packet = self.open(datagram)
        if packet is not None:
            self._remember(packet)

    def _remember(self, packet: Opened) -> None:
        self.opened.append(packet)
        for frame in packet.frames:
            if isinstance(frame, NewConnectionId):
                self.ids.setdefault(frame.path_id, int.from_bytes(frame.connection_id, "big"))

    def _connect_as_initiator(self, payload: bytes) -> None:
        handshake = InitiatorHandshake(
            self._credentials,
            self._entropy,
            destination=int.from_bytes(self._entropy(8), "big"),
            source=self.parameters.connection_id,
            token=b"",
        )
        self.deliver(handshake.packet)
        _, message, _ = decode_message_untrusted(self.datagrams[-1])
        answer = handshake.read_response_untrusted(message)
        final, secrets = handshake.finish(answer, self.parameters)
        self._set_keys(answer.introduction.parameters.connection_id, secrets)
        self.deliver(final + self.seal(payload))

    def _connect_as_responder(self, payload: bytes) -> None:
        self.dial()
        self.drain()
        initial = decode_initial_untrusted(self.datagrams[-1])
        self._responder = ResponderHandshake(
            self._credentials, self._entropy, initial, self.parameters
        )
        self.deliver(self._responder.packet)
        self.deliver(self.seal(payload))

    def dial(self) -> None:
        """Has the endpoint begin a handshake with us."""
        self.endpoint.dial(route(self.address), self._credentials.peer_id, self.now)

    def _set_keys(self, connection_id: int, secrets: Secrets) -> None:
        self._packets = RawPackets(
            secrets, self.aead, connection_id, is_initiator=self.is_initiator
        )


def is_close(frame: object) -> bool:
    return type(frame).__name__ == "ConnectionClose"
