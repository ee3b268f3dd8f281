"""All dials of a swarm, over a real endpoint whose packets nobody answers: swarm/dials.py."""

from typing import TYPE_CHECKING, Any, cast

import pytest

from p2pnode.errors import AddressError, DialError, LocalProtocolError
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.swarm import dials as module
from p2pnode.swarm.address_book import AddressBook, AddressSource
from p2pnode.swarm.dialer import FIRST_SEARCH_PAUSE, HEAD_START, MAX_RELAYS, MORE_SEARCHES
from p2pnode.swarm.dials import MAX_SPECULATIVE_RELAYS, Dials
from p2pnode.swarm.events import DialFailed, DialSucceeded
from p2pnode.swarm.own_addresses import OwnAddresses
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.requests import FindPeer, RequestCircuit, ServiceRequest
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.route import Route
from p2pnode.wire.multiaddr import Multiaddr, parse_multiaddr
from tests.support.addresses import NOISE_UDP, TCP
from tests.support.identities import peer_id
from tests.support.pair import make_endpoint, transports_of

if TYPE_CHECKING:
    from p2pnode.swarm.facts import SwarmFacts

WANTED, RELAY, OTHER_RELAY = peer_id("wanted"), peer_id("relay"), peer_id("other relay")
NEAR = parse_multiaddr("/ip4/7.0.0.1/udp/4001/noise")
FAR = parse_multiaddr("/ip4/7.0.0.2/udp/4001/noise")
RELAY_HOST = parse_multiaddr("/ip4/9.0.0.1/udp/4001/noise")
SEARCH_PAUSES = [FIRST_SEARCH_PAUSE * 2**n for n in range(MORE_SEARCHES)]
CIRCUIT = Route(SocketId(-1), None, SocketAddr("9.0.0.1", 4001))
NOT_ANSWERED = DialError("no answer")


def through(relay: PeerId, wanted: PeerId = WANTED, host: Multiaddr = RELAY_HOST) -> Multiaddr:
    return parse_multiaddr(f"{host}/p2p/{relay}/p2p-circuit/p2p/{wanted}")


class Facts:
    """A `SwarmFacts` as far as dials look at it."""

    def __init__(self) -> None:
        self.near: list[Peer] = []
        self.to_avoid: tuple[str, ...] = ()

    def neighbours(self) -> tuple[Peer, ...]:
        return tuple(self.near)

    def ips_to_avoid(self, now: float) -> tuple[str, ...]:
        return self.to_avoid


class World:
    """Dials with everything that they ask, noted."""

    def __init__(self) -> None:
        self.endpoint, self.own_id = make_endpoint("us", config=TransportConfig(), now=0.0, seed=1)
        addresses = OwnAddresses((NOISE_UDP,))
        addresses.add_socket(SocketId(1), SocketAddr("0.0.0.0", 4001), is_listening=True)
        self.book = AddressBook()
        self.asked: list[ServiceRequest] = []
        self.facts = Facts()
        self.dials = Dials(
            self.own_id,
            transports_of(self.endpoint),
            addresses,
            self.book,
            cast("SwarmFacts", self.facts),
            self.asked,
        )

    @property
    def requests(self) -> list[tuple[PeerId, PeerId, tuple[Multiaddr, ...]]]:
        """Returns the circuits that were asked for: (peer, relay, the relay's addresses)."""
        asked = (r for r in self.asked if isinstance(r, RequestCircuit))
        return [(r.peer_id, r.relay, r.addresses) for r in asked]

    @property
    def searches(self) -> list[PeerId]:
        return [r.peer_id for r in self.asked if isinstance(r, FindPeer)]

    def begin(self, *addresses: Multiaddr, now: float = 0.0, direct: bool = False) -> int:
        return self.dials.begin(WANTED, addresses, None, now, is_direct_only=direct)

    def handshakes(self) -> dict[str, int]:
        """Returns where handshakes are under way: IP address -> handle."""
        return {d.route.remote.ip: h for h, d in self.endpoint._dials.items()}

    def fail(self, ip: str, now: float = 0.1) -> None:
        handle = self.handshakes()[ip]
        self.endpoint.cancel_dial(handle)
        self.dials.on_dial_failed(handle, NOT_ANSWERED, now)

    def connect(self, peer: Peer, now: float = 0.1) -> None:
        self.dials.on_connected(peer, now)

    def outcomes(self) -> dict[int, Any]:
        """Returns what ended since the last call: dial -> connection, or how it failed."""
        return {
            e.dial_id: e.connection
            if isinstance(e, DialSucceeded)
            else [str(reason) for _, reason in e.attempts]
            for e in self.dials.poll_outcomes()
            if isinstance(e, DialSucceeded | DialFailed)
        }


