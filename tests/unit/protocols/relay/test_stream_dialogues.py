"""Reserve, connect, hop and stop, stepped by hand."""

import pytest

from p2pnode.clock import UnixTime
from p2pnode.errors import LocalProtocolError
from p2pnode.machine import ResetStream, SendData, SendEof
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.relay.connect import CircuitOpened, CircuitRefused, StreamConnector
from p2pnode.protocols.relay.hop import HopResponder
from p2pnode.protocols.relay.messages import (
    MAX_MESSAGE_SIZE,
    ConnectRequest,
    HopStatus,
    Limit,
    Reservation,
    ReserveRequest,
    Status,
    StopConnect,
    StopStatus,
    decode_hop_untrusted,
    encode_hop,
    encode_stop,
)
from p2pnode.protocols.relay.reserve import (
    NotReserved,
    ReservationRequester,
    Reserved,
    circuit_addrs,
)
from p2pnode.protocols.relay.stop import (
    StopAccepted,
    StopRefused,
    StopRequester,
    StopResponder,
)
from p2pnode.protocols.relay.voucher import Voucher, seal_voucher
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.identities import peer_id, private_key

RELAY, ALICE, BOB = peer_id("r"), peer_id("a"), peer_id("b")
UNIX = UnixTime(1_700_000_000)
HOST = "/ip4/1.2.3.4/udp/4001/noise"
ADDR = parse_multiaddr(f"{HOST}/p2p/{RELAY}")


def requester() -> ReservationRequester:
    return ReservationRequester(RELAY, ALICE, now=0.0)


def move(source: FramedDialogue, target: FramedDialogue, now: float) -> None:
    for output in source.poll_output():
        if isinstance(output, SendData):
            target.handle_data(output.data, now)
        elif isinstance(output, SendEof):
            target.handle_eof(now)
        else:
            target.handle_reset(output.code, now)


def said_status(machine: HopResponder) -> int:
    data, eof = machine.poll_output()
    assert isinstance(data, SendData)
    assert eof == SendEof()
    message = decode_hop_untrusted(data.data[1:])
    assert isinstance(message, HopStatus)
    return message.status


def answer(machine: FramedDialogue, status: HopStatus, now: float = 1.0) -> None:
    machine.handle_data(encode_frame(encode_hop(status)), now)


@pytest.mark.spec("RELAY-1")
def test_a_client_reserves() -> None:
    client, relay = requester(), HopResponder(0.0)
    move(client, relay, 0.1)
    assert relay.request == ReserveRequest()
    assert relay.is_deciding

    voucher = seal_voucher(private_key("r"), ALICE, int(UNIX) + 3600).encode()
    relay.grant(Reservation(int(UNIX) + 3600, (ADDR,), voucher), Limit(120, 1 << 17))
    move(relay, client, 10.0)

    assert client.outcome == Reserved(
        int(UNIX) + 3600, (ADDR,), Limit(120, 1 << 17), Voucher(RELAY, ALICE, int(UNIX) + 3600)
    )
    assert client.poll_output() == [SendEof()]
    assert client.is_done
    assert relay.is_done


@pytest.mark.spec("RELAY-6")
def test_a_reservation_without_voucher_is_good_and_one_with_a_foreign_voucher_is_not() -> None:
    client = requester()
    answer(client, HopStatus(Status.OK, Reservation(int(UNIX) + 60)))
    assert client.outcome == Reserved(int(UNIX) + 60, (), Limit(), None)

    client = requester()
    voucher = seal_voucher(private_key("b"), ALICE, int(UNIX) + 3600).encode()
    answer(client, HopStatus(Status.OK, Reservation(int(UNIX) + 60, (), voucher)))
    assert client.outcome == NotReserved(None, "a voucher of another relay")
    assert client.poll_output()[-1] == ResetStream(0x1004)


