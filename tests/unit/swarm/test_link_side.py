"""Links of a node and of its dial-backs, served by one driver: p2pnode/swarm/link_side.py."""

from random import Random

import pytest

from p2pnode.clock import UnixTime
from p2pnode.links import (
    CloseLink,
    ConnectLink,
    LinkAccepted,
    LinkConnected,
    LinkData,
    LinkFailed,
    LinkId,
    LinkObstacle,
    LinkWritable,
    WriteLink,
)
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.swarm.config import SwarmConfig
from p2pnode.swarm.dial_back_side import DialBackSide, DialledBack
from p2pnode.swarm.link_side import LinkSide
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.service import DialBack
from p2pnode.swarm.state import SwarmState
from p2pnode.transports.commons import Commons
from p2pnode.transports.events import Connected, DialFailed
from p2pnode.transports.registry import Makers, make_transports
from p2pnode.transports.route import ANY_PORT, Route
from tests.support.addresses import TCP
from tests.support.identities import peer_id, private_key
from tests.support.toy_streams import Kind, frame
from tests.support.toy_transport import ToyTransport

EPOCH = UnixTime(1_700_000_000.0)
LOCAL = SocketAddr("192.0.2.1", 4001)
THEIRS = SocketAddr("198.51.100.1", 4001)


class Side:
    """A swarm's parts that have links, with the toy transport."""

    def __init__(self) -> None:
        makers, commons, identity = Makers(over_links=ToyTransport), Commons(), private_key("us")
        self.own = make_transports(makers, identity, commons, now=0.0, unix_now=EPOCH)
        self.dial_backs = DialBackSide(
            makers,
            ServiceCalls(),
            entropy=Random(1).randbytes,
            now=0.0,
            unix_now=EPOCH,
            link_ids=commons.link_ids,
        )
        self.state = SwarmState(
            identity, peer_id("us"), SwarmConfig(), self.own.names, now=0.0, unix_now=EPOCH
        )
        self.side = LinkSide(self.own, self.dial_backs, self.state)

    def dial_back(self, ticket: int = 7) -> None:
        self.dial_backs.dial_back(DialBack(ticket, peer_id("them"), THEIRS, TCP, 5.0), 0.0)

    def dial(self) -> ConnectionHandle:
        return self.own.dial(Route(ANY_PORT, None, THEIRS), None, 0.0, transport=TCP)

    def connects(self) -> list[LinkId]:
        return [each.link for each in self.side.poll(0.0) if isinstance(each, ConnectLink)]


@pytest.mark.spec("TRANSPORTS-9")
def test_links_are_named_once_and_count_up_whosever_they_are() -> None:
    side = Side()
    side.dial_back()
    side.dial()
    side.dial_back(8)
    assert side.connects() == [LinkId(0), LinkId(2), LinkId(4)]
    assert side.connects() == []


@pytest.mark.spec("TRANSPORTS-9")
def test_what_happens_to_a_link_is_told_to_whose_it_is() -> None:
    side = Side()
    side.dial_back()
    handle = side.dial()
    back, own = side.connects()
    refused = LinkObstacle.REFUSED
    side.side.handle([LinkFailed(own, refused)], 0.0)
    assert side.dial_backs.poll_results(0.0) == []
    assert [(h, type(e)) for h, e in side.own.poll_events()] == [(handle, DialFailed)]
    side.side.handle([LinkFailed(back, refused)], 0.0)
    assert side.dial_backs.poll_results(0.0) == [DialledBack(7, None, "refused")]
    assert not side.dial_backs.is_active


def test_a_dial_back_is_carried_to_its_end() -> None:
    side = Side()
    side.dial_back()
    (link,) = side.connects()
    side.side.handle([LinkConnected(link, LOCAL), LinkWritable(link, 1000)], 0.0)
    (hello,) = side.side.poll(0.0)
    assert isinstance(hello, WriteLink)
    assert side.state.byte_counts.sent_directly == len(hello.data)
    answer = frame(Kind.HELLO, 0, 1, peer_id("them").multihash)
    side.side.handle([LinkData(link, answer)], 0.0)
    assert side.state.byte_counts.received_directly == len(answer)
    ((ticket, connection, _),) = side.dial_backs.poll_results(0.0)
    assert ticket == 7
    assert connection is not None
    side.dial_backs.disconnect(connection, "the dial-back is over", 0.0)
    assert isinstance(side.side.poll(0.0)[-1], CloseLink)
    side.dial_backs.poll_results(0.0)
    side.dial_backs.poll_results(0.0)
    assert not side.dial_backs.is_active


def test_who_comes_by_a_link_comes_to_the_node_and_is_a_stranger_no_more() -> None:
    side = Side()
    side.dial_back()
    side.connects()
    hello = frame(Kind.HELLO, 0, 1, peer_id("them").multihash)
    accepted = LinkAccepted(LinkId(1), SocketId(7), LOCAL, THEIRS)
    side.side.handle([accepted, LinkData(LinkId(1), hello)], 0.0)
    assert [type(event) for _, event in side.own.poll_events()] == [Connected]
    assert side.dial_backs.poll_results(0.0) == []
