"""Several transports of one node as one: p2pnode/transports/registry.py."""

from random import Random

import pytest

from p2pnode.clock import Deadline, UnixTime
from p2pnode.errors import DialError
from p2pnode.links import (
    CloseLink,
    ConnectLink,
    LinkAccepted,
    LinkCommand,
    LinkId,
    LinkWritable,
    WriteLink,
)
from p2pnode.machine import ConnectionHandle, Obstacle, Received, SocketAddr, SocketId, Unreachable
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.transports.commons import Commons
from p2pnode.transports.events import Connected, ConnectionClosed, DialFailed
from p2pnode.transports.faults import Faults
from p2pnode.transports.makers import all_makers
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.packet import FIRST_BYTES
from p2pnode.transports.registry import Makers, Transports, make_transports
from p2pnode.transports.route import ANY_PORT, Route
from p2pnode.wire.transport_name import TransportName
from tests.support.addresses import NOISE_UDP, TCP
from tests.support.identities import private_key
from tests.support.pair import make_endpoint
from tests.support.scripted_transport import ROUTE, ScriptedTransport
from tests.support.toy_transport import ToyTransport

QUIC = TransportName.QUIC_V1
EPOCH = UnixTime(1_700_000_000.0)
LISTENER = SocketId(7)
SOMEBODY = SocketAddr("198.51.100.1", 4001)


def received(buffer: bytes, segment_size: int = 0) -> Received:
    return Received(SocketId(0), None, SOMEBODY, 0, segment_size or len(buffer), buffer)


class Several:
    """Two transports over datagrams, and the toy one over links."""

    def __init__(self, connections: int = 100) -> None:
        limits = ResourceLimits().with_connections(connections)
        self.commons = Commons(Account(limits), faults=Faults(is_raising=False))
        self.first = ScriptedTransport(NOISE_UDP, self.commons, [0x80, 0x81])
        self.second = ScriptedTransport(QUIC, self.commons, range(0xC0, 0x100))
        self.links = ToyTransport(
            private_key("us"), self.commons, serves=True, now=0.0, unix_now=EPOCH
        )
        self.all = Transports(self.commons, [self.first, self.second], self.links)

    def accept(self, part: ScriptedTransport) -> ConnectionHandle:
        """Somebody's datagram makes a connection."""
        self.bring(part)
        return part.accept(ROUTE)

    def bring(self, part: ScriptedTransport) -> None:
        """A datagram comes that is a transport's, and means nothing to it."""
        self.all.handle_received([received(bytes([min(part.first_bytes)]))], 0.0)
        part.received.pop()

    def told(self) -> list[tuple[ConnectionHandle, type]]:
        return [(handle, type(event)) for handle, event in self.all.poll_events()]

    def drain(self) -> list[LinkCommand]:
        """Takes all there is, as drivers do; returns the commands to links."""
        found: list[LinkCommand] = []
        busy = True
        while busy:
            transmits = self.all.poll_transmits(0.0)
            commands = self.all.poll_link_commands(0.0)
            found += commands
            busy = bool(transmits or commands)
        return found


@pytest.mark.spec("TRANSPORTS-8")
def test_a_datagram_goes_to_the_transport_that_claims_its_first_byte() -> None:
    several = Several()
    several.all.handle_received([received(b"\x80a"), received(b"\xc3b"), received(b"\x81c")], 0.0)
    assert several.first.received == [b"\x80a", b"\x81c"]
    assert several.second.received == [b"\xc3b"]


@pytest.mark.spec("TRANSPORTS-8")
def test_what_nobody_claims_is_dropped() -> None:
    several = Several()
    several.all.handle_received(
        [received(b""), received(b"\x00"), received(b"\x90 a circuit")], 0.0
    )
    several.all.handle_received([received(b"GET \xc3abc\x80ab", 4)], 0.0)
    assert several.first.received == [b"\x80ab"]
    assert several.second.received == [b"\xc3abc"]