@pytest.mark.spec("RELAY-3")
def test_addresses_of_others_are_left_out_of_a_reservation() -> None:
    client = requester()
    addrs = (
        parse_multiaddr(HOST),  # without an id: the relay's
        parse_multiaddr(f"/ip4/5.6.7.8/udp/1/noise/p2p/{BOB}"),
        parse_multiaddr(f"{HOST}/p2p/{RELAY}/p2p-circuit"),
    )
    answer(client, HopStatus(Status.OK, Reservation(int(UNIX) + 60, addrs)))

    assert isinstance(client.outcome, Reserved)
    assert client.outcome.addrs == (ADDR,)
    assert circuit_addrs(client.outcome.addrs, ALICE) == (
        parse_multiaddr(f"{HOST}/p2p/{RELAY}/p2p-circuit/p2p/{ALICE}"),
    )


@pytest.mark.spec("RELAY-4")
@pytest.mark.parametrize("expire", [0, 1, int(UNIX) - 3600, int(UNIX) + 60, 2**63, 2**64 - 1])
def test_no_end_of_a_reservation_makes_it_none(expire: int) -> None:
    client = requester()
    answer(client, HopStatus(Status.OK, Reservation(expire)))
    assert isinstance(client.outcome, Reserved)
    assert client.outcome.expire == expire


@pytest.mark.spec("RELAY-2")
def test_a_refusal_keeps_its_status_also_an_unknown_one() -> None:
    for status in (Status.RESERVATION_REFUSED, 299, 0):
        client = requester()
        answer(client, HopStatus(status))
        assert isinstance(client.outcome, NotReserved)
        assert client.outcome.status == status
        assert client.poll_output()[-1] == SendEof()


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(encode_hop(ReserveRequest())),
        encode_frame(encode_hop(HopStatus(Status.OK))),
        encode_frame(b"\xff"),
        b"\xff\xff\x7f",
    ],
    ids=["a request", "no reservation", "garbage", "too long"],
)
def test_a_broken_answer_fails_once(data: bytes) -> None:
    client = requester()
    client.handle_data(data, 1.0)
    first = client.outcome
    client.handle_data(data, 1.0)
    client.handle_eof(1.0)
    client.handle_reset(1, 1.0)
    client.handle_timeout(999.0)

    assert isinstance(first, NotReserved)
    assert first.status is None
    assert client.outcome is first
    assert client.poll_timeout() is None


@pytest.mark.spec("RELAY-7")
@pytest.mark.spec("RELAY-8")
def test_a_stream_becomes_a_circuit_without_a_byte_lost_on_either_side() -> None:
    client, hop = StreamConnector(BOB, 0.0), HopResponder(0.0)
    move(client, hop, 0.1)
    assert hop.request == ConnectRequest(BOB)

    stop, listener = StopRequester(ALICE, Limit(120, 5), 0.1), StopResponder(0.1)
    move(stop, listener, 0.2)
    assert listener.offer == StopConnect(ALICE, Limit(120, 5))
    listener.accept()
    (accepted,) = listener.poll_output()
    assert isinstance(accepted, SendData)
    stop.handle_data(accepted.data + b"from the listener", 0.3)
    assert stop.outcome == StopAccepted()

    hop.connect(Limit(120, 5))
    (opened,) = hop.poll_output()
    assert isinstance(opened, SendData)
    client.handle_data(opened.data + stop.take_rest()[:4], 0.4)
    client.handle_data(b" the listener", 0.4)

    assert client.outcome == CircuitOpened(Limit(120, 5))
    assert client.take_rest() == b"from the listener"
    assert client.poll_output() == []
    assert all(machine.is_done for machine in (client, hop, stop, listener))


