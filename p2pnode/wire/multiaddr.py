"""Multiaddrs: self-describing addresses such as /ip4/192.0.2.1/udp/4001/noise.

The `multiaddr` library turns text into bytes and back; this file is the only one that sees it.
Rules: text that a user typed fails with AddressError, bytes that a peer sent with DecodeError and
nothing else; a Multiaddr that left this file is well-formed, canonical (a peer id inside is its
multihash, never a CID) and at most MAX_MULTIADDR_SIZE bytes long.

Peer ids are bytes here; `p2pnode.identity.peer_multiaddr` gives them their type.
"""

import enum
import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from p2pnode.errors import AddressError, DecodeError
from p2pnode.wire.ip_ranges import IpScope, dns_scope, ip_scope
from p2pnode.wire.multihash import check_peer_multihash_untrusted
from p2pnode.wire.varint import decode_uvarint_untrusted, encode_uvarint

if TYPE_CHECKING:

    class Multiaddr:
        """What we use of the library's class; it is untyped.  Immutable, equal by bytes."""

        def __init__(self, addr: str | bytes) -> None: ...
        def to_bytes(self) -> bytes: ...
        def __hash__(self) -> int: ...

    class LibraryError(Exception):
        """The root of what the library raises on purpose."""

else:
    from multiaddr import Multiaddr
    from multiaddr.exceptions import Error as LibraryError

__all__ = [
    "Code",
    "Component",
    "Multiaddr",
    "components",
    "concat",
    "decode_multiaddr_untrusted",
    "is_relayed",
    "join_components",
    "multiaddr_scope",
    "parse_multiaddr",
    "split_last_peer",
    "without_zone",
]

MAX_MULTIADDR_SIZE = 1024
"""bytes; chosen: a circuit address with a DNS name, certificate hashes and two ids needs 500"""

_CID_V1_LIBP2P_KEY = b"\x01\x72"


class Code(enum.IntEnum):
    """The protocol codes that our own code looks at (multiformats table.csv)."""

    IP4 = 4
    TCP = 6
    IP6 = 41
    IP6ZONE = 42
    DNS = 53
    DNS4 = 54
    DNS6 = 55
    DNSADDR = 56
    UDP = 273
    P2P_CIRCUIT = 290
    P2P = 421
    NOISE = 454
    QUIC_V1 = 461


# Value sizes in bytes of what peers send most; None: behind a length.  All values of these sizes
# are valid (peer ids are checked apart), so that such an address costs no trip through its text.
_SIZES: dict[int, int | None] = {
    Code.IP4: 4,
    Code.TCP: 2,
    Code.IP6: 16,
    Code.UDP: 2,
    Code.P2P_CIRCUIT: 0,
    Code.P2P: None,
    Code.NOISE: 0,
    Code.QUIC_V1: 0,
    280: 0,  # webrtc-direct
    281: 0,  # webrtc
    448: 0,  # tls
    460: 0,  # quic, draft 29
    465: 0,  # webtransport
    477: 0,  # ws
    478: 0,  # wss
}
# Values behind a length whose text the library checks.
_CHECKED_AS_TEXT = frozenset(
    (Code.IP6ZONE, Code.DNS, Code.DNS4, Code.DNS6, Code.DNSADDR, 449, 466)  # sni, certhash
)


class Component(NamedTuple):
    """One step of an address: the protocol's code, and its value without the length."""

    code: int
    value: bytes


def parse_multiaddr(text: str) -> Multiaddr:
    """Returns the address that a person wrote.  Raises AddressError.

    `/ipfs/<id>`, the old name of `/p2p/<id>`, and peer ids in CID form are understood.  Blanks
    around the address, as copying leaves them, do not count.
    """
    text = text.strip()
    if len(text) > 4 * MAX_MULTIADDR_SIZE:
        raise AddressError("the address is too long")
    if not text.startswith("/") or not text.strip("/"):
        raise AddressError(f"{text!r} is not a multiaddr such as /ip4/192.0.2.1/udp/4001/noise")
    if " " in text or not text.isprintable():
        raise AddressError(f"{text!r} has a space or a control character inside")
    steps = ["p2p" if step == "ipfs" else step for step in text.split("/")]
    try:
        raw = Multiaddr("/".join(steps)).to_bytes()
    except (LibraryError, ValueError, TypeError) as exc:
        raise AddressError(f"{text!r} is not a valid address: {_reason(exc)}") from exc
    try:
        return decode_multiaddr_untrusted(_with_plain_peer_ids(raw))
    except DecodeError as exc:
        raise AddressError(f"{text!r} is not a valid address: {exc}") from exc