@pytest.mark.spec("TRANSPORTS-8")
def test_a_joined_read_is_cut_where_the_owner_changes_and_keeps_its_order() -> None:
    several = Several()
    several.all.handle_received([received(b"\x801\x812\xc03\x804\xff", 2)], 0.0)
    assert several.first.received == [b"\x801\x812", b"\x804"]
    assert several.second.received == [b"\xc03", b"\xff"]


@pytest.mark.spec("TRANSPORTS-8")
def test_two_transports_that_claim_one_byte_are_a_mistake_of_ours() -> None:
    commons = Commons()
    one = ScriptedTransport(NOISE_UDP, commons, [1, 2])
    other = ScriptedTransport(QUIC, commons, [2, 3])
    with pytest.raises(AssertionError, match="begin with 2"):
        Transports(commons, [one, other])


def test_the_only_transport_over_datagrams_is_asked_itself() -> None:
    commons = Commons()
    only = ScriptedTransport(QUIC, commons, [1])
    transports = Transports(commons, [only])
    transports.handle_received([received(b"\x90")], 0.0)
    assert only.received == [b"\x90"]  # it ignores what is not its own
    assert transports.poll_transmits == only.poll_transmits


def test_a_dial_is_the_named_transports_and_else_the_preferred_ones() -> None:
    several = Several()
    assert several.all.names == (NOISE_UDP, QUIC, TCP)
    preferred = several.all.dial(ROUTE, None, 0.0)
    named = several.all.dial(ROUTE, None, 0.0, transport=QUIC)
    over_links = several.all.dial(ROUTE._replace(socket=ANY_PORT), None, 0.0, transport=TCP)
    assert len({preferred, named, over_links}) == 3
    several.first.succeed(preferred)
    several.second.succeed(named)
    assert several.all.connections[preferred].transport == NOISE_UDP
    assert several.all.connections[named].transport == QUIC
    assert [type(command) for command in several.drain()] == [ConnectLink]


def test_a_transport_that_this_node_does_not_speak_is_a_failed_dial() -> None:
    commons = Commons()
    transports = Transports(commons, [ScriptedTransport(NOISE_UDP, commons, [1])])
    with pytest.raises(DialError, match="does not speak quic-v1"):
        transports.dial(ROUTE, None, 0.0, transport=QUIC)
    assert commons.places.taken == 0


def test_a_circuit_is_nothing_for_transports_over_links() -> None:
    commons = Commons()
    only_links = ToyTransport(private_key(1), commons, serves=True, now=0.0, unix_now=EPOCH)
    for transports in (Transports(commons, []), Transports(commons, [], only_links)):
        with pytest.raises(DialError, match="no transport over datagrams"):
            transports.dial(ROUTE, None, 0.0)
    assert commons.places.taken == 0


@pytest.mark.spec("TRANSPORTS-1", "TRANSPORTS-4")
def test_places_are_one_account_for_all_transports() -> None:
    several = Several(connections=2)
    first = several.all.dial(ROUTE, None, 0.0)
    several.all.dial(ROUTE, None, 0.0, transport=QUIC)
    with pytest.raises(DialError):
        several.all.dial(ROUTE._replace(socket=ANY_PORT), None, 0.0, transport=TCP)
    several.all.cancel_dial(first)
    several.all.dial(ROUTE._replace(socket=ANY_PORT), None, 0.0, transport=TCP)


def test_a_connection_is_commanded_and_its_transport_is_woken() -> None:
    several = Several()
    handle = several.accept(several.second)
    assert several.all.command(handle) is several.commons.connections[handle]
    assert several.second.woken == [handle]
    assert several.first.woken == []
    assert several.all.command(ConnectionHandle(99)) is None


@pytest.mark.spec("TRANSPORTS-5")
def test_a_bug_as_a_connection_is_commanded_ends_that_one_by_its_transport() -> None:
    several = Several()
    staying, failing = several.accept(several.first), several.accept(several.second)
    several.told()
    with several.all.commanding(failing, 0.0) as connection:
        assert connection is not None
        connection.ping()
    assert several.second.broken_off == [failing]
    assert several.told() == [(failing, ConnectionClosed)]
    assert list(several.all.connections) == [staying]
    assert [fault.connection for fault in several.commons.faults.poll()] == [failing]


