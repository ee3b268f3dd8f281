from p2pnode.errors import ClosedByPeer, ClosedLocally, IdleTimeout
from p2pnode.transports.datagrams.closing import TRANSITIONS, CloseEvent, CloseState, Closing
from p2pnode.transports.datagrams.frame import ConnectionClose
from tests.support import spec_tables

FRAME = ConnectionClose(0, 0, "bye", True)


def test_the_diagram_of_the_spec_is_the_table_of_transitions():
    drawn = spec_tables.diagram("transport.md", "closing")
    assert drawn == {(s.name, e.name): t.name for (s, e), t in TRANSITIONS.items()}


def test_who_closes_tells_the_peer_and_forgets_later():
    closing, reason = Closing(), ClosedLocally()
    assert closing.is_open
    assert closing.poll_timeout() is None
    assert closing.close(CloseEvent.LOCAL_CLOSE, reason, 5.0, FRAME)
    assert (closing.state, closing.reason, closing.frame) == (CloseState.CLOSING, reason, FRAME)
    assert closing.is_send_due
    assert closing.poll_timeout().at == 5.0
    closing.handle_timeout(4.9)
    assert closing.state is CloseState.CLOSING
    closing.handle_timeout(5.0)
    assert closing.state is CloseState.CLOSED
    assert closing.poll_timeout() is None


def test_the_close_is_repeated_at_the_1st_2nd_4th_and_8th_packet():
    closing = Closing()
    closing.close(CloseEvent.LOCAL_CLOSE, ClosedLocally(), 5.0, FRAME)
    due = []
    for packet in range(1, 20):
        closing.is_send_due = False
        closing.on_packet()
        if closing.is_send_due:
            due.append(packet)
    assert due == [1, 2, 4, 8, 16]


def test_who_was_told_sends_nothing():
    closing = Closing()
    assert closing.close(CloseEvent.PEER_CLOSE, ClosedByPeer(0, ""), 5.0, None)
    assert closing.state is CloseState.DRAINING
    closing.on_packet()
    assert not closing.is_send_due


def test_the_peers_close_changes_nothing_once_we_have_closed():
    closing, reason = Closing(), ClosedLocally()
    closing.close(CloseEvent.LOCAL_CLOSE, reason, 5.0, FRAME)
    assert not closing.close(CloseEvent.PEER_CLOSE, ClosedByPeer(0, ""), 9.0, None)
    assert closing.state is CloseState.CLOSING
    assert closing.reason is reason
    assert closing.poll_timeout().at == 5.0


def test_a_silent_peer_is_forgotten_at_once():
    closing = Closing()
    assert closing.close(CloseEvent.SILENT, IdleTimeout(), 5.0, None)
    assert closing.state is CloseState.CLOSED
    assert not closing.is_send_due


def test_nothing_closes_twice():
    closing = Closing()
    closing.close(CloseEvent.SILENT, IdleTimeout(), 5.0, None)
    for event in CloseEvent:
        assert not closing.close(event, ClosedLocally(), 9.0, FRAME)
    assert closing.state is CloseState.CLOSED


def test_time_does_not_end_an_open_connection():
    closing = Closing()
    closing.handle_timeout(1e9)
    assert closing.is_open
