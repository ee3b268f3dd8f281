"""One of each dialogue on a stream, what peers may send them, and what their owners do."""

import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from p2pnode.protocols.autonat import (
    DELEGATION_LIMITS,
    HELPER_LIMITS,
    V1_LIMITS,
    V2_LIMITS,
    Budget,
    DelegatedAsker,
    DelegatedServer,
    DialBackReceiver,
    DialBackSender,
    Helper,
    OrderReceiver,
    OrderSender,
    V1Requester,
    V1Server,
    V2Requester,
    V2Server,
)
from p2pnode.protocols.autonat.delegated_messages import (
    Ask,
    Choice,
    DialBackOffer,
    HelperStatus,
    Order,
    Report,
    asker_commitment,
    encode_delegated_message,
    encode_done,
    encode_order,
)
from p2pnode.protocols.autonat.messages_v1 import DialResponseV1, DialV1, encode_message_v1
from p2pnode.protocols.autonat.messages_v2 import (
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    encode_dial_back,
    encode_message_v2,
)
from p2pnode.protocols.dcutr.dialogue import DcutrInitiator, DcutrResponder
from p2pnode.protocols.dcutr.messages import Connect, Sync, encode_hole_punch
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.identify import (
    IdentifyMessage,
    IdentifyRequester,
    IdentifyResponder,
    PushReceiver,
    PushSender,
)
from p2pnode.protocols.identify.messages import encode_identify_frames
from p2pnode.protocols.kad import CloserPeer, FindNodeRequester, FindNodeResponder
from p2pnode.protocols.kad import messages as kad
from p2pnode.protocols.nat_behaviour import messages as nat
from p2pnode.protocols.nat_behaviour.dialogue import NatRequester, NatResponder
from p2pnode.protocols.relay import seal_voucher
from p2pnode.protocols.relay.circuit_dialogue import CircuitRequester, CircuitResponder
from p2pnode.protocols.relay.circuit_messages import (
    CircuitClosing,
    CircuitConnect,
    CircuitStatus,
    encode_circuit,
)
from p2pnode.protocols.relay.connect import StreamConnector
from p2pnode.protocols.relay.hop import HopResponder
from p2pnode.protocols.relay.messages import (
    ConnectRequest,
    HopStatus,
    Limit,
    Reservation,
    ReserveRequest,
    Status,
    StopConnect,
    StopStatus,
    encode_hop,
    encode_stop,
)
from p2pnode.protocols.relay.reserve import ReservationRequester
from p2pnode.protocols.relay.stop import StopRequester, StopResponder
from p2pnode.wire.framing import encode_frame
from tests.support.autonat import ABILITY, ALICE, ASKER, OTHER_IP, PRIVATE_IP, SAME_IP, asker
from tests.support.identities import peer_id, private_key

BOB = peer_id("b")
NONCE = bytes(range(16))
ORDER = Order(SAME_IP, NONCE, asker_commitment(ALICE, NONCE), "7.0.0.1")
HELPERS = [Helper(peer_id(f"h{n}"), f"7.0.0.{n}") for n in range(1, 4)]
IPS = [helper.ip for helper in HELPERS]
NEWS = IdentifyMessage(protocols=("/a",))

DIALOGUES: dict[type[FramedDialogue], Callable[[], FramedDialogue]] = {
    V1Requester: lambda: V1Requester(ALICE, (SAME_IP,), 0.0),
    V1Server: lambda: V1Server(ASKER, ABILITY, Budget(V1_LIMITS), 0.0),
    V2Requester: lambda: V2Requester((SAME_IP, OTHER_IP), 1, 0.0),
    V2Server: lambda: V2Server(ASKER, ABILITY, Budget(V2_LIMITS), random.Random(1), 0.0),
    DialBackReceiver: lambda: DialBackReceiver(0.0),
    DialBackSender: lambda: DialBackSender(1, 0.0),
    DelegatedAsker: lambda: DelegatedAsker(
        ALICE, SAME_IP, server_ip="8.8.8.8", entropy=random.Random(2).randbytes, now=0.0
    ),
    DelegatedServer: lambda: DelegatedServer(
        ASKER, ABILITY, Budget(DELEGATION_LIMITS), random.Random(1), 0.0
    ),
    OrderSender: lambda: OrderSender(ORDER, 0.0),
    OrderReceiver: lambda: OrderReceiver(
        asker("s", "8.8.8.8"), ABILITY, Budget(HELPER_LIMITS), 0.0
    ),
    DcutrInitiator: lambda: DcutrInitiator((SAME_IP,), 0.0),
    DcutrResponder: lambda: DcutrResponder((SAME_IP,), 0.0),
    IdentifyRequester: lambda: IdentifyRequester(ALICE, 0.0),
    IdentifyResponder: lambda: IdentifyResponder(NEWS),
    PushReceiver: lambda: PushReceiver(ALICE, 0.0),
    PushSender: lambda: PushSender(NEWS),
    FindNodeRequester: lambda: FindNodeRequester(ALICE.multihash, 0.0),
    FindNodeResponder: lambda: FindNodeResponder(0.0),
    NatRequester: lambda: NatRequester(nat.ReportRequest(), 0.0),
    NatResponder: lambda: NatResponder(0.0),
    ReservationRequester: lambda: ReservationRequester(BOB, ALICE, now=0.0),
    StreamConnector: lambda: StreamConnector(BOB, 0.0),
    HopResponder: lambda: HopResponder(0.0),
    StopRequester: lambda: StopRequester(ALICE, Limit(), 0.0),
    StopResponder: lambda: StopResponder(0.0),
    CircuitRequester: lambda: CircuitRequester(BOB, b"12345678", 0.0),
    CircuitResponder: lambda: CircuitResponder(0.0),
}

