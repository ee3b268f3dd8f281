"""Does delegated dial-back find what is true behind every NAT?  And what v2 alone would say.

A node behind a NAT box, a server that it has contacted, helpers that it has not.  The truth is
asked of the box itself: would the first packet of somebody new get through now?
"""

from random import Random

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim.nat_behaviour import Dependence, FilterScope, NatBehaviour
from p2pnode.netsim.nat_table import NatTable
from p2pnode.protocols.autonat import (
    DELEGATION_LIMITS,
    HELPER_LIMITS,
    AddressTracker,
    Asker,
    Budget,
    ContactLog,
    DelegatedAsker,
    DelegatedServer,
    DialAbility,
    Evidence,
    Helper,
    HelperStatus,
    OrderReceiver,
    OrderSender,
    Prober,
    Reachability,
    decode_probe_untrusted,
    evidence_of_helpers,
)
from tests.support.addresses import NOISE_UDP, noise_udp_multiaddr
from tests.support.autonat import ALICE, deliver
from tests.support.identities import peer_id

INSIDE = SocketAddr("192.168.1.10", 4001)
SERVER = SocketAddr("8.8.8.8", 4001)
HELPERS = [Helper(peer_id(f"h{n}"), f"7.0.0.{n}") for n in range(1, 6)]
ABILITY = DialAbility((NOISE_UDP,))
HOP = 0.025  # seconds one way

KINDS = [
    NatBehaviour(mapping=mapping, filtering=filtering, filter_scope=scope)
    for mapping in Dependence
    for filtering in Dependence
    for scope in FilterScope
]


def name(nat: NatBehaviour) -> str:
    return f"{nat.mapping.value} x {nat.filtering.value}, {nat.filter_scope.value}"


class World:
    """A node behind a box, and how long it takes to know."""

    def __init__(self, nat: NatBehaviour, seed: int, loss: float) -> None:
        self.rng = Random(seed)
        self.loss = loss
        self.box = NatTable(("1.2.3.4",), nat, self.rng)
        self.contacts = ContactLog()
        self.tracker = AddressTracker()
        self.now = 0.0
        self.external = self.write_to(SERVER)
        self.address = noise_udp_multiaddr(self.external)
        self.tracker.track([self.address], 0.0)

    def write_to(self, remote: SocketAddr) -> SocketAddr:
        self.contacts.note(remote.ip, self.now)
        external = self.box.outbound(INSIDE, remote, self.now)
        assert isinstance(external, SocketAddr)
        self.box.inbound(remote, external, self.now)  # the answer
        return external

    def would_reach(self, source: SocketAddr) -> bool:
        return self.box.inbound(source, self.external, self.now) == INSIDE

    def probe_once(self) -> None:
        """One delegated dial-back, a message a hop."""
        asking = DelegatedAsker(
            ALICE, self.address, server_ip=SERVER.ip, entropy=self.rng.randbytes, now=self.now
        )
        who = Asker(ALICE, self.external, NOISE_UDP)
        budget = Budget(DELEGATION_LIMITS)
        serving = DelegatedServer(who, ABILITY, budget, self.rng, self.now)
        self.hop(asking, serving)
        serving.on_helpers(HELPERS, self.now)
        self.hop(serving, asking)
        assert asking.offer is not None
        strangers = [ip for ip in asking.offer if not self.contacts.has_contacted(ip, self.now)]
        asking.on_chosen(strangers, self.now)
        self.hop(asking, serving)
        for order in serving.orders:
            sender = OrderSender(order.order, self.now)
            receiver = OrderReceiver(
                Asker(peer_id("s"), SERVER, NOISE_UDP), ABILITY, Budget(HELPER_LIMITS), self.now
            )
            deliver(sender, receiver, self.now)
            probe = receiver.wants_probe
            assert probe is not None
            assert probe.target == self.external
            source = SocketAddr(order.order.helper_ip, self.rng.randrange(1024, 65536))
            if self.rng.random() >= self.loss and self.would_reach(source):
                token = decode_probe_untrusted(probe.payload)
                contacted = self.contacts.has_contacted(source.ip, self.now)
                asking.on_probe(
                    token, source_ip=source.ip, was_contacted=contacted, now=self.now + 2 * HOP
                )
            receiver.on_sent(HelperStatus.SENT, self.now)
            deliver(receiver, sender, self.now)
            assert sender.status is not None
            serving.on_report(order.index, sender.status, self.now)
        self.now += 2 * HOP
        self.hop(serving, asking)
        while not asking.is_done:
            deadline = asking.poll_timeout()
            assert deadline is not None
            self.now = deadline.at
            asking.handle_timeout(self.now)
        assert asking.results is not None
        pieces = evidence_of_helpers(asking.results, server_ip=SERVER.ip, now=self.now)
        self.tracker.on_evidence(self.address, pieces, self.now)

    def hop(self, source, target) -> None:
        self.now += HOP
        deliver(source, target, self.now)


@pytest.mark.parametrize("nat", KINDS, ids=name)
def test_one_question_finds_the_truth_behind_every_nat_in_three_seconds(nat: NatBehaviour) -> None:
    world = World(nat, seed=1, loss=0.0)
    world.probe_once()
    found = world.tracker.verdict(world.address, world.now)
    truth = world.would_reach(SocketAddr("9.9.9.9", 9))

    assert found is not None
    assert found.reachability is (Reachability.PUBLIC if truth else Reachability.PRIVATE)
    assert truth is (nat.filtering is Dependence.ENDPOINT_INDEPENDENT)
    assert found.confidence == 3
    assert world.now < 3.0


def test_with_one_packet_in_a_hundred_lost_the_truth_is_found_all_the_same() -> None:
    wrong = 0
    for seed in range(20):
        for nat in KINDS:
            world = World(nat, seed, loss=0.01)
            world.probe_once()
            truth = nat.filtering is Dependence.ENDPOINT_INDEPENDENT
            found = world.tracker.overall(world.now)
            wrong += found is (Reachability.PRIVATE if truth else Reachability.PUBLIC)

    assert wrong == 0


@pytest.mark.parametrize("nat", KINDS, ids=name)
def test_what_v2_alone_sees_never_makes_an_unreachable_address_public(nat: NatBehaviour) -> None:
    world = World(nat, seed=1, loss=0.0)
    for number in range(3):
        server = SocketAddr(f"8.8.4.{number}", 4001)
        world.write_to(server)
        is_heard = world.would_reach(server._replace(port=5005))
        piece = Evidence(0.0, is_heard, Prober.ACQUAINTANCE, server.ip, server.ip, "")
        world.tracker.on_evidence(world.address, [piece], 0.0)

    if not world.would_reach(SocketAddr("9.9.9.9", 9)):
        assert world.tracker.overall(0.0) is not Reachability.PUBLIC