def neighbour(name: object, connection: int, socket: int = 1) -> Peer:
    route = Route(SocketId(socket), None, SocketAddr(f"9.0.1.{connection}", 4001))
    return Peer(connection, peer_id(name), route, True, NOISE_UDP)


BEHIND = neighbour("behind a relay", 9, socket=-1)


# sharing


@pytest.mark.spec("SWARM-11")
def test_two_dials_of_one_peer_share_their_tries() -> None:
    world = World()
    first = world.begin(NEAR)
    second = world.begin(NEAR)
    assert list(world.handshakes()) == ["7.0.0.1"]

    world.connect(
        Peer(77, WANTED, Route(SocketId(1), None, SocketAddr("7.0.0.1", 1)), False, NOISE_UDP)
    )
    assert world.outcomes() == {first: 77, second: 77}
    assert world.handshakes() == {}


@pytest.mark.spec("SWARM-11", "SWARM-2")
def test_a_follower_fails_with_what_all_before_it_have_tried() -> None:
    world = World()
    world.facts.near = [BEHIND]
    first, second = world.begin(NEAR), world.begin(NEAR, FAR)
    third = world.begin(NEAR)
    world.fail("7.0.0.1")
    world.fail("7.0.0.2", 0.2)
    assert world.searches == [WANTED]
    assert world.outcomes() == {}
    world.dials.on_not_found(WANTED, "nobody knows it", 1.0)

    outcomes = world.outcomes()
    assert outcomes[first] == ["no answer", "nobody knows it"]
    assert outcomes[second] == outcomes[third] == [*outcomes[first], "no answer"]
    assert world.searches == [WANTED], "one search for all of them"


@pytest.mark.spec("SWARM-11")
def test_a_cancelled_dial_goes_on_for_those_who_follow_it_and_says_nothing() -> None:
    world = World()
    first, second = world.begin(NEAR), world.begin(NEAR)
    world.dials.cancel(first)
    world.dials.cancel(first)
    assert list(world.handshakes()) == ["7.0.0.1"]
    world.connect(neighbour("wanted", 5))

    assert world.outcomes() == {second: 5}
    assert world.dials._silent == {}


def test_a_cancelled_dial_that_nobody_follows_ends_its_handshakes() -> None:
    world = World()
    world.dials.cancel(world.begin(NEAR))
    world.dials.cancel(99)

    assert (world.handshakes(), world.outcomes(), world.dials._dial_of) == ({}, {}, {})
    assert world.dials.poll_ended() == (WANTED,)
    assert world.dials.poll_ended() == ()


@pytest.mark.spec("SWARM-9", "SWARM-11")
def test_who_follows_a_dial_of_a_service_still_searches() -> None:
    world = World()
    world.facts.near = [BEHIND]
    service = world.begin(NEAR, direct=True)
    user = world.begin()
    world.fail("7.0.0.1")

    assert world.outcomes() == {service: ["no answer"]}
    assert world.searches == [WANTED]
    world.dials.on_found(WANTED, [FAR], 0.5)
    assert list(world.handshakes()) == ["7.0.0.2"]
    world.fail("7.0.0.2", 1.0)
    assert world.outcomes() == {user: ["no answer", "no answer"]}


def test_an_address_that_a_service_leaves_alone_is_tried_for_the_user() -> None:
    world = World()
    world.facts.to_avoid = ("7.0.0.1",)
    service = world.begin(NEAR, FAR, direct=True)
    world.dials.poll(HEAD_START)
    assert list(world.handshakes()) == ["7.0.0.2"]
    world.begin(NEAR, now=HEAD_START)
    assert sorted(world.handshakes()) == ["7.0.0.1", "7.0.0.2"]
    world.fail("7.0.0.2", 1.0)
    assert list(world.outcomes()) == [service]


# relays


@pytest.mark.spec("SWARM-10")
def test_relays_are_asked_a_quarter_of_a_second_after_the_first_direct_address() -> None:
    world = World()
    world.begin(through(RELAY), NEAR)
    assert world.requests == []
    timer = world.dials.poll_timeout()
    assert timer is not None
    assert timer.at == HEAD_START
    world.dials.poll(timer.at)
    assert world.requests == [(WANTED, RELAY, (RELAY_HOST,))]


