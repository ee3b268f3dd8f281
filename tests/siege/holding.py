"""Connections that are made to be held: for the places that they take, or for what fills them."""

import math
from typing import Final

from p2pnode.transports.noise_udp.handshake import Credentials
from tests.siege.attack import DIAL_PATIENCE, Dialling, Field, Outgoing, make_credentials
from tests.siege.hostile_peer import HostilePeer, Stage
from tests.siege.payloads import Payload

KEEP_ALIVE: Final = 15.0
"""seconds between signs of life of connections that are only held"""
HEAD_START: Final = 2.0
"""seconds of the other attacks before a crowd"""
MAX_HELD: Final = 4096
"""connections that a crowd of identities holds in all: an endpoint's default places"""


class Holding(Dialling):
    """Keeps many connections alive."""

    def __init__(self, name: str, rate: float, field: Field) -> None:
        super().__init__(name, rate, field)
        self._held: dict[int, HostilePeer] = {}
        self._round = iter(list[int]())
        self._count = 0

    @property
    def held(self) -> int:
        """How many connections stand."""
        return sum(peer.is_open for peer in self._held.values())

    def begin(self, credentials: Credentials, now: float) -> HostilePeer:
        """Dials from the next address."""
        self._count += 1
        peer = self.dial(credentials, self._count % self.field.sources, now)
        self._held[peer.connection_id] = peer
        return peer

    def look_after(self, send: Outgoing, now: float) -> None:
        """Looks at a few of them: says that they live, or lets go of them."""
        for _ in range(4):
            key = next(self._round, None)
            if key is None:
                self._round = iter(list(self._held))
                return
            peer = self._held[key]
            waits = not peer.is_open and now < peer.last_heard + DIAL_PATIENCE
            if peer.stage is Stage.ENDED or not (peer.is_open or waits):
                self.drop(peer)
                del self._held[key]
            elif peer.is_open and now > peer.last_said + KEEP_ALIVE:
                peer.last_said = now
                send(peer.source, peer.seal(b"\x01" + peer.acknowledgement()))


class Hoard(Holding):
    """One connection after the other is filled with what its receiver has to keep, and held."""

    def __init__(self, name: str, rate: float, field: Field, payload: Payload) -> None:
        super().__init__(name, rate, field)
        self._payload = payload
        self._filling: HostilePeer | None = None

    def step(self, send: Outgoing, now: float) -> bool:
        if self.answer(send):
            return True
        self.look_after(send, now)
        peer = self._filling
        if peer is not None and peer.connection_id in self._held:
            if not peer.is_open and peer.stage is not Stage.ENDED:
                return False
            if peer.is_open and (payload := self._payload(peer)):
                send(peer.source, peer.seal(payload))
                return True
        self._filling = self.begin(make_credentials(self.field.entropy), now)
        self._filling.last_said = now
        return True


class Crowd(Holding):
    """Handshakes with fresh identities, as many as there are places, each kept alive.

    They begin a moment later than other attacks, which would have no places left at one address.
    """

    def __init__(
        self, name: str, rate: float, field: Field, *, identities: int, most: int = MAX_HELD
    ) -> None:
        """After so many `identities` the first ones come again."""
        super().__init__(name, rate, field)
        self._credentials: list[Credentials] = []
        self._identities = identities
        self._most = most
        self._begins_at = math.inf

    def step(self, send: Outgoing, now: float) -> bool:
        if self.answer(send):
            return True
        self._begins_at = min(self._begins_at, now + HEAD_START)
        self.look_after(send, now)
        if len(self._held) >= self._most or now < self._begins_at:
            return False
        if len(self._credentials) < self._identities:
            self._credentials.append(make_credentials(self.field.entropy))
        peer = self.begin(self._credentials[self._count % len(self._credentials)], now)
        peer.last_said = now
        return True
