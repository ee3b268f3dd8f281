"""Connection ids: ours, under which the peer reaches us, and the peer's (RFC 9000 section 5.1)."""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from p2pnode.entropy import Entropy
from p2pnode.errors import TransportError
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.quic_v1.frame import NewConnectionId, RetireConnectionId
from p2pnode.transports.quic_v1.short_packet import CONNECTION_ID_SIZE

MAX_LOCAL_IDS: Final = 4
"""ids of ours that a peer has at a time, where it keeps as many; chosen: one in use, and some for
addresses that it may move to"""
MAX_REMOTE_IDS: Final = 4
"""ids of the peer's that we keep, and declare to keep; chosen: as many"""
MAX_RETIRING: Final = 32
"""ids that one frame may have us retire; chosen: many times what a peer may have given"""


class LocalIds:
    """Ids that we issued.  The endpoint routes packets by `sequence_of`."""

    __slots__ = ("_entropy", "_next", "_reset_token", "added", "removed", "sequence_of")

    def __init__(self, first: int, entropy: Entropy, reset_token: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._reset_token = reset_token
        self._next = 1
        self.sequence_of: dict[int, int] = {first: 0}
        self.added: list[int] = [first]
        """Ids that the endpoint has yet to route to this connection."""
        self.removed: list[int] = []
        """Ids that the endpoint may forget."""

    @property
    def active(self) -> Iterable[int]:
        """Those under which the peer may reach us."""
        return self.sequence_of

    def issue(self, limit: int) -> list[NewConnectionId]:
        """Returns frames for the ids that a peer which keeps `limit` should have and has not."""
        frames: list[NewConnectionId] = []
        while len(self.sequence_of) < min(limit, MAX_LOCAL_IDS):
            raw = self._entropy(CONNECTION_ID_SIZE)
            connection_id = int.from_bytes(raw, "big")
            self.sequence_of[connection_id] = self._next
            self.added.append(connection_id)
            frames.append(NewConnectionId(self._next, 0, raw, self._reset_token(connection_id)))
            self._next += 1
        return frames

    def on_retired(self, sequence: int, used: int) -> None:
        """The peer will not use an id any more.  Raises TransportError.

        `used` is the id that the packet with the frame came to.
        """
        if sequence >= self._next:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "retired an id never issued")
        for connection_id, known in self.sequence_of.items():
            if known == sequence:
                if connection_id == used:
                    raise TransportError(
                        ErrorCode.PROTOCOL_VIOLATION, "retired the id that it uses"
                    )
                del self.sequence_of[connection_id]
                self.removed.append(connection_id)
                return


class RemoteId(NamedTuple):
    connection_id: bytes
    reset_token: bytes | None


class RemoteIds:
    """Ids that the peer issued; packets go to `current`."""

    __slots__ = ("_ids", "_retire_prior_to", "_sequence", "current", "tokens_changed")

    def __init__(self, first: bytes) -> None:
        self._ids: dict[int, RemoteId] = {0: RemoteId(first, None)}
        self._sequence = 0
        self._retire_prior_to = 0
        self.current = first
        self.tokens_changed = False

    def replace_first(self, connection_id: bytes) -> None:
        """The peer's first packet, or its Retry, says where it is to be reached."""
        self._ids[0] = RemoteId(connection_id, None)
        self.current = connection_id

    def set_first_token(self, reset_token: bytes | None) -> None:
        if reset_token is not None and 0 in self._ids:
            self._ids[0] = RemoteId(self._ids[0].connection_id, reset_token)
            self.tokens_changed = True

    def reset_tokens(self) -> list[bytes]:
        return [known.reset_token for known in self._ids.values() if known.reset_token is not None]

    def on_new(self, frame: NewConnectionId) -> list[RetireConnectionId]:
        """Takes an issued id; returns the retirements that it asks for.  Raises TransportError."""
        if not self._ids[self._sequence].connection_id:
            raise TransportError(
                ErrorCode.PROTOCOL_VIOLATION, "a further id from a peer that has an empty one"
            )
        sequence, remote = frame.sequence, RemoteId(frame.connection_id, frame.reset_token)
        if sequence < self._retire_prior_to:
            return [RetireConnectionId(sequence)]
        known = self._ids.get(sequence)
        if known is not None and known != remote:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "connection id changed its meaning")
        self._ids[sequence] = remote
        self._retire_prior_to = max(self._retire_prior_to, frame.retire_prior_to)
        retired = [old for old in self._ids if old < self._retire_prior_to]
        for old in retired:
            del self._ids[old]
        if len(self._ids) > MAX_REMOTE_IDS or len(retired) > MAX_RETIRING:
            raise TransportError(ErrorCode.CONNECTION_ID_LIMIT_ERROR, "too many connection ids")
        if self._sequence not in self._ids:
            self._use(min(self._ids))
        self.tokens_changed = True
        return [RetireConnectionId(old) for old in retired]

    def move_on(self) -> RetireConnectionId | None:
        """Goes on with another id, where the peer has given one; returns what retires the old."""
        others = [sequence for sequence in self._ids if sequence > self._sequence]
        if not others:
            return None
        old = self._sequence
        self._use(min(others))
        del self._ids[old]
        self.tokens_changed = True
        return RetireConnectionId(old)

    def _use(self, sequence: int) -> None:
        self._sequence = sequence
        self.current = self._ids[sequence].connection_id
