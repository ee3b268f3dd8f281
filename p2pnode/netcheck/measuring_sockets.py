"""Measuring sockets: where a peer sees each of them, and which datagrams they let in.

An endpoint of its own under an identity that is thrown away, whose connections carry nothing: a
handshake is enough to be told where one is seen.  So measurements disturb neither the sockets nor
the NAT mappings that the node itself lives on.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant, UnixTime
from p2pnode.entropy import Entropy
from p2pnode.errors import DialError
from p2pnode.identity.keys import PrivateKey
from p2pnode.machine import ConnectionHandle, Received, SocketAddr, SocketId, Transmit, Unreachable
from p2pnode.protocols.nat_behaviour import KNOCK_FIRST_BYTE
from p2pnode.transports import events as transport
from p2pnode.transports.commons import Commons
from p2pnode.transports.faults import MAX_FAULTS, Faults
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.endpoint import Endpoint
from p2pnode.transports.noise_udp.handshake import Credentials
from p2pnode.transports.route import Route

MAX_KNOCK_SIZE: Final = 64
"""bytes of a datagram that can be a knock; chosen: one of ours has 33"""
MAX_KNOCKS: Final = 256
"""knocks that wait to be looked at; chosen: what comes beyond is nobody's we asked"""


class Looked(NamedTuple):
    """What a look from a socket at a remote address brought."""

    handle: ConnectionHandle
    socket: SocketId
    remote: SocketAddr
    observed: SocketAddr | None
    """Where the remote sees the socket, or None where it did not answer."""


class Knock(NamedTuple):
    """A datagram that is no transport packet arrived."""

    socket: SocketId
    remote: SocketAddr
    payload: bytes


class _Look(NamedTuple):
    socket: SocketId
    remote: SocketAddr


class MeasuringSockets:
    """The sockets are the driver's; none of them may be the swarm's."""

    def __init__(
        self,
        config: TransportConfig,
        *,
        secret: bytes,
        entropy: Entropy,
        rng: Random,
        now: Instant,
        unix_now: UnixTime,
        isolates_faults: bool = False,
    ) -> None:
        """`isolates_faults` is as for a `Swarm`."""
        self._faults = Faults(is_raising=not isolates_faults)
        self._errors = deque[Exception](maxlen=MAX_FAULTS)
        self._endpoint = Endpoint(
            Credentials.create(PrivateKey.generate(entropy), entropy),
            # One-way: neither pooled over there nor asked for anything, and no probes of size.
            config=replace(config, max_streams=0, pmtud=False),
            secret=secret,
            entropy=entropy,
            rng=rng,
            now=now,
            unix_now=unix_now,
            commons=Commons(faults=self._faults),
        )
        self._looks: dict[int, _Look] = {}
        """handle -> what is waited for"""
        self._looked: list[Looked] = []
        self._knocks: list[Knock] = []
        self._datagrams: list[Transmit] = []

    # commands

    def look(
        self, socket: SocketId, remote: SocketAddr, now: Instant, timeout: float
    ) -> int | None:
        """Asks a remote address where it sees a socket; `poll_looked` has the answer.

        Returns the connection's handle, or None where there are too many.
        """
        try:
            route = Route(socket, None, remote)
            handle = self._endpoint.dial(route, None, now, timeout=timeout)
        except DialError:
            return None
        self._looks[handle] = _Look(socket, remote)
        return handle

    def close_all(self, now: Instant) -> None:
        self._endpoint.close_all("measured", now)

    def send(self, socket: SocketId, remote: SocketAddr, payload: bytes) -> None:
        """Sends one datagram, outside of any connection."""
        self._datagrams.append(Transmit(socket, None, remote, 0, None, len(payload), payload))

    # results

    def poll_looked(self) -> list[Looked]:
        """Returns what looks have brought since the last call."""
        looked, self._looked = self._looked, []
        return looked

    def poll_knocks(self) -> list[Knock]:
        """Returns the datagrams that arrived outside of connections."""
        knocks, self._knocks = self._knocks, []
        return knocks

    def poll_faults(self) -> list[Exception]:
        """Returns the bugs that have cost a look or a datagram since the last call."""
        errors = list(self._errors)
        self._errors.clear()
        return errors

    # the machine

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self._endpoint.handle_received([r for r in batch if not self._take_knocks(r)], now)
        self._drain(now)

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        """Takes what the system says of datagrams that left from these sockets."""
        self._endpoint.handle_unreachable(reports, now)
        self._drain(now)

    def handle_timeout(self, now: Instant) -> None:
        self._endpoint.handle_timeout(now)
        self._drain(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        datagrams, self._datagrams = self._datagrams, []
        transmits = datagrams + self._endpoint.poll_transmits(now)
        if self._faults.found:
            self._drain(now)
        return transmits

    def poll_timeout(self) -> Deadline | None:
        return self._endpoint.poll_timeout()

    def _take_knocks(self, received: Received) -> bool:
        """Takes a read that begins with a knock; a transport packet never does."""
        socket, _, remote, _, size, buffer = received
        if not buffer or buffer[0] != KNOCK_FIRST_BYTE:
            return False
        if 0 < size <= MAX_KNOCK_SIZE:
            for start in range(0, len(buffer), size):
                if len(self._knocks) < MAX_KNOCKS:
                    payload = bytes(buffer[start : start + size])
                    self._knocks.append(Knock(socket, remote, payload))
        return True

    def _drain(self, now: Instant) -> None:
        for faulty, error in self._faults.poll():
            if faulty is not None:
                self._endpoint.give_up(faulty, error, now)
            self._errors.append(error)
        for handle, event in self._endpoint.poll_events():
            match event:
                case transport.AddressObserved(_, _, address):
                    self._end(handle, address)
                case transport.DialFailed() | transport.ConnectionClosed():
                    self._end(handle, None)
                case _:
                    pass

    def _end(self, handle: ConnectionHandle, observed: SocketAddr | None) -> None:
        look = self._looks.pop(handle, None)
        if look is not None:
            self._looked.append(Looked(handle, look.socket, look.remote, observed))
