import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from p2pnode.transports.noise_udp.aead import LIMITS, Aead, hkdf_expand, next_secret, packet_key
from tests.support import spec_tables

SECRET = bytes(range(32))
CIPHERS = {Aead.CHACHA20_POLY1305: ChaCha20Poly1305, Aead.AES_256_GCM: AESGCM}


def expand(label: str, size: int) -> bytes:
    info = b"p2pnode noise-udp " + label.encode()
    return HKDFExpand(hashes.SHA256(), size, info).derive(SECRET)


@pytest.mark.parametrize(("label", "size"), [("key", 32), ("iv", 12), ("ku", 32), ("token", 16)])
def test_hkdf_expand_is_rfc_5869s(label, size):
    assert hkdf_expand(SECRET, label, size) == expand(label, size)


@pytest.mark.parametrize("aead", list(Aead))
@pytest.mark.spec("TRANSPORT-16")
def test_the_nonce_is_iv_xor_path_id_and_packet_number(aead):
    key = packet_key(SECRET, aead)
    path_id, number, header = 3, 0x1_0000_0007, b"\x80" + bytes(12)
    nonce = (key.iv ^ (path_id << 64 | number)).to_bytes(12, "big")
    by_hand = bytes(
        a ^ b
        for a, b in zip(
            expand("iv", 12), path_id.to_bytes(4, "big") + number.to_bytes(8, "big"), strict=True
        )
    )
    assert nonce == by_hand

    sealed = key.seal(nonce, b"payload", header)
    assert sealed == CIPHERS[aead](expand("key", 32)).encrypt(by_hand, b"payload", header)
    assert key.open(nonce, sealed, header) == b"payload"
    with pytest.raises(InvalidTag):
        key.open(nonce, sealed, b"\x81" + bytes(12))


def test_the_secret_of_the_next_phase_is_an_expansion_of_the_last_one():
    assert next_secret(SECRET) == expand("ku", 32)


def test_the_numbers_on_the_wire_are_the_specs():
    rows = spec_tables.tables("transport.md", "Packet protection")[0]
    assert {int(row[0]): row[1].upper().replace("-", "_") for row in rows} == {
        int(aead): aead.name for aead in Aead
    }


def test_the_limits_are_the_specs():
    assert LIMITS[Aead.AES_256_GCM] == (1 << 22, 1 << 32, 1 << 52)
    assert LIMITS[Aead.CHACHA20_POLY1305] == (1 << 28, 1 << 38, 1 << 36)
