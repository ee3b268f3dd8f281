import contextlib
import random
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import HandshakeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.public_key import KeyType, decode_public_key_untrusted
from p2pnode.transports.quic_v1.certificate import (
    CLOCK_SKEW,
    MAX_CERTIFICATE_SIZE,
    VALIDITY,
    TlsCredentials,
    peer_of_certificate_untrusted,
)
from tests.support.certificates import (
    NOW,
    OTHER_TLS_KEY,
    TLS_KEY,
    Made,
    der,
    public_key_message,
    spki,
)
from tests.support.identities import peer_id, private_key
from tests.vectors import published_files

ALICE = peer_id("a")
CA = (x509.BasicConstraints(ca=True, path_length=None), True)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"anything")


@pytest.fixture(scope="module")
def credentials():
    return TlsCredentials.create(private_key("a"), random.Random(1).randbytes, NOW)


def encoded(credentials):
    return credentials.certificate.public_bytes(Encoding.DER)


@pytest.mark.spec("QUIC-9")
def test_our_certificate_names_us_from_an_hour_ago_and_for_a_hundred_years(credentials):
    assert credentials.peer_id == ALICE
    own = encoded(credentials)
    for when in (-CLOCK_SKEW, 0.0, VALIDITY - CLOCK_SKEW):
        assert peer_of_certificate_untrusted(own, NOW + when) == ALICE
    for when in (-CLOCK_SKEW - 1, VALIDITY - CLOCK_SKEW + 1):
        with pytest.raises(HandshakeError, match="not valid at this time"):
            peer_of_certificate_untrusted(own, NOW + when)


@pytest.mark.spec("QUIC-9")
def test_our_tls_key_is_made_of_entropy_and_has_nothing_of_the_identity(credentials):
    again = TlsCredentials.create(private_key("a"), random.Random(1).randbytes, NOW)
    other = TlsCredentials.create(private_key("a"), random.Random(2).randbytes, NOW)
    assert spki(credentials.private_key) == spki(again.private_key)
    assert spki(credentials.private_key) != spki(other.private_key)
    assert isinstance(credentials.private_key.curve, ec.SECP256R1)
    assert len(encoded(credentials)) < 500


def of_secp256k1():
    key = ec.derive_private_key(99, ec.SECP256K1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return key, public_key_message(KeyType.SECP256K1, point)


def of_ecdsa(curve):
    key = ec.derive_private_key(99, curve)
    return key, public_key_message(KeyType.ECDSA, spki(key))


def of_rsa(bits=2048, exponent=65537):
    key = rsa.generate_private_key(exponent, bits)
    return key, public_key_message(KeyType.RSA, spki(key))


@pytest.mark.spec("QUIC-10")
@pytest.mark.parametrize(
    "make",
    [of_secp256k1, lambda: of_ecdsa(ec.SECP256R1()), lambda: of_ecdsa(ec.SECP384R1()), of_rsa],
    ids=["secp256k1", "P-256", "P-384", "RSA"],
)
def test_every_kind_of_host_key_is_taken(make):
    key, message = make()
    text = b"libp2p-tls-handshake:" + spki(TLS_KEY)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = key.sign(text, ec.ECDSA(hashes.SHA256()))
    made = Made(host_key=message, host_signature=signature).encode()
    expected = PeerId.from_public_key(decode_public_key_untrusted(message))
    assert peer_of_certificate_untrusted(made, NOW) == expected
    wrong = Made(host_key=message, host_signature=signature[:-1] + b"\0").encode()
    with pytest.raises(HandshakeError, match="host's key"):
        peer_of_certificate_untrusted(wrong, NOW)


@pytest.mark.spec("QUIC-10")
@pytest.mark.parametrize(
    "made",
    [
        Made(),
        Made(is_critical=True),
        Made(others=((UNKNOWN, False),)),
        Made(hash=hashes.SHA512()),
        Made(key=ec.derive_private_key(5, ec.SECP384R1()), hash=hashes.SHA384()),
        Made(key=ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), hash=None),
        Made(key=rsa.generate_private_key(65537, 2048)),
    ],
    ids=["plain", "critical", "unknown", "SHA-512", "P-384", "Ed25519", "RSA"],
)
def test_what_is_unusual_and_right_is_taken(made):
    assert peer_of_certificate_untrusted(made.encode(), NOW) == ALICE