def _reason(error: Exception) -> str:
    """Returns the library's reason without the address, which it repeats up to three times."""
    message = getattr(error, "message", None)
    return message if isinstance(message, str) else str(error)


def decode_multiaddr_untrusted(data: bytes) -> Multiaddr:
    """Returns the address that a peer sent.  Raises DecodeError, also for unknown protocols."""
    if not data:
        raise DecodeError("an empty multiaddr")
    if len(data) > MAX_MULTIADDR_SIZE:
        raise DecodeError(f"a multiaddr of {len(data)} bytes is above {MAX_MULTIADDR_SIZE}")
    as_text = False
    for code, value in _split_untrusted(data):
        if code == Code.P2P:
            check_peer_multihash_untrusted(value)
        as_text = as_text or code in _CHECKED_AS_TEXT
    address = Multiaddr(data)
    if as_text:
        _check_text(address)
    return address


def _split_untrusted(data: bytes) -> list[Component]:
    parts: list[Component] = []
    offset = 0
    while offset < len(data):
        code, offset = decode_uvarint_untrusted(data, offset)
        size = _SIZES.get(code)
        if size is None:
            if code not in _SIZES and code not in _CHECKED_AS_TEXT:
                raise DecodeError(f"a multiaddr with the unsupported protocol {code}")
            size, offset = decode_uvarint_untrusted(data, offset)
        if offset + size > len(data):
            raise DecodeError("a multiaddr is cut short")
        parts.append(Component(code, data[offset : offset + size]))
        offset += size
    return parts


def _check_text(address: Multiaddr) -> None:
    """Raises DecodeError where the library cannot print the address, or reads it back otherwise.

    The second happens for values with a slash inside: printed, they would be another address.
    Nor does a name hold what `parse_multiaddr` would refuse, and a terminal might obey.
    """
    try:
        text = str(address)
        again = Multiaddr(text).to_bytes()
    except (LibraryError, ValueError, TypeError) as exc:
        raise DecodeError("a multiaddr with a malformed value") from exc
    if again != address.to_bytes() or " " in text or not text.isprintable():
        raise DecodeError("a multiaddr with an ambiguous value")


def _with_plain_peer_ids(data: bytes) -> bytes:
    """Replaces peer ids in CID form, which the library keeps as typed, by their multihash."""
    parts = _split_untrusted(data)
    return _join(
        Component(code, value.removeprefix(_CID_V1_LIBP2P_KEY) if code == Code.P2P else value)
        for code, value in parts
    )


def _join(parts: Iterable[Component]) -> bytes:
    out = bytearray()
    for code, value in parts:
        out += encode_uvarint(code)
        if _SIZES.get(code) is None:
            out += encode_uvarint(len(value))
        out += value
    return bytes(out)


def components(address: Multiaddr) -> list[Component]:
    """Returns the address step by step."""
    try:
        return _split_untrusted(address.to_bytes())
    except DecodeError as exc:  # only where a caller made the Multiaddr without this file
        raise AddressError(f"not a valid address: {exc}") from exc


def join_components(parts: Iterable[Component]) -> Multiaddr:
    """Returns the address of these steps; the caller vouches for their values."""
    return Multiaddr(_join(parts))


def concat(first: Multiaddr, second: Multiaddr) -> Multiaddr:
    """Returns the address that goes through `first` to `second`."""
    return Multiaddr(first.to_bytes() + second.to_bytes())


def split_last_peer(address: Multiaddr) -> tuple[Multiaddr, bytes | None]:
    """Returns the address without a /p2p/<id> at its end, and that id's multihash, or None."""
    parts = components(address)
    if not parts or parts[-1].code != Code.P2P:
        return address, None
    return join_components(parts[:-1]), parts[-1].value


def is_relayed(address: Multiaddr) -> bool:
    """True for an address that leads through a circuit relay."""
    return any(code == Code.P2P_CIRCUIT for code, _ in components(address))


def without_zone(address: Multiaddr) -> Multiaddr:
    """Returns the address without an IPv6 zone, which means nothing to another machine."""
    parts = components(address)
    if parts and parts[0].code == Code.IP6ZONE:
        return join_components(parts[1:])
    return address


def multiaddr_scope(address: Multiaddr) -> IpScope | None:
    """Returns how far the address's first hop reaches, or None where it names no host."""
    for code, value in components(address):
        match code:
            case Code.IP4 | Code.IP6:
                return ip_scope(str(ipaddress.ip_address(value)))
            case Code.DNS | Code.DNS4 | Code.DNS6 | Code.DNSADDR:
                return dns_scope(value.decode())
            case Code.IP6ZONE:
                continue
            case _:
                return None
    return None
