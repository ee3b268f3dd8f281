"""What one packet of each cheap flood carries: as much work for the receiver as its bytes buy."""

from collections.abc import Callable
from typing import Final

from p2pnode.machine import SocketAddr
from p2pnode.protocols import identify
from p2pnode.protocols.identify.messages import IdentifyMessage, encode_identify_frames
from p2pnode.transports.delivery.frame import ResetStream, stream_header
from p2pnode.transports.noise_udp.frame import ObservedAddress, RetireConnectionId
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.multistream.messages import MULTISTREAM_PROTOCOL, encode_message
from tests.siege.hostile_peer import HostilePeer

ROOM: Final = 1150
"""bytes of frames in a packet, below what every path carries"""
SPARE_PATH: Final = 1
"""A path id that both sides have ids for before it is opened."""
Payload = Callable[[HostilePeer], bytes]
"""What a peer's next packet carries; empty where it may send nothing now."""

_PUSHED: Final = encode_identify_frames(
    IdentifyMessage(
        listen_addrs=tuple(parse_multiaddr(f"/ip4/99.1.1.{n}/udp/1/noise") for n in range(4)),
        protocols=tuple(f"/siege/{n}" for n in range(8)),
    )
)


def pings(_: HostilePeer) -> bytes:
    return b"\x01" * ROOM


def observed_addresses(peer: HostilePeer) -> bytes:
    """Says that the victim is always somewhere else."""
    said: list[bytes] = []
    while sum(map(len, said)) < ROOM - 20:
        number = peer.next_number()
        address = SocketAddr(f"99.1.{number >> 8 & 255}.{number & 255}", 1024 + number % 60000)
        said.append(ObservedAddress(0, number, address).encode())
    return b"".join(said)


def empty_stream_frames(peer: HostilePeer) -> bytes:
    """STREAM frames of no bytes for one stream that stays open."""
    if peer.streams_opened == 0 and peer.open_stream() is None:
        return b""
    frame = stream_header(0, 0, fin=False, length=0)
    return frame * (ROOM // len(frame))


def provoked_frames(peer: HostilePeer) -> bytes:
    """Gives connection ids back, one after the other: each has to be replaced by a frame."""
    frames = (RetireConnectionId(SPARE_PATH, peer.next_number() - 1) for _ in range(100))
    return b"".join(frame.encode() for frame in frames)


def short_streams(peer: HostilePeer) -> bytes:
    """Opens streams and ends both of their directions in the same packet."""
    return _streams(
        peer, lambda n: stream_header(n, 0, fin=True, length=0) + ResetStream(n, 0, 0).encode()
    )


def identify_requests(peer: HostilePeer) -> bytes:
    """Asks on stream after stream who the victim is."""
    return _streams(peer, lambda n: _request(n, identify.PROTOCOL_ID))


def identify_pushes(peer: HostilePeer) -> bytes:
    """Says on stream after stream who it is itself."""
    return _streams(peer, lambda n: _request(n, identify.PUSH_PROTOCOL_ID, _PUSHED))


def reset_streams(peer: HostilePeer) -> bytes:
    """Begins a request on stream after stream and takes it back in the same packet."""
    return _streams(
        peer,
        lambda n: (
            _request(n, identify.PROTOCOL_ID, fin=False)
            + ResetStream(n, 0, len(_words(identify.PROTOCOL_ID))).encode()
        ),
    )


def _words(protocol: str) -> bytes:
    return encode_message(MULTISTREAM_PROTOCOL) + encode_message(protocol)


def _request(stream_id: int, protocol: str, message: bytes = b"", *, fin: bool = True) -> bytes:
    data = _words(protocol) + message
    return stream_header(stream_id, 0, fin=fin, length=len(data)) + data


def _streams(peer: HostilePeer, frames: Callable[[int], bytes]) -> bytes:
    """Returns the frames of as many new streams as there is room for."""
    payload = b""
    while len(payload) < ROOM - 200:
        stream_id = peer.open_stream()
        if stream_id is None:
            break
        payload += frames(stream_id)
    return payload


class Holes:
    """Out-of-order data, a byte missing at the front, up to what the windows allow."""

    def __init__(self, *, piece: int, step: int) -> None:
        """`piece` bytes are sent of every `step`; the rest are holes."""
        self._piece, self._step = piece, step
        self._next: dict[int, int] = {}

    def __call__(self, peer: HostilePeer) -> bytes:
        payload = b""
        while len(payload) + self._piece <= ROOM - 10:
            at = self._next.get(peer.connection_id, 1)
            if at + self._step > MAX_REACH:
                return payload
            stream_id, offset = divmod(at, STREAM_REACH)
            if stream_id >= peer.streams_opened and peer.open_stream() is None:
                return payload
            frame = stream_header(stream_id << 1, max(offset, 1), fin=False, length=self._piece)
            payload += frame + bytes(self._piece)
            self._next[peer.connection_id] = at + self._step
        return payload


STREAM_REACH: Final = (2 << 20) - 4096
"""bytes of a stream's window that a peer of default limits may use"""
MAX_REACH: Final = (3 << 20) - (64 << 10)
"""bytes of a connection's window, less a little for what is counted otherwise"""