addrs = st.lists(st.sampled_from([SAME_IP, OTHER_IP, PRIVATE_IP]), max_size=3, unique=True)
small = st.integers(0, 4)
autonat_messages = st.one_of(
    st.builds(DialV1, st.just(ALICE), addrs.map(tuple)).map(encode_message_v1),
    st.builds(
        DialResponseV1, st.sampled_from([0, 100, 101, 200, 7]), st.just("text"), st.none()
    ).map(encode_message_v1),
    st.one_of(
        st.builds(DialRequest, addrs.map(tuple), st.integers(0, 2**64 - 1)),
        st.builds(
            DialResponse, st.sampled_from([0, 100, 200]), small, st.sampled_from([0, 100, 200])
        ),
        st.builds(DialDataRequest, small, st.integers(0, 9000)),
        st.builds(DialDataResponse, st.binary(max_size=300)),
    ).map(encode_message_v2),
    st.one_of(
        st.just(Ask(SAME_IP)),
        st.builds(DialBackOffer, st.lists(st.sampled_from(IPS), max_size=4).map(tuple)),
        st.builds(Choice, st.lists(st.none() | st.just(NONCE), max_size=4).map(tuple)),
        st.builds(Report, small, small),
    ).map(encode_delegated_message),
    st.just(encode_order(ORDER)),
    st.sampled_from(list(HelperStatus)).map(encode_done),
    st.integers(0, 9).map(encode_dial_back),
)
VOUCHER = seal_voucher(private_key("b"), ALICE, 5000).encode()
other_messages = st.sampled_from(
    [
        encode_hop(ReserveRequest()),
        encode_hop(ConnectRequest(BOB)),
        encode_hop(HopStatus(100, Reservation(5000, (SAME_IP,), VOUCHER), Limit(1, 2))),
        encode_stop(StopConnect(ALICE, Limit(1, 2))),
        encode_stop(StopStatus(100)),
        encode_circuit(CircuitConnect(BOB, b"12345678")),
        encode_circuit(CircuitStatus(100, b"12345678")),
        encode_circuit(CircuitClosing(203, 1.0)),
        encode_hole_punch(Connect((SAME_IP,))),
        encode_hole_punch(Sync()),
        kad.encode_request(BOB.multihash),
        kad.encode_answer([CloserPeer(BOB, (SAME_IP,))]),
        nat.encode_request(nat.ReportRequest()),
        nat.encode_answer(nat.NatAnswer(nat.NatStatus.OK)),
    ]
)
pieces = st.one_of(
    autonat_messages.map(encode_frame),
    other_messages.map(encode_frame),
    st.just(encode_identify_frames(NEWS)),
    st.binary(max_size=20),
    st.binary(max_size=20).map(encode_frame),
    st.just(bytes(5000)),
)
streams = st.lists(pieces, max_size=6).map(b"".join)
"""what one peer may send on one stream, with good messages of every protocol among it"""


def act_as_owner(dialogue: FramedDialogue) -> None:
    """Does what an owner does where its answer is waited for."""
    match dialogue:
        case V1Server() if dialogue.wants_dial is not None:
            dialogue.on_dialled(SAME_IP, 0.0)
        case V2Server() if dialogue.wants_dial is not None:
            dialogue.on_dialled(200, 0.0)
        case DelegatedAsker() if dialogue.offer is not None:
            dialogue.on_chosen(IPS, 0.0)
        case DelegatedServer() if dialogue.wants_helpers:
            dialogue.on_helpers(HELPERS, 0.0)
        case OrderReceiver() if dialogue.wants_probe is not None:
            dialogue.on_sent(HelperStatus.SENT, 0.0)
        case HopResponder() | StopResponder() if dialogue.is_deciding:
            dialogue.refuse(Status.PERMISSION_DENIED)
        case CircuitResponder() if dialogue.state.value == "deciding":
            dialogue.accept(b"abcdefgh", now=0.0)
        case NatResponder() if dialogue.request is not None:
            dialogue.answer(nat.NatAnswer(nat.NatStatus.OK))
        case FindNodeResponder():
            for _ in dialogue.poll_requests():
                dialogue.answer(())
        case _:
            pass


def public_state(dialogue: FramedDialogue) -> dict[str, Any]:
    """Returns all that an owner can see of a dialogue; what is polled is taken."""
    seen: dict[str, Any] = {}
    for name in dir(dialogue):
        if not name.startswith("_"):
            value = getattr(dialogue, name)
            is_polled = name in ("poll_output", "poll_events", "poll_requests", "poll_timeout")
            if is_polled or not callable(value):
                seen[name] = value() if is_polled else value
    return seen