SIGNED_KEY = der(4, private_key("a").public_key.encode()) + der(4, bytes(64))
WRONG = {
    "expired": (Made(end=NOW - 1), "not valid at this time"),
    "not valid yet": (Made(start=NOW + 1), "not valid at this time"),
    "signed by another key": (Made(signer=OTHER_TLS_KEY), "its own key"),
    "issued by another name": (Made(issuer="2"), "malformed"),
    "host signed another text": (Made(signed_by_host=b"another"), "host's key"),
    "host signed another key": (
        Made(signed_by_host=b"libp2p-tls-handshake:" + spki(OTHER_TLS_KEY)), "host's key"
    ),
    "no libp2p key": (Made(has_extension=False), "does not name"),
    "unknown critical extension": (Made(others=((UNKNOWN, True),)), "critical"),
    "known critical extension": (Made(others=(CA,)), "critical"),
    "P-521": (Made(key=ec.derive_private_key(5, ec.SECP521R1())), "unusual"),
    "secp256k1 in TLS": (Made(key=ec.derive_private_key(5, ec.SECP256K1())), "unusual"),
    "Ed448": (Made(key=ed448.Ed448PrivateKey.from_private_bytes(bytes(57)), hash=None), "unusual"),
    "RSA of 1024 bits": (Made(key=rsa.generate_private_key(65537, 1024)), "unusual"),
    "DSA": (Made(key=dsa.generate_private_key(1024)), "unusual"),
    "SHA-224": (Made(hash=hashes.SHA224()), "weak hash"),
    "empty extension": (Made(signed_key=b""), "malformed"),
    "no sequence": (Made(signed_key=b"\x31" + der(0x30, SIGNED_KEY)[1:]), "malformed"),
    "bytes behind": (Made(signed_key=der(0x30, SIGNED_KEY) + b"\0"), "malformed"),
    "a third value": (Made(signed_key=der(0x30, SIGNED_KEY + der(4, b""))), "malformed"),
    "no signature": (Made(signed_key=der(0x30, der(4, b"key"))), "malformed"),
    "bit strings": (Made(signed_key=der(0x30, der(3, b"\0key") + der(3, b"\0x"))), "malformed"),
    "long length": (
        Made(signed_key=b"\x30\x81" + bytes([len(SIGNED_KEY)]) + SIGNED_KEY), "malformed"
    ),
    "indefinite length": (
        Made(signed_key=b"\x30\x80" + SIGNED_KEY[:38] + der(4, bytes(88))), "malformed"
    ),
    "length past the end": (Made(signed_key=b"\x30\x82\xff\xff" + SIGNED_KEY), "malformed"),
    "length of 4 GiB": (Made(signed_key=b"\x30\x84\xff\xff\xff\xff"), "malformed"),
    "a key that is none": (Made(host_key=b"\x08\x01\x12\x02ab"), "malformed"),
    "a long signature": (Made(host_signature=bytes(1025)), "malformed"),
}  # fmt: skip


@pytest.mark.spec("QUIC-10")
@pytest.mark.parametrize("name", WRONG)
def test_a_certificate_that_proves_nothing_is_refused(name):
    made, reason = WRONG[name]
    with pytest.raises(HandshakeError, match=reason):
        peer_of_certificate_untrusted(made.encode(), NOW)


ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
RSA_WITH_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")


def huge_rsa_spki(bits, exponent=65537):
    """The SPKI of an RSA key with a modulus of that size; nobody has factors of it."""
    numbers = rsa.RSAPublicNumbers(exponent, (1 << bits) - 159)
    return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def with_rsa_in_tls(key):
    """Another TLS key in the place of the right one, and RSA in that of ECDSA."""
    whole = x509.load_der_x509_certificate(Made().encode()).tbs_certificate_bytes
    fields = whole[2 + (whole[1] & 0x7F) :].replace(spki(TLS_KEY), key)
    tbs = der(0x30, fields.replace(ECDSA_WITH_SHA256, RSA_WITH_SHA256))
    return der(0x30, tbs + RSA_WITH_SHA256 + der(3, b"\0" + bytes(len(key) // 256 * 256)))


@pytest.mark.spec("QUIC-11")
def test_huge_rsa_keys_are_refused_before_any_arithmetic():
    host = Made(host_key=public_key_message(KeyType.RSA, huge_rsa_spki(16384))).encode()
    assert len(host) < MAX_CERTIFICATE_SIZE
    with pytest.raises(HandshakeError, match="malformed") as caught:
        peer_of_certificate_untrusted(host, NOW)
    assert "too long" in str(caught.value.__cause__)

    of_tls = with_rsa_in_tls(huge_rsa_spki(16384))
    assert len(of_tls) < MAX_CERTIFICATE_SIZE
    assert x509.load_der_x509_certificate(of_tls).public_key().key_size == 16384
    with pytest.raises(HandshakeError, match="unusual"):
        peer_of_certificate_untrusted(of_tls, NOW)


@pytest.mark.spec("QUIC-11")
def test_rsa_keys_with_a_large_exponent_are_refused_as_well():
    for exponent, reason in ((65537, "its own key"), ((1 << 31) + 1, "unusual")):
        der_of_it = with_rsa_in_tls(huge_rsa_spki(2048, exponent))
        with pytest.raises(HandshakeError, match=reason):
            peer_of_certificate_untrusted(der_of_it, NOW)


@pytest.mark.spec("QUIC-11")
def test_a_certificate_that_is_too_large_is_not_looked_at():
    padded = Made(
        others=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(5000)), False),)
    ).encode()
    assert len(padded) > MAX_CERTIFICATE_SIZE
    with pytest.raises(HandshakeError, match="bytes"):
        peer_of_certificate_untrusted(padded, NOW)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_changed_certificate_is_refused_or_the_same_peers_and_nobody_is_warned(changes):
    vector = published_files.load("libp2p_tls_certificates.json")["certificates"][0]
    changed = bytearray.fromhex(vector["certificate"])
    for index, mask in changes:
        changed[index % len(changed)] ^= mask
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(HandshakeError):
            assert str(peer_of_certificate_untrusted(bytes(changed), NOW)) == vector["peer_id"]


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data):
    with pytest.raises(HandshakeError):
        peer_of_certificate_untrusted(data, NOW)


def test_what_is_cut_is_refused():
    plain = Made().encode()
    for size in range(0, len(plain), 7):
        with pytest.raises(HandshakeError):
            peer_of_certificate_untrusted(plain[:size], NOW)
