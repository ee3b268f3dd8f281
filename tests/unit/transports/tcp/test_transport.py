"""Two whole transports back to back, and one with bytes made by hand."""

from collections.abc import Hashable

import pytest

from p2pnode.errors import (
    ClosedByPeer,
    ClosedForViolation,
    ClosedLocally,
    DialError,
    DialTimeout,
    HandshakeError,
    IdleTimeout,
    PeerIdMismatch,
    ResetByPeer,
)
from p2pnode.links import (
    FIRST_ACCEPTED_LINK,
    LINK_CREDIT,
    MAX_LINK_READ,
    ConnectLink,
    LinkClosed,
    LinkConnected,
    LinkData,
    LinkEof,
    LinkFailed,
    LinkId,
    LinkObstacle,
    LinkWritable,
    WriteLink,
)
from p2pnode.machine import SocketAddr
from p2pnode.resources.account import MEMORY_STEP, Account
from p2pnode.resources.limits import ResourceLimits, Shares
from p2pnode.transports.delivery.held_bytes import CONNECTION_SIZE
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import Connected, ConnectionClosed, DialFailed
from p2pnode.transports.places import holder
from p2pnode.transports.route import ANY_PORT
from p2pnode.transports.stream_events import StreamOpened
from p2pnode.transports.stream_upgrade.upgrade import UPGRADE_TIMEOUT
from p2pnode.transports.stream_upgrade.yamux.pings import KEEP_ALIVE, PING_TIMEOUT
from p2pnode.transports.tcp.transport import DIAL_TIMEOUT
from p2pnode.transports.work import MAX_SHORTAGE
from tests.support.tcp_pair import ROUTE, SERVER, Side, TcpPair
from tests.support.yamux import PING, SYN, UPDATE, frame

SIZES = [1, 7, 1000, 1 << 16]


def end_of(side: Side) -> Exception:
    (closed,) = side.of(ConnectionClosed)
    assert isinstance(closed, ConnectionClosed)
    return closed.reason


def failure_of(side: Side) -> Exception:
    (failed,) = side.of(DialFailed)
    assert isinstance(failed, DialFailed)
    return failed.reason


@pytest.mark.spec("TCP-1")
@pytest.mark.parametrize("size", SIZES)
def test_both_know_each_other_and_carry_a_stream(size: int) -> None:
    pair = TcpPair()
    pair.run(size)
    (ours,), (theirs,) = pair.alice.of(Connected), pair.bob.of(Connected)
    assert isinstance(ours, Connected)
    assert isinstance(theirs, Connected)
    assert (ours.peer_id, ours.is_initiator) == (pair.bob.peer_id, True)
    assert (theirs.peer_id, theirs.is_initiator) == (pair.alice.peer_id, False)

    streams = pair.alice.connection(pair.handle).streams
    stream = streams.open()
    assert stream is not None
    assert streams.write(stream, b"hello" * 1000) == 5000
    streams.finish(stream)
    pair.alice.drain(pair.now)
    pair.run(size)
    assert pair.bob.of(StreamOpened) == [StreamOpened(stream)]
    read = pair.bob.connection(pair.bobs).streams
    assert read.read(stream, 10_000) == b"hello" * 1000
    assert read.at_eof(stream)
    assert streams.sending(stream).is_delivered
    pair.bob.drain(pair.now)


@pytest.mark.spec("TCP-1")
def test_a_dial_leaves_from_the_port_that_it_is_told_or_from_any() -> None:
    side = Side("alice")
    side.transport.dial(ROUTE, None, 0.0)
    side.transport.dial(ROUTE._replace(socket=ANY_PORT), None, 0.0)
    side.drain(0.0)
    named, free = side.commands
    assert isinstance(named, ConnectLink)
    assert isinstance(free, ConnectLink)
    assert (named.listener, named.remote) == (ROUTE.socket, ROUTE.remote)
    assert free.listener is None


