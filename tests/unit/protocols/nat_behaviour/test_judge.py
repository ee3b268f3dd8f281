"""What evidence says of a NAT, and what it leaves open."""

from itertools import pairwise
from random import Random

import pytest

from p2pnode.machine import SocketAddr, SocketId
from p2pnode.netcheck import knocking as nat_knocking
from p2pnode.netcheck.knocking import Knocking
from p2pnode.protocols.nat_behaviour import (
    Dependence,
    NatAnswer,
    NatStatus,
    PortAllocation,
    encode_knock,
)
from p2pnode.protocols.nat_behaviour.judge import (
    PortSample,
    View,
    judge_allocation,
    judge_filtering,
    judge_mapping,
)

OWN = (SocketAddr("192.168.1.10", 4001), SocketAddr("8.1.1.1", 4001))


def view(remote: str, port: int, observed: int, ip: str = "9.9.9.9") -> View:
    return View(SocketAddr(remote, port), SocketAddr(ip, observed))


@pytest.mark.spec("NATB-13")
@pytest.mark.parametrize(
    ("views", "kind"),
    [
        ([], Dependence.UNKNOWN),
        ([view("7.0.0.1", 1, 50)], Dependence.UNKNOWN),
        ([view("7.0.0.1", 1, 50), view("7.0.0.1", 2, 50)], Dependence.UNKNOWN),
        ([view("7.0.0.1", 1, 50), view("7.0.0.1", 2, 51)], Dependence.ADDRESS_AND_PORT_DEPENDENT),
        ([view("7.0.0.1", 1, 50), view("7.0.0.2", 1, 50)], Dependence.ENDPOINT_INDEPENDENT),
        ([view("7.0.0.1", 1, 50), view("7.0.0.2", 1, 51)], Dependence.ENDPOINT_DEPENDENT),
        (
            [view("7.0.0.1", 1, 50), view("7.0.0.1", 2, 50), view("7.0.0.2", 1, 51)],
            Dependence.ADDRESS_DEPENDENT,
        ),
        ([view("192.168.1.1", 1, 50), view("192.168.1.2", 1, 51)], Dependence.UNKNOWN),
        ([view("7.0.0.1", 1, 4001, "8.1.1.1")], Dependence.NONE),
    ],
)
def test_the_mapping_is_what_several_peers_and_ports_see(
    views: list[View], kind: Dependence
) -> None:
    judged = judge_mapping(views, OWN)

    assert judged.kind is kind
    assert judged.why


@pytest.mark.spec("NATB-13")
def test_of_three_peers_one_that_lies_is_outvoted() -> None:
    honest = [view(f"7.0.0.{n}", port, 50) for n in (1, 2) for port in (1, 2)]
    liar = [view("7.0.0.3", 1, 66), view("7.0.0.3", 2, 67)]

    assert judge_mapping([*honest, *liar], OWN).kind is Dependence.ENDPOINT_INDEPENDENT


@pytest.mark.spec("NATB-15")
def test_two_that_contradict_each_other_settle_nothing() -> None:
    views = [
        *(view("7.0.0.1", port, 50) for port in (1, 2)),
        *(view("7.0.0.2", port, 50 + port) for port in (1, 2)),
    ]

    assert judge_mapping(views, OWN).kind is Dependence.UNKNOWN


@pytest.mark.spec("NATB-13")
@pytest.mark.parametrize(
    ("external", "law"),
    [
        ([1000, 2000, 3000], PortAllocation.UNKNOWN),
        ([40_000, 51_000, 42_000, 53_000, 44_000, 45_000], PortAllocation.PRESERVING),
        ([7000, 7001, 7002, 7003, 7004, 7005], PortAllocation.SEQUENTIAL),
        ([7005, 7003, 7001, 6999, 6997, 6995], PortAllocation.SEQUENTIAL),
        ([7000, 7001, 7004, 7005, 7015, 7016], PortAllocation.SEQUENTIAL),
        ([65_533, 65_534, 65_535, 1024, 1025, 1026], PortAllocation.SEQUENTIAL),
        ([7000, 7900, 7100, 7050, 7600, 7300], PortAllocation.BLOCK),
        ([1000, 7900, 60_000, 7050, 31_000, 7300], PortAllocation.RANDOM),
    ],
)
def test_the_port_law_is_what_one_peer_sees_of_several_sockets(
    external: list[int], law: PortAllocation
) -> None:
    samples = [PortSample(40_000 + 1000 * n, port) for n, port in enumerate(external)]

    assert judge_allocation(samples).kind is law


