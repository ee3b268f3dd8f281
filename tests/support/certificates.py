"""Certificates in TLS of every kind that a peer may show, right and wrong."""

import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from p2pnode.identity.public_key import KeyType
from tests.support.identities import private_key

NOW = 1_800_000_000.0
DAY = 86400.0
LIBP2P = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
TLS_KEY = ec.derive_private_key(4711, ec.SECP256R1())
OTHER_TLS_KEY = ec.derive_private_key(4712, ec.SECP256R1())


def spki(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def der(tag: int, content: bytes) -> bytes:
    """Returns one DER value, its length in as few bytes as can be."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def public_key_message(kind: KeyType, data: bytes) -> bytes:
    """Returns libp2p's PublicKey message."""
    size = len(data)
    length = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([8, kind, 0x12]) + length + data


@dataclass
class Made:
    """A certificate by parts; what is not said is right, and of host `a`."""

    key: Any = TLS_KEY
    """That the certificate is for."""
    signer: Any = None
    """That signs it; None for `key` itself."""
    hash: Any = field(default_factory=hashes.SHA256)
    signed_by_host: bytes | None = None
    """What the host signs; None for what it has to."""
    host_key: bytes | None = None
    """The PublicKey message; None for host `a`'s."""
    host_signature: bytes | None = None
    signed_key: bytes | None = None
    """Content of libp2p's extension, whole."""
    has_extension: bool = True
    is_critical: bool = False
    others: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    start: float = NOW - DAY
    end: float = NOW + DAY
    issuer: str = "1"

    def build(self) -> x509.Certificate:
        host = private_key("a")
        message = self.signed_by_host or b"libp2p-tls-handshake:" + spki(self.key)
        signature = self.host_signature or host.sign(message)
        host_key = self.host_key or host.public_key.encode()
        content = self.signed_key
        if content is None:
            content = der(0x30, der(4, host_key) + der(4, signature))
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name("1"))
            .issuer_name(_name(self.issuer))
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(datetime.fromtimestamp(self.start, UTC))
            .not_valid_after(datetime.fromtimestamp(self.end, UTC))
        )
        if self.has_extension:
            extension = x509.UnrecognizedExtension(LIBP2P, content)
            builder = builder.add_extension(extension, critical=self.is_critical)
        for extension, is_critical in self.others:
            builder = builder.add_extension(extension, critical=is_critical)
        return builder.sign(self.signer or self.key, self.hash)

    def encode(self) -> bytes:
        return self.build().public_bytes(Encoding.DER)


def with_negative_serial_number() -> x509.Certificate:
    """Returns a certificate that is right, but for what `cryptography` warns of."""
    tbs = Made().build().tbs_certificate_bytes
    one, minus_one = b"\x02\x01\x01", b"\x02\x01\xff"
    changed = tbs.replace(one, minus_one, 1)
    signature = TLS_KEY.sign(changed, ec.ECDSA(hashes.SHA256()))
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    whole = der(0x30, changed + ecdsa_with_sha256 + der(3, b"\0" + signature))
    with warnings.catch_warnings(action="ignore"):
        return x509.load_der_x509_certificate(whole)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, text)])
