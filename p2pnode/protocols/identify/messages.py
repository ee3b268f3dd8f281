"""The identify message and its framing (specs/identify.md, Wire format).

Rules: every field may be absent; one address or protocol id that does not parse is left out, the
rest counts; a large message is split so that every implementation gets the part that it can read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from p2pnode.errors import DecodeError
from p2pnode.identity.public_key import PublicKey, decode_public_key_untrusted
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import Multiaddr, decode_multiaddr_untrusted
from p2pnode.wire.pb import identify_pb2
from p2pnode.wire.protobuf import parse_untrusted

MAX_MESSAGE_SIZE = 8 * 1024  # bytes a message; go- and js-libp2p read no more
MAX_MESSAGES = 10  # a stream; go- and js-libp2p
SPLIT_ABOVE = 2 * 1024  # bytes; go-libp2p
MAX_FIRST_SIZE = 4 * 1024  # bytes; rust-libp2p reads no more, and one message only
MAX_PROTOCOLS = 1024  # go-libp2p
MAX_LISTEN_ADDRS = 500  # go-libp2p
MAX_PROTOCOL_ID_SIZE = 1023  # bytes; what multistream-select can negotiate
MAX_VERSION_SIZE = 256  # bytes of agentVersion or protocolVersion kept; chosen: they are labels


@dataclass(frozen=True, slots=True)
class IdentifyMessage:
    """One message, or several merged.  None or empty: the peer said nothing of it."""

    public_key: PublicKey | None = None
    listen_addrs: tuple[Multiaddr, ...] = ()
    protocols: tuple[str, ...] = ()
    observed_addr: Multiaddr | None = None
    protocol_version: str | None = None
    agent_version: str | None = None
    signed_peer_record: bytes | None = None
    """An encoded envelope, unchecked."""


def encode_identify_message(message: IdentifyMessage) -> bytes:
    """Returns the message without a length, whatever its size."""
    return _to_protobuf(message).SerializeToString()


def encode_identify_frames(message: IdentifyMessage) -> bytes:
    """Returns the message as it goes on a stream: in one piece, or split where it is large.

    A split one has the signed record last and alone, as go-libp2p sends it; protocol ids that do
    not fit beside the rest go in messages between.  The caller keeps single values in bounds.
    """
    whole = encode_identify_message(message)
    if len(whole) <= SPLIT_ABOVE:
        return encode_frame(whole)
    first = _to_protobuf(message)
    first.ClearField("signedPeerRecord")
    first.ClearField("protocols")
    parts = [first]
    for protocol in message.protocols:
        raw = protocol.encode()
        max_size = MAX_FIRST_SIZE if len(parts) == 1 else MAX_MESSAGE_SIZE
        if parts[-1].ByteSize() + len(raw) + 3 > max_size:
            parts.append(identify_pb2.Identify())
        parts[-1].protocols.append(raw)
    if message.signed_peer_record is not None:
        parts.append(identify_pb2.Identify(signedPeerRecord=message.signed_peer_record))
    return b"".join(encode_frame(part.SerializeToString()) for part in parts)


def _to_protobuf(message: IdentifyMessage) -> identify_pb2.Identify:
    out = identify_pb2.Identify(
        listenAddrs=[addr.to_bytes() for addr in message.listen_addrs],
        protocols=[protocol.encode() for protocol in message.protocols],
    )
    if message.public_key is not None:
        out.publicKey = message.public_key.encode()
    if message.observed_addr is not None:
        out.observedAddr = message.observed_addr.to_bytes()
    if message.protocol_version is not None:
        out.protocolVersion = message.protocol_version.encode()
    if message.agent_version is not None:
        out.agentVersion = message.agent_version.encode()
    if message.signed_peer_record is not None:
        out.signedPeerRecord = message.signed_peer_record
    return out


def decode_identify_message_untrusted(frames: Sequence[bytes]) -> IdentifyMessage:
    """Returns the messages of one stream as one: lists are joined, of the rest the last one wins.

    Raises DecodeError where a message or the public key is malformed, or a limit is passed.
    """
    if len(frames) > MAX_MESSAGES:
        raise DecodeError(f"more than {MAX_MESSAGES} identify messages")
    merged = identify_pb2.Identify()
    for frame in frames:
        if len(frame) > MAX_MESSAGE_SIZE:
            raise DecodeError(f"an identify message of {len(frame)} bytes")
        part = parse_untrusted(identify_pb2.Identify(), frame, "the identify message")
        merged.MergeFrom(part)
    if len(merged.protocols) > MAX_PROTOCOLS:
        raise DecodeError(f"more than {MAX_PROTOCOLS} protocols")
    if len(merged.listenAddrs) > MAX_LISTEN_ADDRS:
        raise DecodeError(f"more than {MAX_LISTEN_ADDRS} addresses")
    return IdentifyMessage(
        public_key=decode_public_key_untrusted(merged.publicKey) if merged.publicKey else None,
        listen_addrs=_usable_addrs_untrusted(merged.listenAddrs),
        protocols=_usable_protocols_untrusted(merged.protocols),
        observed_addr=_addr_or_none_untrusted(merged.observedAddr),
        protocol_version=_label_untrusted(merged.protocolVersion)
        if merged.HasField("protocolVersion")
        else None,
        agent_version=_label_untrusted(merged.agentVersion)
        if merged.HasField("agentVersion")
        else None,
        signed_peer_record=merged.signedPeerRecord or None,
    )


def _usable_addrs_untrusted(raw_addrs: Iterable[bytes]) -> tuple[Multiaddr, ...]:
    addrs = (_addr_or_none_untrusted(raw) for raw in raw_addrs)
    return tuple(dict.fromkeys(addr for addr in addrs if addr is not None))


def _addr_or_none_untrusted(raw: bytes) -> Multiaddr | None:
    try:
        return decode_multiaddr_untrusted(raw)
    except DecodeError:
        return None


def _usable_protocols_untrusted(raw_protocols: Iterable[bytes]) -> tuple[str, ...]:
    protocols: dict[str, None] = {}
    for raw in raw_protocols:
        if not 0 < len(raw) <= MAX_PROTOCOL_ID_SIZE:
            continue
        try:
            protocols[raw.decode()] = None
        except UnicodeDecodeError:
            continue
    return tuple(protocols)


def _label_untrusted(raw: bytes) -> str:
    """Returns text for people, cut to size; control characters are the printer's business."""
    return raw[:MAX_VERSION_SIZE].decode(errors="replace")
