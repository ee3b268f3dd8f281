"""The identify message: splitting, joining, limits, and the spec's example."""

import re
from pathlib import Path

import pytest

from p2pnode.errors import DecodeError
from p2pnode.protocols.identify.messages import (
    MAX_LISTEN_ADDRS,
    MAX_MESSAGE_SIZE,
    MAX_MESSAGES,
    MAX_PROTOCOLS,
    IdentifyMessage,
    decode_identify_message_untrusted,
    encode_identify_frames,
    encode_identify_message,
)
from p2pnode.wire.framing import FrameReader
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.pb import identify_pb2
from tests.support.identities import private_key

SPEC = Path(__file__).parents[4] / "specs" / "identify.md"
ADDR = parse_multiaddr("/ip4/1.2.3.4/udp/4001/noise")
FULL = IdentifyMessage(
    public_key=private_key("a").public_key,
    listen_addrs=(ADDR, parse_multiaddr("/ip6/2a00::1/udp/4001/noise")),
    protocols=("/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"),
    observed_addr=parse_multiaddr("/ip4/9.8.7.6/udp/1/noise"),
    protocol_version="p2pnode/0.1.0",
    agent_version="agent",
    signed_peer_record=b"an envelope",
)


def frames_of(data: bytes) -> list[bytes]:
    reader = FrameReader(MAX_MESSAGE_SIZE)
    reader.feed(data)
    frames: list[bytes] = []
    while (frame := reader.next_frame_untrusted()) is not None:
        frames.append(frame)
    assert reader.is_empty
    return frames


@pytest.mark.parametrize("message", [FULL, IdentifyMessage(), IdentifyMessage(agent_version="")])
def test_a_message_survives_its_encoding(message: IdentifyMessage) -> None:
    assert decode_identify_message_untrusted([encode_identify_message(message)]) == message


def test_the_example_of_the_spec_is_what_we_send() -> None:
    block = SPEC.read_text(encoding="utf-8").split("An answer with two fields")[1].split("```")[1]
    drawn = "".join(re.findall(r"^([0-9a-f ]+?)(?:   |$)", block, re.MULTILINE))
    message = IdentifyMessage(
        observed_addr=parse_multiaddr("/ip4/1.2.3.4/udp/4001"),
        protocol_version="p2pnode/0.1.0",
        agent_version="fixture/1.00",
    )

    assert encode_identify_frames(message) == bytes.fromhex(drawn)


@pytest.mark.spec("IDENTIFY-2")
@pytest.mark.spec("IDENTIFY-3")
@pytest.mark.parametrize(
    ("protocols", "record", "messages"),
    [(2, 100, 1), (2, 3000, 2), (80, 100, 2), (80, 0, 1), (400, 500, 4), (1024, 500, 8)],
)
def test_large_messages_are_split_with_the_record_last(
    protocols: int, record: int, messages: int
) -> None:
    message = IdentifyMessage(
        agent_version="agent",
        protocols=tuple(
            f"/protocol/with-a-long-name/for-the-test/{i:06d}" for i in range(protocols)
        ),
        signed_peer_record=b"r" * record or None,
    )

    frames = frames_of(encode_identify_frames(message))

    assert len(frames) == messages
    assert len(frames[0]) <= 4096
    assert max(len(frame) for frame in frames) <= MAX_MESSAGE_SIZE
    if messages > 1 and record:
        last = decode_identify_message_untrusted(frames[-1:])
        assert last == IdentifyMessage(signed_peer_record=message.signed_peer_record)
    assert decode_identify_message_untrusted(frames) == message


@pytest.mark.spec("IDENTIFY-3")
def test_lists_are_joined_and_the_last_single_value_counts() -> None:
    first = IdentifyMessage(protocols=("/a", "/b"), agent_version="one", listen_addrs=(ADDR,))
    second = IdentifyMessage(protocols=("/c", "/a"), agent_version="two")

    merged = decode_identify_message_untrusted(
        [encode_identify_message(first), encode_identify_message(second)]
    )

    assert merged == IdentifyMessage(
        protocols=("/a", "/b", "/c"), agent_version="two", listen_addrs=(ADDR,)
    )


@pytest.mark.spec("IDENTIFY-7")
def test_one_bad_entry_does_not_spoil_the_rest() -> None:
    message = identify_pb2.Identify(
        listenAddrs=[b"\xff", ADDR.to_bytes(), b""],
        protocols=[b"/a", b"\xff\xfe", b"", b"x" * 2000],
        observedAddr=b"\x04\x01",
        agentVersion=b"\xffagent" + b"x" * 1000,
        signedPeerRecord=b"",
    )

    decoded = decode_identify_message_untrusted([message.SerializeToString()])

    assert decoded.listen_addrs == (ADDR,)
    assert decoded.protocols == ("/a",)
    assert decoded.observed_addr is None
    assert decoded.signed_peer_record is None
    assert decoded.agent_version is not None
    assert decoded.agent_version.startswith("\ufffdagent")
    assert len(decoded.agent_version) == 256


@pytest.mark.spec("IDENTIFY-4")
@pytest.mark.parametrize(
    "frames",
    [
        [b"\xff\xff"],
        [b""] * (MAX_MESSAGES + 1),
        [b"\x32" + b"\xfe\x3f" + bytes(0x1FFE)],
        [identify_pb2.Identify(protocols=[b"/a"] * (MAX_PROTOCOLS + 1)).SerializeToString()],
        [identify_pb2.Identify(listenAddrs=[b"\x04"] * (MAX_LISTEN_ADDRS + 1)).SerializeToString()],
        [identify_pb2.Identify(publicKey=b"nonsense").SerializeToString()],
    ],
    ids=["malformed", "messages", "size", "protocols", "addresses", "key"],
)
def test_malformed_messages_and_passed_limits_are_a_decode_error(frames: list[bytes]) -> None:
    with pytest.raises(DecodeError):
        decode_identify_message_untrusted(frames)