@pytest.mark.spec("TRANSPORTS-5")
def test_a_bug_as_a_dial_is_served_ends_the_dial() -> None:
    several = Several()
    handle = several.all.dial(ROUTE, None, 0.0, transport=QUIC)
    several.all.break_off(handle, RuntimeError("a bug"), 0.0)
    assert several.told() == [(handle, DialFailed)]
    assert len(several.commons.faults.poll()) == 1
    several.all.give_up(handle, RuntimeError("a bug"), 0.0)
    assert several.told() == []


def test_who_has_to_make_way_is_turned_out_by_its_own_transport() -> None:
    several = Several()
    handle = several.accept(several.second)
    several.told()
    several.commons.leaving.append((handle, "for others"))
    several.all.handle_received([received(b"\x80")], 0.0)
    several.drain()
    assert (handle, "for others") in several.second.turned_out
    assert several.told() == [(handle, ConnectionClosed)]
    assert several.commons.places.taken == 0


@pytest.mark.spec("TRANSPORTS-4")
def test_who_has_to_make_way_as_others_send_leaves_in_the_same_drain() -> None:
    several = Several()
    handle = several.accept(several.second)
    several.first.to_turn_out.append(handle)
    several.drain()
    several.all.check()
    assert [each for each, _ in several.told()] == [handle, handle]
    assert not several.all.connections


@pytest.mark.spec("TRANSPORTS-4")
@pytest.mark.parametrize("has_written", [True, False])
def test_a_transport_that_needs_a_place_has_one_of_another_transport_leave(
    has_written: bool,
) -> None:
    """Also where that one has a link, and no connection yet."""
    several = Several(connections=8)
    for number in range(7):  # one is left for our own dials
        accept(several.all, number)
    if has_written:
        several.all.handle_link_events([LinkWritable(LinkId(13), 1000)], 0.0)
    assert several.commons.places.taken == 7
    newcomer = several.first.accept(Route(SocketId(0), None, SocketAddr("203.0.113.1", 1)))
    several.all.handle_received([received(b"\x80")], 0.0)
    commands = several.drain()
    assert [c.link for c in commands if isinstance(c, CloseLink)] == [LinkId(13)]
    assert several.commons.places.taken == 7
    assert several.told() == [(newcomer, Connected)]
    several.all.check()


def accept(transports: Transports, number: int) -> None:
    """Somebody connects, and says nothing."""
    local = SocketAddr("192.0.2.1", 4001)
    remote = SocketAddr("198.51.100.1", 1024 + number)
    transports.handle_link_events(
        [LinkAccepted(LinkId(2 * number + 1), LISTENER, local, remote)], 0
    )


@pytest.mark.spec("TRANSPORTS-4")
def test_a_stranger_over_udp_gets_the_place_of_a_link_that_says_nothing() -> None:
    entropy = Random("server").randbytes
    udp = all_makers(TransportConfig(), secret=bytes(32), entropy=entropy, rng=Random(1))
    commons = Commons(Account(ResourceLimits().with_connections(8)))
    node = make_transports(
        Makers(udp.over_datagrams, ToyTransport),
        private_key("us"),
        commons,
        now=0.0,
        unix_now=EPOCH,
    )
    for number in range(7):
        accept(node, number)
    client, _ = make_endpoint("client", config=TransportConfig(), now=0.0, seed=1)
    client.dial(Route(SocketId(0), None, SocketAddr("192.0.2.1", 4001)), None, 0.0)
    there = SocketAddr("203.0.113.1", 4001)
    for _ in range(10):
        for transmit in client.poll_transmits(0.0):
            node.handle_received([received(bytes(transmit.buffer))._replace(remote=there)], 0.0)
        for transmit in node.poll_transmits(0.0):
            client.handle_received([received(bytes(transmit.buffer))], 0.0)
        node.poll_link_commands(0.0)
    assert [type(event) for _, event in client.poll_events()][:1] == [Connected]
    assert commons.places.taken == 7
    node.check()


