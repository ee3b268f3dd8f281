"""Identity codecs: round trips, and no bytes that raise anything but the error they promise."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import AddressError, DecodeError, KeyFileError
from p2pnode.identity.keys import PrivateKey, decode_private_key
from p2pnode.identity.peer_id import PeerId, parse_peer_id
from p2pnode.identity.peer_record import (
    MAX_SEQ,
    decode_peer_record_untrusted,
    seal_peer_record,
)
from p2pnode.identity.public_key import decode_public_key_untrusted
from p2pnode.identity.signed_envelope import decode_envelope_untrusted, seal_envelope
from p2pnode.machine import SocketAddr
from tests.support.addresses import noise_udp_multiaddr
from tests.support.identities import private_key

KEY = private_key("a")
RECORD = seal_peer_record(KEY, [noise_udp_multiaddr(SocketAddr("1.2.3.4", 1))], 1).encode()

multihashes = st.one_of(
    st.binary(min_size=1, max_size=42).map(lambda key: bytes((0, len(key))) + key),
    st.binary(min_size=32, max_size=32).map(lambda digest: b"\x12\x20" + digest),
)
noise_addrs = st.builds(
    lambda ip, port: noise_udp_multiaddr(SocketAddr(str(ip), port)),
    st.ip_addresses(),
    st.integers(0, 65535),
)


@given(multihashes)
def test_peer_ids_survive_their_text_forms(multihash: bytes) -> None:
    identity = PeerId.decode_untrusted(multihash)

    assert parse_peer_id(identity.to_cid()) == identity
    # A short identity multihash may print without the usual beginnings; those are no peers' ids.
    if str(identity).startswith(("1", "Qm")):
        assert parse_peer_id(str(identity)) == identity
    identity.public_key()


@given(st.text(max_size=140))
def test_text_is_a_peer_id_or_an_address_error(text: str) -> None:
    with contextlib.suppress(AddressError):
        parse_peer_id(text)


@given(st.binary(max_size=100))
def test_bytes_are_what_they_claim_or_a_decode_error(data: bytes) -> None:
    for decode in (
        PeerId.decode_untrusted,
        decode_public_key_untrusted,
        decode_envelope_untrusted,
        decode_peer_record_untrusted,
    ):
        with contextlib.suppress(DecodeError):
            decode(data)
    with contextlib.suppress(KeyFileError):
        decode_private_key(data)


@given(st.sampled_from(range(len(RECORD))), st.integers(1, 255))
def test_no_byte_of_a_signed_record_can_be_changed(index: int, difference: int) -> None:
    changed = bytearray(RECORD)
    changed[index] ^= difference
    try:
        record = decode_peer_record_untrusted(bytes(changed))
    except DecodeError:
        return
    # Only what says the same in other bytes may pass.
    assert record == decode_peer_record_untrusted(RECORD)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=50))
def test_private_keys_survive_and_sign(seed: bytes, message: bytes) -> None:
    key = decode_private_key(PrivateKey(seed).encode_private_key())

    assert decode_public_key_untrusted(key.public_key.encode()).verify(message, key.sign(message))


@given(st.text(max_size=20), st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=50))
def test_envelopes_survive(domain: str, payload_type: bytes, payload: bytes) -> None:
    sealed = seal_envelope(KEY, domain=domain, payload_type=payload_type, payload=payload)

    again = decode_envelope_untrusted(sealed.encode())

    assert again == sealed
    assert again.is_signed_for(domain)
    assert not again.is_signed_for(domain + "x")


@given(st.lists(noise_addrs, max_size=5), st.integers(0, MAX_SEQ))
def test_records_survive(addrs: list, seq: int) -> None:
    record = decode_peer_record_untrusted(seal_peer_record(KEY, addrs, seq).encode())

    assert (record.addrs, record.seq) == (tuple(addrs), seq)
