"""What a hostile peer may say over TCP, to a whole transport: it ends its own link at most."""

from collections.abc import Callable
from random import Random

import pytest

from p2pnode.errors import ClosedForViolation, HandshakeError, RemoteProtocolError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.links import (
    LINK_CREDIT,
    LinkClosed,
    LinkConnected,
    LinkData,
    LinkEof,
    LinkId,
    LinkWritable,
)
from p2pnode.machine import SocketAddr
from p2pnode.noise.payload import make_payload
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import Connected, ConnectionClosed, DialFailed
from p2pnode.transports.stream_events import StreamOpened
from p2pnode.transports.stream_upgrade.noise_channel import MAX_PLAINTEXT_SIZE
from p2pnode.transports.stream_upgrade.upgrade import (
    UPGRADE_TIMEOUT,
    StreamUpgrade,
    UpgradeCredentials,
)
from p2pnode.transports.stream_upgrade.yamux.frame import MAX_LENGTH
from p2pnode.transports.stream_upgrade.yamux.pings import MAX_ANSWERS
from p2pnode.wire.multistream.messages import encode_message
from tests.support.tcp_pair import ROUTE, Side, TcpPair
from tests.support.yamux import DATA, FIN, PING, RST, SYN, UPDATE, WINDOW, frame

ENTROPY = Random("visitor").randbytes
VISITOR = PrivateKey.generate(ENTROPY)
MULTISTREAM = encode_message("/multistream/1.0.0")
NOISE = encode_message("/noise")
LINK = LinkId(1)

NO_UPGRADE: dict[str, bytes] = {
    "proposals without end": MULTISTREAM + encode_message("/tls/1.0.0") * 2000,
    "a refusal of everything": MULTISTREAM + encode_message("na") * 2000,
    "a length that overflows": b"\xff" * 20,
    "a length that is too long": b"\xff\xff\x03" + bytes(2000),
    "a Noise message of no bytes": MULTISTREAM + NOISE + b"\0\0",
    "a Noise message of 65,535 bytes": MULTISTREAM + NOISE + b"\xff\xff" + bytes(65_000),
    "a key of zeros": MULTISTREAM + NOISE + b"\0\x20" + bytes(32),
}


@pytest.mark.spec("TCP-4")
@pytest.mark.parametrize("size", [1, 100, 1 << 16])
@pytest.mark.parametrize("said", NO_UPGRADE)
def test_what_is_no_upgrade_ends_the_link_in_time(said: str, size: int) -> None:
    side = Side("bob")
    side.accept(LINK)
    data = NO_UPGRADE[said]
    for at in range(0, len(data), size):
        if LINK not in side.closed:
            side.tell(0.0, LinkData(LINK, data[at : at + size]))
    side.fire(UPGRADE_TIMEOUT)
    assert LINK in side.closed
    assert len(side.written.get(LINK, b"")) < 4096
    assert side.events == []
    assert not side.transport.is_active
    assert side.commons.account.half_open.used == 0


@pytest.mark.spec("TCP-3")
@pytest.mark.parametrize("said", NO_UPGRADE)
def test_what_is_no_upgrade_ends_a_dial_with_a_reason(said: str) -> None:
    side = Side("alice")
    side.transport.dial(ROUTE, None, 0.0)
    side.drain(0.0)
    link = LinkId(0)
    local = SocketAddr("192.0.2.1", 4001)
    side.tell(0.0, LinkConnected(link, local), LinkWritable(link, LINK_CREDIT))
    side.tell(0.0, LinkData(link, NO_UPGRADE[said]))
    side.fire(UPGRADE_TIMEOUT)
    (failed,) = side.of(DialFailed)
    assert isinstance(failed, DialFailed)
    assert isinstance(failed.reason, RemoteProtocolError)
    assert not side.transport.is_active


def visit(side: Side, credentials: UpgradeCredentials) -> StreamUpgrade:
    """Somebody comes and upgrades its link as far as it gets."""
    side.accept(LINK)
    visitor = StreamUpgrade(credentials, is_initiator=True, expected=None, entropy=ENTROPY, now=0.0)
    while True:
        said = visitor.poll_output()
        if said and LINK not in side.closed:
            side.tell(0.0, LinkData(LINK, said))
        answer = bytes(side.written.pop(LINK, b""))
        if not answer or visitor.outcome is not None:
            return visitor
        visitor.handle_data(answer)


@pytest.mark.spec("TCP-4")
def test_a_muxer_that_is_not_offered_is_no_connection() -> None:
    side = Side("bob")
    credentials = UpgradeCredentials.create(VISITOR, ENTROPY, muxers=("/mplex/6.7.0",))
    visit(side, credentials)
    assert side.of(Connected) == []
    side.fire(UPGRADE_TIMEOUT)
    assert LINK in side.closed


