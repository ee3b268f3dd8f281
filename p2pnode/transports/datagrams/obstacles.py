"""What a person is told where the system says that a datagram did not arrive."""

from p2pnode.machine import Obstacle, Unreachable
from p2pnode.transports.delivery.mtu_discovery import BASE_SIZE

_IPV4_OVERHEAD = 28  # bytes of the IP and the UDP header
_IPV6_OVERHEAD = 48


def obstacle_text(report: Unreachable) -> str:
    """Returns why the first packet of a handshake did not arrive, in words without a full stop."""
    remote, is_local = report.remote, report.is_local
    match report.obstacle:
        case Obstacle.NO_ROUTE if is_local:
            return f"no route to {remote.ip} from this machine"
        case Obstacle.NO_ROUTE:
            return f"{remote.ip} cannot be reached: the network on the way says so"
        case Obstacle.TOO_BIG:
            size = BASE_SIZE + (_IPV6_OVERHEAD if remote.is_ipv6 else _IPV4_OVERHEAD)
            network = "this network" if is_local else f"the network on the way to {remote.ip}"
            return f"{network} does not carry packets of {size:,} bytes, which p2pnode needs"
        case Obstacle.FORBIDDEN:
            firewall = "this machine's firewall" if is_local else "a firewall on the way"
            return f"{firewall} lets nothing through to {remote}"
        case Obstacle.PORT_CLOSED:
            return f"port {remote.port} of {remote.ip} is refused: nothing listens there"
