"""The certificate that ties a TLS key to a peer id (libp2p's specification of TLS; specs/quic.md).

It is self-signed, and nobody vouches for it: an extension carries the host's public key, and that
key's signature over the TLS key.  So it may be made by anybody, for any length of time, and who
shows it has to prove in the handshake that the TLS key is its own.
"""

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from p2pnode.clock import UnixTime
from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError, HandshakeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.public_key import (
    MAX_PUBLIC_KEY_SIZE,
    MAX_RSA_BITS,
    MAX_RSA_EXPONENT,
    MAX_SIGNATURE_SIZE,
    MIN_RSA_BITS,
    decode_public_key_untrusted,
)

MAX_CERTIFICATE_SIZE: Final = 5120
"""bytes; chosen: an RSA-8192 key for the host and another one for TLS take 4,500"""
CLOCK_SKEW: Final = 3600.0
"""s that a new certificate is valid already; go-libp2p"""
VALIDITY: Final = 100 * 365 * 86400.0
"""s that it is valid; go-libp2p: it is made anew in each process anyway"""

_EXTENSION: Final = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
_SIGNED_PREFIX: Final = b"libp2p-tls-handshake:"
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SEQUENCE: Final = 0x30
_OCTET_STRING: Final = 0x04
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
"""libp2p: no hash of less than 256 bits."""
_MALFORMED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for a certificate that it cannot read."""


@dataclass(frozen=True, slots=True)
class TlsCredentials:
    """Who we are in TLS: one key and certificate per process, signed once by the identity key."""

    peer_id: PeerId
    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, identity: PrivateKey, entropy: Entropy, unix_now: UnixTime) -> "TlsCredentials":
        """Returns new ones.  The key is of ECDSA P-256, which every TLS 1.3 has to verify."""
        # FIPS 186-5 A.2.1: 64 bits more than the order has, so that the rest is not biased
        secret = int.from_bytes(entropy(40), "big") % (_P256_ORDER - 1) + 1
        private_key = ec.derive_private_key(secret, ec.SECP256R1())
        public_key = private_key.public_key()
        serial = int.from_bytes(entropy(8), "big") + 1
        # Subject and issuer: a certificate has to have them, and nobody looks at them.
        name = x509.Name([x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, str(serial))])
        start = datetime.fromtimestamp(unix_now - CLOCK_SKEW, UTC).replace(microsecond=0)
        host_key = identity.public_key.encode()
        signature = identity.sign(_SIGNED_PREFIX + _spki(public_key))
        signed_key = _encode(
            _SEQUENCE, _encode(_OCTET_STRING, host_key) + _encode(_OCTET_STRING, signature)
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public_key)
            .serial_number(serial)
            .not_valid_before(start)
            .not_valid_after(start + timedelta(seconds=VALIDITY))
            .add_extension(x509.UnrecognizedExtension(_EXTENSION, signed_key), critical=False)
            .sign(private_key, hashes.SHA256())
        )
        return cls(PeerId.from_public_key(identity.public_key), certificate, private_key)


def peer_of_certificate_untrusted(der: bytes, unix_now: UnixTime) -> PeerId:
    """Returns whose certificate this is; the caller has seen that it is the only one.

    Raises HandshakeError for one that is malformed, too large, not valid at `unix_now`, not
    rightly signed by itself and by the host's key, or that has a critical extension but ours.
    What it costs is bounded: two signatures, by keys whose sizes were looked at before.
    """
    if len(der) > MAX_CERTIFICATE_SIZE:
        raise HandshakeError(f"a certificate of {len(der)} bytes")
    with warnings.catch_warnings():
        # What a stranger sends shall not write on our standard error.
        warnings.simplefilter("ignore")
        try:
            return _peer_of(x509.load_der_x509_certificate(der), unix_now)
        except InvalidSignature:
            raise HandshakeError("the certificate is not signed by its own key") from None
        except (*_MALFORMED, DecodeError) as error:
            raise HandshakeError("a malformed certificate") from error


def _peer_of(certificate: x509.Certificate, unix_now: UnixTime) -> PeerId:
    now = datetime.fromtimestamp(unix_now, UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise HandshakeError("the certificate is not valid at this time")
    signed_key = _signed_key(certificate)
    key = certificate.public_key()
    _check_key(key)
    if not isinstance(certificate.signature_hash_algorithm, (*_HASHES, type(None))):
        raise HandshakeError("the certificate is signed with a weak hash")
    certificate.verify_directly_issued_by(certificate)
    encoded, signature = _decode_signed_key_untrusted(signed_key)
    host_key = decode_public_key_untrusted(encoded)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if not host_key.verify(_SIGNED_PREFIX + spki, signature):
        raise HandshakeError("the certificate is not signed by the host's key")
    return PeerId.from_public_key(host_key)


def _signed_key(certificate: x509.Certificate) -> bytes:
    """Returns the content of libp2p's extension."""
    found = None
    for extension in certificate.extensions:
        if extension.oid == _EXTENSION:
            assert isinstance(extension.value, x509.UnrecognizedExtension)
            found = extension.value.value
        elif extension.critical:
            raise HandshakeError("the certificate has an unknown critical extension")
    if found is None:
        raise HandshakeError("the certificate does not name a libp2p key")
    return found


def _check_key(key: object) -> None:
    """Raises HandshakeError where a key is not of a usual kind and size."""
    match key:
        case ec.EllipticCurvePublicKey():
            is_usual = isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
        case ed25519.Ed25519PublicKey():
            is_usual = True
        case rsa.RSAPublicKey():
            is_usual = (
                MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
                and key.public_numbers().e <= MAX_RSA_EXPONENT
            )
        case _:
            is_usual = False
    if not is_usual:
        raise HandshakeError("the certificate's key is of an unusual kind or size")


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _decode_signed_key_untrusted(der: bytes) -> tuple[bytes, bytes]:
    """Returns (encoded host key, its signature); raises DecodeError."""
    content, end = _decode_untrusted(_SEQUENCE, der, 0)
    host_key, position = _decode_untrusted(_OCTET_STRING, content, 0)
    signature, last = _decode_untrusted(_OCTET_STRING, content, position)
    if end != len(der) or last != len(content):
        raise DecodeError("bytes behind a signed key")
    if len(host_key) > MAX_PUBLIC_KEY_SIZE or len(signature) > MAX_SIGNATURE_SIZE:
        raise DecodeError("a signed key that is too long")
    return host_key, signature


def _encode(tag: int, content: bytes) -> bytes:
    """Returns DER of one value."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _decode_untrusted(tag: int, der: bytes, position: int) -> tuple[bytes, int]:
    """Returns the content of the DER value at `position` and the position behind it."""
    head = der[position : position + 2]
    if len(head) < 2 or head[0] != tag:
        raise DecodeError("another DER value than expected")
    position += 2
    size = head[1]
    if size >= 0x80:
        count = size & 0x7F
        length = der[position : position + count]
        position += count
        size = int.from_bytes(length, "big")
        if not 1 <= count <= 2 or len(length) < count or size < (0x80 if count == 1 else 0x100):
            raise DecodeError("a DER length that is too long or not minimal")
    end = position + size
    if end > len(der):
        raise DecodeError("a DER value runs past its end")
    return der[position:end], end
