"""What a person is told where a link could not be made."""

from p2pnode.links import LinkObstacle
from p2pnode.machine import SocketAddr


def obstacle_text(obstacle: LinkObstacle, remote: SocketAddr) -> str:
    """Returns why there is no link to an address, in words without a full stop."""
    match obstacle:
        case LinkObstacle.REFUSED:
            return f"TCP port {remote.port} of {remote.ip} is refused: nothing listens there"
        case LinkObstacle.NO_ROUTE:
            return f"no route to {remote.ip}"
        case LinkObstacle.FORBIDDEN:
            return f"this machine's firewall lets nothing through to {remote}"
        case LinkObstacle.ADDRESS_IN_USE:
            return f"the port to connect from has a connection to {remote} already"
        case LinkObstacle.ADDRESS_NOT_AVAILABLE:
            return f"this machine has no address or port left to reach {remote} from"
        case LinkObstacle.TIMED_OUT:
            return f"nothing at {remote} answers over TCP"
        case LinkObstacle.TOO_MANY:
            return "this machine has no place for another TCP connection"
