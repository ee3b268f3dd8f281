"""What a hostile peer makes whole nodes send to people who have nothing to do with it.

The bystanders' network answers nothing and keeps every packet; the bounds are the budgets' own
constants (specs/security.md).
"""

import pytest

from p2pnode.identity.peer_id import PeerId
from p2pnode.netsim.trace import Kind
from p2pnode.protocols import autonat, dcutr, kad, relay
from p2pnode.protocols.autonat import delegated_messages as dial_back
from p2pnode.protocols.autonat.delegated_messages import MAX_HELPERS_CHOSEN, PROBE_SIZE
from p2pnode.protocols.autonat.messages_v1 import DialV1, encode_message_v1
from p2pnode.protocols.autonat.messages_v2 import (
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    decode_message_v2_untrusted,
    encode_message_v2,
)
from p2pnode.protocols.autonat.v2_server import MIN_DIAL_DATA
from p2pnode.protocols.dcutr import budget, plan
from p2pnode.protocols.dcutr.messages import Connect, Sync, encode_hole_punch
from p2pnode.protocols.kad.messages import MAX_ADDRS_PER_PEER, CloserPeer, encode_answer
from p2pnode.swarm.address_book import MAX_ADDRESSES_PER_PEER, MAX_PEERS
from p2pnode.swarm.dialer import MAX_ADDRESSES
from p2pnode.swarm.events import DialFailed
from p2pnode.swarm.services.peer_discovery import MAX_REMEMBERED
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.transports.noise_udp.path_validation import FULL_SIZE
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.hostile import Hostile, Town, bystander, identities
from tests.support.identities import peer_id

ONE = (bystander(),)
PORTS = tuple(bystander(port=1000 + n) for n in range(50))
IPS = tuple(bystander(f"99.1.{n}.1") for n in range(50))
TARGETS = {"one address": ONE, "50 ports": PORTS, "50 IPs": IPS}
INITIALS_PER_HANDSHAKE = 5
"""How often message 1 is sent to who does not answer: after 0, 0.5, 1.5, 3.5 and 7.5 s."""
HANDSHAKES_PER_TARGET = autonat.V2_LIMITS.per_target
"""In a minute, at one IP; as AutoNAT has it, whose dials cost the target the same."""


def lies(*addrs: Multiaddr) -> bytes:
    """Returns DCUtR's CONNECT with these addresses."""
    return encode_hole_punch(Connect(addrs[:32]))


def allowed(size: int, seconds: float) -> float:
    """Returns what a budget of `size` gives in so many seconds, from a full one on."""
    return size * (1 + seconds / budget.WINDOW)


class Punching:
    """A hostile peer with a relayed connection to the node, whose DCUtR its test speaks."""

    def __init__(self, town: Town, addrs: tuple[Multiaddr, ...], name: str = "mallory") -> None:
        self.town = town
        self.addrs = addrs
        self.mallory = town.hostile(name)
        self.mallory.claim(*addrs[:32])
        self.mallory.take_over(dcutr.PROTOCOL_ID, self._answer)
        node = town.node
        dial = self.mallory.do(self.mallory.swarm.dial, node.peer_id, (), town.world.now)
        assert dial
        town.world.run_until(lambda: self.mallory.connections_to(node) > 0, 10)
        best = self.mallory.swarm.facts.best(node.peer_id)
        assert best is not None
        self.connection = best

    def ask(self) -> None:
        """Begins a round, as if it had been dialled."""
        messages = lies(*self.addrs), encode_hole_punch(Sync())
        self.mallory.say(self.connection, dcutr.PROTOCOL_ID, *messages)

    def _answer(self, stream: SwarmStream, data: bytes, eof: bool) -> None:
        if data and not eof and self.mallory.received[stream.connection, stream.stream_id] == data:
            stream.write(encode_frame(lies(*self.addrs)))


@pytest.mark.spec("DCUTR-9", "DCUTR-11", "DCUTR-12")
@pytest.mark.parametrize("addrs", TARGETS.values(), ids=TARGETS)
def test_a_peer_cannot_have_more_than_the_budget_punched(addrs: tuple[Multiaddr, ...]) -> None:
    town = Town()
    punching = Punching(town, addrs)
    began = town.world.now
    for _ in range(60):
        punching.ask()
        town.world.run_for(1.5)
    seconds, seen = town.world.now - began, town.bystanders
    assert len(seen) > plan.PROBES_PER_ROUND, "nothing was tried"
    assert seen.largest <= plan.PROBE_SIZE
    assert len(seen) <= allowed(budget.PEER_PACKETS, seconds)
    assert max(seen.by_ip.values()) <= allowed(budget.TARGET_PACKETS, seconds)
    assert seen.most_within(plan.ROUND_TIME) <= plan.MAX_PUNCH_ADDRS * plan.MAX_PROBES_PER_ADDR