@pytest.mark.spec("TCP-3")
@pytest.mark.parametrize("obstacle", LinkObstacle)
def test_what_the_system_says_of_a_dial_is_a_sentence(obstacle: LinkObstacle) -> None:
    side = Side("alice")
    side.transport.dial(ROUTE._replace(socket=ANY_PORT), None, 0.0)
    side.drain(0.0)
    side.tell(0.0, LinkFailed(LinkId(0), obstacle))
    assert isinstance(failure_of(side), DialError)
    assert len(str(failure_of(side)).split()) > 3
    assert not side.transport.is_active
    assert side.commons.places.taken == 0


@pytest.mark.spec("TCP-1", "LINK-9")
def test_where_the_listeners_port_has_a_link_to_that_address_the_dial_leaves_from_any() -> None:
    side = Side("alice")
    handle = side.transport.dial(ROUTE, None, 0.0)
    side.drain(0.0)
    side.tell(1.0, LinkFailed(LinkId(0), LinkObstacle.ADDRESS_IN_USE))
    assert side.of(DialFailed) == []
    _, again = side.commands
    assert again == ConnectLink(link=LinkId(2), remote=ROUTE.remote, listener=None)

    side.fire(DIAL_TIMEOUT - 0.1)
    assert side.of(DialFailed) == [], "it has no less time"
    side.tell(2.0, LinkFailed(LinkId(2), LinkObstacle.ADDRESS_IN_USE))
    ((told, failed),) = side.events
    assert told == handle
    assert isinstance(failed, DialFailed)
    assert failed.route.socket == ANY_PORT
    assert side.commons.places.taken == 0


@pytest.mark.spec("TCP-1")
def test_a_dial_that_began_anew_is_cancelled_like_any() -> None:
    side = Side("alice")
    handle = side.transport.dial(ROUTE, None, 0.0)
    side.drain(0.0)
    side.tell(1.0, LinkFailed(LinkId(0), LinkObstacle.ADDRESS_IN_USE))
    side.transport.cancel_dial(handle)
    side.drain(1.0)
    assert side.closed == {LinkId(2): True}
    side.transport.handle_link_events([LinkConnected(LinkId(2), SERVER)], 1.0)
    side.drain(1.0)
    assert side.events == []
    assert not side.transport.is_active


@pytest.mark.spec("TCP-3")
def test_where_nothing_answers_a_dial_has_its_time_and_no_more() -> None:
    side = Side("alice")
    side.transport.dial(ROUTE, None, 0.0)
    side.transport.dial(ROUTE, None, 0.0, timeout=3.0)
    side.drain(0.0)
    side.fire(2.9)
    assert side.of(DialFailed) == []
    side.fire(3.0)
    assert isinstance(failure_of(side), DialTimeout)
    assert side.closed == {LinkId(2): True}
    side.fire(DIAL_TIMEOUT)
    assert len(side.of(DialFailed)) == 2
    assert not side.transport.is_active


@pytest.mark.spec("TCP-3")
def test_who_is_connected_and_says_nothing_is_given_up() -> None:
    pair = TcpPair()
    pair.alice.fire(DIAL_TIMEOUT)
    assert isinstance(failure_of(pair.alice), HandshakeError)
    assert pair.alice.closed == {pair.ours: True}


@pytest.mark.spec("TCP-3")
def test_another_peer_than_expected_ends_the_dial() -> None:
    pair = TcpPair()
    pair.alice.transport.cancel_dial(pair.handle)
    pair.alice.drain(0.0)
    assert pair.alice.closed == {pair.ours: True}
    assert pair.alice.events == []

    pair.handle = pair.alice.transport.dial(ROUTE, pair.alice.peer_id, 0.0)
    pair.ours = LinkId(2)
    pair.alice.drain(0.0)
    local = SocketAddr("192.0.2.1", 4001)
    pair.alice.tell(0.0, LinkConnected(pair.ours, local), LinkWritable(pair.ours, LINK_CREDIT))
    pair.run()
    assert isinstance(failure_of(pair.alice), PeerIdMismatch)
    assert pair.bob.of(Connected) == []


