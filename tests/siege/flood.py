"""Cheap frames as fast as the rate allows."""

from tests.siege.attack import DIAL_PATIENCE, PATIENCE, Dialling, Field, Outgoing, make_credentials
from tests.siege.hostile_peer import HostilePeer, Stage
from tests.siege.payloads import Payload, pings


class Flood(Dialling):
    """One connection from each address, and packets of one kind on all of them by turns."""

    def __init__(
        self,
        name: str,
        rate: float,
        field: Field,
        payload: Payload,
        *,
        acknowledges: bool = True,
    ) -> None:
        super().__init__(name, rate, field)
        self._payload = payload
        self._acknowledges = acknowledges
        self._credentials = [make_credentials(field.entropy) for _ in range(field.sources)]
        self._peers: list[HostilePeer | None] = [None] * field.sources
        self._successors: list[HostilePeer | None] = [None] * field.sources
        """Those that are dialled because the connection before has ended, or answers nothing."""
        self._turn = 0

    def step(self, send: Outgoing, now: float) -> bool:
        if self.answer(send):
            return True
        for _ in self._peers:
            self._turn = source = (self._turn + 1) % len(self._peers)
            peer = self._succeeded(source)
            if (peer is None or _is_lost(peer, now)) and self._dials_anew(source, now):
                return True
            if peer is not None and (payload := self._payload(peer) or self._stray(peer)):
                send(source, peer.seal(payload))
                return True
        return False

    def _succeeded(self, source: int) -> HostilePeer | None:
        """Returns the connection to send on: also one that has ended, until there is another."""
        successor = self._successors[source]
        if successor is not None and successor.is_open:
            if (before := self._peers[source]) is not None:
                self.drop(before)
            self._peers[source], self._successors[source] = successor, None
        return self._peers[source]

    def _dials_anew(self, source: int, now: float) -> bool:
        """Returns whether it does: a dial that is under way has its time."""
        successor, before = self._successors[source], self._peers[source]
        if successor is not None:
            if not _is_lost(successor, now):
                return False
            self.field.leave(successor.connection_id)
        self._successors[source] = self.dial(
            self._credentials[source],
            source,
            now,
            token=b"" if before is None else before.new_token,
            acknowledges=self._acknowledges,
        )
        return True

    @staticmethod
    def _stray(peer: HostilePeer) -> bytes:
        """Returns what is sent on a connection that has ended, where the attack has nothing."""
        return b"" if peer.is_open else pings(peer)


def _is_lost(peer: HostilePeer, now: float) -> bool:
    patience = PATIENCE if peer.is_open else DIAL_PATIENCE
    return peer.stage is Stage.ENDED or now > peer.last_heard + patience
