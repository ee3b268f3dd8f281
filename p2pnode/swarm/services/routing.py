"""Kademlia's FIND_NODE in the swarm: finds peers by their ids, samples peers, answers others.

Rule: what peers say of others is hearsay.  It is bounded, filtered by where it came from, never
about ourselves, and never passed on; it is good for a dial, in which the peer proves who it is.
"""

from collections.abc import Mapping
from random import Random
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.entropy import Entropy
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols import kad
from p2pnode.protocols.identify.address_filter import addrs_to_accept
from p2pnode.protocols.kad import (
    CloserPeer,
    ConnectionType,
    FindNodeRequester,
    FindNodeResponder,
    Found,
    Lookup,
)
from p2pnode.rate_limit import SharedRateLimit
from p2pnode.swarm.events import PeerFound, PeerNotFound
from p2pnode.swarm.inbound_streams import InboundLimit
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.service import LearnAddresses, OpenStream, PumpMachine, Service
from p2pnode.wire.ip_ranges import owner_group
from p2pnode.wire.multiaddr import Code, Multiaddr, components
from p2pnode.wire.reset_code import StreamResetCode

MAX_LOOKUPS: Final = 32
"""peers looked for at a time; chosen: more would be a scan"""
SAMPLE_PEERS: Final = 3
"""peers asked for a sample; chosen: up to sixty others become known"""
SAMPLE_DELAY: Final = 1.0
"""seconds from the first connection to the first sample; chosen: identify is through by then"""
SAMPLE_INTERVAL: Final = 600.0
"""seconds between samples; libp2p refreshes its routing table as often"""
SAMPLE_JITTER: Final = 0.1
"""of SAMPLE_INTERVAL, either way; chosen"""
MIN_SAMPLE_INTERVAL: Final = 5.0
"""seconds between samples, whoever wants them; chosen: far below what others serve a peer"""
MAX_CONSIDERED: Final = 64
"""known peers whose addresses are looked at for one answer; chosen: some have none to tell"""
REQUEST_WINDOW: Final = 60.0
"""seconds in which the limits below are whole again"""
PEER_REQUESTS: Final = 30
"""requests of one peer in REQUEST_WINDOW; chosen: a lookup every two seconds"""
NETWORK_REQUESTS: Final = 120
"""from one IPv4 address or IPv6 /56, and over all circuits; chosen: four busy peers behind a NAT"""
TOTAL_REQUESTS: Final = 1200
"""of all peers; chosen: 20 a second, at 5 ms each at the most"""

_SHA2_256_MULTIHASH: Final = b"\x12\x20"


class _Request(NamedTuple):
    connection: ConnectionHandle
    peer_id: PeerId
    lookup: Lookup | None
    """What the answer is for; None for a sample."""


