"""p2pnode/netsim/port_pool.py"""

import itertools
from random import Random

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim.nat_behaviour import Collision, NatBehaviour, PortChoice
from p2pnode.netsim.port_pool import PortPool

HOST = SocketAddr("192.168.1.10", 4001)


def take(pool: PortPool, count: int, internal: SocketAddr = HOST) -> list[int]:
    taken: list[int] = []
    for _ in range(count):
        port = pool.choose(internal, lambda port: port not in taken)
        assert port is not None
        taken.append(port)
    return taken


def pool(behaviour: NatBehaviour) -> PortPool:
    return PortPool(behaviour, Random("pool"))


@pytest.mark.spec("NETSIM-7")
def test_preserving_takes_the_internal_port_and_then_the_next_ones() -> None:
    assert take(pool(NatBehaviour(collision=Collision.NEXT)), 3) == [4001, 4002, 4003]


def test_a_port_outside_the_range_cannot_be_preserved() -> None:
    behaviour = NatBehaviour(ports=(5000, 5009), collision=Collision.NEXT)

    assert sorted(take(pool(behaviour), 10)) == list(range(5000, 5010))


@pytest.mark.spec("NETSIM-7")
@pytest.mark.parametrize("step", [1, 2, -1])
def test_sequential_adds_the_step_and_wraps_around(step: int) -> None:
    behaviour = NatBehaviour(port_choice=PortChoice.SEQUENTIAL, port_step=step, ports=(2000, 2099))

    ports = take(pool(behaviour), 100)

    assert {(b - a) % 100 for a, b in itertools.pairwise(ports[:40])} == {step % 100}
    assert sorted(ports) == list(range(2000, 2100))


@pytest.mark.spec("NETSIM-7")
def test_random_covers_the_whole_range_and_then_has_no_more() -> None:
    random = pool(NatBehaviour(port_choice=PortChoice.RANDOM, ports=(2000, 2099)))

    ports = take(random, 100)

    assert sorted(ports) == list(range(2000, 2100))
    assert ports[:20] != sorted(ports[:20])
    assert random.choose(HOST, lambda port: False) is None


@pytest.mark.spec("NETSIM-7")
def test_each_host_has_blocks_of_its_own_up_to_its_limit() -> None:
    behaviour = NatBehaviour(
        port_choice=PortChoice.BLOCK, block_size=64, max_blocks=2, ports=(1024, 1024 + 64 * 4 - 1)
    )
    blocks = pool(behaviour)

    first = take(blocks, 128)
    second = take(blocks, 64, SocketAddr("192.168.1.11", 1))

    assert len({(port - 1024) // 64 for port in first[:64]}) == 1
    assert len({(port - 1024) // 64 for port in first}) == 2
    assert not {(port - 1024) // 64 for port in first} & {(port - 1024) // 64 for port in second}
    assert blocks.choose(HOST, lambda port: port not in first) is None


def test_a_host_that_finds_no_block_gets_no_port() -> None:
    blocks = pool(
        NatBehaviour(port_choice=PortChoice.BLOCK, block_size=64, ports=(1024, 1024 + 63))
    )

    take(blocks, 1)

    assert blocks.choose(SocketAddr("192.168.1.11", 1), lambda port: True) is None


@pytest.mark.parametrize("choice", PortChoice)
@pytest.mark.parametrize("internal", [4000, 4001])
def test_parity_is_kept_on_request(choice: PortChoice, internal: int) -> None:
    behaviour = NatBehaviour(port_choice=choice, parity=True)

    ports = take(pool(behaviour), 20, SocketAddr("192.168.1.10", internal))

    assert {port % 2 for port in ports} == {internal % 2}