@pytest.mark.spec("TCP-4")
def test_a_forged_signature_over_the_static_key_is_no_connection() -> None:
    side = Side("bob")
    good = UpgradeCredentials.create(VISITOR, ENTROPY)
    another = make_payload(VISITOR, bytes(32)).encode()
    forged = UpgradeCredentials(good.static, another, good.muxers, names_early=False)
    visit(side, forged)
    assert side.of(Connected) == []
    assert side.closed == {LINK: False}
    visit_again = Side("carol")
    visit(visit_again, good)
    (connected,) = visit_again.of(Connected)
    assert isinstance(connected, Connected)
    assert connected.peer_id == PeerId.from_public_key(VISITOR.public_key)


VIOLATIONS: dict[str, tuple[bytes, ErrorCode]] = {
    "data over the window": (
        frame(UPDATE, SYN, 1) + frame(DATA, 0, 1, WINDOW + 1),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a stream opened twice": (
        frame(UPDATE, SYN, 1) * 2,
        ErrorCode.STREAM_STATE_ERROR,
    ),
    "a stream of the wrong parity": (frame(UPDATE, SYN, 2), ErrorCode.STREAM_STATE_ERROR),
    "a window that overflows": (
        frame(UPDATE, SYN, 1) + frame(UPDATE, 0, 1, MAX_LENGTH),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "another version": (b"\x01" + frame(PING, SYN, 0)[1:], ErrorCode.PROTOCOL_VIOLATION),
    "another type": (frame(9, 0, 0), ErrorCode.PROTOCOL_VIOLATION),
    "data for the session": (frame(DATA, 0, 0, 5), ErrorCode.PROTOCOL_VIOLATION),
    "data behind the end": (
        frame(UPDATE, SYN, 1) + frame(UPDATE, FIN, 1) + frame(DATA, 0, 1, data=b"x"),
        ErrorCode.FINAL_SIZE_ERROR,
    ),
}


@pytest.mark.spec("TCP-6", "TRANSPORTS-5")
@pytest.mark.parametrize("said", VIOLATIONS)
def test_what_yamux_forbids_ends_the_connection_and_is_told(said: str) -> None:
    pair = TcpPair()
    pair.run()
    frames, code = VIOLATIONS[said]
    pair.say(frames)
    (closed,) = pair.bob.of(ConnectionClosed)
    assert isinstance(closed, ConnectionClosed)
    assert isinstance(closed.reason, ClosedForViolation)
    assert closed.reason.code == code
    assert pair.bob.closed == {pair.theirs: False}
    assert pair.bob.commons.places.taken == 0


def test_credit_for_the_session_means_nothing() -> None:
    pair = TcpPair()
    pair.run()
    pair.say(frame(UPDATE, 0, 0, 1000))
    assert pair.bob.of(ConnectionClosed) == []


@pytest.mark.slow
@pytest.mark.spec("TCP-8")
def test_a_million_streams_opened_and_reset_end_the_connection() -> None:
    pair = TcpPair()
    pair.run()
    stream, sent, began = 1, 0, pair.now
    while sent < 1_000_000 and not pair.bob.closed:
        deadline = pair.bob.transport.poll_timeout()
        while pair.theirs in pair.bob.paused and deadline is not None:
            pair.now = max(pair.now, deadline.at)
            pair.bob.fire(pair.now)
            deadline = pair.bob.transport.poll_timeout()
        frames = b"".join(
            frame(UPDATE, SYN, stream + 2 * n) + frame(UPDATE, RST, stream + 2 * n)
            for n in range(MAX_PLAINTEXT_SIZE // 24)
        )
        stream += 2 * (MAX_PLAINTEXT_SIZE // 24)
        sent += MAX_PLAINTEXT_SIZE // 24
        if not pair.bob.closed:
            pair.say(frames)
        pair.bob.written.clear()
        pair.bob.tell(pair.now, LinkWritable(pair.theirs, LINK_CREDIT - pair.bob.credit[LINK]))
        pair.bob.events = [e for e in pair.bob.events if not isinstance(e.event, StreamOpened)]
    (closed,) = pair.bob.of(ConnectionClosed)
    assert isinstance(closed, ConnectionClosed)
    assert isinstance(closed.reason, ClosedForViolation)
    assert closed.reason.code == ErrorCode.ENHANCE_YOUR_CALM
    assert sent / max(pair.now - began, 1.0) < 50_000
    assert pair.bob.commons.account.memory.used == 0


@pytest.mark.spec("TCP-5")
def test_who_never_reads_makes_nothing_grow() -> None:
    pair = TcpPair()
    pair.run()
    streams = pair.bob.connection(pair.bobs).streams
    for n in range(20):
        pair.say(frame(UPDATE, SYN, 3 + 2 * n) + frame(PING, SYN, 0, n) * 50)
    for n in range(20):
        streams.write(3 + 2 * n, bytes(1 << 20))
    pair.bob.drain(pair.now)
    assert pair.bob.credit[pair.theirs] >= 0
    held = streams.held.total
    for n in range(20):
        streams.write(3 + 2 * n, bytes(1 << 20))
        pair.say(frame(PING, SYN, 0, n) * 50)
    assert streams.held.total <= held
    assert len(pair.bob.connection(pair.bobs)._session._pings.answers) <= MAX_ANSWERS
    assert pair.bob.commons.account.memory.used >= held


def nothing(pair: TcpPair) -> None:
    """The upgrade has begun."""


def part_of_the_upgrade(pair: TcpPair) -> None:
    for _ in range(3):
        pair.move(17)


def connected(pair: TcpPair) -> None:
    pair.run()


def half_a_frame(pair: TcpPair) -> None:
    pair.run()
    sealed = pair.alice.connection(pair.handle)._channel.encrypt(frame(UPDATE, SYN, 1))
    pair.bob.tell(pair.now, LinkData(pair.theirs, sealed[:-1]))


def half_a_header(pair: TcpPair) -> None:
    pair.run()
    pair.say(frame(UPDATE, SYN, 1)[:5])


def a_stream_in_use(pair: TcpPair) -> None:
    pair.run()
    pair.say(frame(UPDATE, SYN, 1) + frame(DATA, 0, 1, data=b"hello"))


def a_flood_that_waits(pair: TcpPair) -> None:
    pair.run()
    while pair.theirs not in pair.bob.paused:
        pair.say(frame(PING, SYN, 0) * 5000)


def a_close_of_ours(pair: TcpPair) -> None:
    pair.run()
    pair.bob.connection(pair.bobs).close(0, "", pair.now)
    pair.bob.drain(pair.now)


STATES: list[Callable[[TcpPair], None]] = [
    nothing,
    part_of_the_upgrade,
    connected,
    half_a_frame,
    half_a_header,
    a_stream_in_use,
    a_flood_that_waits,
    a_close_of_ours,
]


@pytest.mark.spec("TRANSPORTS-1", "TRANSPORTS-2", "TCP-6")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("end", ["half-close", "reset", "both ways"])
def test_a_link_may_end_in_any_state_and_nothing_is_left(
    state: Callable[[TcpPair], None], end: str
) -> None:
    pair = TcpPair()
    state(pair)
    bob = pair.bob
    if pair.theirs not in bob.closed:
        if end != "half-close":
            bob.tell(pair.now, LinkClosed(pair.theirs, was_reset=end == "reset"))
        elif pair.theirs not in bob.paused:
            bob.tell(pair.now, LinkEof(pair.theirs))
    for _ in range(2000):
        deadline = bob.transport.poll_timeout()
        if deadline is None:
            break
        pair.now = max(pair.now, deadline.at)
        bob.fire(pair.now)
        if end == "half-close" and pair.theirs not in (*bob.paused, *bob.closed):
            bob.tell(pair.now, LinkEof(pair.theirs))
    assert len(bob.of(ConnectionClosed)) == len(bob.of(Connected))
    assert not bob.transport.is_active
    assert bob.commons.places.taken == bob.commons.account.half_open.used == 0
    assert bob.commons.connections == {}


def test_the_dialled_peer_that_says_nothing_wrong_is_refused_for_its_name_alone() -> None:
    side = Side("alice")
    wanted = PeerId.from_public_key(VISITOR.public_key)
    side.transport.dial(ROUTE, wanted, 0.0)
    side.drain(0.0)
    link, other = LinkId(0), Side("mallory")
    other.accept(LINK)
    local = SocketAddr("192.0.2.1", 4001)
    side.tell(0.0, LinkConnected(link, local), LinkWritable(link, LINK_CREDIT))
    for _ in range(3):
        for a, b in ((side, other), (other, side)):
            theirs = LINK if b is other else link
            said = bytes(a.written.pop(link if a is side else LINK, b""))
            if said and theirs not in b.closed:
                b.tell(0.0, LinkData(theirs, said))
    (failed,) = side.of(DialFailed)
    assert isinstance(failed, DialFailed)
    assert isinstance(failed.reason, HandshakeError)
    assert other.of(Connected) == []
