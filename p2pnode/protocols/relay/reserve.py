"""The client asks a relay for a reservation (specs/relay.md, Reservations).

    ASKING --STATUS OK with a reservation--> Reserved
       `------ another status | malformed | foreign voucher | end | reset | 60 s --> NotReserved

Rules: a voucher is checked where there is one; that there is none is fine, rust-libp2p sends none.
When the reservation ends is the relay's word by the relay's clock: RelayClocks makes sense of it.
"""

from dataclasses import dataclass

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import split_peer_id
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.relay.messages import (
    MAX_MESSAGE_SIZE,
    HopStatus,
    Limit,
    ReserveRequest,
    Status,
    decode_hop_untrusted,
    encode_hop,
    status_name,
)
from p2pnode.protocols.relay.voucher import Voucher, check_voucher_untrusted
from p2pnode.wire.multiaddr import (
    Code,
    Component,
    Multiaddr,
    concat,
    is_relayed,
    join_components,
)

RESERVE_TIMEOUT = 60.0  # seconds; go-libp2p


@dataclass(frozen=True, slots=True)
class Reserved:
    """The relay relays for us."""

    expire: int
    """Unix time by the relay's clock, seconds; 0 where it tells none."""
    addrs: tuple[Multiaddr, ...]
    """The relay's addresses, each ending in its /p2p; see `circuit_addrs`."""
    limit: Limit
    """Of stream circuits; datagram circuits tell theirs one by one."""
    voucher: Voucher | None


@dataclass(frozen=True, slots=True)
class NotReserved:
    """The relay does not, or not as it should."""

    status: int | None
    """What it answered, or None where it gave no usable answer."""
    reason: str


class ReservationRequester(FramedDialogue):
    """Reserves, or refreshes: the two are one to the relay."""

    def __init__(self, relay: PeerId, own_id: PeerId, *, now: Instant) -> None:
        super().__init__(MAX_MESSAGE_SIZE, Deadline(now + RESERVE_TIMEOUT, "the reservation"))
        self._relay = relay
        self._own_id = own_id
        self._outcome: Reserved | NotReserved | None = None
        self._send(encode_hop(ReserveRequest()))

    @property
    def outcome(self) -> Reserved | NotReserved | None:
        """What came of it, or None before that is known."""
        return self._outcome

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        message = decode_hop_untrusted(frame)
        if not isinstance(message, HopStatus):
            raise DecodeError("the relay answered with a request")
        if message.status != Status.OK:
            self._outcome = NotReserved(message.status, status_name(message.status))
            self._finish()
            return
        if message.reservation is None:
            raise DecodeError("the relay granted a reservation without telling it")
        voucher = None
        if message.reservation.voucher is not None:
            voucher = check_voucher_untrusted(
                message.reservation.voucher, relay=self._relay, peer=self._own_id
            )
        self._outcome = Reserved(
            message.reservation.expire,
            self._addrs_of_relay(message.reservation.addrs),
            message.limit or Limit(),
            voucher,
        )
        self._finish()

    def _on_failure(self, reason: str) -> None:
        self._outcome = NotReserved(None, reason)

    def _addrs_of_relay(self, addrs: tuple[Multiaddr, ...]) -> tuple[Multiaddr, ...]:
        """Leaves out what is not an address of the relay itself: another peer's, a circuit's."""
        kept: dict[Multiaddr, None] = {}
        for addr in addrs:
            if is_relayed(addr):
                continue
            host, peer = split_peer_id(addr)
            if peer is None or peer == self._relay:
                kept[concat(host, _p2p(self._relay))] = None
        return tuple(kept)


def circuit_addrs(addrs: tuple[Multiaddr, ...], own_id: PeerId) -> tuple[Multiaddr, ...]:
    """Returns a relay's addresses as those of us behind it: /p2p-circuit/p2p/<us> appended."""
    circuit = join_components([Component(Code.P2P_CIRCUIT, b"")])
    return tuple(concat(concat(addr, circuit), _p2p(own_id)) for addr in addrs)


def _p2p(peer: PeerId) -> Multiaddr:
    return join_components([Component(Code.P2P, peer.multihash)])
