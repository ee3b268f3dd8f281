"""The built-in protocols of a swarm, made and kept together."""

from random import Random

from p2pnode.clock import Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.protocols.relay import MonthlyVolume
from p2pnode.swarm.config import SwarmConfig
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.autonat.client import AutonatClient
from p2pnode.swarm.services.autonat.server import AutonatServer
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.dcutr import DcutrService
from p2pnode.swarm.services.identify import IdentifyService
from p2pnode.swarm.services.nat_behaviour import NatService
from p2pnode.swarm.services.peer_discovery import PeerDiscovery
from p2pnode.swarm.services.ping import PingService
from p2pnode.swarm.services.relay.client import RelayClient
from p2pnode.swarm.services.relay.server import RelayServer
from p2pnode.swarm.services.routing import RoutingService
from p2pnode.swarm.state import SwarmState


class Services:
    """All of them, by name and in the order in which they are told what happens."""

    def __init__(
        self,
        identity: PrivateKey,
        config: SwarmConfig,
        state: SwarmState,
        facts: ServiceFacts,
        calls: ServiceCalls,
        *,
        entropy: Entropy,
        rng: Random,
        now: Instant,
        unix_now: UnixTime,
    ) -> None:
        """They are called by `calls`, look up `facts`, and write what is theirs of `state`."""
        own_id, contacts, description = state.own_id, state.contacts, state.description
        self.ping = PingService(entropy)
        self.identify = IdentifyService(description.message, state.infos, config.identify_delay)
        self.routing = RoutingService(facts, own_id, rng, entropy)
        self.relay_client = RelayClient(
            facts, state.circuits, own_id, rng=rng, entropy=entropy, now=now, unix_now=unix_now
        )
        self.relay_server = RelayServer(
            facts,
            identity,
            limits=config.relay_limits,
            access=config.relay_access,
            volume=_monthly_volume(config, now, unix_now),
            mode=config.relay_mode,
            own_addresses=description.relay_addresses,
            entropy=entropy,
            now=now,
            unix_now=unix_now,
            account=facts.account,
        )
        self.autonat_client = AutonatClient(
            facts, own_id, contacts, state.reachability, rng=rng, entropy=entropy
        )
        self.autonat_server = AutonatServer(facts, contacts, rng)
        self.dcutr = DcutrService(facts, rng)
        self.nat = NatService(facts)
        self.peer_discovery = PeerDiscovery(facts, own_id, rng)
        self.all = (
            self.identify,
            self.ping,
            self.routing,
            self.relay_client,
            self.relay_server,
            self.autonat_client,
            self.autonat_server,
            self.dcutr,
            self.nat,
            self.peer_discovery,
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


def _monthly_volume(config: SwarmConfig, now: Instant, unix_now: UnixTime) -> MonthlyVolume:
    limits = config.relay_limits
    return MonthlyVolume(
        limits.monthly_bytes,
        peer_cap=limits.peer_monthly_bytes,
        now=now,
        unix_now=unix_now,
        used=config.relayed_by_month,
    )