@pytest.mark.spec("SWARM-10")
def test_relays_are_asked_at_once_where_there_is_no_direct_address() -> None:
    world = World()
    world.begin(through(RELAY))
    assert world.requests == [(WANTED, RELAY, (RELAY_HOST,))]


@pytest.mark.spec("SWARM-10")
def test_relays_are_asked_at_once_when_the_direct_addresses_have_failed() -> None:
    world = World()
    world.begin(through(RELAY), NEAR)
    world.fail("7.0.0.1", 0.05)
    assert [relay for _, relay, _ in world.requests] == [RELAY]


@pytest.mark.spec("SWARM-10")
def test_no_more_than_so_many_relays_are_asked_at_a_time() -> None:
    world = World()
    world.begin(*(through(peer_id(n)) for n in range(9)))
    assert len(world.requests) == MAX_RELAYS
    world.dials.on_circuit_failed(WANTED, world.requests[0][1], "refused", 0.1)
    assert len(world.requests) == MAX_RELAYS + 1
    assert len({relay for _, relay, _ in world.requests}) == MAX_RELAYS + 1


def test_a_circuit_that_stands_carries_the_handshake() -> None:
    world = World()
    dial = world.begin(through(RELAY))
    assert world.dials.on_circuit(WANTED, RELAY, CIRCUIT, 0.1)
    (handle,) = world.handshakes().values()
    world.connect(Peer(handle, WANTED, CIRCUIT, True, NOISE_UDP), 0.2)

    assert world.outcomes() == {dial: handle}
    (entry,) = world.book.entries(WANTED, 0.2)
    assert entry.source is AddressSource.CONNECTED
    assert str(entry.address) == f"{RELAY_HOST}/p2p/{RELAY}/p2p-circuit"


def test_a_circuit_that_nobody_waits_for_is_not_used() -> None:
    world = World()
    assert not world.dials.on_circuit(WANTED, RELAY, CIRCUIT, 0.1)
    dial = world.begin(through(RELAY))
    assert not world.dials.on_circuit(WANTED, OTHER_RELAY, CIRCUIT, 0.1)
    assert not world.dials.on_circuit(peer_id("else"), RELAY, CIRCUIT, 0.1)
    world.dials.cancel(dial)
    assert not world.dials.on_circuit(WANTED, RELAY, CIRCUIT, 0.1)


def test_a_circuit_that_no_handshake_can_use_does_not_leave_the_dial_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    dial = world.begin(through(RELAY))
    monkeypatch.setattr(world.endpoint.commons.account.connections.process, "limit", 0)
    assert not world.dials.on_circuit(WANTED, RELAY, CIRCUIT, 0.1)
    world.dials.on_not_found(WANTED, "nobody knows it", 0.2)
    assert list(world.outcomes()) == [dial]


def test_all_relays_refuse_and_nobody_else_can_be_asked() -> None:
    world = World()
    dial = world.begin(through(RELAY))
    world.dials.on_circuit_failed(WANTED, OTHER_RELAY, "not asked", 0.1)
    world.dials.on_circuit_failed(WANTED, RELAY, "no reservation", 0.1)
    assert world.outcomes() == {dial: ["no reservation"]}
    assert world.searches == []


@pytest.mark.spec("SWARM-10")
def test_a_peer_is_no_relay_to_itself() -> None:
    """Its dial would wait for a circuit, which would wait for the dial."""
    world = World()
    dial = world.begin(through(WANTED))
    assert world.requests == []
    world.dials.on_found(WANTED, [through(WANTED)], 0.1)
    assert world.requests == []
    assert list(world.outcomes()) == [dial]


@pytest.mark.spec("SWARM-10")
def test_a_relay_is_reached_directly_whatever_else_dials_it() -> None:
    """Two peers that are said to relay to each other do not make two dials wait for ever."""
    world = World()
    user = world.begin(through(RELAY))
    service = world.begin(NEAR, direct=True)
    world.fail("7.0.0.1")

    assert world.outcomes() == {service: ["no answer"]}
    assert world.dials.is_dialling(WANTED)
    world.dials.cancel(user)
    assert not world.dials.is_dialling(WANTED)


@pytest.mark.spec("SWARM-10")
def test_a_relayed_connection_does_not_end_a_dial_that_wants_a_direct_one() -> None:
    world = World()
    service = world.begin(NEAR, direct=True)
    world.connect(neighbour("wanted", 3, socket=-4))
    assert world.outcomes() == {}
    world.connect(neighbour("wanted", 4))
    assert world.outcomes() == {service: 4}


