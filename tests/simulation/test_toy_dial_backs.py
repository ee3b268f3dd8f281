"""AutoNAT's dial-backs over links: from an identity that is thrown away, and from any port."""

from random import Random

import pytest

from p2pnode.identity.transport_addr import transport_multiaddr
from p2pnode.machine import SocketAddr
from p2pnode.netsim.link import LinkParams
from p2pnode.netsim.topology import wire
from p2pnode.protocols.autonat import DIAL_REQUEST_PROTOCOL_ID
from p2pnode.protocols.autonat.messages_v2 import (
    DialRequest,
    DialResponse,
    DialStatus,
    decode_message_v2_untrusted,
    encode_message_v2,
)
from p2pnode.swarm.events import ConnectionEstablished
from p2pnode.testbed.sim_node import PORT
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.transport_name import TransportName
from tests.support.toy_node import BothNode


@pytest.mark.spec("TRANSPORTS-7")
@pytest.mark.spec("SWARM-33")
@pytest.mark.parametrize(
    ("port", "status"),
    [(PORT, DialStatus.OK), (PORT + 1, DialStatus.E_DIAL_ERROR)],
)
def test_an_address_over_tcp_is_dialled_back_by_links(port: int, status: DialStatus) -> None:
    net = wire(1, LinkParams(delay=0.01))
    a, b = BothNode(net.a), BothNode(net.b)
    connection = a.connect(b)
    net.world.run_for(2)
    stream = a.open(connection, DIAL_REQUEST_PROTOCOL_ID)
    asked = transport_multiaddr(SocketAddr(net.a.ip, port), TransportName.TCP)
    request = DialRequest((asked,), nonce=Random(1).getrandbits(64))
    a.do(stream.write, encode_frame(encode_message_v2(request)))
    net.world.run_for(2)
    reader = FrameReader(10_000)
    reader.feed(a.do(stream.read, 10_000))
    answer = reader.next_frame_untrusted()
    assert answer is not None
    response = decode_message_v2_untrusted(answer)
    assert isinstance(response, DialResponse)
    assert response.dial_status == status
    # No dial-back is a peer, and none is left.
    assert len(a.of(ConnectionEstablished)) == len(b.of(ConnectionEstablished)) == 1
    net.world.run_for(30)
    assert net.a.links.count == net.b.links.count == 1