@pytest.mark.spec("TCP-3")
def test_a_node_that_reaches_itself_says_so() -> None:
    side = Side("alice")
    side.transport.dial(ROUTE, None, 0.0)
    side.drain(0.0)
    ours, theirs = LinkId(0), FIRST_ACCEPTED_LINK
    side.tell(0.0, LinkConnected(ours, ROUTE.remote), LinkWritable(ours, LINK_CREDIT))
    side.accept(theirs)
    for _ in range(5):
        for a, b in ((ours, theirs), (theirs, ours)):
            data = bytes(side.written.pop(a, b""))
            if data and b not in side.closed:
                side.tell(0.0, LinkData(b, data))
    assert "this node itself" in str(failure_of(side))
    assert side.of(Connected) == []
    assert set(side.closed) == {ours, theirs}


@pytest.mark.spec("TCP-6")
@pytest.mark.parametrize("code", [ErrorCode.SHUTDOWN, ErrorCode.SUPPLANTED, 77])
def test_a_close_writes_what_was_written_and_tells_the_peer(code: int) -> None:
    pair = TcpPair()
    pair.run()
    connection = pair.alice.connection(pair.handle)
    stream = connection.streams.open()
    assert stream is not None
    connection.streams.write(stream, b"last words")
    connection.close(code, "enough", pair.now, is_application=code == 77)
    pair.alice.drain(pair.now)
    assert pair.alice.closed == {pair.ours: False}
    assert isinstance(end_of(pair.alice), ClosedLocally)
    pair.run()
    pair.end_links()
    assert pair.bob.of(StreamOpened) == [StreamOpened(stream)]
    assert isinstance(end_of(pair.bob), ClosedByPeer)
    for side in (pair.alice, pair.bob):
        assert side.commons.places.taken == 0


@pytest.mark.spec("TCP-6")
def test_what_has_come_may_be_read_behind_the_end_and_counts_until_then() -> None:
    pair = TcpPair()
    pair.run()
    streams = pair.alice.connection(pair.handle).streams
    stream = streams.open()
    assert stream is not None
    streams.write(stream, bytes(100_000))
    pair.alice.drain(pair.now)
    pair.run()
    left = pair.bob.connection(pair.bobs).streams
    pair.bob.tell(pair.now, LinkEof(pair.theirs))
    assert isinstance(end_of(pair.bob), ResetByPeer)
    assert left.is_left
    assert pair.bob.commons.account.memory.used == 100_000
    assert len(left.read(stream, 1 << 20)) == 100_000
    pair.bob.transport.wake(pair.bobs)
    assert pair.bob.commons.account.memory.used == 0


@pytest.mark.spec("TCP-6")
@pytest.mark.parametrize("was_reset", [True, False])
def test_a_link_that_ends_without_a_word_is_a_peer_that_forgot(was_reset: bool) -> None:
    pair = TcpPair()
    pair.run()
    pair.bob.tell(pair.now, LinkClosed(pair.theirs, was_reset))
    assert isinstance(end_of(pair.bob), ResetByPeer)
    assert pair.bob.closed == {}
    assert not pair.bob.transport.is_active


@pytest.mark.spec("TCP-7")
def test_a_peer_that_vanished_is_given_up() -> None:
    pair = TcpPair()
    pair.run()
    pair.bob.fire(KEEP_ALIVE)
    pair.bob.fire(KEEP_ALIVE + PING_TIMEOUT)
    assert isinstance(end_of(pair.bob), IdleTimeout)


def test_who_has_to_make_way_goes_at_once_with_all_that_it_holds() -> None:
    pair = TcpPair()
    pair.run()
    streams = pair.alice.connection(pair.handle).streams
    stream = streams.open()
    assert stream is not None
    streams.write(stream, bytes(100_000))
    pair.alice.drain(pair.now)
    pair.run()
    pair.bob.transport.turn_out(pair.bobs, "the place is needed", pair.now)
    pair.bob.drain(pair.now)
    assert str(end_of(pair.bob)) == "the place is needed"
    assert pair.bob.commons.account.memory.used == pair.bob.commons.places.taken == 0