def test_who_waits_for_a_dial_that_won_by_a_relay_does_not_wait_for_ever() -> None:
    world = World()
    user = world.begin(NEAR)
    service = world.begin(NEAR, direct=True)
    world.connect(neighbour("wanted", 3, socket=-4))
    assert world.outcomes() == {user: 3, service: []}


def test_a_dial_that_is_direct_only_asks_no_relay_and_nobody_else() -> None:
    world = World()
    world.facts.near = [neighbour("n", 1)]
    with pytest.raises(DialError):
        world.begin(through(RELAY), direct=True)
    dial = world.begin(NEAR, through(RELAY), direct=True)
    world.fail("7.0.0.1")
    assert (world.requests, world.searches) == ([], [])
    assert world.outcomes() == {dial: ["no answer"]}


# searching


@pytest.mark.spec("SWARM-9")
def test_a_peer_whose_addresses_nobody_told_is_looked_for_and_asked_for_at_neighbours() -> None:
    world = World()
    behind = neighbour("behind a relay", 9, socket=-1)
    world.facts.near = [behind, *(neighbour(n, n) for n in range(1, 6))]
    dial = world.begin()
    assert world.searches == [WANTED]
    asked = [peer_id(n) for n in range(1, MAX_SPECULATIVE_RELAYS + 1)]
    assert [relay for _, relay, _ in world.requests] == asked

    world.connect(neighbour("late", 8))
    world.connect(neighbour("late, and behind a relay", 7, socket=-2))
    assert [relay for _, relay, _ in world.requests] == [*asked, peer_id("late")]
    assert world.outcomes() == {}
    world.dials.on_circuit(WANTED, peer_id("late"), CIRCUIT, 0.2)
    (handle,) = world.handshakes().values()
    world.connect(Peer(handle, WANTED, CIRCUIT, True, NOISE_UDP))
    assert world.outcomes() == {dial: handle}


@pytest.mark.spec("SWARM-9")
def test_one_search_is_made_when_all_known_addresses_have_failed() -> None:
    world = World()
    world.facts.near = [BEHIND]
    world.book.add(WANTED, (NEAR,), AddressSource.IDENTIFY, 0.0)
    dial = world.begin()
    assert world.searches == []
    world.fail("7.0.0.1")
    assert world.searches == [WANTED]
    world.dials.on_found(WANTED, [NEAR], 0.3)
    assert world.outcomes() == {dial: ["no answer"]}
    assert world.searches == [WANTED]


def test_what_others_say_may_be_nonsense() -> None:
    world = World()
    dial = world.begin()
    nonsense = ["/ip4/7.0.0.1/tcp/1", "/dns4/x/udp/1/noise", "/p2p-circuit", "/ip6/::1/udp/1/noise"]
    world.dials.on_found(WANTED, [parse_multiaddr(text) for text in nonsense], 0.1)
    assert world.outcomes() == {dial: ["this node has no socket for IPv6"]}


def test_a_peer_with_many_connections_is_one_relay_that_may_be_asked() -> None:
    world = World()
    many = [neighbour("friend", n) for n in range(1, 2 * MAX_SPECULATIVE_RELAYS)]
    world.facts.near = [*many, neighbour("another friend", 20)]
    world.begin()
    assert [relay for _, relay, _ in world.requests] == [
        peer_id("friend"),
        peer_id("another friend"),
    ]


# another transport was quicker


def over_tcp(name: object = "wanted") -> Peer:
    return Peer(77, peer_id(name), Route(SocketId(5), None, SocketAddr("7.0.0.1", 4001)), True, TCP)


@pytest.mark.spec("SWARM-42")
def test_what_is_under_way_goes_on_where_another_transport_was_quicker() -> None:
    world = World()
    dial = world.begin(NEAR, FAR)
    world.connect(over_tcp())
    assert world.outcomes() == {dial: 77}
    assert list(world.handshakes()) == ["7.0.0.1"], "what has not begun does not"
    handle = world.handshakes()["7.0.0.1"]
    route = Route(SocketId(1), None, SocketAddr("7.0.0.1", 4001))
    world.connect(Peer(handle, WANTED, route, True, NOISE_UDP))
    entries = world.book.entries(WANTED, 0.2)
    assert (entries[0].address, entries[0].source) == (NEAR, AddressSource.CONNECTED)
    assert world.outcomes() == {}
    world.dials.cancel_all()
    assert "7.0.0.1" in world.handshakes(), "it is none of the dials' any more"