class RoutingService(Service):
    """`find` and `sample` are its commands."""

    inbound: Mapping[str, InboundLimit] = {
        kad.PROTOCOL_ID: InboundLimit(kad.MAX_INBOUND_STREAMS_PER_PEER)
    }

    def __init__(
        self,
        facts: ServiceFacts,
        own_id: PeerId,
        rng: Random,
        entropy: Entropy,
    ) -> None:
        super().__init__()
        self._facts = facts
        self._own_id = own_id
        self._rng = rng
        self._entropy = entropy
        self._peers: dict[ConnectionHandle, PeerId] = {}
        """connection -> peer"""
        self._lookups: dict[PeerId, Lookup] = {}
        self._requests: dict[FindNodeRequester, _Request] = {}
        self._sample_at: Instant | None = None
        self._sampled_at = float("-inf")
        self._askers: dict[FindNodeResponder, Peer] = {}
        self._request_rate = SharedRateLimit(
            REQUEST_WINDOW,
            per_peer=PEER_REQUESTS,
            per_network=NETWORK_REQUESTS,
            total=TOTAL_REQUESTS,
        )

    # commands

    def find(self, peer_id: PeerId, now: Instant) -> None:
        """Asks connected peers where a peer is; the answer is PeerFound or PeerNotFound.

        A peer that is connected, or comes meanwhile, counts as found, perhaps without an address.
        Peers that connect while the search goes on are asked too.
        """
        if peer_id in self._lookups:
            return
        if peer_id == self._own_id:
            self._announce(PeerNotFound(peer_id, "that is this node itself"))
        elif peer_id in self._peers.values():
            self._announce(PeerFound(peer_id, self._facts.known_addresses(peer_id, now)))
        elif len(self._lookups) >= MAX_LOOKUPS:
            reason = "this node looks for as many peers as it may already"
            self._announce(PeerNotFound(peer_id, reason))
        else:
            lookup = self._lookups[peer_id] = Lookup(peer_id, now)
            for asked in lookup.start(self._askable(), self._rng):
                self._ask(asked, peer_id, lookup, now)

    def sample(self, now: Instant) -> None:
        """Asks a few connected peers whom they know near to random keys; not again too soon."""
        askable = self._askable()
        if not askable or now < self._sampled_at + MIN_SAMPLE_INTERVAL:
            return
        self._sampled_at = now
        for peer_id in self._rng.sample(askable, min(SAMPLE_PEERS, len(askable))):
            key = PeerId(_SHA2_256_MULTIHASH + self._entropy(32))
            self._ask(peer_id, key, None, now)

    # connections

    def on_connected(self, peer: Peer, now: Instant) -> None:
        self._peers[peer.connection] = peer.peer_id
        if self._lookups.pop(peer.peer_id, None) is not None:
            known = self._facts.known_addresses(peer.peer_id, now)
            self._announce(PeerFound(peer.peer_id, known))
        for lookup in self._lookups.values():
            if self._may_speak(peer.peer_id) and lookup.ask_also(peer.peer_id):
                self._ask(peer.peer_id, lookup.wanted, lookup, now)
        if self._sample_at is None:
            self._sample_at = now + SAMPLE_DELAY

    def on_disconnected(self, peer: Peer, now: Instant) -> None:
        self._peers.pop(peer.connection, None)
        if not self._peers:
            self._sample_at = None
        for requester, request in list(self._requests.items()):
            if request.connection == peer.connection:
                self._on_failed(requester, now)

    # streams

    def accept(self, peer: Peer, protocol: str, now: Instant) -> StreamMachine | None:
        responder = FindNodeResponder(now)
        self._askers[responder] = peer
        return responder

    def on_progress(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        match machine:
            case FindNodeResponder():
                self._serve(connection, machine, now)
            case FindNodeRequester() if isinstance(machine.outcome, Found):
                self._on_answer(machine, machine.outcome.peers, now)
            case FindNodeRequester() if machine.is_done:
                self._on_failed(machine, now)
            case _:
                pass

    def on_stream_failed(
        self, connection: ConnectionHandle, machine: StreamMachine, reason: str, now: Instant
    ) -> None:
        if isinstance(machine, FindNodeRequester):
            self._on_failed(machine, now)

    def on_stream_over(
        self, connection: ConnectionHandle, machine: StreamMachine, now: Instant
    ) -> None:
        if isinstance(machine, FindNodeResponder):
            self._askers.pop(machine, None)

    # time

    def handle_timeout(self, now: Instant) -> None:
        for lookup in list(self._lookups.values()):
            self._end_if_over(lookup, now)
        if self._sample_at is not None and now >= self._sample_at:
            jitter = self._rng.uniform(-SAMPLE_JITTER, SAMPLE_JITTER)
            # where nobody can be asked, the next connection is waited for
            self._sample_at = now + SAMPLE_INTERVAL * (1 + jitter) if self._askable() else None
            self.sample(now)

    def poll_timeout(self) -> Deadline | None:
        sample_at = self._sample_at
        return earliest(
            None if sample_at is None else Deadline(sample_at, "peers are sampled"),
            *(lookup.poll_timeout() for lookup in self._lookups.values()),
        )

    # asking

    def _askable(self) -> list[PeerId]:
        return [peer for peer in dict.fromkeys(self._peers.values()) if self._may_speak(peer)]

    def _may_speak(self, peer_id: PeerId) -> bool:
        """A peer that is not identified yet is asked on the off chance: that saves a round trip."""
        info = self._facts.info(peer_id)
        return info is None or kad.PROTOCOL_ID in info.protocols

    def _ask(self, peer_id: PeerId, key: PeerId, lookup: Lookup | None, now: Instant) -> None:
        connection = self._facts.best(peer_id)
        if connection is None:
            if lookup is not None:
                lookup.on_failure(peer_id)
            return
        requester = FindNodeRequester(key.multihash, now)
        self._requests[requester] = _Request(connection, peer_id, lookup)
        self._command(OpenStream(connection, kad.PROTOCOL_ID, requester))

    def _on_answer(
        self, requester: FindNodeRequester, peers: tuple[CloserPeer, ...], now: Instant
    ) -> None:
        request = self._requests.pop(requester, None)
        if request is None:
            return
        ip = self._ip_of(request.connection)
        for peer in peers:
            addrs = self._believed(peer, ip)
            if addrs:
                self._command(LearnAddresses(peer.peer_id, addrs))
            if addrs and self._lookups.pop(peer.peer_id, None) is not None:
                self._announce(PeerFound(peer.peer_id, addrs))
        if request.lookup is not None:
            request.lookup.on_answer(request.peer_id)
            self._end_if_over(request.lookup, now)

    def _on_failed(self, requester: FindNodeRequester, now: Instant) -> None:
        request = self._requests.pop(requester, None)
        if request is not None and request.lookup is not None:
            request.lookup.on_failure(request.peer_id)
            self._end_if_over(request.lookup, now)

    def _end_if_over(self, lookup: Lookup, now: Instant) -> None:
        if self._lookups.get(lookup.wanted) is lookup and lookup.is_over(now):
            del self._lookups[lookup.wanted]
            self._announce(PeerNotFound(lookup.wanted, lookup.reason))

    def _believed(self, peer: CloserPeer, ip: str | None) -> tuple[Multiaddr, ...]:
        """Returns what of a peer's addresses to believe from somebody at `ip`."""
        if peer.peer_id == self._own_id:
            return ()
        useless = (self._own_id.multihash, peer.peer_id.multihash)
        return tuple(
            addr
            for addr in addrs_to_accept(peer.addrs, ip)
            if not any(code == Code.P2P and value in useless for code, value in components(addr))
        )

    # answering

    def _serve(
        self, connection: ConnectionHandle, responder: FindNodeResponder, now: Instant
    ) -> None:
        asker = self._askers.get(responder)
        if asker is None:
            return
        requests = responder.poll_requests()
        for key in requests:
            if self._may_ask(asker, now):
                responder.answer(self._closer_peers(key, asker, now))
            else:
                responder.refuse(StreamResetCode.RATE_LIMITED)
        if requests:
            self._command(PumpMachine(connection, responder))

    def _may_ask(self, asker: Peer, now: Instant) -> bool:
        ip = self._ip_of(asker.connection)
        network = "" if ip is None else owner_group(ip)
        return self._request_rate.take(asker.peer_id, network, now)

    def _closer_peers(self, key: bytes, asker: Peer, now: Instant) -> list[CloserPeer]:
        """Returns those nearest to `key` of whom there is an address that the asker can use."""
        ip = self._ip_of(asker.connection)
        others = (
            peer
            for peer in dict.fromkeys((*self._facts.peers(), *self._facts.known_peers()))
            if peer not in (self._own_id, asker.peer_id)
        )
        told: list[CloserPeer] = []
        for peer_id in kad.closest(key, others, MAX_CONSIDERED):
            # An asker is told what it would believe of a peer where it is itself.
            addrs = addrs_to_accept(self._facts.told_addresses(peer_id, now), ip)
            if addrs:
                is_connected = self._facts.best(peer_id) is not None
                told.append(CloserPeer(peer_id, addrs, ConnectionType(is_connected)))
            if len(told) == kad.MAX_CLOSER_PEERS:
                break
        return told

    def _ip_of(self, connection: ConnectionHandle) -> str | None:
        """Returns where the peer of a connection is; None for one behind a relay."""
        peer = self._facts.peer(connection)
        return None if peer is None else peer.direct_ip