@pytest.mark.spec("DCUTR-12")
def test_many_identities_cannot_have_more_than_the_budget_punched_at_one_target() -> None:
    town = Town()
    peers = [Punching(town, ONE, f"mallory {n}") for n in range(6)]
    began = town.world.now
    for _ in range(30):
        for punching in peers:
            punching.ask()
        town.world.run_for(3)
    seen = town.bystanders
    assert (
        budget.TARGET_PACKETS <= len(seen) <= allowed(budget.TARGET_PACKETS, town.world.now - began)
    )
    assert seen.largest <= plan.PROBE_SIZE


@pytest.mark.slow
@pytest.mark.spec("DCUTR-12")
def test_all_peers_together_cannot_have_more_than_the_nodes_budget_punched() -> None:
    town = Town()
    peers = [
        Punching(town, tuple(bystander(f"99.{n}.{ip}.1") for ip in range(32)), f"mallory {n}")
        for n in range(8)
    ]
    began = town.world.now
    for _ in range(20):
        for punching in peers:
            punching.ask()
        town.world.run_for(3)
    seen, seconds = town.bystanders, town.world.now - began
    assert len(seen) <= allowed(budget.TOTAL_PACKETS, seconds)
    assert len(seen) <= len(peers) * allowed(budget.PEER_PACKETS, seconds)
    assert max(seen.by_address.values()) <= allowed(budget.TARGET_PACKETS, seconds)
    assert seen.largest <= plan.PROBE_SIZE


@pytest.mark.spec("DCUTR-10")
def test_nobody_has_a_node_probe_its_own_network() -> None:
    town = Town()
    near = tuple(parse_multiaddr(f"/ip4/192.168.1.{n}/udp/53/noise") for n in range(1, 255))
    here = parse_multiaddr("/ip4/127.0.0.1/udp/53/noise")
    punching = Punching(town, (here, *near[:20]))
    sent_before = sent_to(town, "192.168.") + sent_to(town, "127.")
    for _ in range(10):
        punching.ask()
        town.world.run_for(3)
    assert sent_to(town, "192.168.") + sent_to(town, "127.") == sent_before == 0


def sent_to(town: Town, prefix: str) -> int:
    """Returns how many packets hosts have sent to such addresses, as far as the trace goes."""
    return sum(
        record.kind is Kind.SENT and record.packet.dst.ip.startswith(prefix)
        for record in town.world.trace.records
    )


# AutoNAT


class Asking:
    """A hostile peer that asks a public node for dial-backs."""

    def __init__(self, *, helpers: int = 0) -> None:
        self.town = Town()
        self.server = self.town.honest("server")
        helpers_hosts = [self.town.honest(f"helper {n}") for n in range(helpers)]
        self.mallory = self.town.hostile()
        for node in helpers_hosts:
            node.connect(self.server)
        self.connection = self.mallory.connect(self.server)
        self.town.world.run_for(3)

    def messages(self, stream: SwarmStream) -> list[bytes]:
        """Returns the messages that came on a stream."""
        reader = FrameReader(4096)
        reader.feed(self.mallory.heard(stream))
        found = []
        while (frame := reader.next_frame_untrusted()) is not None:
            found.append(frame)
        return found


@pytest.mark.parametrize("addrs", TARGETS.values(), ids=TARGETS)
def test_autonat_v1_dials_nobody_but_who_asks(addrs: tuple[Multiaddr, ...]) -> None:
    asking = Asking()
    message = encode_message_v1(DialV1(asking.mallory.peer_id, addrs[:16]))
    for _ in range(10):
        asking.mallory.say(asking.connection, autonat.V1_PROTOCOL_ID, message)
        asking.town.world.run_for(6)
    assert len(asking.town.bystanders) == 0


@pytest.mark.parametrize("addrs", TARGETS.values(), ids=TARGETS)
def test_autonat_v2_dials_another_ip_for_no_less_than_it_costs(
    addrs: tuple[Multiaddr, ...],
) -> None:
    asking = Asking()
    mallory, world = asking.mallory, asking.town.world
    streams = []
    for nonce in range(3):
        message = encode_message_v2(DialRequest(addrs, nonce))
        stream = mallory.say(asking.connection, autonat.DIAL_REQUEST_PROTOCOL_ID, message)
        streams.append(stream)
        world.run_for(1)
        (answer,) = asking.messages(stream)
        wanted = decode_message_v2_untrusted(answer)
        assert isinstance(wanted, DialDataRequest)
        assert wanted.num_bytes >= MIN_DIAL_DATA
        mallory.do(stream.reset, 0)
    assert len(asking.town.bystanders) == 0, "dialled before anything was paid"


