"""Naive hole punching through simulated boxes agrees with an oracle that knows definitions only.

The oracle knows RFC 4787 and no code of ours; the boxes know no oracle.  A disagreement is a bug in
one of them (specs/netsim.md, Punchability).
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.machine import SocketAddr
from p2pnode.netsim import nat_presets as presets
from p2pnode.netsim.host import Host
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.nat_behaviour import Dependence, FilterScope, Hairpin, NatBehaviour, PortChoice
from p2pnode.netsim.report import FailureReport
from p2pnode.netsim.topology import ACCESS, Pair, double_nat_pair, nat_pair
from tests.unit.netsim.machines import ROUND, ROUNDS, Puncher, echo

INDEPENDENT = Dependence.ENDPOINT_INDEPENDENT
BY_ADDRESS = Dependence.ADDRESS_DEPENDENT
BY_PORT = Dependence.ADDRESS_AND_PORT_DEPENDENT


def direct_path_possible(a: NatBehaviour, b: NatBehaviour, scope: FilterScope) -> bool:
    """Can both ends punch, when each knows only what a third party saw of the other?"""

    def is_unpredictable(x: NatBehaviour) -> bool:
        return x.mapping is not INDEPENDENT

    if (is_unpredictable(a) and b.filtering is BY_PORT) or (
        is_unpredictable(b) and a.filtering is BY_PORT
    ):
        return False  # who filters by port never opens for a port that nobody can name
    if scope is FilterScope.INTERNAL_ENDPOINT:
        return True  # a permission by address holds for the mapping that the other knows of
    # By mapping it holds for a new mapping only, and if both sides' are new, neither knows any.
    both_unpredictable = is_unpredictable(a) and is_unpredictable(b)
    return not both_unpredictable or INDEPENDENT in (a.filtering, b.filtering)


def punch(net: Pair) -> bool:
    """Returns whether both ends hear the other's answer within six rounds."""
    server = echo(net.public[0])

    def puncher(host: Host) -> Puncher:
        return Puncher(host.bind(4001), server)

    a, b = net.a.attach(puncher), net.b.attach(puncher)
    for host, machine in ((net.a, a), (net.b, b)):
        for _ in range(3):  # some may be lost
            host.call(machine.ask_server)
    net.world.run_until(lambda: None not in (a.reflexive, b.reflexive), timeout=5)

    def start(host: Host, machine: Puncher, peer: SocketAddr | None) -> None:
        assert peer is not None
        host.call(machine.punch, peer, host.now)

    start(net.a, a, b.reflexive)
    start(net.b, b, a.reflexive)
    return net.world.reaches(
        lambda: a.has_heard_answer and b.has_heard_answer, timeout=ROUND * ROUNDS + 1
    )


@pytest.mark.spec("NETSIM-5")
@pytest.mark.parametrize(
    ("scope", "expected"), [(FilterScope.INTERNAL_ENDPOINT, 49), (FilterScope.MAPPING, 45)]
)
def test_all_81_pairs_agree_with_the_oracle(scope: FilterScope, expected: int) -> None:
    boxes = [presets.box(*kind, scope) for kind in presets.NINE_KINDS]
    punched = 0
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes):
            net = nat_pair(f"{i}/{j}", a, b)
            with FailureReport(net.world):
                worked = punch(net)
                assert worked is direct_path_possible(a, b, scope), (a, b)
            punched += worked

    assert punched == expected


BOXES = st.builds(
    NatBehaviour,
    mapping=st.sampled_from(Dependence),
    filtering=st.sampled_from(Dependence),
    port_choice=st.just(PortChoice.RANDOM),
    hairpin=st.sampled_from(Hairpin),
    unreplied_timeout=st.sampled_from([10.0, 30.0, 120.0]),
    stream_timeout=st.sampled_from([30.0, 300.0]),
    filter_timeout=st.sampled_from([None, 10.0]),
    same_port_after_expiry=st.booleans(),
    parity=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(
    a=BOXES,
    b=BOXES,
    scope=st.sampled_from(FilterScope),
    seed=st.integers(0, 2**32),
    jitter=st.sampled_from([0.0, 0.05]),
)
def test_no_other_knob_changes_what_the_oracle_says(
    a: NatBehaviour, b: NatBehaviour, scope: FilterScope, seed: int, jitter: float
) -> None:
    access = LinkParams(delay=ACCESS.delay, jitter=jitter)
    net = nat_pair(
        seed, replace(a, filter_scope=scope), replace(b, filter_scope=scope), access=access
    )

    with FailureReport(net.world):
        assert punch(net) is direct_path_possible(a, b, scope)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_punching_survives_some_loss(seed: int) -> None:
    access = LinkParams(delay=ACCESS.delay, loss=0.01)
    net = nat_pair(seed, presets.home(), presets.address_restricted(), access=access)

    with FailureReport(net.world):
        assert punch(net)


@pytest.mark.parametrize(
    ("inner", "outer", "works"),
    [
        (presets.home(), presets.home(), True),
        (presets.home(), presets.cgnat(), True),
        (presets.home(), presets.mobile(), False),
        (presets.full_cone(), presets.mobile(), False),
    ],
)
def test_two_boxes_in_a_row_punch_like_the_worse_of_them(
    inner: NatBehaviour, outer: NatBehaviour, works: bool
) -> None:
    net = double_nat_pair(1, inner, outer)

    with FailureReport(net.world):
        assert punch(net) is works


@pytest.mark.spec("NETSIM-10")
@pytest.mark.parametrize(
    ("router", "works"), [(presets.linux(), True), (presets.leaky_linux(), False)]
)
def test_an_early_punch_spoils_a_leaky_routers_port(router: NatBehaviour, works: bool) -> None:
    net = nat_pair(1, router, presets.linux())
    server = echo(net.public[0])
    a = net.a.attach(lambda host: Puncher(host.bind(4001), server))
    b = net.b.attach(lambda host: Puncher(host.bind(4001), server))
    net.a.call(a.ask_server)
    net.b.call(b.ask_server)
    net.world.run_for(1)
    assert a.reflexive is not None
    assert b.reflexive is not None

    net.b.call(b.punch, a.reflexive, net.b.now)  # b's first packet is at a's router before a sends
    net.world.run_for(0.1)
    net.a.call(a.punch, b.reflexive, net.a.now)
    both = net.world.reaches(lambda: a.has_heard_answer and b.has_heard_answer, timeout=5)

    assert both is works
