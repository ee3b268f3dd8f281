"""What is known of a peer after identify, and how a push changes it (specs/identify.md, Merging).

Rules: the peer is who the handshake proved, so a message with another public key counts for
nothing; a valid signed record of the peer beats the plain list of addresses; an observed address
that came over a relay is nobody's address.
"""

from dataclasses import dataclass, replace

from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_record import PeerRecord, open_peer_record_untrusted
from p2pnode.identity.signed_envelope import SignedEnvelope, decode_envelope_untrusted
from p2pnode.protocols.identify.messages import IdentifyMessage
from p2pnode.wire.multiaddr import Multiaddr, is_relayed


@dataclass(frozen=True, slots=True)
class IdentifyInfo:
    """A peer's account of itself.  All text in it is the peer's, of any content: to show it, make a
    printable line of it with `p2pnode.escape.said`."""

    peer_id: PeerId
    listen_addrs: tuple[Multiaddr, ...] = ()
    """From the signed record where there is a valid one.  Unfiltered: see `address_filter`."""
    protocols: tuple[str, ...] = ()
    observed_addr: Multiaddr | None = None
    """Where the peer sees us, on the connection that identify ran on."""
    agent_version: str = ""
    protocol_version: str = ""
    signed_peer_record: SignedEnvelope | None = None
    """The valid envelope that the addresses come from, good for passing on."""
    record_seq: int | None = None
    """The sequence number in it."""


def info_of_message_untrusted(message: IdentifyMessage, peer_id: PeerId) -> IdentifyInfo:
    """Returns what the message says of `peer_id`, whom the handshake proved.

    Raises DecodeError where the message holds somebody else's public key.
    """
    return apply_push(IdentifyInfo(peer_id), message)


def apply_push(info: IdentifyInfo, message: IdentifyMessage) -> IdentifyInfo:
    """Returns `info` with what a (partial) message changes; absent fields stay as they were.

    Raises DecodeError where the message holds somebody else's public key.
    """
    if message.public_key is not None and not info.peer_id.matches(message.public_key):
        raise DecodeError("the peer sent a public key that is not its own")
    if message.listen_addrs:
        info = replace(info, listen_addrs=message.listen_addrs)
        info = replace(info, signed_peer_record=None, record_seq=None)
    signed = _open_record_untrusted(message.signed_peer_record, info.peer_id)
    if signed is not None:
        envelope, record = signed
        info = replace(info, listen_addrs=record.addrs)
        info = replace(info, signed_peer_record=envelope, record_seq=record.seq)
    if message.protocols:
        info = replace(info, protocols=message.protocols)
    if message.observed_addr is not None and not is_relayed(message.observed_addr):
        info = replace(info, observed_addr=message.observed_addr)
    if message.agent_version is not None:
        info = replace(info, agent_version=message.agent_version)
    if message.protocol_version is not None:
        info = replace(info, protocol_version=message.protocol_version)
    return info


def _open_record_untrusted(
    data: bytes | None, peer_id: PeerId
) -> tuple[SignedEnvelope, PeerRecord] | None:
    """Returns the record if it is the peer's own and valid; else the plain list counts."""
    if data is None:
        return None
    try:
        envelope = decode_envelope_untrusted(data)
        record = open_peer_record_untrusted(envelope)
    except DecodeError:
        return None
    return (envelope, record) if record.peer_id == peer_id else None
