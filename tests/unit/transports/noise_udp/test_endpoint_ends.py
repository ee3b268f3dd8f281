"""How connections of an endpoint end: once, whatever comes on top of it."""

import pytest

from p2pnode.errors import ClosedByFault, ClosedLocally
from p2pnode.machine import Received, SocketId
from p2pnode.transports.events import ConnectionClosed
from p2pnode.transports.faults import Faults
from p2pnode.transports.stream_events import StreamOpened, StreamReadable
from tests.support.endpoint_crowd import SERVER, EndpointCrowd

SOMEBODY = "198.51.100.1"


def ends(crowd: EndpointCrowd) -> list[ConnectionClosed]:
    return [e for e in crowd.events[SERVER] if isinstance(e, ConnectionClosed)]


@pytest.mark.spec("TRANSPORTS-1")
@pytest.mark.parametrize("is_collected", [True, False])
def test_a_bug_after_a_close_is_no_second_end(is_collected: bool) -> None:
    crowd = EndpointCrowd(faults=Faults(is_raising=False))
    crowd.connect(SOMEBODY)
    (handle,) = crowd.server.connections
    connection = crowd.server.command(handle)
    assert connection is not None
    connection.close(0, "enough", crowd.now)
    if is_collected:
        crowd.run()
        assert len(ends(crowd)) == 1
    crowd.server.break_off(handle, RuntimeError("a bug"), crowd.now)
    crowd.run()
    (end,) = ends(crowd)
    assert isinstance(end.reason, ClosedLocally)
    assert not isinstance(end.reason, ClosedByFault)
    assert not crowd.server.connections


@pytest.mark.spec("TRANSPORTS-2")
def test_what_came_with_the_end_is_told_before_it() -> None:
    crowd = EndpointCrowd()
    address = crowd.connect(SOMEBODY)
    crowd.events[SERVER].clear()
    client = crowd.client(address)
    stream = client.streams.open()
    assert stream is not None
    client.streams.write(stream, b"hello")
    sent = crowd.at[address].poll_transmits(crowd.now)
    crowd.client(address).close(0, "that was all", crowd.now)
    sent += crowd.at[address].poll_transmits(crowd.now)
    batch = [Received(SocketId(0), None, address, 0, t.segment_size, bytes(t.buffer)) for t in sent]
    crowd.server.handle_received(batch, crowd.now)
    told = [type(e.event) for e in crowd.server.poll_events()]
    assert told[:2] == [StreamOpened, StreamReadable]
    assert told[-1] is ConnectionClosed
