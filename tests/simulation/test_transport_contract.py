"""What each transport tells keeps the rules of handles (specs/transports.md), in whole nodes."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from p2pnode.netsim.host import Host
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.topology import wire
from p2pnode.swarm import Swarm, events
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.events import Connected, ConnectionClosed, DialFailed
from p2pnode.transports.makers import all_makers
from p2pnode.transports.registry import Makers
from p2pnode.transports.stream_events import StreamOpened
from p2pnode.transports.tcp.maker import Tcp
from tests.support.identities import peer_id
from tests.support.quic_node import QuicNode
from tests.support.toy_node import ToyNode
from tests.support.toy_transport import ToyTransport
from tests.support.transport_rules import TransportRules, Watched


class OverUdp(SimNode):
    """A node by noise-udp, which is watched."""

    watched: Watched

    def _make_swarm(self, host: Host) -> Swarm:
        makers = all_makers(
            self._transport, secret=self._secret, entropy=host.entropy, rng=host.rng
        )
        self.watched = Watched(makers.over_datagrams[0])
        return self._swarm_of(host, Makers(over_datagrams=(self.watched,)))

    def _swarm_of(self, host: Host, makers: Any) -> Swarm:
        return Swarm(
            self.identity,
            config=self._config,
            makers=makers,
            entropy=host.entropy,
            rng=host.rng,
            now=host.now,
            unix_now=host.unix_now,
        )


class OverLinks(ToyNode):
    """A node by the toy transport, which is watched."""

    def __init__(self, host: Host) -> None:
        self.watched = Watched(ToyTransport)
        super().__init__(host, self.watched)


class OverTcp(ToyNode):
    """A node by TCP, which is watched."""

    def __init__(self, host: Host) -> None:
        self.watched = Watched(Tcp(host.entropy))
        super().__init__(host, self.watched)


class OverQuic(QuicNode):
    """A node by quic-v1, which is watched."""

    watched: Watched

    def _maker(self, host: Host) -> Any:
        self.watched = Watched(super()._maker(host))
        return self.watched


KINDS: list[Any] = [OverUdp, OverQuic, OverLinks, OverTcp]


def rules_of(node: Any) -> TransportRules:
    """Returns what watches the node's own transport, not that of its dial-backs."""
    return node.watched.rules[0]


def told(node: Any) -> Counter[type]:
    return rules_of(node).told


@pytest.mark.spec("TRANSPORTS-1", "TRANSPORTS-2", "TRANSPORTS-3")
@pytest.mark.parametrize("kind", KINDS)
def test_handles_begin_and_end_once_however_they_end(kind: Callable[[Host], Any]) -> None:
    net = wire(1, LinkParams(delay=0.01))
    a, b = kind(net.a), kind(net.b)
    b.serve("/echo/1")
    for end in ("ours", "theirs", "the node goes"):
        connection = a.connect(b)
        a.do(a.open(connection, "/echo/1").write, b"hello")
        net.world.run_for(1)
        if end == "ours":
            a.do(a.swarm.disconnect, connection, net.a.now)
        elif end == "theirs":
            (theirs,) = b.swarm.facts.handles(a.peer_id)
            b.do(b.swarm.disconnect, theirs, net.b.now)
        else:
            b.do(b.swarm.close, net.b.now)
        net.world.run_for(40)
        assert not a.swarm.facts.connections()
    for node in (a, b):
        assert told(node)[Connected] == told(node)[ConnectionClosed] >= 3
        assert told(node)[StreamOpened] >= 3


@pytest.mark.spec("TRANSPORTS-2")
@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_with_the_end_of_a_connection_is_told_and_read_before_it(
    kind: Callable[[Host], Any],
) -> None:
    net = wire(1, LinkParams(delay=0.01))
    a, b = kind(net.a), kind(net.b)
    b.serve("/note/1")
    connection = a.connect(b)
    net.world.run_for(2)
    stream = a.open(connection, "/note/1")
    a.do(stream.write, b"hello")
    a.do(stream.finish)
    a.do(a.swarm.disconnect, connection, net.a.now)
    net.world.run_for(2)
    assert list(b.received.values()) == [b"hello"]
    assert len(b.ended) == 1
    kinds = [type(event) for event in b.events]
    assert events.StreamOpened in kinds
    assert kinds[-1] is events.ConnectionClosed


@pytest.mark.spec("TRANSPORTS-1", "TRANSPORTS-2")
@pytest.mark.parametrize("kind", KINDS)
def test_a_dial_that_fails_says_so_once_and_one_that_is_cancelled_says_nothing(
    kind: Callable[[Host], Any],
) -> None:
    net = wire(1, LinkParams(delay=0.01))
    a, b = kind(net.a), kind(net.b)
    a.do(a.swarm.dial, peer_id("nobody"), [b.address()], net.a.now)
    net.world.run_for(30)
    assert told(a)[DialFailed] == 1
    dial = a.do(a.swarm.dial, b.peer_id, [b.address()], net.a.now)
    a.do(a.swarm.cancel_dial, dial, net.a.now)
    net.world.run_for(30)
    assert told(a)[DialFailed] == 1
    assert told(a)[Connected] == 0
