"""Handshakes that never end, by themselves and with data in front of their missing end."""

from random import Random
from typing import Final

from p2pnode.transports.datagrams.frame import ConnectionClose
from p2pnode.transports.noise_udp.packet import (
    DATA,
    DATA_HEADER,
    PATTERN_XX,
    VERSION,
    HandshakeType,
    Initial,
    decode_retry_untrusted,
)
from tests.siege.attack import DIAL_PATIENCE, Dialling, Field, Outgoing, make_credentials
from tests.siege.hostile_peer import HostilePeer, Stage

MAX_REMEMBERED: Final = 4096
"""handshakes whose Retry is still followed"""
EARLY_SIZES: Final = (65_507, 1_400)
"""bytes of packets in front of message 3: the longest that UDP has, and ten that fit the bound"""
EARLY_PACKETS: Final = 10


class HalfOpen:
    """Message 1 without end and never message 3; a Retry is followed, which costs no more."""

    def __init__(self, name: str, rate: float, field: Field) -> None:
        self.name, self.rate, self.field = name, rate, field
        self.retries = 0
        self._rng = Random(int.from_bytes(field.entropy(8), "big"))
        self._answers: list[tuple[int, bytes]] = []
        self._sent: dict[int, tuple[int, int]] = {}
        """our id -> address and destination id; the last ones that went out"""
        self._count = 0

    def step(self, send: Outgoing, now: float) -> bool:
        if self._answers:
            send(*self._answers.pop())
            return True
        self._count += 1
        source, ours = self._count % self.field.sources, self._rng.getrandbits(64)
        destination = self._rng.getrandbits(64)
        send(source, self._initial(destination, ours, b""))
        self._sent[ours] = (source, destination)
        self.field.meet(ours, self, None)
        if len(self._sent) > MAX_REMEMBERED:
            oldest = next(iter(self._sent))
            del self._sent[oldest]
            self.field.leave(oldest)
        return True

    def _initial(self, destination: int, ours: int, token: bytes) -> bytes:
        """A public key is 32 bytes like any others, as long as nobody has to know its secret."""
        message = self._rng.randbytes(32) + bytes((VERSION,))
        return Initial(VERSION, PATTERN_XX, destination, ours, token, message).encode()

    def on_datagram(self, peer: HostilePeer | None, datagram: bytes, now: float) -> None:
        if datagram[0] != HandshakeType.RETRY or len(self._answers) >= MAX_REMEMBERED:
            return
        retry = decode_retry_untrusted(datagram)
        found = self._sent.get(retry.destination)
        if found is not None:
            self.retries += 1
            source, destination = found
            initial = self._initial(destination, retry.destination, retry.token)
            self._answers.append((source, initial))


class EarlyPackets(Dialling):
    """Data packets for handshakes whose message 3 never comes, from addresses that are proven."""

    def __init__(self, name: str, rate: float, field: Field) -> None:
        super().__init__(name, rate, field)
        self._credentials = make_credentials(field.entropy)
        self._tokens: dict[int, bytes] = {}
        self._peers: dict[int, HostilePeer] = {}
        self._count = 0

    def step(self, send: Outgoing, now: float) -> bool:
        if self.answer(send):
            return True
        self._count += 1
        source = self._count % self.field.sources
        peer = self._peers.get(source)
        if peer is None or peer.stage is Stage.ENDED or now > peer.last_heard + DIAL_PATIENCE:
            self._begin(source, now)
            return True
        if peer.is_open and peer.new_token:
            self._tokens[source] = peer.new_token
            send(source, peer.seal(ConnectionClose(0, 0, "", False).encode()))
            self._begin(source, now)
            return True
        if peer.stage is not Stage.ANSWERED:
            return False
        size = EARLY_SIZES[self._count // self.field.sources % len(EARLY_SIZES)]
        for number in range(EARLY_PACKETS):
            header = DATA_HEADER.pack(DATA, peer.peer_connection_id, number)
            send(source, header.ljust(size, b"\x55"))
        self._begin(source, now)
        return True

    def _begin(self, source: int, now: float) -> None:
        """Dials again: half open where a token is known, or first a whole connection for one."""
        old = self._peers.get(source)
        if old is not None:
            self.drop(old)
        token = self._tokens.get(source, b"")
        self._peers[source] = self.dial(
            self._credentials, source, now, token=token, finishes=not token
        )