@pytest.mark.spec("RELAY-8")
@pytest.mark.spec("RELAY-10")
def test_what_comes_before_the_answer_is_bounded() -> None:
    request = encode_frame(encode_hop(ConnectRequest(BOB)))
    hop = HopResponder(0.0)
    hop.handle_data(request + b"early", 0.0)
    hop.handle_data(b"x" * (MAX_MESSAGE_SIZE - 5), 0.0)
    assert hop.is_deciding
    hop.connect(Limit())
    assert hop.take_rest() == b"early" + b"x" * (MAX_MESSAGE_SIZE - 5)

    for parts in ([request, b"x" * (MAX_MESSAGE_SIZE + 1)], [request + b"x" * 4097]):
        hop = HopResponder(0.0)
        for part in parts:
            hop.handle_data(part, 0.0)
        assert hop.is_done
        assert said_status(hop) == Status.MALFORMED_MESSAGE


@pytest.mark.spec("RELAY-9")
def test_broken_requests_are_answered_with_their_status() -> None:
    hop = HopResponder(0.0)
    hop.handle_data(encode_frame(b"\x08\x09"), 0.0)
    assert said_status(hop) == Status.MALFORMED_MESSAGE
    assert hop.failure is not None

    hop = HopResponder(0.0)
    answer(hop, HopStatus(Status.OK))
    assert said_status(hop) == Status.UNEXPECTED_MESSAGE

    for data, status in [
        (encode_frame(b""), Status.MALFORMED_MESSAGE),
        (encode_frame(encode_stop(StopStatus(100))), Status.UNEXPECTED_MESSAGE),
    ]:
        listener = StopResponder(0.0)
        listener.handle_data(data, 0.0)
        assert listener.poll_output() == [
            SendData(encode_frame(encode_stop(StopStatus(status)))),
            SendEof(),
        ]
        assert listener.failure is not None


@pytest.mark.spec("RELAY-9")
@pytest.mark.parametrize(
    "machine",
    [
        requester(),
        StreamConnector(BOB, 0.0),
        HopResponder(0.0),
        StopRequester(ALICE, Limit(), 0.0),
        StopResponder(0.0),
    ],
    ids=lambda machine: type(machine).__name__,
)
def test_silence_ends_every_dialogue(machine: FramedDialogue) -> None:
    deadline = machine.poll_timeout()
    assert deadline is not None
    machine.handle_timeout(deadline.at - 0.1)
    assert not machine.is_done
    machine.handle_timeout(deadline.at)
    assert machine.is_done
    assert machine.poll_output()[-1] == ResetStream(0)


def test_ends_and_resets_fail_a_dialogue() -> None:
    client = StreamConnector(BOB, 0.0)
    client.handle_eof(0.1)
    assert client.outcome == CircuitRefused(None, "the peer ended the stream too early")

    stop = StopRequester(ALICE, Limit(), 0.0)
    stop.handle_reset(5, 0.1)
    assert stop.outcome == StopRefused(None, "the stream was reset")
    assert stop.poll_output() == []


def test_refusals_reach_the_other_side() -> None:
    client, hop = StreamConnector(BOB, 0.0), HopResponder(0.0)
    move(client, hop, 0.1)
    hop.refuse(Status.NO_RESERVATION)
    move(hop, client, 0.2)
    assert client.outcome == CircuitRefused(Status.NO_RESERVATION, "NO_RESERVATION")

    stop, listener = StopRequester(ALICE, Limit(), 0.0), StopResponder(0.0)
    move(stop, listener, 0.1)
    listener.refuse(Status.RESOURCE_LIMIT_EXCEEDED)
    move(listener, stop, 0.2)
    assert stop.outcome == StopRefused(201, "RESOURCE_LIMIT_EXCEEDED")


def test_an_answer_that_was_not_asked_for_is_a_bug_of_ours() -> None:
    hop = HopResponder(0.0)
    with pytest.raises(LocalProtocolError):
        hop.refuse(Status.NO_RESERVATION)
    hop.handle_data(encode_frame(encode_hop(ReserveRequest())), 0.0)
    with pytest.raises(LocalProtocolError):
        hop.connect(Limit())
    hop.grant(Reservation(1), Limit())
    with pytest.raises(LocalProtocolError):
        hop.grant(Reservation(1), Limit())
    with pytest.raises(LocalProtocolError):
        StopResponder(0.0).accept()
