"""What a router does, as values, and the nftables rules that make a Linux kernel do it.

The kernel keeps the port of the inside host as long as no other connection of the router has the
same one towards the same remote endpoint.  So plain `masquerade` is endpoint-independent mapping in
practice.  Letting strangers in is done with a map, filled by the packets that go out, from what
filtering looks at (the port; or the remote address and the port) to the inside host, and a DNAT
that reads it.

Rules look at packets of any kind; only those maps and the drop of UDP are for UDP alone.
"""

import enum
from dataclasses import dataclass

OUTSIDE, INSIDE = "wan", "lan"
"""interfaces of every router"""

BINDING_LIFETIME = 120
"""seconds; RFC 4787 REQ-5 asks for two minutes at least, and Linux has them for UDP that was
answered.  Of the maps; for connections the kernel's own defaults hold unless a site says more."""


class Translation(enum.Enum):
    """From which port the outside sees a connection."""

    NONE = "none"
    """No translation at all."""
    KEEP_PORT = "keep port"
    RANDOM_PORT = "random port"
    """Drawn for each connection; a socket has as many as it has remote endpoints."""


class Inbound(enum.Enum):
    """What happens to packets from outside that are no answers, RFC 4787's filtering."""

    ANSWERS = "answers"
    """Dropped: address and port-dependent."""
    KNOWN_ADDRESSES = "known addresses"
    """Passed on, if the port has sent to their source address: address-dependent."""
    OPEN_PORTS = "open ports"
    """Passed on, if the port has sent to anybody: endpoint-independent."""
    FORWARDED = "forwarded"
    """Passed on to the first host, always, as somebody has told the router to do."""
    ROUTER = "router"
    """The router believes that they are for itself: not passed on, but not without effect, for
    its connection is in the way when an inside host sends to the same remote endpoint."""
    ANYBODY = "anybody"
    """Passed on; only where nothing is translated."""


@dataclass(frozen=True, slots=True)
class RouterRules:
    """A router, in one value."""

    translation: Translation = Translation.KEEP_PORT
    inbound: Inbound = Inbound.ANSWERS
    udp: bool = True

    def nftables(
        self, first_host: str, *, lifetime: int = BINDING_LIFETIME, ports: range | None = None
    ) -> str:
        """Returns the rules; `ports` is where new mappings have theirs, for a router that
        otherwise keeps them."""
        parts = [self._filter()]
        if self.translation is not Translation.NONE:
            parts.append(self._nat(first_host, lifetime, ports))
        return "\n".join(parts)

    def _filter(self) -> str:
        no_udp = "" if self.udp else "meta l4proto udp drop"
        closed = f"""
            meta l4proto ipv6-icmp icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
            iifname "{OUTSIDE}" ct state established,related accept
            iifname "{OUTSIDE}" ct status dnat accept
            iifname "{OUTSIDE}" drop
        """
        is_closed = self.inbound not in (Inbound.ROUTER, Inbound.ANYBODY)
        return f"""
            table inet filter {{
                chain input {{
                    type filter hook input priority filter
                    {closed if is_closed else ""}
                }}
                chain forward {{
                    type filter hook forward priority filter
                    {no_udp}
                    {closed if is_closed else ""}
                }}
            }}"""

    def _nat(self, first_host: str, lifetime: int, ports: range | None) -> str:
        definition, learn, redirect = self._passing_on(first_host, lifetime)
        target = f"to :{ports[0]}-{ports[-1]}" if ports else ""
        if self.translation is Translation.RANDOM_PORT:
            target += " fully-random"
        port_range = "meta l4proto { tcp, udp }" if target else ""
        return f"""
            table ip nat {{
                {definition}
                chain forward {{
                    type filter hook forward priority filter - 1
                    {learn}
                }}
                chain prerouting {{
                    type nat hook prerouting priority dstnat
                    {redirect}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    oifname "{OUTSIDE}" {port_range} masquerade {target}
                    oifname "{OUTSIDE}" masquerade
                }}
            }}"""

    def _passing_on(self, first_host: str, lifetime: int) -> tuple[str, str, str]:
        """Returns the map, the rule that fills it, and the rule that reads it."""
        match self.inbound:
            case Inbound.OPEN_PORTS:
                key, out, back = "inet_service", "udp sport", "udp dport"
            case Inbound.KNOWN_ADDRESSES:
                key = "ipv4_addr . inet_service"
                out, back = "ip daddr . udp sport", "ip saddr . udp dport"
            case Inbound.FORWARDED:
                forward = f'iifname "{OUTSIDE}" meta l4proto {{ tcp, udp }} dnat to {first_host}'
                return "", "", forward
            case Inbound.ANSWERS | Inbound.ROUTER | Inbound.ANYBODY:
                return "", "", ""
        definition = f"""map hosts {{
                    type {key} : ipv4_addr
                    flags dynamic,timeout
                    timeout {lifetime}s
                }}"""
        learn = f'oifname "{OUTSIDE}" meta l4proto udp update @hosts {{ {out} : ip saddr }}'
        return definition, learn, f'iifname "{OUTSIDE}" dnat to {back} map @hosts'
