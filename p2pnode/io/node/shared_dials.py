"""Reaching a peer: by the connection that there is, or by a dial.

Rule: callers that want the same share one dial, which goes on as long as one of them waits.
"""

from typing import Final, NamedTuple, TypeAlias

import trio

from p2pnode.errors import (
    AddressError,
    DialError,
    LocalProtocolError,
    P2PNodeError,
    PeerIdMismatch,
)
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.io.dial_target import DialTarget
from p2pnode.io.node.dial_failure import dial_failure_text
from p2pnode.io.node.engine import Engine
from p2pnode.io.resolver import needs_resolving, resolve
from p2pnode.machine import ConnectionHandle
from p2pnode.swarm.events import DialFailed, DialSucceeded
from p2pnode.wire.multiaddr import Multiaddr

CONNECT_TIMEOUT: Final = 30.0
"""seconds for the lookup of a name and all addresses of a peer; chosen: three handshake timeouts"""

_Key: TypeAlias = tuple[PeerId | None, tuple[Multiaddr, ...]]


class Reached(NamedTuple):
    """A peer that is connected."""

    connection: ConnectionHandle
    peer_id: PeerId


class _SharedDial:
    """A dial under way and those who wait for it."""

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.dial_id = 0
        self.waiting = 0
        self.is_over = trio.Event()
        self.outcome: Reached | DialFailed | None = None


class SharedDials:
    """All dials of a node."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_key: dict[_Key, _SharedDial] = {}
        self._by_id: dict[int, _SharedDial] = {}

    async def reach(self, target: DialTarget) -> Reached:
        """Returns a connection with the target.

        Raises DialError, which says of each address why it did not work; AddressError for an
        address of another transport.  Cancel-safe.
        """
        reached = self._find(target)
        if reached is not None:
            await trio.lowlevel.checkpoint()
            # Another may have been made, or this one lost, meanwhile.
            reached = self._find(target)
            if reached is not None:
                return reached
        try:
            with trio.fail_after(CONNECT_TIMEOUT):
                addresses = await _resolved(target)
                return await self._share(target, addresses)
        except trio.TooSlowError:
            message = f"no connection to {target} within {CONNECT_TIMEOUT:.0f} seconds"
            raise DialError(message) from None

    def on_succeeded(self, event: DialSucceeded) -> None:
        self._finish(event.dial_id, Reached(event.connection, event.peer_id))

    def on_failed(self, event: DialFailed) -> None:
        self._finish(event.dial_id, event)

    def _find(self, target: DialTarget) -> Reached | None:
        facts = self._engine.swarm.facts
        if target.peer_id is not None:
            best = facts.best(target.peer_id)
            return None if best is None else Reached(best, target.peer_id)
        assert target.address is not None
        parts = transport_addr(target.address)
        if parts is None:
            return None
        for connection in facts.connections():
            remote = connection.route.remote
            at = remote.ip, remote.port, connection.transport
            if at == (parts.host, parts.port, parts.transport):
                return Reached(connection.handle, connection.peer_id)
        return None

    async def _share(self, target: DialTarget, addresses: tuple[Multiaddr, ...]) -> Reached:
        key = target.peer_id, addresses
        dial = self._by_key.get(key) or self._begin(key)
        dial.waiting += 1
        try:
            await dial.is_over.wait()
        finally:
            dial.waiting -= 1
            if not dial.waiting and dial.outcome is None:
                self._give_up(dial)
        match dial.outcome:
            case Reached(connection, peer_id):
                # Where two dials crossed, the other connection may be the one that stays.
                best = self._engine.swarm.facts.best(peer_id)
                return Reached(connection if best is None else best, peer_id)
            case DialFailed(_, attempts):
                raise _dial_error(target, attempts)
            case None:
                raise LocalProtocolError("a dial ended without an outcome")

    def _begin(self, key: _Key) -> _SharedDial:
        engine = self._engine
        dial = _SharedDial(key)
        dial.dial_id = engine.swarm.dial(*key, engine.now)
        self._by_key[key] = self._by_id[dial.dial_id] = dial
        engine.drain()  # the outcome may be there already
        return dial

    def _finish(self, dial_id: int, outcome: Reached | DialFailed) -> None:
        dial = self._by_id.get(dial_id)
        if dial is not None:
            dial.outcome = outcome
            self._forget(dial)
            dial.is_over.set()

    def _give_up(self, dial: _SharedDial) -> None:
        self._forget(dial)
        self._engine.swarm.cancel_dial(dial.dial_id, self._engine.now)
        self._engine.wake()

    def _forget(self, dial: _SharedDial) -> None:
        self._by_id.pop(dial.dial_id, None)
        if self._by_key.get(dial.key) is dial:
            del self._by_key[dial.key]


async def _resolved(target: DialTarget) -> tuple[Multiaddr, ...]:
    if target.address is None:
        return ()
    if not needs_resolving(target.address):
        return (target.address,)
    try:
        return tuple(await resolve(target.address))
    except AddressError as exc:
        raise DialError(
            f"cannot reach {target}: {exc}", ((str(target.address), str(exc)),)
        ) from exc


def _dial_error(
    target: DialTarget, attempts: tuple[tuple[Multiaddr, P2PNodeError], ...]
) -> DialError:
    told = tuple((str(address), str(reason)) for address, reason in attempts)
    error = DialError(dial_failure_text(str(target), told), told)
    for _, reason in attempts:
        if isinstance(reason, PeerIdMismatch):
            error.__cause__ = reason
    return error