def test_time_and_the_end_reach_all_transports() -> None:
    several = Several()
    several.bring(several.second)
    several.second.deadline = Deadline(5.0, "the second has something to do")
    several.first.deadline = Deadline(9.0, "the first has something to do")
    assert several.all.poll_timeout() == several.second.deadline
    several.all.handle_timeout(5.0)
    several.all.handle_clock_changed(EPOCH, 5.0)
    handles = [several.accept(several.first), several.accept(several.second)]
    several.all.close_all("the node is going away", 5.0)
    for part in (several.first, several.second):
        assert part.timeouts == [5.0]
        assert part.clock == EPOCH
    assert all(several.all.connections[handle].is_closed for handle in handles)


def test_what_the_system_says_of_datagrams_reaches_all_that_send_some() -> None:
    several = Several()
    report = Unreachable(SocketId(0), SOMEBODY, Obstacle.PORT_CLOSED, True, b"\x80")
    several.all.handle_unreachable([report], 0.0)
    assert several.first.unreachable == several.second.unreachable == [report]


def test_facts_and_logs_are_of_all_transports() -> None:
    several = Several()
    assert not several.all.has_events
    assert not several.all.is_active
    several.accept(several.second)
    assert several.all.has_events
    assert several.all.is_active
    assert several.all.poll_key_log() == ["secret of noise-udp", "secret of quic-v1"]
    assert [name for name, _ in several.all.poll_qlog()] == [
        "trace of noise-udp",
        "trace of quic-v1",
    ]


def test_noise_udp_claims_its_own_first_bytes_and_no_others() -> None:
    endpoint, _ = make_endpoint("us", config=TransportConfig(), now=0.0, seed=1)
    assert {byte for byte in range(256) if endpoint.claims(byte)} == set(FIRST_BYTES)


def test_what_is_written_to_links_is_handed_out() -> None:
    several = Several()
    accept(several.all, 0)
    several.all.handle_link_events([LinkWritable(LinkId(1), 1000)], 0.0)
    assert [type(command) for command in several.drain()] == [WriteLink]


@pytest.mark.spec("TRANSPORTS-11")
def test_a_transport_with_nothing_to_do_is_asked_nothing_until_it_has() -> None:
    several = Several()
    assert several.all.poll_transmits == several.first.poll_transmits
    assert several.all.poll_events == several.first.poll_events
    assert several.all.poll_timeout == several.first.poll_timeout
    assert not several.all.has_links

    handle = several.accept(several.second)
    assert several.told() == [(handle, Connected)]
    several.second.give_up(handle, ValueError("a bug"), 0.0)
    several.all.handle_timeout(0.0)  # what it has to tell keeps it awake
    assert several.told() == [(handle, ConnectionClosed)]
    several.all.handle_timeout(0.0)
    assert several.all.poll_events == several.first.poll_events
    several.all.check()


@pytest.mark.spec("TRANSPORTS-11")
def test_a_transport_over_links_wakes_with_a_dial_and_with_a_link() -> None:
    several = Several()
    dial = several.all.dial(ROUTE._replace(socket=ANY_PORT), None, 0.0, transport=TCP)
    assert several.all.has_links
    assert [type(command) for command in several.drain()] == [ConnectLink]
    several.all.cancel_dial(dial)
    several.drain()
    several.all.handle_timeout(0.0)
    assert not several.all.has_links

    accept(several.all, 0)
    assert several.all.has_links
    several.all.check()


@pytest.mark.spec("TRANSPORTS-11")
def test_a_transport_that_is_active_and_sleeps_is_found_out() -> None:
    several = Several()
    several.second.deadline = Deadline(1.0, "nobody was told of it")
    with pytest.raises(AssertionError, match="sleeps"):
        several.all.check()
