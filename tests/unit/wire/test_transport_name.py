"""Transports by name."""

import pytest

from p2pnode.wire.multiaddr import Code
from p2pnode.wire.transport_name import TransportName, transport_of


@pytest.mark.parametrize(
    ("name", "codes", "carrier"),
    [
        ("noise-udp", (Code.UDP, Code.NOISE), "udp"),
        ("quic-v1", (Code.UDP, Code.QUIC_V1), "udp"),
        ("tcp", (Code.TCP,), "tcp"),
    ],
)
def test_a_transport_is_known_by_the_protocols_behind_the_host(
    name: str, codes: tuple[int, ...], carrier: str
) -> None:
    transport = TransportName(name)

    assert transport.codes == codes
    assert transport_of(codes) is transport
    assert transport.carrier == carrier
    assert f"/{carrier}/" in transport.example


@pytest.mark.parametrize(
    "codes",
    [(), (Code.UDP,), (Code.TCP, Code.NOISE), (Code.TCP, 477), (Code.UDP, Code.QUIC_V1, 465)],
)
def test_other_protocols_are_no_transport(codes: tuple[int, ...]) -> None:
    assert transport_of(codes) is None


def test_each_name_is_one_transport() -> None:
    assert len({name.codes for name in TransportName}) == len(TransportName)
    assert [transport_of(name.codes) for name in TransportName] == list(TransportName)