@pytest.mark.spec("TCP-4")
def test_who_comes_and_does_not_prove_who_it_is_in_time_is_reset() -> None:
    side = Side("bob")
    side.accept(LinkId(1))
    for now in range(int(UPGRADE_TIMEOUT)):
        side.tell(now, LinkData(LinkId(1), b"\x13/multistream/1.0.0\n"[now : now + 1]))
    assert side.closed == {}
    side.fire(UPGRADE_TIMEOUT)
    assert side.closed == {LinkId(1): True}
    assert not side.transport.is_active
    assert side.events == []


@pytest.mark.spec("TCP-4")
def test_the_newest_of_the_fullest_network_goes_for_somebody_of_another_one() -> None:
    shares = Shares(total=4, network=3, net56=3, net48=3, peer=4)
    side = Side("bob", account=Account(ResourceLimits(half_open=shares)))
    for link in (1, 3, 5):
        side.accept(LinkId(link), "198.51.100.1")
    side.accept(LinkId(7), "198.51.100.1")
    assert side.closed == {LinkId(7): True}, "its network has its share"
    side.accept(LinkId(9), "203.0.113.1")
    side.accept(LinkId(11), "203.0.113.2")
    assert side.closed == {LinkId(7): True, LinkId(5): True}
    assert side.commons.account.half_open.used == 4


@pytest.mark.spec("TCP-4")
def test_handshakes_of_other_transports_make_room_as_well_or_keep_it() -> None:
    shares = Shares(total=3, network=3, net56=3, net48=3, peer=4)
    account = Account(ResourceLimits(half_open=shares))
    side = Side("bob", account=account)
    crowd = holder(ROUTE._replace(remote=SocketAddr("203.0.113.1", 1)))
    for name in ("one", "two", "three"):
        account.half_open.put(name, crowd)
    side.accept(LinkId(1), "198.51.100.1")
    assert side.closed == {LinkId(1): True}, "nobody can end the others"

    def end(member: Hashable) -> bool:
        account.half_open.give_back(member)
        return True

    account.let_half_open_end(end)
    side.accept(LinkId(3), "198.51.100.1")
    assert LinkId(3) not in side.closed
    assert "three" not in account.half_open
    assert account.end_newest_half_open()
    assert account.half_open.used == 2


@pytest.mark.spec("TCP-4")
def test_who_is_proved_and_finds_no_place_is_told() -> None:
    shares = Shares(total=1, network=1, net56=1, net48=1, peer=1)
    pair = TcpPair(account=Account(ResourceLimits(connections=shares)))
    handle = pair.bob.commons.take_handle()
    assert pair.bob.commons.places.add_outbound(handle) is None
    pair.run()
    pair.end_links()
    assert pair.bob.of(Connected) == []
    assert isinstance(end_of(pair.alice), ClosedByPeer)
    assert pair.bob.commons.account.half_open.used == 0


def test_who_does_not_serve_hears_nobody_and_lets_nobody_open_streams() -> None:
    side = Side("bob", serves=False)
    side.accept(LinkId(1))
    assert side.closed == {LinkId(1): True}


@pytest.mark.spec("TCP-6")
def test_a_frame_that_does_not_authenticate_ends_the_connection() -> None:
    pair = TcpPair()
    pair.run()
    pair.bob.tell(pair.now, LinkData(pair.theirs, b"\x00\x20" + bytes(32)))
    end = end_of(pair.bob)
    assert isinstance(end, ClosedForViolation)
    assert end.code == ErrorCode.PROTOCOL_VIOLATION
    pair.run()
    pair.end_links()
    end = end_of(pair.alice)
    assert isinstance(end, ClosedByPeer)
    assert end.code == 1


FLOODS = {
    "pings": frame(PING, SYN, 0, 7) * 5000,
    "credit for nobody": frame(UPDATE, 0, 77, 1) * 5000,
    "empty data": frame(0, 0, 77) * 5000,
    "empty Noise frames": b"",
}


