"""Racing addresses: p2pnode/swarm/dialer.py."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import DialError
from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import ConnectionHandle, SocketAddr
from p2pnode.swarm.dialer import (
    HEAD_START,
    MAX_ADDRESSES,
    MAX_CONCURRENT,
    DialCandidate,
    PeerDial,
    RelayedCandidate,
)
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, QUIC_V1, TCP, noise_udp_multiaddr
from tests.support.identities import peer_id


def candidate(ip: str, port: int = 1) -> DialCandidate:
    addr = SocketAddr(ip, port)
    return DialCandidate(noise_udp_multiaddr(addr), addr, NOISE_UDP)


def over(transport: TransportName, ip: str = "1.1.1.1", port: int = 1) -> DialCandidate:
    addr = SocketAddr(ip, port)
    return DialCandidate(transport_multiaddr(addr, transport), addr, transport)


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


# several transports


class Race:
    """A dial of which nobody answers, and when each of its tries began."""

    def __init__(self, *candidates: DialCandidate, fails_after: float | None = None) -> None:
        self.dialing = dial(*candidates)
        self.began: list[tuple[float, str, str]] = []
        self.fails_after = fails_after
        self._under_way: dict[int, float] = {}

    def run(self, until: float = 20.0) -> list[tuple[float, str, str]]:
        """Steps to each deadline, as a driver does; returns (time, transport, IP)."""
        now = 10.0
        while now <= until:
            for handle, at in list(self._under_way.items()):
                if self.fails_after is not None and now >= at + self.fails_after:
                    del self._under_way[handle]
                    self.dialing.on_failure(ConnectionHandle(handle), DialError("no"), now)
            for found in self.dialing.poll_start(now):
                assert isinstance(found, DialCandidate)
                handle = len(self.began)
                self.dialing.started(ConnectionHandle(handle), found)
                self._under_way[handle] = now
                self.began.append((round(now - 10.0, 3), found.transport, found.remote.ip))
            deadline = self.dialing.poll_timeout()
            ends = [] if self.fails_after is None else [*self._under_way.values()]
            later = [at + (self.fails_after or 0) for at in ends]
            later += [] if deadline is None else [deadline.at]
            if not later:
                break
            now = max(now, min(later))
        return self.began


@pytest.mark.spec("SWARM-35")
def test_udp_goes_first_the_best_transport_first_and_tcp_has_a_head_start_against_it() -> None:
    race = Race(over(TCP), over(QUIC_V1), over(NOISE_UDP))
    assert [(at, name) for at, name, _ in race.run()] == [
        (0.0, NOISE_UDP),
        (HEAD_START, QUIC_V1),
        (HEAD_START, TCP),
    ]


@pytest.mark.spec("SWARM-35")
def test_addresses_over_tcp_do_not_wait_for_all_that_udp_tries() -> None:
    hosts = [f"7.0.0.{n}" for n in range(1, 6)]
    race = Race(*(over(name, ip) for ip in hosts for name in (TCP, QUIC_V1)))
    began = race.run()
    assert [(at, ip) for at, name, ip in began if name == TCP][:3] == [
        (HEAD_START, hosts[0]),
        (2 * HEAD_START, hosts[1]),
        (3 * HEAD_START, hosts[2]),
    ]


@pytest.mark.spec("SWARM-35")
def test_a_peer_that_is_reached_over_tcp_alone_is_dialled_at_once() -> None:
    assert [at for at, _, _ in Race(over(TCP), over(TCP, "2.2.2.2")).run()] == [0.0, HEAD_START]


@pytest.mark.spec("SWARM-35")
def test_tcp_does_not_wait_once_udp_has_failed() -> None:
    race = Race(over(TCP), over(QUIC_V1), fails_after=0.1)
    assert race.run() == [(0.0, QUIC_V1, "1.1.1.1"), (0.1, TCP, "1.1.1.1")]
    race = Race(over(TCP), over(QUIC_V1), over(NOISE_UDP), fails_after=0.1)
    assert [(at, name) for at, name, _ in race.run()] == [
        (0.0, NOISE_UDP),
        (0.1, QUIC_V1),
        (0.2, TCP),
    ]


@pytest.mark.spec("SWARM-35")
def test_addresses_over_udp_that_come_later_do_not_wait_for_tcp() -> None:
    dialing = dial(over(TCP), over(TCP, "2.2.2.2"))
    assert start(dialing, 10.0) == ["1.1.1.1"]
    dialing.add([over(NOISE_UDP, "3.3.3.3")], 10.1)
    assert start(dialing, 10.1) == ["3.3.3.3"]
    assert start(dialing, 10.1 + HEAD_START) == ["2.2.2.2"]


@pytest.mark.spec("SWARM-1")
def test_families_take_turns_ipv6_first() -> None:
    race = Race(*(candidate(ip) for ip in ("8.8.8.8", "9.9.9.9", "2001:4860::1", "2001:4860::2")))
    assert [ip for _, _, ip in race.run()] == ["2001:4860::1", "8.8.8.8", "2001:4860::2", "9.9.9.9"]


ADDRESSES = st.lists(
    st.builds(
        over,
        st.sampled_from(TransportName),
        st.sampled_from(["7.0.0.1", "2001:4860::1", "192.168.1.9", "127.0.0.1"]),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.spec("SWARM-1", "SWARM-35")
@given(ADDRESSES, st.one_of(st.none(), st.floats(0.01, 3.0)))
def test_no_address_is_lost_or_hurried(
    candidates: list[DialCandidate], fails_after: float | None
) -> None:
    race = Race(*candidates, fails_after=fails_after)
    began = race.run(until=200.0)
    names = [name for _, name, _ in began]
    over_udp = [at for at, name, _ in began if name != TCP]
    over_tcp = [at for at, name, _ in began if name == TCP]
    if fails_after is None:
        assert len(began) == min(len(dict.fromkeys(candidates)), MAX_CONCURRENT)
        for times in (over_udp, over_tcp):
            gaps = [later - at for at, later in itertools.pairwise(times)]
            assert all(gap >= HEAD_START - 1e-9 for gap in gaps)
        if over_udp and over_tcp:
            assert over_tcp[0] == over_udp[0] + HEAD_START
    else:
        assert len(race.dialing.attempts) == len(began) == len(dict.fromkeys(candidates))
        assert race.dialing.is_over
    assert [n for n in names if n != TCP] == sorted(
        (n for n in names if n != TCP), key=[*TransportName].index
    )


# a peer that may appear


@pytest.mark.spec("SWARM-2", "SWARM-28")
def test_an_address_that_cannot_be_tried_is_told_once_however_often_the_peer_is_looked_for() -> (
    None
):
    relay = peer_id("relay")
    relay_address = parse_multiaddr("/ip4/9.0.0.1/udp/4001/noise")
    through = RelayedCandidate(relay_address, relay, relay_address)
    out_of_reach = candidate("2001:4860::1")
    dialing = PeerDial(1, peer_id("wanted"), [out_of_reach, through], 10.0)
    for found in dialing.poll_start(10.0):
        if found is out_of_reach:
            dialing.failed(found, DialError("no socket"), 10.0)
        else:
            dialing.asked(through)
    dialing.on_refused(relay, DialError("no reservation"), 10.1)
    assert dialing.is_over
    assert dialing.wait_for_peer(10.1)

    dialing.add([out_of_reach, through], 10.6)
    assert list(dialing.poll_start(10.6)) == [through], "a relay is asked again, and nothing else"
    assert [str(reason) for _, reason in dialing.attempts] == ["no socket"]
