"""The built-in protocols of a swarm, made and kept together."""

from collections.abc import Callable, Iterable
from random import Random

from p2pnode.clock import Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.protocols.autonat import ContactLog
from p2pnode.protocols.identify import IdentifyMessage, ObservedAddressBook
from p2pnode.protocols.relay import MonthlyVolume
from p2pnode.swarm.circuits import Circuits
from p2pnode.swarm.config import SwarmConfig
from p2pnode.swarm.facts import Facts
from p2pnode.swarm.services.acquaintances import Acquaintances
from p2pnode.swarm.services.autonat.client import AutonatClient
from p2pnode.swarm.services.autonat.server import AutonatServer
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.dcutr import DcutrService
from p2pnode.swarm.services.identify import IdentifyService
from p2pnode.swarm.services.nat_behaviour import AlternatePorts, NatService
from p2pnode.swarm.services.ping import PingService
from p2pnode.swarm.services.relay.client import RelayClient
from p2pnode.swarm.services.relay.server import RelayServer
from p2pnode.swarm.services.routing import Neighbours, RoutingService
from p2pnode.swarm.services.service import Peer, Service
from p2pnode.wire.multiaddr import Multiaddr


class Services:
    """All of them, by name and in the order in which they are told what happens."""

    def __init__(
        self,
        identity: PrivateKey,
        own_id: PeerId,
        config: SwarmConfig,
        facts: Facts,
        calls: ServiceCalls,
        *,
        circuits: Circuits,
        contacts: ContactLog,
        neighbours: Neighbours,
        observed: ObservedAddressBook,
        alternate_ports: AlternatePorts,
        known_peers: Callable[[], Iterable[PeerId]],
        describe: Callable[[Peer, Instant], IdentifyMessage],
        relay_addresses: Callable[[Peer], tuple[Multiaddr, ...]],
        entropy: Entropy,
        rng: Random,
        now: Instant,
        unix_now: UnixTime,
    ) -> None:
        """They are called by `calls`.

        `describe` says what a peer is told of us, `relay_addresses` where a relay is found.
        """
        self.ping = PingService(entropy)
        self.identify = IdentifyService(describe, config.identify_delay)
        facts.infos = self.identify.infos
        self.routing = RoutingService(facts, own_id, rng, entropy, neighbours)
        self.relay_client = RelayClient(
            facts, circuits, own_id, rng=rng, entropy=entropy, now=now, unix_now=unix_now
        )
        self.relay_server = RelayServer(
            facts,
            identity,
            limits=config.relay_limits,
            access=config.relay_access,
            volume=MonthlyVolume(
                config.relay_limits.monthly_bytes,
                peer_cap=config.relay_limits.peer_monthly_bytes,
                now=now,
                unix_now=unix_now,
                used=config.relayed_by_month,
            ),
            mode=config.relay_mode,
            own_addresses=relay_addresses,
            entropy=entropy,
            now=now,
            unix_now=unix_now,
        )
        self.autonat_client = AutonatClient(facts, own_id, contacts, rng=rng, entropy=entropy)
        self.autonat_server = AutonatServer(facts, contacts, rng)
        self.dcutr = DcutrService(facts, rng)
        self.nat = NatService(
            facts,
            observed,
            filtering=lambda at, ipv6: self.autonat_client.filtering(at, ipv6=ipv6),
            alternate_ports=alternate_ports,
        )
        self.acquaintances = Acquaintances(
            facts,
            own_id,
            rng,
            known_peers=known_peers,
            may_meet=lambda at: not self.autonat_client.is_settling(at),
        )
        self.all: tuple[Service, ...] = (
            self.identify,
            self.ping,
            self.routing,
            self.relay_client,
            self.relay_server,
            self.autonat_client,
            self.autonat_server,
            self.dcutr,
            self.nat,
            self.acquaintances,
        )
        calls.register(self.all)

    def handle_clock_changed(self, unix_now: UnixTime, now: Instant) -> None:
        """The wall clock was set: reservations and months are dated by it."""
        self.relay_client.handle_clock_changed(unix_now, now)
        self.relay_server.handle_clock_changed(unix_now, now)

    @property
    def offered_ids(self) -> tuple[str, ...]:
        """What peers are told that this node answers to."""
        return tuple(protocol for service in self.all for protocol in service.offered_ids)
