"""Racing addresses: p2pnode/swarm/dialer.py."""

import pytest

from p2pnode.errors import DialError
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.swarm.dialer import HEAD_START, MAX_ADDRESSES, MAX_CONCURRENT, DialCandidate, PeerDial
from tests.support.addresses import NOISE_UDP, QUIC_V1, noise_udp_multiaddr


def candidate(ip: str, port: int = 1) -> DialCandidate:
    addr = SocketAddr(ip, port)
    return DialCandidate(noise_udp_multiaddr(addr), addr, NOISE_UDP)


def dial(*candidates: DialCandidate) -> PeerDial:
    return PeerDial(1, None, list(candidates), now=10.0)


def start(dialing: PeerDial, now: float) -> list[str]:
    started = []
    for i, found in enumerate(dialing.poll_start(now)):
        dialing.started(int(now * 1000) + i, found)
        started.append(found.remote.ip)
    return started


@pytest.mark.spec("SWARM-1")
def test_nearer_addresses_go_first_and_each_has_a_head_start() -> None:
    dialing = dial(
        candidate("8.8.8.8"), candidate("2001:4860::1"), candidate("192.168.1.9"), candidate("::1")
    )
    assert start(dialing, 10.0) == ["::1"]
    assert start(dialing, 10.2) == []
    assert start(dialing, 10.0 + HEAD_START) == ["192.168.1.9"]
    assert start(dialing, 10.5) == ["2001:4860::1"]
    assert start(dialing, 10.75) == ["8.8.8.8"]
    assert dialing.poll_timeout() is None


@pytest.mark.spec("SWARM-33")
def test_one_port_is_tried_once_by_each_transport() -> None:
    at = SocketAddr("1.1.1.1", 1)
    tries = [
        DialCandidate(transport_multiaddr(at, name), at, name)
        for name in (NOISE_UDP, QUIC_V1, NOISE_UDP)
    ]
    dialing = dial(*tries)
    assert start(dialing, 10.0) == start(dialing, 10.0 + HEAD_START) == ["1.1.1.1"]
    assert start(dialing, 11.0) == []
    dialing.on_failure(10_000, DialError("no answer"), 11.1)
    dialing.on_failure(10_250, DialError("no answer"), 11.1)
    assert [address for address, _ in dialing.attempts] == [t.address for t in tries[:2]]


@pytest.mark.spec("SWARM-1", "SWARM-2")
def test_a_failure_starts_the_next_address_at_once_and_is_kept() -> None:
    dialing = dial(candidate("1.1.1.1"), candidate("2.2.2.2"))
    start(dialing, 10.0)
    dialing.on_failure(10_000, DialError("no answer"), 10.1)
    assert start(dialing, 10.1) == ["2.2.2.2"]
    assert not dialing.is_over
    dialing.on_failure(10_100, DialError("nobody"), 10.2)
    assert dialing.is_over
    assert [str(reason) for _, reason in dialing.attempts] == ["no answer", "nobody"]


@pytest.mark.spec("SWARM-1")
def test_the_number_of_addresses_under_way_and_in_all_is_bounded() -> None:
    dialing = dial(*(candidate("1.1.1.1", port) for port in range(1, 60)))
    now, started = 10.0, 0
    for _ in range(40):
        started += len(start(dialing, now))
        now += HEAD_START
    assert started == MAX_CONCURRENT
    for handle in dialing.handles:
        dialing.on_failure(handle, DialError("no"), now)
        start(dialing, now)
        now += HEAD_START
    while not dialing.is_over:
        for handle in dialing.handles:
            dialing.on_failure(handle, DialError("no"), now)
        start(dialing, now)
        now += 1
    assert len(dialing.attempts) == MAX_ADDRESSES