@pytest.mark.spec("SWARM-42")
def test_what_goes_on_may_fail_and_ends_with_all_others() -> None:
    world = World()
    world.begin(NEAR)
    world.connect(over_tcp())
    world.fail("7.0.0.1")
    assert world.outcomes().keys() == {1}
    world.begin(NEAR)
    world.connect(over_tcp())
    world.dials.cancel_all()
    assert world.handshakes() == {}


@pytest.mark.spec("SWARM-42")
def test_nothing_goes_on_beside_a_connection_by_noise_udp_or_without_a_peer_that_is_meant() -> None:
    world = World()
    world.begin(NEAR, FAR)
    world.connect(neighbour("wanted", 78))
    assert world.handshakes() == {}
    world.dials.begin(None, [NEAR], None, 1.0)
    world.connect(over_tcp(), 1.0)
    assert list(world.handshakes()) == ["7.0.0.1"], "who answers that dial is not known yet"


# limits and refusals


def test_what_cannot_be_dialled_is_refused_at_once() -> None:
    world = World()
    for peer, addresses, error in (
        (world.own_id, (NEAR,), DialError),
        (world.own_id, (through(RELAY, world.own_id),), DialError),
        (None, (), DialError),
        (WANTED, (parse_multiaddr("/ip4/1.2.3.4/tcp/1"),), AddressError),
        (WANTED, (parse_multiaddr("/p2p-circuit"),), AddressError),
        (WANTED, (parse_multiaddr("/dns4/x/udp/1/noise"),), LocalProtocolError),
    ):
        with pytest.raises(error):
            world.dials.begin(peer, addresses, None, 0.0)
    assert (world.outcomes(), world.handshakes(), world.dials._dials) == ({}, {}, {})


@pytest.mark.spec("SWARM-32")
@pytest.mark.parametrize(
    "text",
    [
        "/ip4/1.2.3.4/tcp/1",
        "/ip4/1.2.3.4/udp/1/quic-v1",
        "/ip4/1.2.3.4/tcp/1/ws",
        f"/ip4/1.2.3.4/tcp/1/p2p/{RELAY}/p2p-circuit/p2p/{WANTED}",
        f"/ip4/1.2.3.4/udp/1/quic-v1/p2p/{RELAY}/p2p-circuit/p2p/{WANTED}",
    ],
)
def test_who_gives_an_address_of_another_transport_reads_which_ones_are_dialled(text: str) -> None:
    address = parse_multiaddr(text)
    world = World()
    with pytest.raises(AddressError) as caught:
        world.begin(address)
    assert text in str(caught.value)
    assert "noise-udp (/ip4/…/udp/…/noise" in str(caught.value)


@pytest.mark.spec("SWARM-32")
def test_what_others_tell_of_other_transports_is_kept_and_passed_over() -> None:
    told = [
        parse_multiaddr("/ip4/1.2.3.4/tcp/1"),
        parse_multiaddr("/ip4/1.2.3.4/udp/1/quic-v1"),
        parse_multiaddr(f"/ip4/1.2.3.4/tcp/1/p2p/{RELAY}/p2p-circuit"),
    ]
    world = World()
    world.book.add(WANTED, (*told, NEAR), AddressSource.IDENTIFY, 0.0)
    world.begin()

    assert world.book.addresses(WANTED, 0.0)
    assert set(told) <= set(world.book.addresses(WANTED, 0.0))
    assert list(world.handshakes()) == ["7.0.0.1"]
    assert world.requests == []


@pytest.mark.spec("SWARM-33")
def test_a_token_is_for_the_address_that_it_was_given_at() -> None:
    world = World()
    world.book.keep_token(NEAR, b"of the address itself")
    world.book.keep_token(parse_multiaddr("/ip4/7.0.0.1/tcp/1"), b"of another transport")
    world.begin(NEAR)
    (initial,) = world.endpoint.poll_transmits(0.0)
    assert b"of the address itself" in bytes(initial.buffer)


def test_nobody_is_dialled_through_a_relay_without_a_name() -> None:
    world = World()
    dial = world.dials.begin(None, [through(RELAY)], None, 0.0)
    assert world.requests == []
    assert list(world.outcomes()) == [dial]


@pytest.mark.spec("SWARM-3")
def test_who_is_connected_is_not_dialled_again() -> None:
    world = World()
    dial = world.dials.begin(WANTED, [NEAR], 12, 0.0)
    assert (world.outcomes(), world.handshakes()) == ({dial: 12}, {})


