"""A whole node on a simulated host, as studies of NATs need it: relays, punches, AutoNAT."""

from typing import TypeVar

from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import udp_noise_multiaddr
from p2pnode.machine import UdpAddr
from p2pnode.netsim.host import Host
from p2pnode.swarm import Swarm, SwarmConfig, events
from p2pnode.wire.multiaddr import Multiaddr

PORT = 4001
PROBE_PORT = 5001
T = TypeVar("T")


class StudyNode:
    """A swarm with a listening and a probe socket on an IPv4 host, and what it has reported."""

    def __init__(self, host: Host, config: SwarmConfig | None = None) -> None:
        self.host = host
        self.events: list[events.SwarmEvent] = []
        identity = PrivateKey.generate(host.entropy)
        self.swarm: Swarm = host.attach(
            lambda h: Swarm(
                identity,
                config=config or SwarmConfig(),
                secret=h.entropy(32),
                entropy=h.entropy,
                rng=h.rng,
                now=h.now,
                unix_now=h.unix_now,
            ),
            self.events.append,
        )
        local, probe = UdpAddr("0.0.0.0", PORT), UdpAddr("0.0.0.0", PROBE_PORT)
        host.call(self.swarm.add_socket, host.bind(PORT), local, host.now)
        host.call(self.swarm.add_probe_socket, host.bind(PROBE_PORT), probe)
        host.call(self.swarm.handle_interfaces_changed, (host.ip,), host.now)

    @property
    def address(self) -> Multiaddr:
        """Where the node listens if no NAT is in the way."""
        return udp_noise_multiaddr(UdpAddr(self.host.ip, PORT))

    def of(self, kind: type[T]) -> list[T]:
        """Returns the events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def dial(self, peer_id: PeerId, *addresses: Multiaddr) -> None:
        """Dials a peer at these addresses, or wherever it may be found."""
        self.host.call(self.swarm.dial, peer_id, addresses, self.host.now)
