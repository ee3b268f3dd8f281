"""Cheap frames as fast as the rate allows."""

from tests.siege.attack import DIAL_PATIENCE, PATIENCE, Dialling, Field, Outgoing, make_credentials
from tests.siege.hostile_peer import HostilePeer, Stage
from tests.siege.payloads import Payload


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
        self._turn = 0

    def step(self, send: Outgoing, now: float) -> bool:
        if self.answer(send):
            return True
        for _ in self._peers:
            self._turn = source = (self._turn + 1) % len(self._peers)
            peer = self._peers[source]
            if peer is None or self._is_lost(peer, now):
                token = b""
                if peer is not None:
                    self.drop(peer)
                    token = peer.new_token
                self._peers[source] = self.dial(self._credentials[source], source, now, token=token)
                return True
            if peer.is_open and (payload := self._payload(peer)):
                send(source, peer.seal(payload))
                return True
        return False

    @staticmethod
    def _is_lost(peer: HostilePeer, now: float) -> bool:
        patience = PATIENCE if peer.is_open else DIAL_PATIENCE
        return peer.stage is Stage.ENDED or now > peer.last_heard + patience
