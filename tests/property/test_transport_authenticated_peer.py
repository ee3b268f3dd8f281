"""An authenticated peer may say any frames in any order: nothing raises, and bounds hold."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pnode.machine import SocketAddr
from p2pnode.transports.datagrams.frame import ConnectionClose
from p2pnode.transports.delivery.frame import Ack, stream_header
from p2pnode.transports.noise_udp.frame import PathAbandon, encode_ack
from tests.support.frames import frames_of
from tests.support.raw_peer import RawPeer

small = st.integers(0, 9)
# Closing frames would end most runs early; they come last.
frames = frames_of(small, st.integers(1, 12)).filter(
    lambda f: not isinstance(f, ConnectionClose | Ack)
)
streams = st.builds(
    lambda stream, offset, fin, data: stream_header(stream, offset, fin, len(data)) + data,
    small, st.integers(0, 2000), st.booleans(), st.binary(max_size=30),
)  # fmt: skip
packets = st.lists(st.one_of(frames.map(lambda f: f.encode()), streams), min_size=1, max_size=4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), packets.map(b"".join), st.integers(0, 3)),
        st.tuples(st.just("ack"), st.integers(0, 3), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.3, 5.0, 30.0]), st.just(0)),
        st.tuples(st.just("move"), st.integers(1, 12), st.just(0)),
        st.tuples(st.just("ask"), st.integers(0, 3), st.integers(0, 5000)),
    ),
    max_size=25,
)
MAX_BURST = 200  # datagrams; far above what one step may cause


def ask(peer, what, size):
    """Does what an application may do, while there is a connection."""
    connection = peer.endpoint.command(peer.handle)
    if connection is None or connection.is_closed:
        return
    if what == 0:
        stream = connection.streams.open()
        if stream is not None:
            connection.streams.write(stream, bytes(size))
    elif what == 1:
        connection.send_datagram(bytes(min(size, connection.max_datagram_size)))
    elif what == 2:
        connection.update_keys(peer.now)
    else:
        connection.ping()


def take_step(peer, step):
    match step:
        case "say", payload, path_id:
            if path_id in peer.ids:
                peer.send(payload, path_id=path_id)
        case "ack", path_id, count:
            numbers = sorted({p.number for p in peer.opened if p.path_id == path_id})[-count:]
            for number in numbers:
                peer.send(encode_ack(Ack(path_id, 0, ((number, number + 1),))))
        case "wait", seconds, _:
            peer.wait(seconds)
        case "move", port, _:
            peer.address = SocketAddr("198.51.100.7", port)
        case "ask", what, size:
            ask(peer, what, size)
            peer.drain()


@pytest.mark.slow
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), steps)
def test_frames_of_any_kind_in_any_order_raise_nothing_and_provoke_no_flood(is_initiator, todo):
    peer = RawPeer(is_initiator=is_initiator)
    peer.connect()
    for step in todo:
        before = len(peer.datagrams)
        take_step(peer, step)
        assert len(peer.datagrams) - before < MAX_BURST
    peer.send(PathAbandon(0, 0).encode())
    peer.wait(200.0)
    assert not peer.endpoint.connections
