"""Which connection a packet's id means, and a stateless reset's token."""

from p2pnode.clock import Instant
from p2pnode.machine import ConnectionHandle
from p2pnode.transports.datagrams.retired_ids import RetiredIds
from p2pnode.transports.datagrams.served import Addressed


class IdTable:
    """Brought up to date whenever a connection has been served."""

    __slots__ = ("_of_token", "_retired", "_tokens_of", "handle_of")

    def __init__(self) -> None:
        self.handle_of: dict[int, ConnectionHandle] = {}
        """our connection id -> handle; looked up with every packet"""
        self._of_token: dict[bytes, ConnectionHandle] = {}
        self._tokens_of: dict[ConnectionHandle, list[bytes]] = {}
        self._retired = RetiredIds()

    def of_token(self, token: bytes) -> ConnectionHandle | None:
        """Returns whose peer's reset token that is."""
        return self._of_token.get(token)

    def is_retired(self, connection_id: int, now: Instant) -> bool:
        """Whether an id was in use a short while ago, so that packets for it may be late."""
        return self._retired.knows(connection_id, now)

    def update(self, handle: ConnectionHandle, connection: Addressed, now: Instant) -> None:
        """Takes over what has changed of a connection's ids."""
        local, remote = connection.local_ids, connection.remote_ids
        if local.added or local.removed:
            for connection_id in local.added:
                self.handle_of[connection_id] = handle
            for connection_id in local.removed:
                self.handle_of.pop(connection_id, None)
                self._retired.add(connection_id, now)
            local.added.clear()
            local.removed.clear()
        if remote.tokens_changed:
            self._forget_tokens(handle)
            self._tokens_of[handle] = remote.reset_tokens()
            for token in self._tokens_of[handle]:
                self._of_token[token] = handle
            remote.tokens_changed = False

    def retire(self, connection: Addressed, now: Instant) -> None:
        """What still comes for a connection is to be ignored, and not answered by resets."""
        for connection_id in connection.local_ids.active:
            self._retired.add(connection_id, now)

    def forget(self, handle: ConnectionHandle, connection: Addressed) -> None:
        for connection_id in connection.local_ids.active:
            self.handle_of.pop(connection_id, None)
        self._forget_tokens(handle)

    def _forget_tokens(self, handle: ConnectionHandle) -> None:
        for token in self._tokens_of.pop(handle, []):
            if self._of_token.get(token) == handle:
                del self._of_token[token]
