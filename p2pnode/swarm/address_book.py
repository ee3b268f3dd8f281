"""Where peers can be reached: addresses with their source and lifetime, and tokens for them.

The rule: what a peer signed or what worked beats hearsay, and everything expires unless renewed.
"""

import enum
from dataclasses import dataclass
from typing import Final

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.wire.multiaddr import Multiaddr

MAX_PEERS: Final = 4096
"""peers; the one that was not heard of for longest goes; chosen: 10 MB at the most"""
MAX_ADDRESSES_PER_PEER: Final = 32
"""addresses; chosen: four transports over eight interfaces"""

MAX_TOKENS: Final = 256
"""Address tokens kept for later dials; chosen: the peers of a day"""


class AddressSource(enum.IntEnum):
    """Where an address comes from; of two for the same address the higher one counts."""

    HEARSAY = 0
    IDENTIFY = 1
    SIGNED = 2
    USER = 3
    CONNECTED = 4


LIFETIMES: Final = {
    AddressSource.HEARSAY: 120.0,
    AddressSource.IDENTIFY: 3600.0,
    AddressSource.SIGNED: 3600.0,
    AddressSource.USER: 24 * 3600.0,
    AddressSource.CONNECTED: 24 * 3600.0,
}
"""seconds; go-libp2p's peerstore, where it has the same kind"""


@dataclass(frozen=True, slots=True)
class BookEntry:
    address: Multiaddr
    source: AddressSource
    expires_at: Instant


class AddressBook:
    """Addresses by peer, best first.  They carry no /p2p/ of the peer itself."""

    def __init__(self) -> None:
        self._peers = Bounded[PeerId, dict[Multiaddr, BookEntry]](MAX_PEERS)
        self._tokens = Bounded[Multiaddr, bytes](MAX_TOKENS)
        """address tokens by whose address it is, the newest last"""

    def add(
        self, peer_id: PeerId, addresses: tuple[Multiaddr, ...], source: AddressSource, now: Instant
    ) -> None:
        """Learns or renews addresses of a peer."""
        entries = self._peers.pop(peer_id, {})
        expires_at = now + LIFETIMES[source]
        for address in addresses:
            known = entries.pop(address, None)
            if known is not None and known.source > source and known.expires_at > now:
                entries[address] = known
            else:
                entries[address] = BookEntry(address, source, expires_at)
        live = [entry for entry in entries.values() if entry.expires_at > now]
        live.sort(key=lambda entry: -entry.source)
        self._peers[peer_id] = {e.address: e for e in live[:MAX_ADDRESSES_PER_PEER]}

    def restore(
        self, peer_id: PeerId, address: Multiaddr, source: AddressSource, expires_at: Instant
    ) -> None:
        """Takes an address that was known before this node's start, with what is left of its time.

        It changes nothing where the address is known already.
        """
        entries = self._peers.setdefault(peer_id, {})
        if len(entries) < MAX_ADDRESSES_PER_PEER:
            entries.setdefault(address, BookEntry(address, source, expires_at))

    def keep_token(self, address: Multiaddr, token: bytes) -> None:
        """A peer gave a token that proves our address to it at the next dial of `address`."""
        self._tokens[address] = token

    def token(self, address: Multiaddr) -> bytes | None:
        """Returns the token that the peer at an address gave last."""
        return self._tokens.get(address)

    def peers(self) -> tuple[PeerId, ...]:
        """Returns the peers of which something is known, or was."""
        return tuple(self._peers)

    def addresses(self, peer_id: PeerId, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns the addresses that are worth a try, best first."""
        entries = self._peers.get(peer_id, {}).values()
        return tuple(e.address for e in entries if e.expires_at > now)

    def entries(self, peer_id: PeerId, now: Instant) -> tuple[BookEntry, ...]:
        """Returns what `addresses` does, with source and lifetime."""
        entries = self._peers.get(peer_id, {}).values()
        return tuple(e for e in entries if e.expires_at > now)

    def remove(self, peer_id: PeerId, address: Multiaddr) -> None:
        """Forgets an address that led to somebody else."""
        self._peers.get(peer_id, {}).pop(address, None)
