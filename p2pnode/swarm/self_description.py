"""What this node says of itself: to every peer the addresses that are of use to it, and the rest.

Rule: told are our addresses on networks that the peer may share, those that strangers were seen to
reach, and those through relays; never a public address that we only believe in.
"""

from math import inf
from typing import Final

from p2pnode.clock import Instant, UnixTime
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_record import next_seq, seal_peer_record
from p2pnode.protocols.identify import IdentifyMessage
from p2pnode.protocols.identify.address_filter import addrs_to_send
from p2pnode.swarm.config import SwarmConfig
from p2pnode.swarm.events import RecordSigned
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.peer import Peer
from p2pnode.wire.multiaddr import Multiaddr

MAX_RECORD_AGE: Final = 60.0
"""seconds; chosen: who gets a signed record can tell from it what this node's clock says"""
MAX_RECORDS: Final = 16
"""signed records kept; chosen: one for each kind of network that peers are in"""


class SelfDescription:
    """Makes identify messages; `confirmed` and `relayed` are kept by the swarm."""

    def __init__(
        self, identity: PrivateKey, config: SwarmConfig, addresses: OwnAddresses, unix_offset: float
    ) -> None:
        self._identity = identity
        self._config = config
        self._addresses = addresses
        self._unix_offset = unix_offset
        self._record_seq = config.last_record_seq
        self.signed: list[RecordSigned] = []
        self._records: dict[tuple[Multiaddr, ...], tuple[bytes, Instant]] = {}
        """addresses -> their signed record, and when it was made"""
        self.confirmed: tuple[Multiaddr, ...] = ()
        """Where strangers' packets arrive."""
        self.relayed: tuple[Multiaddr, ...] = ()
        """Through relays that hold a reservation for us."""
        self.protocols: tuple[str, ...] = ()

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set."""
        self._unix_offset = unix_now - now

    def renew(self) -> None:
        """Something has changed: signed records are made anew."""
        self._records.clear()

    def advertised(self) -> tuple[Multiaddr, ...]:
        """Returns all that anybody is told, without /p2p/ of ours at the end of direct ones."""
        return tuple(dict.fromkeys((*self.direct(), *self.relayed)))

    def direct(self) -> tuple[Multiaddr, ...]:
        """Returns those that lead here without a relay."""
        return (*self.confirmed, *self._addresses.near_addresses())

    def relay_addresses(self, peer: Peer) -> tuple[Multiaddr, ...]:
        """Returns where a peer's peers find this node as a relay."""
        return addrs_to_send(self.direct(), peer.route.remote.ip)

    def message(self, peer: Peer, now: Instant) -> IdentifyMessage:
        """Returns what a peer is told."""
        route = peer.route
        remote_ip = None if route.is_relayed else route.remote.ip
        told = addrs_to_send(self.advertised(), remote_ip)
        return IdentifyMessage(
            public_key=self._identity.public_key,
            listen_addrs=told,
            protocols=self.protocols,
            observed_addr=None if route.is_relayed else peer.address,
            agent_version=self._config.agent_version,
            protocol_version=self._config.protocol_version,
            signed_peer_record=self._signed_record(told, now),
        )

    def poll_events(self) -> list[RecordSigned]:
        """Returns the records that were signed since the last call."""
        found, self.signed = self.signed, []
        return found

    def _signed_record(self, told: tuple[Multiaddr, ...], now: Instant) -> bytes:
        record, made_at = self._records.get(told, (b"", -inf))
        if now >= made_at + MAX_RECORD_AGE:
            unix_now = UnixTime(now + self._unix_offset)
            self._record_seq = next_seq(unix_now, self._record_seq)
            envelope = seal_peer_record(self._identity, told, self._record_seq)
            self.signed.append(RecordSigned(self._record_seq))
            if len(self._records) >= MAX_RECORDS:
                self._records.clear()
            record = envelope.encode()
            self._records[told] = record, now
        return record
