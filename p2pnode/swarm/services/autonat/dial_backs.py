"""AutoNAT's dial-backs: runs what the servers of version 1 and 2 order.

Each dial leaves from a socket that is used for nothing else; a v2 dial that succeeds delivers its
nonce; and every connection that came of a dial is closed at the end, whatever the end was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pnode.clock import Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.machine import ConnectionHandle, StreamMachine
from p2pnode.protocols.autonat import (
    DIAL_BACK_PROTOCOL_ID,
    ContactLog,
    DialBackSender,
    DialStatus,
    V1Server,
    V2Server,
)
from p2pnode.swarm.service_facts import ServiceFacts
from p2pnode.swarm.services.service import Command, DialBack, Disconnect, OpenStream, PumpMachine
from p2pnode.wire.multiaddr import Multiaddr

MAX_V1_DIALS: Final = 3
"""addresses of a v1 request that are dialled; chosen: go-libp2p dials all, up to 16"""
V1_DIAL_TIMEOUT: Final = 5.0
"""seconds for one of them; chosen: a third of what the answer may take"""
MIN_DIAL_BACK_TIMEOUT: Final = 1.5
"""seconds for a v2 dial at the requester's own IP; chosen: a handshake's first packet is sent three
times in it, and who is private shall know it within 3 s"""
DIAL_BACK_ROUND_TRIPS: Final = 12
"""round trips for such a dial where that is more; chosen: as the above at an RTT of 125 ms"""


@dataclass(slots=True)
class _DialBackUnderWay:
    """A dial-back on its way.  It keeps what the order said: the server may be over before it."""

    server: V1Server | V2Server
    asked_on: ConnectionHandle
    """The connection that the request came on."""
    peer_id: PeerId
    address: Multiaddr
    deadline: Instant
    nonce: int = 0
    """v2's."""
    untried: tuple[Multiaddr, ...] = ()
    """v1: what comes after this."""
    connection: ConnectionHandle | None = None


class DialBacks:
    """A part of `AutonatServer`."""

    def __init__(
        self, facts: ServiceFacts, contacts: ContactLog, command: Callable[[Command], None]
    ) -> None:
        """`command` takes what the swarm shall do."""
        self._facts = facts
        self._command = command
        self._contacts = contacts
        self._dials: dict[int, _DialBackUnderWay] = {}
        self._senders: dict[StreamMachine, int] = {}
        self._begun: dict[StreamMachine, None] = {}
        self._next_ticket = 1

    def begin(
        self, server: V1Server | V2Server, connection: ConnectionHandle, now: Instant
    ) -> None:
        """Does what a server orders, once; nothing while it orders nothing."""
        if server in self._begun:
            return
        if isinstance(server, V1Server):
            if (order := server.wants_dial) is not None:
                self._begun[server] = None
                addrs = order.addrs[:MAX_V1_DIALS]
                dial = _DialBackUnderWay(
                    server, connection, order.peer_id, addrs[0], order.deadline
                )
                dial.untried = addrs[1:]
                self._dial(dial, now, V1_DIAL_TIMEOUT)
        elif (wanted := server.wants_dial) is not None:
            self._begun[server] = None
            dial = _DialBackUnderWay(
                server, connection, wanted.peer_id, wanted.address, wanted.deadline
            )
            dial.nonce = wanted.nonce
            self._dial(dial, now, self._v2_timeout(dial))

    def forget(self, server: StreamMachine) -> None:
        """A server is over; what is still being dialled for it ends by itself."""
        self._begun.pop(server, None)

    def on_dial_back(self, ticket: int, connection: ConnectionHandle | None, now: Instant) -> None:
        """A dial-back stands, or will not."""
        dial = self._dials.pop(ticket, None)
        if dial is None or dial.server.is_done:
            self._hang_up(connection)
            return
        dial.connection = connection
        match dial.server:
            case V1Server() as server:
                self._hang_up(connection)
                if connection is None and dial.untried:
                    dial.address, dial.untried = dial.untried[0], dial.untried[1:]
                    self._dial(dial, now, V1_DIAL_TIMEOUT)
                    return
                server.on_dialled(None if connection is None else dial.address, now)
                self._pump(dial)
            case V2Server():
                self._dials[ticket] = dial
                if connection is None:
                    self._end_v2(ticket, DialStatus.E_DIAL_ERROR, now)
                    return
                sender = DialBackSender(dial.nonce, now)
                self._senders[sender] = ticket
                self._command(OpenStream(connection, DIAL_BACK_PROTOCOL_ID, sender))

    def on_delivered(self, sender: DialBackSender, now: Instant) -> None:
        """A nonce was delivered, or could not be."""
        ticket = self._senders.pop(sender, None)
        if ticket is not None:
            self._end_v2(ticket, sender.status or DialStatus.E_DIAL_BACK_ERROR, now)

    def _end_v2(self, ticket: int, status: DialStatus, now: Instant) -> None:
        dial = self._dials.pop(ticket)
        assert isinstance(dial.server, V2Server)
        self._hang_up(dial.connection)
        dial.server.on_dialled(status, now)
        self._pump(dial)

    def _dial(self, dial: _DialBackUnderWay, now: Instant, timeout: float) -> None:
        addr = transport_addr(dial.address)
        target = None if addr is None else addr.socket_addr
        assert addr is not None
        assert target is not None  # servers order nothing that cannot be dialled
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        self._dials[ticket] = dial
        self._contacts.note(target.ip, now)
        left = max(0.0, dial.deadline - now)
        command = DialBack(ticket, dial.peer_id, target, addr.transport, min(timeout, left))
        self._command(command)

    def _v2_timeout(self, dial: _DialBackUnderWay) -> float:
        """Returns how long to try: where the way is known, no longer than it bears."""
        peer, addr = self._facts.peer(dial.asked_on), transport_addr(dial.address)
        rtt = self._facts.rtt(dial.asked_on)
        if peer is None or addr is None or rtt is None or addr.host != peer.route.remote.ip:
            return float("inf")
        return max(MIN_DIAL_BACK_TIMEOUT, DIAL_BACK_ROUND_TRIPS * rtt)

    def _hang_up(self, connection: ConnectionHandle | None) -> None:
        if connection is not None:
            self._command(Disconnect(connection, "the dial-back is over"))

    def _pump(self, dial: _DialBackUnderWay) -> None:
        self._command(PumpMachine(dial.asked_on, dial.server))