def test_random_ports_are_hardly_ever_taken_for_another_law() -> None:
    rng = Random(1)
    laws = [
        judge_allocation([PortSample(n, rng.randint(1024, 65_535)) for n in range(6)]).kind
        for _ in range(2000)
    ]

    assert set(laws) == {PortAllocation.RANDOM}


@pytest.mark.spec("NATB-13")
@pytest.mark.parametrize(
    ("port", "stranger", "kind"),
    [
        (True, True, Dependence.ENDPOINT_INDEPENDENT),
        (None, True, Dependence.ENDPOINT_INDEPENDENT),
        (True, False, Dependence.ADDRESS_DEPENDENT),
        (False, False, Dependence.ADDRESS_AND_PORT_DEPENDENT),
        (False, None, Dependence.ADDRESS_AND_PORT_DEPENDENT),
        (True, None, Dependence.UNKNOWN),
        (None, False, Dependence.UNKNOWN),
        (None, None, Dependence.UNKNOWN),
    ],
)
def test_the_filter_is_who_of_those_that_knock_comes_in(
    port: bool | None, stranger: bool | None, kind: Dependence
) -> None:
    assert judge_filtering(from_other_port=port, from_stranger=stranger).kind is kind


# knocking

SOCKET = SocketId(3)
NONCES = [bytes([n]) * 32 for n in range(nat_knocking.KNOCKS)]
OK = NatAnswer(NatStatus.OK)


def knocking() -> Knocking:
    return Knocking(1, SOCKET, 50_000, list(NONCES), 0.0)


def asked(machine: Knocking) -> list[float]:
    """Steps it until it asks no more; returns when it asked."""
    times: list[float] = []
    while (deadline := machine.poll_timeout()) is not None:
        times += [deadline.at] * len(machine.poll_asks(deadline.at))
    return times


def test_a_few_knocks_are_asked_for_one_after_the_other() -> None:
    times = asked(knocking())

    assert len(times) == nat_knocking.KNOCKS
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([nat_knocking.KNOCK_INTERVAL] * (len(times) - 1))


def test_one_that_comes_in_is_enough() -> None:
    machine = knocking()
    machine.poll_asks(0.0)

    assert machine.on_knock(SOCKET, encode_knock(NONCES[0]))

    assert machine.is_over
    assert machine.result is True
    assert machine.poll_asks(10.0) == []


def test_a_forged_knock_is_not_taken() -> None:
    machine = knocking()
    machine.poll_asks(0.0)

    assert not machine.on_knock(SOCKET, encode_knock(b"x" * 32))
    assert not machine.on_knock(SocketId(4), encode_knock(NONCES[0]))
    assert not machine.is_over


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        ([OK, OK, OK], False),
        ([OK, OK, None], False),
        ([OK, None, None], None),
        ([None, None, None], None),
        ([NatAnswer(NatStatus.NO_PORT)] * 3, None),
    ],
)
def test_silence_counts_where_two_knocks_left(
    answers: list[NatAnswer | None], result: bool | None
) -> None:
    machine = knocking()
    asked(machine)
    for nonce, answer in zip(NONCES, answers, strict=True):
        machine.on_answer(nonce, answer, "", 1.0)
    deadline = machine.poll_timeout()
    assert deadline is not None

    machine.handle_timeout(deadline.at)

    assert machine.is_over
    assert machine.result is result
    assert bool(machine.reason) is (result is None or None in answers)
