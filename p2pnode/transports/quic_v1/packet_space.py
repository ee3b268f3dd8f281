"""One packet number space of the handshake, or that of 1-RTT (RFC 9000 section 12.3)."""

from random import Random

from p2pnode.transports.delivery.ack_tracker import AckTracker
from p2pnode.transports.delivery.cubic import Cubic
from p2pnode.transports.delivery.ecn import EcnValidator
from p2pnode.transports.delivery.loss_recovery import LossRecovery
from p2pnode.transports.delivery.mtu_discovery import MtuDiscovery
from p2pnode.transports.delivery.rtt import RttEstimator
from p2pnode.transports.quic_v1.crypto_stream import CryptoStream
from p2pnode.transports.quic_v1.epoch import Epoch
from p2pnode.transports.quic_v1.protection import (
    CipherSuite,
    Mask,
    PacketKey,
    header_mask,
    packet_key,
)


class PacketSpace:
    """Numbers, ACKs, loss recovery and TLS bytes of one encryption level.

    The keys are those of Initial or Handshake packets; 1-RTT's are in a KeyPhases.
    """

    __slots__ = (
        "acks",
        "crypto",
        "epoch",
        "is_discarded",
        "next_number",
        "probes_due",
        "read",
        "read_mask",
        "recovery",
        "write",
        "write_mask",
    )

    def __init__(
        self,
        epoch: Epoch,
        rtt: RttEstimator,
        controller: Cubic,
        *,
        rng: Random,
        max_ack_delay: float = 0.0,
        ecn: EcnValidator | None = None,
        mtu: MtuDiscovery | None = None,
    ) -> None:
        self.epoch = epoch
        self.acks = AckTracker(max_ack_delay)
        self.recovery = LossRecovery(
            rtt, controller, rng=rng, ecn=ecn, mtu=mtu, max_ack_delay=max_ack_delay
        )
        self.crypto = CryptoStream()
        self.next_number = 0
        self.probes_due = 0
        """Packets that a probe timeout allows beyond the congestion window."""
        self.write: PacketKey | None = None
        self.write_mask: Mask | None = None
        self.read: PacketKey | None = None
        self.read_mask: Mask | None = None
        self.is_discarded = False

    def set_write(self, suite: CipherSuite, secret: bytes) -> None:
        self.write, self.write_mask = packet_key(suite, secret), header_mask(suite, secret)

    def set_read(self, suite: CipherSuite, secret: bytes) -> None:
        self.read, self.read_mask = packet_key(suite, secret), header_mask(suite, secret)

    def take_number(self) -> int:
        """Returns the number of the next packet."""
        number = self.next_number
        if self.recovery.should_skip(number):
            self.recovery.mark_skipped(number)
            number += 1
        self.next_number = number + 1
        return number

    def discard(self) -> None:
        """Its keys are gone, and so is what was in flight (RFC 9001 section 4.9)."""
        self.is_discarded = True
        self.write = self.write_mask = self.read = self.read_mask = None
        self.probes_due = 0
        self.recovery.discard_all()
        self.recovery.let_go()
        self.crypto = CryptoStream()
