"""News of this node itself: who is told when its addresses, protocols or reachability change."""

from collections.abc import Callable

from p2pnode.clock import Instant
from p2pnode.protocols.autonat import Reachability
from p2pnode.swarm import events
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import SwarmEvent
from p2pnode.swarm.facts import SwarmFacts
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.registry import Services
from p2pnode.swarm.state import SwarmState


class OwnNews:
    """Keeps the description of this node, and tells services and peers of it."""

    def __init__(
        self,
        state: SwarmState,
        facts: SwarmFacts,
        services: Services,
        calls: ServiceCalls,
        tell: Callable[[SwarmEvent], None],
    ) -> None:
        """`tell` takes what the user shall know."""
        self._state = state
        self._facts = facts
        self._services = services
        self._calls = calls
        self._tell = tell
        self._renew_protocols()

    def on_addresses_changed(self, now: Instant) -> None:
        """Sockets or interfaces are others now."""
        self._calls.addresses_changed(now)
        self._settle_relays(now)
        self.readvertise(now)

    def on_reachability_changed(self, reachability: Reachability, now: Instant) -> None:
        """Strangers reach this node, or do not any more."""
        self._services.relay_server.set_public(reachability is Reachability.PUBLIC, now)
        self._settle_relays(now)

    def on_protocols_changed(self, now: Instant) -> None:
        """The node answers to other protocols now."""
        self._renew_protocols()
        self._services.identify.push_news(now)

    def readvertise(self, now: Instant) -> None:
        """Those who know our addresses or protocols should hear that they have changed."""
        description = self._state.description
        description.confirmed = self._state.reachability.confirmed(now)
        description.relayed = self._facts.relayed_addresses()
        description.renew()
        self.on_protocols_changed(now)
        self._tell(events.ListenAddressesChanged(self._facts.listen_addresses()))

    def _renew_protocols(self) -> None:
        self._state.description.protocols = self._facts.protocols()

    def _settle_relays(self, now: Instant) -> None:
        """Relays are for nodes that listen, and that strangers do not reach directly."""
        services = self._services
        needs = (
            self._state.addresses.is_listening
            and self._facts.reachability(now) is not Reachability.PUBLIC
            and services.relay_server.mode is not RelayMode.ALWAYS
        )
        services.relay_client.set_needs_relay(needs, now)