@pytest.mark.spec("TCP-8")
@pytest.mark.parametrize("kind", FLOODS)
def test_who_floods_is_slowed_and_then_closed(kind: str) -> None:
    pair = TcpPair()
    pair.run()
    channel = pair.alice.connection(pair.handle)._channel
    work = pair.bob.connection(pair.bobs).work
    flood, began, spent = FLOODS[kind], pair.now, work.spent
    closed_at = None
    while pair.now - began < 3 * MAX_SHORTAGE and closed_at is None:
        while pair.theirs not in pair.bob.paused and not pair.bob.closed:
            sealed = channel._sending.encrypt_with_ad(b"", flood)
            data = len(sealed).to_bytes(2) + sealed
            if not flood:
                data += b"".join(channel_frame(channel) for _ in range(3000))
            pair.bob.tell(pair.now, LinkData(pair.theirs, data))
            work_done = work.spent - spent
            assert work_done < 1_200_000 + 120_000 * (pair.now - began)
        deadline = pair.bob.transport.poll_timeout()
        assert deadline is not None
        pair.now = max(pair.now + 0.001, deadline.at)
        pair.bob.fire(pair.now)
        if pair.bob.closed:
            closed_at = pair.now
    end = end_of(pair.bob)
    assert isinstance(end, ClosedForViolation)
    assert end.code == ErrorCode.ENHANCE_YOUR_CALM


def channel_frame(channel: object) -> bytes:
    """Returns a Noise frame of no bytes."""
    sealed: bytes = channel._sending.encrypt_with_ad(b"", b"")  # type: ignore[attr-defined]
    return len(sealed).to_bytes(2) + sealed


@pytest.mark.spec("TCP-5")
def test_who_holds_more_than_its_share_of_the_memory_goes() -> None:
    share = CONNECTION_SIZE + 150_000
    shares = Shares(total=1 << 20, network=share, net56=share, net48=share, peer=share)
    pair = TcpPair(account=Account(ResourceLimits(memory=shares)))
    pair.run()
    streams = pair.alice.connection(pair.handle).streams
    stream = streams.open()
    assert stream is not None
    streams.write(stream, bytes(100_000))
    pair.alice.drain(pair.now)
    pair.run()
    memory = pair.bob.commons.account.memory
    assert CONNECTION_SIZE + 100_000 <= memory.used <= share
    streams.write(stream, bytes(100_000))
    pair.alice.transport.wake(pair.handle)
    pair.alice.drain(pair.now)
    pair.run()
    assert "bytes of memory" in str(end_of(pair.bob))
    assert memory.used == pair.bob.commons.places.taken == 0
    pair.run()
    pair.end_links()
    assert isinstance(end_of(pair.alice), ClosedByPeer)


@pytest.mark.spec("TCP-5")
@pytest.mark.parametrize("frames", [b"", bytes(40_000)])
def test_part_of_a_frame_counts_as_held(frames: bytes) -> None:
    pair = TcpPair()
    pair.run()
    channel = pair.alice.connection(pair.handle)._channel
    sealed = channel.encrypt(frame(UPDATE, SYN, 1) + frame(0, 0, 1, data=frames or b"x"))
    before = pair.bob.connection(pair.bobs).held_bytes
    pair.bob.tell(pair.now, LinkData(pair.theirs, sealed[:-1]))
    held = pair.bob.connection(pair.bobs).held_bytes - before
    assert held == len(sealed) - 1
    assert pair.bob.commons.account.memory.used >= CONNECTION_SIZE + held - MEMORY_STEP
    pair.bob.tell(pair.now, LinkData(pair.theirs, sealed[-1:]))
    assert pair.bob.of(StreamOpened) == [StreamOpened(1)]


def test_a_block_that_an_application_writes_leaves_as_one_write_to_the_link() -> None:
    pair = TcpPair()
    pair.run()
    streams = pair.alice.connection(pair.handle).streams
    stream = streams.open()
    assert stream is not None
    pair.alice.drain(pair.now)
    pair.run()
    for _ in range(3):
        streams.write(stream, bytes(MAX_LINK_READ))
        pair.alice.transport.wake(pair.handle)
        commands = pair.alice.transport.poll_link_commands(pair.now)
        (write,) = (one for one in commands if isinstance(one, WriteLink))
        assert MAX_LINK_READ < len(write.data) <= LINK_CREDIT
        pair.alice.tell(pair.now, LinkWritable(pair.ours, len(write.data)))