def test_the_number_of_dials_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DIALS", 2)
    world = World()
    first = world.begin(NEAR)
    world.begin(NEAR)
    with pytest.raises(DialError, match="as many peers"):
        world.begin(NEAR)
    world.dials.cancel_all()
    assert world.handshakes() == {}
    assert world.begin(NEAR) > first


@pytest.mark.spec("SWARM-28")
def test_a_peer_that_nobody_knows_is_looked_for_again_for_a_while() -> None:
    """It may be starting just now."""
    world = World()
    world.facts.near = [neighbour("n", 1)]
    dial = world.begin()
    now = 0.0
    for searches, pause in enumerate(SEARCH_PAUSES, 1):
        assert len(world.searches) == len(world.requests) == searches
        world.dials.on_circuit_failed(WANTED, peer_id("n"), "no reservation", now)
        world.dials.on_not_found(WANTED, "nobody knows it", now)
        assert world.outcomes() == {}
        timer = world.dials.poll_timeout()
        assert timer is not None
        assert timer.at == now + pause
        world.dials.poll(now + pause - 0.01)
        assert len(world.searches) == searches
        now += pause
        world.dials.poll(now)
    world.dials.on_circuit_failed(WANTED, peer_id("n"), "no reservation", now)
    world.dials.on_not_found(WANTED, "nobody knows it", now)
    assert world.outcomes() == {dial: ["no reservation", "nobody knows it"]}
    assert now == sum(SEARCH_PAUSES) < 5


@pytest.mark.spec("SWARM-28")
def test_a_peer_that_appears_meanwhile_is_reached() -> None:
    world = World()
    world.facts.near = [neighbour("n", 1)]
    dial = world.begin()
    world.dials.on_circuit_failed(WANTED, peer_id("n"), "no reservation", 0.1)
    world.dials.on_not_found(WANTED, "nobody knows it", 0.1)
    world.dials.poll(0.1 + SEARCH_PAUSES[0])
    assert world.dials.on_circuit(WANTED, peer_id("n"), CIRCUIT, 0.7)
    (handle,) = world.handshakes().values()
    world.connect(Peer(handle, WANTED, CIRCUIT, True, NOISE_UDP), 0.8)
    assert world.outcomes() == {dial: handle}


@pytest.mark.spec("SWARM-28")
def test_where_nobody_can_be_asked_or_an_address_was_tried_the_end_is_told_at_once() -> None:
    world = World()
    alone = world.begin()
    world.dials.on_not_found(WANTED, "nobody to ask", 0.1)
    assert world.outcomes() == {alone: ["nobody to ask"]}
    world.facts.near = [neighbour("n", 1)]
    tried = world.begin(NEAR, now=0.2)
    world.fail("7.0.0.1", 10.0)
    world.dials.on_circuit_failed(WANTED, peer_id("n"), "no reservation", 10.0)
    world.dials.on_not_found(WANTED, "nobody knows it", 10.1)
    assert list(world.outcomes()) == [tried]


@pytest.mark.spec("SWARM-11", "SWARM-28")
def test_dials_of_one_peer_look_for_it_together_and_no_longer_than_one() -> None:
    world = World()
    world.facts.near = [neighbour("n", 1)]
    first, second = world.begin(), world.begin(now=0.1)
    now = 0.2
    for _ in range(1 + len(SEARCH_PAUSES)):
        world.dials.on_circuit_failed(WANTED, peer_id("n"), "no reservation", now)
        world.dials.on_not_found(WANTED, "nobody knows it", now)
        now += 5.0
        world.dials.poll(now)
    assert sorted(world.outcomes()) == [first, second]
    assert len(world.searches) == 1 + len(SEARCH_PAUSES)


@pytest.mark.spec("SWARM-9")
def test_where_nobody_can_be_asked_a_dial_whose_addresses_have_failed_ends_at_once() -> None:
    world = World()
    dial = world.begin(NEAR)
    world.fail("7.0.0.1", 2.0)
    assert world.outcomes() == {dial: ["no answer"]}
    assert world.searches == []


@pytest.mark.spec("SWARM-9")
def test_who_is_being_dialled_may_be_asked_so_the_search_waits_for_it() -> None:
    world = World()
    world.dials.begin(peer_id("bootstrap"), [FAR], None, 0.0)
    world.begin(NEAR)
    world.fail("7.0.0.1", 2.0)
    assert world.outcomes() == {}
    assert world.searches == [WANTED]
