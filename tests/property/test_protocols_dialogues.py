"""Dialogues: any chunking gives the same outcome, and no bytes raise."""

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.machine import SocketAddr, SocketId
from p2pnode.protocols.identify import (
    IdentifyMessage,
    IdentifyRequester,
    Observation,
    ObservedAddressBook,
    PushReceiver,
)
from p2pnode.protocols.identify.messages import encode_identify_frames
from p2pnode.protocols.identify.socket_evidence import (
    MAX_ADDRESSES_PER_SOCKET,
    MAX_OBSERVATIONS_PER_GROUP,
    MAX_OBSERVATIONS_PER_SOCKET,
    OBSERVATION_LIFETIME,
)
from p2pnode.protocols.ping import PingRequester, PingResponder
from p2pnode.wire.ip_ranges import owner_group
from p2pnode.wire.multistream import Agreed, Initiator, Outcome, Responder
from p2pnode.wire.multistream.messages import encode_message
from tests.support.identities import peer_id

ALICE = peer_id("a")
HEADER = encode_message("/multistream/1.0.0")
protocol_ids = st.sampled_from(["/a", "/b", "/c", "/a/long/one/1.0.0", "/ü", "na"])
lines = st.one_of(
    st.just(HEADER), protocol_ids.map(encode_message), st.binary(max_size=6), st.just(b"\x03na\n")
)
cut_points = st.lists(st.integers(0, 400), max_size=6)


