"""Circuits that this node is an end of, as routes with socket numbers below zero (specs/relay.md).

    out   what the transport sends by a circuit's socket gets its header and goes to the relay
    in    a packet with our id, from the relay that gave the circuit, loses it again

Rule: a circuit's socket id is below zero and never used twice, so that the transport sees a route
like any other; it always follows the path that the relay's own connection has validated.
"""

from collections.abc import Callable
from typing import Final

from p2pnode.machine import ConnectionHandle, Received, SocketId, Transmit
from p2pnode.protocols.relay import CIRCUIT_TYPE, HEADER_SIZE
from p2pnode.transports.route import Route

MAX_CIRCUITS: Final = 4096
"""of this node at a time; chosen: as many as it may have connections"""
_TYPE: Final = bytes([CIRCUIT_TYPE])


class OwnCircuit:
    """One circuit, from this end."""

    __slots__ = ("receive_id", "relay", "route", "send_header")

    def __init__(
        self, route: Route, relay: ConnectionHandle, send_id: bytes, receive_id: bytes
    ) -> None:
        self.route = route
        self.relay = relay
        """The connection to the relay."""
        self.send_header = _TYPE + send_id
        self.receive_id = receive_id


class Circuits:
    """All of them.  `route_of` gives the path in use of a connection, or None where it is gone."""

    def __init__(self, route_of: Callable[[ConnectionHandle], Route | None]) -> None:
        self._route_of = route_of
        self._by_socket: dict[SocketId, OwnCircuit] = {}
        self._by_id: dict[bytes, OwnCircuit] = {}
        self._next_socket = -1

    def __len__(self) -> int:
        return len(self._by_socket)

    def open(self, relay: ConnectionHandle, send_id: bytes, receive_id: bytes) -> Route | None:
        """Returns the route of a circuit that stands; None where it cannot be had.

        `relay` is the direct connection with the relay, `receive_id` the id that we have named.
        """
        hop = self._route_of(relay)
        if hop is None or hop.is_relayed or receive_id in self._by_id:
            return None
        if len(self._by_socket) >= MAX_CIRCUITS:
            return None
        route = Route(SocketId(self._next_socket), None, hop.remote)
        self._next_socket -= 1
        circuit = OwnCircuit(route, relay, send_id, receive_id)
        self._by_socket[route.socket] = self._by_id[receive_id] = circuit
        return route

    def close(self, route: Route) -> None:
        """Nothing goes by the circuit any more; does nothing where it is closed."""
        circuit = self._by_socket.pop(route.socket, None)
        if circuit is not None:
            del self._by_id[circuit.receive_id]

    def relay_of(self, route: Route) -> ConnectionHandle | None:
        """Returns the connection with the relay of a circuit."""
        circuit = self._by_socket.get(route.socket)
        return None if circuit is None else circuit.relay

    def wrap(self, transmit: Transmit) -> Transmit | None:
        """Returns what goes to the relay; None where the circuit or the relay is gone."""
        circuit = self._by_socket.get(transmit.socket)
        hop = None if circuit is None else self._route_of(circuit.relay)
        if circuit is None or hop is None or hop.is_relayed:
            return None
        header, step, buffer = circuit.send_header, transmit.segment_size, transmit.buffer
        if len(buffer) <= step:
            wrapped = b"".join((header, buffer))
        else:
            wrapped = b"".join(
                part
                for start in range(0, len(buffer), step)
                for part in (header, buffer[start : start + step])
            )
        return Transmit(
            hop.socket,
            hop.local_ip,
            hop.remote,
            transmit.ecn,
            transmit.ttl,
            step + HEADER_SIZE,
            wrapped,
        )

    def unwrap(self, batch: list[Received]) -> tuple[list[Received], list[Received]]:
        """Returns what is ours, as it was before it went to the relay, and the rest."""
        if not self._by_id:
            return [], batch
        ours: list[Received] = []
        rest: list[Received] = []
        for received in batch:
            for part in _of_one_circuit(received):
                circuit = self._by_id.get(bytes(part.buffer[1:HEADER_SIZE]))
                if circuit is None:
                    rest.append(part)
                    continue
                hop = self._route_of(circuit.relay)
                if hop is None or hop.remote != part.remote or len(part.buffer) <= HEADER_SIZE:
                    continue  # not from where the relay is: as if it had not come
                ours.append(_stripped(part, circuit.route))
        return ours, rest


def _of_one_circuit(received: Received) -> list[Received]:
    """Returns the read whole where all its datagrams have one id, else each by itself."""
    buffer, step = received.buffer, received.segment_size
    if len(buffer) <= step:
        return [received]
    first = bytes(buffer[:HEADER_SIZE])
    starts = range(0, len(buffer), step)
    if all(bytes(buffer[start : start + HEADER_SIZE]) == first for start in starts):
        return [received]
    return [received._replace(buffer=buffer[start : start + step]) for start in starts]


def _stripped(received: Received, route: Route) -> Received:
    buffer, step = received.buffer, received.segment_size
    if len(buffer) <= step:
        inner = bytes(buffer[HEADER_SIZE:])
    else:
        inner = b"".join(
            buffer[start + HEADER_SIZE : start + step] for start in range(0, len(buffer), step)
        )
    return Received(route.socket, None, route.remote, received.ecn, step - HEADER_SIZE, inner)
