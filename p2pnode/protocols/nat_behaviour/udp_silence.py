"""Whether anything at all is heard over UDP, in the network that this node is in now.

Rule: silence is told, never its cause: whoever was tried may be down.  Where another transport
reaches the same hosts, that UDP is blocked is what it looks like.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from p2pnode.bounded import Bounded
from p2pnode.clock import Instant

SILENCE_TIME: Final = 5.0
"""seconds from the first packet until silence is told; chosen: a handshake tries thrice"""
MAX_HOSTS_COUNTED: Final = 64
"""IP addresses; chosen: above what a node tries before it hears of any"""


MIN_OVER_TCP: Final = 2
"""hosts that answer over TCP and not over UDP, for the cause to be on this side; chosen: one may
have a firewall of its own"""


class Silence(NamedTuple):
    """Nothing was heard over UDP, of whomever."""

    hosts: int
    """That were tried."""
    over_tcp: int = 0
    """Those of them that are reached over TCP."""

    @property
    def is_ours(self) -> bool:
        """Whether it looks as if this node's own network blocked UDP."""
        return self.over_tcp >= MIN_OVER_TCP


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

    def found(self, now: Instant, over_tcp: Iterable[str] = ()) -> Silence | None:
        """Returns what there is to tell, or None before anything can be told.

        `over_tcp` are the hosts that are reached over TCP, whether they were tried or not.
        """
        if self.is_over or self._since is None or now < self._since + SILENCE_TIME:
            return None
        return Silence(len(self._tried), sum(ip in self._tried for ip in dict.fromkeys(over_tcp)))


def silence_text(silence: Silence) -> str:
    """Says how many hosts were tried and not heard, and what carries the data instead."""
    hosts, over_tcp = silence
    if hosts == over_tcp == 1:
        return (
            "UDP seems to be blocked: the one host that was tried answers over TCP alone, which "
            "carries everything"
        )
    if over_tcp:
        return (
            f"UDP seems to be blocked: of {hosts} hosts that were tried none answers over it, and "
            f"{over_tcp} over TCP, which carries everything"
        )
    if hosts == 1:
        return "nothing is heard over UDP: the one host that was tried does not answer"
    return f"nothing is heard over UDP: none of the {hosts} hosts that were tried answers"
