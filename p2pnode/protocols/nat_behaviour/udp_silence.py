"""Whether anything at all is heard over UDP, in the network that this node is in now.

Rule: silence is told, never its cause: whoever was tried may be down.  That UDP is blocked is known
only where another transport reaches the same peer.
"""

from collections.abc import Iterable
from typing import Final

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant

SILENCE_TIME: Final = 5.0
"""seconds from the first packet until silence is told; chosen: a handshake tries thrice"""
MAX_HOSTS_COUNTED: Final = 64
"""IP addresses; chosen: above what a node tries before it hears of any"""


class UdpSilence:
    """A fold over whom packets went to, until the first one came."""

    def __init__(self) -> None:
        self.is_over = False
        """True once something was heard: nothing needs to be told then."""
        self._tried = Bounded[str, None](MAX_HOSTS_COUNTED)
        self._since: Instant | None = None

    def on_sent(self, ips: Iterable[str], now: Instant) -> None:
        """Packets went to these hosts."""
        for ip in ips:
            self._tried[ip] = None
            if self._since is None:
                self._since = now

    def on_heard(self) -> None:
        """A packet came in, from anywhere and whatever is in it."""
        self.is_over = True

    def on_network_changed(self) -> None:
        """What was heard before was heard elsewhere."""
        self.is_over = False
        self._tried.clear()
        self._since = None

    def silent_hosts(self, now: Instant) -> int:
        """Returns how many hosts were tried of which none is heard; 0 before that can be told."""
        if self.is_over or self._since is None or now < self._since + SILENCE_TIME:
            return 0
        return len(self._tried)


def silence_text(hosts: int) -> str:
    """Says that so many hosts were tried and nothing is heard."""
    if hosts == 1:
        return "nothing is heard over UDP: the one host that was tried does not answer"
    return f"nothing is heard over UDP: none of the {hosts} hosts that were tried answers"
