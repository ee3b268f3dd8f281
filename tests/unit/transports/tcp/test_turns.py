"""Whose bytes are read when there is more to do than a turn has."""

from random import Random

import pytest

from p2pnode.errors import ClosedByFault
from p2pnode.identity.keys import PrivateKey
from p2pnode.links import LinkData, LinkId
from p2pnode.transports.events import Connected, ConnectionClosed
from p2pnode.transports.stream_upgrade.upgrade import StreamUpgrade, UpgradeCredentials
from p2pnode.transports.stream_upgrade.yamux import YamuxSession
from p2pnode.transports.tcp.turns import MAX_STRANGERS_SIZE
from p2pnode.transports.work import HANDSHAKE_WORK, TURN_WORK
from tests.support.tcp_pair import Side, TcpPair
from tests.support.yamux import PING, SYN, UPDATE, frame

ENTROPY = Random("visitors").randbytes
CREDENTIALS = UpgradeCredentials.create(PrivateKey.generate(ENTROPY), ENTROPY)
MANY = 3 * TURN_WORK // HANDSHAKE_WORK
"""Handshakes, of one message each, that are three turns' work."""


def greeting() -> bytes:
    """Returns what an initiator says first."""
    visitor = StreamUpgrade(CREDENTIALS, is_initiator=True, expected=None, entropy=ENTROPY, now=0.0)
    return visitor.poll_output()


def flood_of_strangers(side: Side) -> list[LinkId]:
    """So many come, and each has its first message read or waits."""
    links = [LinkId(101 + 2 * n) for n in range(MANY)]
    for n, link in enumerate(links):
        side.accept(link, f"198.51.100.{n}")
        side.written.pop(link)
    side.tell(0.0, *(LinkData(link, greeting()) for link in links))
    return links


@pytest.mark.spec("TCP-8")
def test_strangers_beyond_a_turn_wait_and_have_theirs() -> None:
    side = Side("bob")
    links = flood_of_strangers(side)
    answered = [link for link in links if side.written.get(link)]
    assert 0 < len(answered) <= TURN_WORK // HANDSHAKE_WORK + 1
    assert side.paused == set(links) - set(answered)
    now, turns = 0.0, 0
    while side.paused:
        deadline = side.transport.poll_timeout()
        assert deadline is not None
        now, before = deadline.at, len(side.paused)
        side.fire(now)
        assert before - len(side.paused) <= 4
        turns += 1
    assert now < 0.01
    assert all(side.written.get(link) for link in links)


@pytest.mark.spec("TCP-8")
def test_a_connection_is_read_between_strangers_and_strangers_between_floods() -> None:
    pair = TcpPair()
    pair.run()
    bob = pair.bob
    links = flood_of_strangers(bob)
    assert bob.paused
    pair.bob.written.pop(pair.theirs, None)
    pair.say(frame(PING, SYN, 0, 77))
    pair.now = 1e-5
    bob.fire(pair.now)
    assert bob.written.get(pair.theirs), "a ping is answered in the first turn"
    assert set(links) & bob.paused

    while pair.theirs not in bob.paused:
        pair.say(frame(UPDATE, 0, 99, 1) * 5000)
    before = len(set(links) & bob.paused)
    for _ in range(3):
        pair.now += 1e-5
        bob.fire(pair.now)
    assert len(set(links) & bob.paused) <= before - 3


@pytest.mark.spec("TCP-8")
def test_what_waits_of_strangers_is_bounded_in_all() -> None:
    side = Side("bob")
    links = flood_of_strangers(side)
    waiting = sorted(side.paused)
    for _ in range(MAX_STRANGERS_SIZE // (64 * 1024) + 1):
        side.tell(0.0, LinkData(waiting[0], bytes(64 * 1024)))
        if waiting[0] in side.closed:
            break
    assert side.closed == {waiting[0]: True}
    assert len(side.paused) == len(waiting) - 1
    assert len(links) == MANY


def test_who_goes_while_it_waits_is_forgotten() -> None:
    side = Side("bob")
    flood_of_strangers(side)
    side.transport.close_all("the end", 0.0)
    side.drain(0.0)
    assert side.transport.poll_timeout() is None
    assert not side.transport.is_active


@pytest.mark.spec("TRANSPORTS-5")
@pytest.mark.parametrize("waits", [False, True])
def test_a_fault_costs_the_connection_that_it_is_met_at(
    waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = TcpPair(is_raising=False)
    pair.run()
    if waits:
        while pair.theirs not in pair.bob.paused:
            pair.say(frame(UPDATE, 0, 99, 1) * 5000)

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(YamuxSession, "handle_data", broken)
        if waits:
            pair.now += 1e-5
            pair.bob.fire(pair.now)
        else:
            pair.say(frame(PING, SYN, 0))
    (closed,) = pair.bob.of(ConnectionClosed)
    assert isinstance(closed, ConnectionClosed)
    assert isinstance(closed.reason, ClosedByFault)
    assert len(pair.bob.commons.faults.poll()) == 1
    assert pair.bob.closed == {pair.theirs: True}
    assert not pair.bob.transport.is_active


@pytest.mark.spec("TRANSPORTS-5")
def test_a_fault_of_an_upgrade_costs_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    side = Side("bob", is_raising=False)
    side.accept(LinkId(1))
    side.accept(LinkId(3))

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(StreamUpgrade, "handle_data", broken)
        side.tell(0.0, LinkData(LinkId(1), b"x"))
    assert side.closed == {LinkId(1): True}
    assert side.of(Connected) == []
    assert side.commons.account.half_open.used == 1
