"""Every dialogue on a stream: any chunking gives the same, no bytes raise, and each has its end."""

import importlib
import pkgutil
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode import protocols
from p2pnode.protocols.autonat import (
    DelegatedAsker,
    DelegatedServer,
    DialBackSender,
    OrderReceiver,
    OrderSender,
    V1Requester,
    V1Server,
    V2Requester,
    V2Server,
)
from p2pnode.protocols.autonat.served_dialogue import ServedDialogue
from p2pnode.protocols.dcutr.dialogue import DcutrInitiator, DcutrResponder
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.protocols.identify import IdentifyRequester, PushReceiver
from p2pnode.protocols.kad import FindNodeRequester
from p2pnode.protocols.nat_behaviour.dialogue import NatRequester
from p2pnode.protocols.relay.circuit_dialogue import (
    CircuitEnded,
    CircuitRequester,
    CircuitResponder,
)
from p2pnode.protocols.relay.connect import StreamConnector
from p2pnode.protocols.relay.hop import HopResponder
from p2pnode.protocols.relay.reserve import ReservationRequester
from p2pnode.protocols.relay.stop import StopRequester, StopResponder
from tests.support.dialogues import DIALOGUES, act_as_owner, public_state, streams

OUTCOMES: dict[type[FramedDialogue], str] = {
    V1Requester: "outcome",
    V2Requester: "outcome",
    DialBackSender: "status",
    DelegatedAsker: "results",
    OrderSender: "status",
    DcutrInitiator: "outcome",
    DcutrResponder: "outcome",
    IdentifyRequester: "outcome",
    PushReceiver: "outcome",
    FindNodeRequester: "outcome",
    NatRequester: "outcome",
    ReservationRequester: "outcome",
    StreamConnector: "outcome",
    StopRequester: "outcome",
}
"""where a dialogue that this node began says what came of it"""
ORDERS: dict[type[FramedDialogue], tuple[str, object]] = {
    V1Server: ("wants_dial", None),
    V2Server: ("wants_dial", None),
    DelegatedServer: ("wants_helpers", False),
    OrderReceiver: ("wants_probe", None),
}
"""where a server orders something of its owner, and what stands there when nothing is to be done"""
cut_points = st.lists(st.integers(0, 600), max_size=5)
by_name = pytest.mark.parametrize("kind", DIALOGUES, ids=lambda kind: kind.__name__)


def concrete(kind: type[FramedDialogue]) -> Iterator[type[FramedDialogue]]:
    for each in kind.__subclasses__():
        if not each.__name__.startswith("_") and each is not ServedDialogue:
            yield each
        yield from concrete(each)


def test_every_dialogue_is_here() -> None:
    for module in pkgutil.walk_packages(protocols.__path__, "p2pnode.protocols."):
        importlib.import_module(module.name)
    assert {d for d in concrete(FramedDialogue) if d.__module__.startswith("p2pnode.")} == set(
        DIALOGUES
    )


@by_name
@settings(max_examples=40, deadline=None)
@given(data=streams, cuts=cut_points, eof=st.booleans())
def test_any_chunking_gives_the_same_dialogue(
    kind: type[FramedDialogue], data: bytes, cuts: list[int], eof: bool
) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    seen: list[object] = []
    for chunks in ([data], [data[a:b] for a, b in pairwise(edges)]):
        dialogue = DIALOGUES[kind]()
        for chunk in chunks:
            dialogue.handle_data(chunk, 1.0)
        if eof:
            dialogue.handle_eof(1.0)
        seen.append((public_state(dialogue), dialogue.take_rest()))
    assert seen[0] == seen[1]


@by_name
@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(streams, max_size=3),
    ending=st.sampled_from(["eof", "reset", "time"]),
    has_owner=st.booleans(),
)
def test_no_bytes_raise_and_every_dialogue_has_its_end(
    kind: type[FramedDialogue], parts: list[bytes], ending: str, has_owner: bool
) -> None:
    dialogue = DIALOGUES[kind]()
    act = act_as_owner if has_owner else ignore
    for data in parts:
        dialogue.handle_data(data, 0.0)
        act(dialogue)
    if ending == "eof":
        dialogue.handle_eof(0.0)
        act(dialogue)
    if ending == "reset" or (ending == "time" and dialogue.poll_timeout() is None):
        dialogue.handle_reset(0, 0.0)
        assert dialogue.poll_output() == []
        assert dialogue.is_done
    for _ in range(10):
        deadline = dialogue.poll_timeout()
        if deadline is None:
            break
        dialogue.handle_timeout(deadline.at)
        act(dialogue)
    assert dialogue.is_done
    assert dialogue.poll_timeout() is None
    assert_told(dialogue)

    dialogue.poll_output()
    dialogue.take_rest()
    before = public_state(dialogue)
    dialogue.handle_data(b"more", 99.0)
    dialogue.handle_eof(99.0)
    dialogue.handle_timeout(999.0)
    assert public_state(dialogue) == before
    assert before["poll_output"] == []


def ignore(dialogue: FramedDialogue) -> None:
    """An owner that never answers."""


def assert_told(dialogue: FramedDialogue) -> None:
    """The owner has learnt the end: an outcome, an order taken back, or what it is to answer."""
    if (name := OUTCOMES.get(type(dialogue))) is not None:
        assert getattr(dialogue, name) is not None
    if (order := ORDERS.get(type(dialogue))) is not None:
        assert getattr(dialogue, order[0]) is order[1]
    match dialogue:
        case HopResponder():
            assert dialogue.request is not None or dialogue.failure
        case StopResponder():
            assert dialogue.offer is not None or dialogue.failure
        case CircuitRequester() | CircuitResponder():
            ends = [isinstance(event, CircuitEnded) for event in dialogue.poll_events()]
            assert ends[-1]
            assert sum(ends) == 1
