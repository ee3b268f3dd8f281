"""An account of held bytes for parts that are tested without their connection."""

from p2pnode.transports.delivery.flow_control import ReceiveWindow
from p2pnode.transports.delivery.held_bytes import HeldBytes


def nothing_held() -> HeldBytes:
    """Returns the account of a connection that holds nothing, and takes any amount."""
    return HeldBytes(ReceiveWindow(1 << 40, 1 << 40, 0.0))
