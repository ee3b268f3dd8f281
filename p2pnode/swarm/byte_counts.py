"""How much this node's own connections have sent and received."""

from dataclasses import dataclass


@dataclass(slots=True)
class ByteCounts:
    """Bytes of UDP payload since the start; what is forwarded for others is counted elsewhere."""

    sent_directly: int = 0
    sent_relayed: int = 0
    received_directly: int = 0
    received_relayed: int = 0
