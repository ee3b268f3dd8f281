from p2pnode.transports.datagrams.control_frames import MAX_OUTSTANDING, ControlFrames
from p2pnode.transports.delivery.packet_builder import PacketBuilder
from tests.support.held import nothing_held


def written(control: ControlFrames, room: int = 1000) -> PacketBuilder:
    builder = PacketBuilder(room)
    control.write_frames(builder)
    return builder


def test_frames_leave_once_and_in_order():
    control = ControlFrames(nothing_held())
    control.push(b"one")
    control.push(b"two")
    assert control.has_pending
    builder = written(control)
    assert builder.chunks == [b"one", b"two"]
    assert builder.is_ack_eliciting
    assert not control.has_pending
    assert written(control).chunks == []


def test_what_does_not_fit_waits_for_the_next_packet():
    control = ControlFrames(nothing_held())
    for frame in (b"1234", b"5678", b"9"):
        control.push(frame)
    assert written(control, room=6).chunks == [b"1234"]
    assert written(control, room=6).chunks == [b"5678", b"9"]


def test_a_lost_frame_goes_out_again_until_it_is_acknowledged():
    control = ControlFrames(nothing_held())
    control.push(b"frame")
    for _ in range(3):
        ((owner, *note),) = written(control).records
        assert owner is control
        control.on_lost(*note)
        assert control.has_pending
    ((_, *note),) = written(control).records
    control.on_acked(*note)
    control.on_lost(*note)
    assert not control.has_pending


def test_an_acknowledgement_after_the_loss_stops_the_repetition():
    control = ControlFrames(nothing_held())
    control.push(b"frame")
    ((_, *note),) = written(control).records
    control.on_lost(*note)
    control.on_acked(*note)
    assert not control.has_pending


def test_a_peer_cannot_provoke_frames_without_end():
    control = ControlFrames(nothing_held())
    for _ in range(MAX_OUTSTANDING // 2):
        control.push(b"x")
    records = written(control, room=MAX_OUTSTANDING).records
    for _ in range(MAX_OUTSTANDING // 2):
        control.push(b"x")
    assert not control.is_overrun
    control.push(b"one too many")
    assert control.is_overrun
    assert b"one too many" not in written(control, room=10 * MAX_OUTSTANDING).chunks
    for record in records:
        control.on_acked(*record[1:])
    assert control.is_overrun