def chunks(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    points = sorted(min(cut, len(data)) for cut in cuts)
    for start, end in zip([0, *points], [*points, len(data)], strict=True):
        yield data[start:end]


def run_negotiation(
    side: Initiator | Responder, data: bytes, cuts: Sequence[int]
) -> tuple[Outcome | None, bytes]:
    """Returns the outcome, with all that follows an agreement in its rest, and what was sent."""
    sent, behind = b"", b""
    for chunk in chunks(data, cuts):
        if side.outcome is None:
            side.handle_data(chunk)
        else:
            behind += chunk
        sent += side.poll_data()
    if isinstance(side.outcome, Agreed):
        return Agreed(side.outcome.protocol, side.outcome.rest + behind), sent
    return side.outcome, sent


@given(st.lists(lines, max_size=6).map(b"".join), cut_points)
def test_any_chunking_gives_the_same_negotiation(data: bytes, cuts: list[int]) -> None:
    for make in (
        lambda: Initiator(["/a/long/one/1.0.0", "/a"]),
        lambda: Responder(frozenset({"/a", "/ü"}).__contains__),
    ):
        assert run_negotiation(make(), data, cuts) == run_negotiation(make(), data, [])


@given(
    st.lists(protocol_ids.filter(lambda p: p != "na"), min_size=1, max_size=4, unique=True),
    st.sets(protocol_ids),
    st.binary(max_size=20),
    cut_points,
)
def test_both_sides_agree_on_the_first_that_both_speak(
    proposed: list[str], supported: set[str], data: bytes, cuts: list[int]
) -> None:
    ours, theirs = Initiator(proposed), Responder(supported.__contains__)
    early = data if ours.may_send_early else b""
    to_them = ours.poll_data() + early
    while ours.outcome is None:
        for chunk in chunks(to_them, cuts if not early else []):
            if theirs.outcome is None:
                theirs.handle_data(chunk)
        ours.handle_data(theirs.poll_data())
        to_them = ours.poll_data()

    spoken = [protocol for protocol in proposed if protocol in supported]
    if spoken:
        assert ours.outcome == Agreed(spoken[0], b"")
        assert theirs.outcome == Agreed(spoken[0], early)
    else:
        assert not isinstance(ours.outcome, Agreed)


@given(st.binary(max_size=200), cut_points)
def test_the_ping_responder_echoes_whole_pings_however_they_come(
    data: bytes, cuts: list[int]
) -> None:
    machine = PingResponder(0.0)
    for chunk in chunks(data, cuts):
        machine.handle_data(chunk, 0.0)

    echoed = b"".join(output.data for output in machine.poll_output())
    assert echoed == data[: len(data) - len(data) % 32]


@given(st.binary(max_size=70), cut_points, st.booleans())
def test_the_ping_requester_takes_nothing_but_its_own_bytes(
    data: bytes, cuts: list[int], begin_right: bool
) -> None:
    challenge = bytes(range(32))
    data = challenge + data if begin_right else data
    machine = PingRequester(lambda size: challenge[:size])
    machine.ping(0.0)
    for chunk in chunks(data, cuts):
        machine.handle_data(chunk, 1.0)
    events = [type(event).__name__ for event in machine.poll_events()]

    if challenge.startswith(data) and len(data) < 32:
        assert events == []
    elif data == challenge:
        assert events == ["Pong"]
    else:
        # Bytes behind a right answer fail it if they came with it, or end the stream after it.
        assert machine.is_done
        assert events in (["PingFailed"], ["Pong", "PingFailed"])


texts = st.text(max_size=10).filter(bool)
messages = st.builds(
    IdentifyMessage,
    protocols=st.lists(texts, max_size=5, unique=True).map(tuple),
    agent_version=st.none() | texts,
    protocol_version=st.none() | texts,
    signed_peer_record=st.none() | st.binary(min_size=1, max_size=3000),
)


@given(messages, cut_points)
def test_any_chunking_gives_the_same_identify_outcome(
    message: IdentifyMessage, cuts: list[int]
) -> None:
    outcomes = []
    for pattern in ([], cuts):
        for machine in (IdentifyRequester(ALICE, 0.0), PushReceiver(ALICE, 0.0)):
            for chunk in chunks(encode_identify_frames(message), pattern):
                machine.handle_data(chunk, 0.0)
            machine.handle_eof(0.0)
            outcomes.append(machine.outcome)

    assert outcomes[:2] == outcomes[2:]
    assert outcomes[1].message == message


@given(st.binary(max_size=300), cut_points)
def test_no_bytes_raise_out_of_an_identify_reader(data: bytes, cuts: list[int]) -> None:
    machine = IdentifyRequester(ALICE, 0.0)
    for chunk in chunks(data, cuts):
        machine.handle_data(chunk, 0.0)
    machine.handle_eof(0.0)

    assert machine.is_done


udp_addrs = st.builds(SocketAddr, st.ip_addresses().map(str), st.integers(0, 65535)) | st.builds(
    SocketAddr, st.sampled_from(["1.1.1.1", "1.1.1.2", "2a00::1"]), st.integers(1, 3)
)
observations = st.builds(
    Observation,
    st.integers(0, 12).map(peer_id),
    st.none() | udp_addrs,
    st.integers(0, 2).map(SocketId),
    udp_addrs,
)


@given(st.lists(st.tuples(observations, st.floats(0, 600)), max_size=40))
def test_the_book_stays_consistent_whatever_it_is_told(
    told: list[tuple[Observation, float]],
) -> None:
    book, now, last = ObservedAddressBook(), 0.0, {}
    newest = {}
    for item, pause in told:
        now += pause
        if book.update(item, now).name == "COUNTED":
            last[item.socket, item.observer] = item
            newest[item.socket] = now, item.observer

    reports = book.snapshot(now)
    fresh = [socket for socket, (at, _) in newest.items() if now < at + OBSERVATION_LIFETIME]
    assert [report.socket for report in reports] == sorted(fresh)
    for report in reports:
        assert report.evidence[-1][0] == newest[report.socket][1]
        assert len(report.evidence) <= MAX_OBSERVATIONS_PER_SOCKET
        assert len(report.addresses) <= MAX_ADDRESSES_PER_SOCKET
        by_group: dict[str, int] = {}
        for observer, observed in report.evidence:
            item = last[report.socket, observer]
            assert observed == item.observed._replace(scope_id=0)
            group = owner_group(item.observer_addr.ip)
            by_group[group] = by_group.get(group, 0) + 1
        assert max(by_group.values()) <= MAX_OBSERVATIONS_PER_GROUP
        assert report.addresses[0].observers <= len(by_group)
        assert report.why
