"""What all attacks share: a rate, a field on which they meet, and connections that are begun again.

An attack that is turned out comes back: a closed connection is dialled again, as an attacker with
any sense would.
"""

from typing import Final, Protocol

from p2pnode.entropy import Entropy
from p2pnode.identity.keys import PrivateKey
from p2pnode.transports.noise_udp.handshake import Credentials
from tests.siege.hostile_peer import HostilePeer

DIAL_PATIENCE: Final = 1.0
"""seconds until a dial without an answer is begun anew"""
PATIENCE: Final = 5.0
"""seconds of silence after which a connection is taken for lost"""


class Field(Protocol):
    """Where attackers meet: who has which connection id, and what makes a peer."""

    entropy: Entropy
    sources: int
    """How many addresses there are to send from."""

    def meet(self, connection_id: int, attack: "Attack", peer: HostilePeer | None) -> None:
        """What comes for that id is for this attack."""

    def leave(self, connection_id: int) -> None: ...


class Outgoing(Protocol):
    """Takes a datagram, and the number of the address that it leaves from."""

    def __call__(self, source: int, datagram: bytes) -> None: ...


class Attack(Protocol):
    """One row of the table."""

    name: str
    rate: float
    """bytes a second"""

    def step(self, send: Outgoing, now: float) -> bool:
        """Sends the next datagrams; returns False where there is nothing to send now."""
        ...

    def on_datagram(self, peer: HostilePeer | None, datagram: bytes, now: float) -> None: ...


class Dialling:
    """What attacks with connections share."""

    def __init__(self, name: str, rate: float, field: Field) -> None:
        self.name, self.rate, self.field = name, rate, field
        self._answers: list[tuple[int, bytes]] = []
        self.closed: dict[str, int] = {}
        """How often it was turned out, by the reason that it was told."""

    def dial(
        self,
        credentials: Credentials,
        source: int,
        now: float,
        *,
        token: bytes = b"",
        finishes: bool = True,
        acknowledges: bool = True,
    ) -> HostilePeer:
        peer = HostilePeer(
            credentials,
            self.field.entropy,
            source=source,
            token=token,
            finishes=finishes,
            acknowledges=acknowledges,
        )
        peer.last_heard = now
        self.field.meet(peer.connection_id, self, peer)  # type: ignore[arg-type]
        self._answers.append((source, peer.initial))
        return peer

    def drop(self, peer: HostilePeer) -> None:
        reason = "no answer" if peer.closed_with is None else peer.closed_with.reason
        self.closed[reason] = self.closed.get(reason, 0) + 1
        self.field.leave(peer.connection_id)

    def on_datagram(self, peer: HostilePeer | None, datagram: bytes, now: float) -> None:
        if peer is not None:
            answers = peer.handle_datagram(datagram, now)
            self._answers += ((peer.source, answer) for answer in answers)

    def answer(self, send: Outgoing) -> bool:
        """Sends what is owed; returns whether there was any."""
        answers, self._answers = self._answers, []
        for source, datagram in answers:
            send(source, datagram)
        return bool(answers)


def make_credentials(entropy: Entropy) -> Credentials:
    """Returns a fresh identity."""
    return Credentials.create(PrivateKey.generate(entropy), entropy)