def test_autonat_v2_never_sends_more_than_was_paid_for_it() -> None:
    asking = Asking()
    mallory, world, seen = asking.mallory, asking.town.world, asking.town.bystanders
    paid = 0
    for nonce in range(12):
        message = encode_message_v2(DialRequest(ONE, nonce))
        stream = mallory.say(asking.connection, autonat.DIAL_REQUEST_PROTOCOL_ID, message)
        world.run_for(0.3)
        for answer in asking.messages(stream):
            wanted = decode_message_v2_untrusted(answer)
            if isinstance(wanted, DialDataRequest):
                chunk = encode_message_v2(DialDataResponse(bytes(4000)))
                for _ in range(wanted.num_bytes // 4000 + 1):
                    mallory.add(stream, chunk)
                paid += wanted.num_bytes
        world.run_for(20)
    assert seen.initials > 0
    assert len(seen) <= INITIALS_PER_HANDSHAKE * autonat.V2_LIMITS.per_target * 5
    assert 3 * seen.size <= paid


@pytest.mark.parametrize("addrs", TARGETS.values(), ids=TARGETS)
def test_delegated_dial_back_sends_few_small_probes(addrs: tuple[Multiaddr, ...]) -> None:
    asking = Asking(helpers=4)
    world, seen = asking.town.world, asking.town.bystanders
    began = world.now
    for n in range(20):
        delegate(asking, addrs[n % len(addrs)])
        world.run_for(1)
    minutes = -(-(world.now - began) // autonat.budget.RATE_WINDOW)
    limits = autonat.DELEGATION_LIMITS
    assert len(seen) > 0
    assert seen.largest <= PROBE_SIZE
    assert max(seen.by_ip.values()) <= limits.per_target * MAX_HELPERS_CHOSEN * minutes
    assert len(seen) <= limits.per_peer * MAX_HELPERS_CHOSEN * minutes


@pytest.mark.parametrize("ip", ["192.168.1.1", "10.0.0.1", "127.0.0.1", "169.254.1.1", "224.0.0.1"])
def test_nobody_is_dialled_back_where_the_internet_does_not_lead(ip: str) -> None:
    asking = Asking(helpers=2)
    address = bystander(ip)
    before = sent_to(asking.town, ip)
    delegate(asking, address)
    request = encode_message_v2(DialRequest((address,), 1))
    asking.mallory.say(asking.connection, autonat.DIAL_REQUEST_PROTOCOL_ID, request)
    message = encode_message_v1(DialV1(asking.mallory.peer_id, (address,)))
    asking.mallory.say(asking.connection, autonat.V1_PROTOCOL_ID, message)
    order = dial_back.encode_order(dial_back.Order(address, bytes(16), bytes(32), "9.9.9.9"))
    asking.mallory.say(asking.connection, autonat.HELPER_PROTOCOL_ID, order)
    asking.town.world.run_for(20)
    assert sent_to(asking.town, ip) == before == 0


def test_a_helper_sends_a_target_no_more_than_its_budget_whoever_orders() -> None:
    asking = Asking()
    mallory, world, seen = asking.mallory, asking.town.world, asking.town.bystanders
    for n in range(60):
        nonce = n.to_bytes(16, "big")
        order = dial_back.encode_order(dial_back.Order(ONE[0], nonce, bytes(32), "9.9.9.9"))
        mallory.say(asking.connection, autonat.HELPER_PROTOCOL_ID, order)
        world.run_for(0.5)
    assert len(seen) == autonat.HELPER_LIMITS.per_target
    assert seen.largest <= PROBE_SIZE


def delegate(asking: Asking, address: Multiaddr) -> None:
    """Asks for probes of an address, and takes every helper that is offered."""
    ask = dial_back.encode_delegated_message(dial_back.Ask(address))
    stream = asking.mallory.say(asking.connection, autonat.DELEGATION_PROTOCOL_ID, ask)
    asking.town.world.run_for(0.3)
    for answer in asking.messages(stream):
        offer = dial_back.decode_delegated_message_untrusted(answer)
        assert isinstance(offer, dial_back.DialBackOffer)
        rng = asking.town.world.rng(str(asking.town.world.now))
        count = len(offer.helper_ips)
        nonces = tuple(rng.randbytes(16) if n < MAX_HELPERS_CHOSEN else None for n in range(count))
        if nonces:
            choice = dial_back.encode_delegated_message(dial_back.Choice(nonces))
            asking.mallory.add(stream, choice)


# Addresses that are hearsay: what is dialled there is a whole handshake


def gossip(town: Town, mallory: Hostile, addrs: tuple[Multiaddr, ...], *ids: PeerId) -> None:
    """Has the node know mallory, who knows of peers at these addresses, always new ones."""
    fresh = iter(identities(2000))

    def answer(stream: SwarmStream, data: bytes, eof: bool) -> None:
        if data:
            known = ids or tuple(next(fresh) for _ in range(kad.MAX_CLOSER_PEERS))
            told = [CloserPeer(peer, addrs[:MAX_ADDRS_PER_PEER]) for peer in known]
            stream.write(encode_frame(encode_answer(told)))

    mallory.take_over(kad.PROTOCOL_ID, answer)
    town.node.connect(mallory)


@pytest.mark.parametrize("addrs", TARGETS.values(), ids=TARGETS)
def test_a_dial_of_a_peer_by_hearsay_is_a_bounded_number_of_handshakes(
    addrs: tuple[Multiaddr, ...],
) -> None:
    town, wanted = Town(), peer_id("somebody")
    gossip(town, town.hostile(), addrs, wanted)
    town.node.do(town.node.swarm.dial, wanted, (), town.world.now)
    town.world.run_until(lambda: bool(town.node.of(DialFailed)), 60)
    town.world.run_for(30)
    seen = town.bystanders
    assert 0 < seen.initials == len(seen)
    assert seen.size <= MAX_ADDRESSES * INITIALS_PER_HANDSHAKE * FULL_SIZE
    assert max(seen.by_address.values()) <= INITIALS_PER_HANDSHAKE


@pytest.mark.spec("SWARM-21")
def test_a_dial_by_hearsay_cannot_be_aimed_at_one_target() -> None:
    town, wanted = Town(), peer_id("somebody")
    gossip(town, town.hostile(), PORTS, wanted)
    town.node.do(town.node.swarm.dial, wanted, (), town.world.now)
    town.world.run_for(60)
    assert max(town.bystanders.by_ip.values()) <= HANDSHAKES_PER_TARGET * INITIALS_PER_HANDSHAKE


def test_one_peer_cannot_keep_a_node_dialling_a_target() -> None:
    town = Town()
    gossip(town, town.hostile(), PORTS)
    town.world.run_for(300)
    bound = HANDSHAKES_PER_TARGET * INITIALS_PER_HANDSHAKE
    assert town.bystanders.most_within(60) <= bound


def test_peers_that_are_gone_cannot_have_a_target_dialled_in_their_place() -> None:
    town = Town()
    for n in range(6):
        mallory = town.hostile(f"mallory {n}")
        mallory.claim(*PORTS, protocols=(relay.HOP_PROTOCOL_ID,))
        town.node.connect(mallory)
        town.world.run_for(3)
        mallory.host.detach()
    town.world.run_for(300)
    bound = HANDSHAKES_PER_TARGET * INITIALS_PER_HANDSHAKE
    assert town.bystanders.most_within(60) <= bound


def test_hearsay_of_private_addresses_is_not_dialled_from_the_internet() -> None:
    town, wanted = Town(), peer_id("somebody")
    near = tuple(parse_multiaddr(f"/ip4/192.168.1.{n}/udp/53/noise") for n in range(1, 9))
    gossip(town, town.hostile(), (*near, parse_multiaddr("/ip4/127.0.0.1/udp/53/noise")), wanted)
    town.node.do(town.node.swarm.dial, wanted, (), town.world.now)
    town.world.run_for(30)
    assert sent_to(town, "192.168.1") == sent_to(town, "127.") == 0


def test_what_peers_say_of_others_fills_no_more_than_the_address_book() -> None:
    town = Town()
    for n in range(4):
        mallory = town.hostile(f"mallory {n}")
        mallory.claim(*IPS, *PORTS)
        gossip(town, mallory, IPS)
    book = town.node.swarm._state.book
    for _ in range(60):
        town.node.do(town.node.swarm._services.routing.sample, town.world.now)
        town.world.run_for(5)
        now = town.world.now
        assert len(book.peers()) <= MAX_PEERS
        kept = [len(book.addresses(peer, now)) for peer in book.peers()]
        assert max(kept) <= MAX_ADDRESSES_PER_PEER
    assert len(book.peers()) > 100, "nothing was learned"
    assert len(town.node.swarm._services.peer_discovery._tried) <= MAX_REMEMBERED
