"""The transports that an address can name, and how a multiaddr writes each.

That one is here does not mean that this node speaks it: its swarm knows what it speaks.
"""

import enum
from typing import Final, Literal, NamedTuple, TypeAlias

from p2pnode.wire.multiaddr import Code

Carrier: TypeAlias = Literal["udp", "tcp"]
"""Whose port an address names: UDP's 4001 is another one than TCP's."""


class TransportName(enum.StrEnum):
    """By what name a person reads of it; the best one first."""

    NOISE_UDP = "noise-udp"
    QUIC_V1 = "quic-v1"
    TCP = "tcp"

    @property
    def codes(self) -> tuple[int, ...]:
        """The protocols behind the host: the port's, and what follows it."""
        return _SHAPES[self].codes

    @property
    def carrier(self) -> Carrier:
        return "tcp" if self.codes[0] == Code.TCP else "udp"

    @property
    def example(self) -> str:
        """What its addresses look like, for a person to read."""
        return _SHAPES[self].example


class _Shape(NamedTuple):
    codes: tuple[int, ...]
    example: str


_SHAPES: Final[dict[TransportName, _Shape]] = {
    TransportName.NOISE_UDP: _Shape((Code.UDP, Code.NOISE), "/ip4/…/udp/…/noise"),
    TransportName.QUIC_V1: _Shape((Code.UDP, Code.QUIC_V1), "/ip4/…/udp/…/quic-v1"),
    TransportName.TCP: _Shape((Code.TCP,), "/ip4/…/tcp/…"),
}
_NAMES: Final = {shape.codes: name for name, shape in _SHAPES.items()}


def transport_of(codes: tuple[int, ...]) -> TransportName | None:
    """Returns the transport whose addresses have these protocols behind the host, or None."""
    return _NAMES.get(codes)
