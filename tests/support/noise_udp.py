"""Parts of a noise-udp connection for tests: credentials, parameters, and a handshake by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from p2pnode.entropy import Entropy
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import SocketAddr, SocketId
from p2pnode.transports.noise_udp.handshake import (
    Answer,
    Credentials,
    InitiatorHandshake,
    ResponderHandshake,
    Secrets,
)
from p2pnode.transports.noise_udp.packet import (
    Initial,
    decode_initial_untrusted,
    decode_message_untrusted,
)
from p2pnode.transports.noise_udp.parameters import TransportParameters
from p2pnode.transports.route import Route
from tests.support.identities import private_key

CLIENT = SocketAddr("192.0.2.1", 1111)
SERVER = SocketAddr("192.0.2.2", 2222)
LOW_ORDER_POINTS = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),  # p - 1
    (2**255 - 19).to_bytes(32, "little"),  # p, that is 0 again
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]
"""X25519 public keys whose shared secret is zero, whatever the other key is (RFC 7748)."""


def entropy(name: object) -> Entropy:
    """Returns reproducible "secrets"."""
    return Random(f"{name}").randbytes


def credentials(name: str) -> Credentials:
    return Credentials.create(private_key(name), entropy(f"{name}/static"))


def parameters(connection_id: int, **changes: object) -> TransportParameters:
    values: dict[str, object] = {
        "connection_id": connection_id,
        "reset_token": connection_id.to_bytes(16, "big"),
        "aeads": (1, 2),
        "max_idle_timeout_ms": 45_000,
        "max_udp_payload": 65_507,
        "initial_max_data": 3 << 20,
        "initial_max_stream_data": 2 << 20,
        "initial_max_streams": 256,
        "max_ack_delay_us": 25_000,
        "max_datagram_frame": 65_000,
        "initial_max_path_id": 8,
    }
    return TransportParameters(**(values | changes))


def route(remote: SocketAddr = CLIENT, socket: int = 0) -> Route:
    return Route(SocketId(socket), None, remote)


INITIATOR = credentials("initiator")
RESPONDER = credentials("responder")
INITIATOR_ID: PeerId = INITIATOR.peer_id
RESPONDER_ID: PeerId = RESPONDER.peer_id
DESTINATION, SOURCE, RESPONDER_CID = 0x1111_2222_3333_4444, 0x5555, 0x7777


@dataclass
class Exchange:
    """Both sides of one handshake, stepped by the test."""

    initiator: InitiatorHandshake
    initial: Initial
    """What the responder has read."""
    responder: ResponderHandshake
    response: bytes
    """Noise message 2."""
    initiator_parameters: TransportParameters
    responder_parameters: TransportParameters

    def answer(self) -> Answer:
        return self.initiator.read_response_untrusted(self.response)

    def finish(self) -> tuple[bytes, Secrets]:
        """Returns Noise message 3 and the initiator's secrets."""
        packet, secrets = self.initiator.finish(self.answer(), self.initiator_parameters)
        return decode_message_untrusted(packet)[1], secrets


def exchange(
    *,
    token: bytes = b"",
    name: object = "exchange",
    tamper: Callable[[Initial], Initial] = lambda initial: initial,
) -> Exchange:
    """Returns a handshake of which messages 1 and 2 are written; `tamper` changes 1 on its way."""
    ours, theirs = parameters(SOURCE, aeads=(1,)), parameters(RESPONDER_CID)
    initiator = InitiatorHandshake(
        INITIATOR,
        entropy(f"{name}/i"),
        destination=DESTINATION,
        source=SOURCE,
        token=token,
    )
    initial = tamper(decode_initial_untrusted(initiator.packet))
    responder = ResponderHandshake(RESPONDER, entropy(f"{name}/r"), initial, theirs)
    message = decode_message_untrusted(responder.packet)[1]
    return Exchange(initiator, initial, responder, message, ours, theirs)
