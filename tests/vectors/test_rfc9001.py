"""RFC 9001 appendix A: what leads from a connection id or secret to bytes on the wire, and back."""

import pytest

from p2pnode.transports.quic_v1.packet import (
    PacketType,
    decode_packet_number,
    encode_retry,
    is_retry_intact,
    long_header,
    short_header,
    split_datagram_untrusted,
)
from p2pnode.transports.quic_v1.protection import (
    INITIAL_SUITE,
    CipherSuite,
    expand_label,
    header_mask,
    initial_secrets,
    next_secret,
    open_packet,
    packet_key,
    seal_packet,
    unmask_header,
)
from tests.vectors import published_files

APPENDIX_A = published_files.load("rfc9001_appendix_a.json")
DESTINATION = bytes.fromhex(APPENDIX_A["destination"])
CHACHA = CipherSuite.CHACHA20_POLY1305_SHA256
SIDES = [("client", 0), ("server", 1)]


def hexed(part, field):
    return bytes.fromhex(APPENDIX_A[part][field])


def client_initial_frames():
    return hexed("client_initial", "frames").ljust(
        APPENDIX_A["client_initial"]["payload_size"], b"\0"
    )


@pytest.mark.parametrize(("side", "index"), SIDES)
def test_initial_secrets_and_their_keys(side, index):
    secret = initial_secrets(DESTINATION)[index]
    assert secret == hexed(side, "secret")
    assert expand_label(secret, b"quic key", 16, "sha256") == hexed(side, "key")
    assert expand_label(secret, b"quic hp", 16, "sha256") == hexed(side, "hp")
    assert packet_key(INITIAL_SUITE, secret).iv == int.from_bytes(hexed(side, "iv"), "big")


@pytest.mark.parametrize("part", ["client_initial", "server_initial"])
def test_the_mask_of_an_initial(part):
    secret = hexed(part.partition("_")[0], "secret")
    mask = header_mask(INITIAL_SUITE, secret)(hexed(part, "sample"))
    assert mask[:5] == hexed(part, "mask")


def test_the_clients_initial_is_sealed():
    number = APPENDIX_A["client_initial"]["packet_number"]
    header = long_header(PacketType.INITIAL, DESTINATION, b"", number, 4, 1162)
    assert header == hexed("client_initial", "header")
    secret = hexed("client", "secret")
    sealed = seal_packet(
        packet_key(INITIAL_SUITE, secret),
        header_mask(INITIAL_SUITE, secret),
        header,
        number,
        client_initial_frames(),
    )
    assert sealed[0] == hexed("client_initial", "protected_header")
    assert b"".join(sealed) == hexed("client_initial", "packet")


def test_the_servers_initial_is_sealed():
    header = long_header(PacketType.INITIAL, b"", bytes.fromhex("f067a5502a4262b5"), 1, 2, 99)
    assert header == hexed("server_initial", "header")
    secret = hexed("server", "secret")
    sealed = seal_packet(
        packet_key(INITIAL_SUITE, secret),
        header_mask(INITIAL_SUITE, secret),
        header,
        1,
        hexed("server_initial", "payload"),
    )
    assert sealed[0] == hexed("server_initial", "protected_header")
    assert b"".join(sealed) == hexed("server_initial", "packet")


@pytest.mark.parametrize(
    ("part", "side", "payload"),
    [
        ("client_initial", "client", client_initial_frames()),
        ("server_initial", "server", hexed("server_initial", "payload")),
    ],
)
def test_an_initial_is_opened(part, side, payload):
    datagram = hexed(part, "packet")
    [packet] = split_datagram_untrusted(datagram, 8)
    assert packet.kind is PacketType.INITIAL
    assert (packet.start, packet.end, packet.token) == (0, len(datagram), b"")
    secret = hexed(side, "secret")
    mask = header_mask(INITIAL_SUITE, secret)
    unmasked = unmask_header(mask, datagram, 0, packet.number_at)
    first, low, size = unmasked
    header = hexed(part, "header")
    assert (first, size) == (header[0], len(header) - packet.number_at)
    number = decode_packet_number(low, size, 0)
    assert number == APPENDIX_A[part]["packet_number"]
    key = packet_key(INITIAL_SUITE, secret)
    opened = open_packet(key, datagram, 0, packet.number_at, packet.end, unmasked, number)
    assert opened == payload


def test_a_retry():
    datagram = bytes.fromhex(APPENDIX_A["retry"])
    [packet] = split_datagram_untrusted(datagram, 8)
    assert packet.kind is PacketType.RETRY
    assert packet.token == b"token"
    assert packet.source == bytes.fromhex("f067a5502a4262b5")
    assert is_retry_intact(datagram, DESTINATION)
    # The RFC's has 1s in the unused bits, which are ours to choose: the tag covers them.
    ours = encode_retry(b"", packet.source, b"token", DESTINATION)
    assert ours[1:-16] == datagram[1:-16]
    assert is_retry_intact(ours, DESTINATION)


def test_a_short_header_packet_with_chacha20_poly1305():
    vector = APPENDIX_A["chacha20_short"]
    number = vector["packet_number"]
    secret = hexed("chacha20_short", "secret")
    key, mask = packet_key(CHACHA, secret), header_mask(CHACHA, secret)
    assert expand_label(secret, b"quic key", 32, "sha256") == hexed("chacha20_short", "key")
    assert expand_label(secret, b"quic hp", 32, "sha256") == hexed("chacha20_short", "hp")
    assert key.iv == int.from_bytes(hexed("chacha20_short", "iv"), "big")
    assert (key.iv ^ number).to_bytes(12, "big") == hexed("chacha20_short", "nonce")
    assert next_secret(CHACHA, secret) == hexed("chacha20_short", "ku")
    header = short_header(b"", number, 3, 0)
    assert header == hexed("chacha20_short", "header")
    sealed = seal_packet(key, mask, header, number, hexed("chacha20_short", "payload"))
    assert sealed[1] == hexed("chacha20_short", "ciphertext")
    assert mask(hexed("chacha20_short", "sample")) == hexed("chacha20_short", "mask")
    packet = b"".join(sealed)
    assert packet == hexed("chacha20_short", "packet")
    [parsed] = split_datagram_untrusted(packet, 0)
    assert (parsed.kind, parsed.number_at, parsed.end) == (PacketType.SHORT, 1, 21)
    unmasked = unmask_header(mask, packet, 0, 1)
    assert decode_packet_number(unmasked[1], unmasked[2], number) == number
    assert open_packet(key, packet, 0, 1, 21, unmasked, number) == b"\x01"
