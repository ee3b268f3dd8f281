"""Wire codecs: round trips, any chunking, and no bytes that raise anything but DecodeError."""

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st

from p2pnode.errors import AddressError, DecodeError
from p2pnode.wire.framing import FrameReader, encode_frame
from p2pnode.wire.ip_ranges import ip_scope, owner_group
from p2pnode.wire.multiaddr import (
    components,
    decode_multiaddr_untrusted,
    is_relayed,
    join_components,
    multiaddr_scope,
    parse_multiaddr,
    split_last_peer,
    without_zone,
)
from p2pnode.wire.varint import MAX_UVARINT, decode_uvarint_untrusted, encode_uvarint

# Real steps in any order, so that more than the first byte gets past the checks.
steps = st.sampled_from(
    [
        bytes.fromhex(step)
        for step in (
            "0401020304",
            "2920010db8000000000000000000000001",
            "91020fa1",
            "060001",
            "c603",
            "cd03",
            "a202",
            "3603612e62",
            "35016d",
            "2a0165",
            "a503221220" + "07" * 32,
            "c103026162",
        )
    ]
)
multiaddr_like = st.one_of(
    st.binary(max_size=80),
    st.lists(steps, max_size=6).map(b"".join),
    st.tuples(st.lists(steps, max_size=3), st.binary(max_size=10)).map(
        lambda pair: b"".join(pair[0]) + pair[1]
    ),
)


@given(st.integers(0, MAX_UVARINT), st.binary(max_size=3))
def test_varints_survive(value: int, behind: bytes) -> None:
    encoded = encode_uvarint(value)

    assert decode_uvarint_untrusted(encoded + behind) == (value, len(encoded))


@given(st.binary(max_size=12))
def test_a_varint_that_is_read_is_the_only_encoding(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        value, end = decode_uvarint_untrusted(data)
        assert encode_uvarint(value) == data[:end]


@given(st.lists(st.binary(max_size=40), max_size=5), st.binary(max_size=20), st.data())
def test_any_chunking_gives_the_same_messages_and_rest(
    messages: list[bytes], rest: bytes, data: st.DataObject
) -> None:
    stream = b"".join(map(encode_frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader, read = FrameReader(max_size=40), []

    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        while (frame := reader.next_frame_untrusted()) is not None:
            read.append(frame)
    reader.feed(rest)

    assert read == messages
    assert reader.take_rest() == rest


@given(multiaddr_like)
@example(b"\x36\x03a/b")
@example(b"\x2a\x01/\x29" + bytes(16))
def test_what_is_read_of_a_multiaddr_survives_everything(data: bytes) -> None:
    try:
        address = decode_multiaddr_untrusted(data)
    except DecodeError:
        return
    assert address.to_bytes() == data
    assert parse_multiaddr(str(address)) == address
    assert join_components(components(address)) == address
    for used in (is_relayed, multiaddr_scope, split_last_peer, without_zone):
        used(address)


@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(["ip4", "ip6", "dns", "udp", "noise", "p2p", "1.2.3.4", "::1", "80"]),
            max_size=8,
        ).map(lambda parts: "/" + "/".join(parts)),
    )
)
def test_text_is_an_address_that_survives_or_an_address_error(text: str) -> None:
    try:
        address = parse_multiaddr(text)
    except AddressError:
        return
    assert parse_multiaddr(str(address)) == address


@given(st.ip_addresses())
def test_every_ip_address_has_a_scope_and_an_owner(ip: object) -> None:
    assert ip_scope(str(ip))
    assert owner_group(owner_group(str(ip)).split("/")[0]) == owner_group(str(ip))
