"""Connection ids: ours, under which the peer reaches us, and the peer's (specs/transport.md).

Every path has ids of its own, so that nobody can link two paths.  Unused ones are issued before
they are needed: a path can then be
opened without asking, also over a connection that is being punched.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

from p2pnode.entropy import Entropy
from p2pnode.errors import TransportError
from p2pnode.transports.delivery.ranges import RangeSet
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.noise_udp.frame import (
    CONNECTION_ID_SIZE,
    NewConnectionId,
    RetireConnectionId,
)

UNUSED_PATHS: Final = 2
"""paths beyond the highest one in use that have ids already; chosen: one to open, one to race it"""
MAX_IDS_PER_PATH: Final = 4
"""ids of one path that the peer may have active; chosen: one in use, one unused, two in flight"""
MAX_RETIRED: Final = 64
"""retirements that wait to be told; chosen: more would mean a peer that only makes us retire"""


ResetTokens: TypeAlias = Callable[[int], bytes]
"""Gives the stateless reset token of an id of ours."""


class LocalIds:
    """Ids that we issued.  The endpoint routes packets by `path_of`."""

    __slots__ = (
        "_entropy",
        "_highest_path",
        "_next_sequence",
        "_reset_token",
        "added",
        "path_of",
        "removed",
    )

    def __init__(self, first: int, entropy: Entropy, reset_token: ResetTokens) -> None:
        self._entropy = entropy
        self._reset_token = reset_token
        self._highest_path = 0
        self._next_sequence: dict[int, int] = {0: 1}
        self.path_of: dict[int, tuple[int, int]] = {first: (0, 0)}
        """connection id -> (path id, sequence)"""
        self.added: list[int] = [first]
        """Ids that the endpoint has yet to route to this connection."""
        self.removed: list[int] = []
        """Ids that the endpoint may forget."""

    @property
    def active(self) -> Iterable[int]:
        """Those under which the peer may reach us."""
        return self.path_of

    def issue_unused(self, highest_path_in_use: int, max_path_id: int) -> list[NewConnectionId]:
        """Returns frames for the ids that should exist and do not."""
        frames: list[NewConnectionId] = []
        top = min(highest_path_in_use + UNUSED_PATHS, max_path_id)
        for path_id in range(self._highest_path + 1, top + 1):
            self._highest_path = path_id
            self._next_sequence[path_id] = 0
            frames.append(self._issue(path_id))
        return frames

    def on_retired(self, frame: RetireConnectionId) -> NewConnectionId | None:
        """The peer will not use an id any more; returns its replacement while the path lives.

        Raises TransportError for an id that was never issued.
        """
        if frame.path_id > self._highest_path:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "retired an id never issued")
        issued = self._next_sequence.get(frame.path_id)
        if issued is None:
            return None  # of a path that was abandoned
        if frame.sequence >= issued:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "retired an id never issued")
        place = (frame.path_id, frame.sequence)
        gone = [cid for cid, known in self.path_of.items() if known == place]
        if not gone:
            return None
        self._remove(gone)
        return self._issue(frame.path_id)

    def abandon(self, path_id: int) -> None:
        """Forgets a path for ever, with all its ids."""
        self._next_sequence.pop(path_id, None)
        self._remove([cid for cid, (path, _) in self.path_of.items() if path == path_id])

    def _remove(self, gone: list[int]) -> None:
        for connection_id in gone:
            del self.path_of[connection_id]
        self.removed += gone

    def _issue(self, path_id: int) -> NewConnectionId:
        sequence = self._next_sequence[path_id]
        self._next_sequence[path_id] = sequence + 1
        raw = self._entropy(CONNECTION_ID_SIZE)
        connection_id = int.from_bytes(raw, "big")
        self.path_of[connection_id] = (path_id, sequence)
        self.added.append(connection_id)
        return NewConnectionId(path_id, sequence, 0, raw, self._reset_token(connection_id))


class RemoteId(NamedTuple):
    connection_id: int
    reset_token: bytes


class RemoteIds:
    """Ids that the peer issued, and which one each path uses."""

    __slots__ = ("_ids", "_retire_prior_to", "_retired_paths", "tokens_changed")

    def __init__(self, first: RemoteId) -> None:
        self._ids: dict[int, dict[int, RemoteId]] = {0: {0: first}}
        self._retire_prior_to: dict[int, int] = {}
        self._retired_paths = RangeSet()
        self.tokens_changed = True

    def reset_tokens(self) -> list[bytes]:
        return [remote.reset_token for ids in self._ids.values() for remote in ids.values()]

    def current(self, path_id: int) -> int | None:
        """Returns the id that packets on this path go to, or None where the peer issued none."""
        ids = self._ids.get(path_id)
        if not ids:
            return None
        return next(iter(ids.values())).connection_id

    def on_new(self, frame: NewConnectionId, max_path_id: int) -> list[RetireConnectionId]:
        """Takes an issued id; returns the retirements that it asks for."""
        if frame.path_id > max_path_id:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "id for a path beyond the limit")
        if frame.path_id in self._retired_paths:
            return []
        ids = self._ids.setdefault(frame.path_id, {})
        remote = RemoteId(int.from_bytes(frame.connection_id, "big"), frame.reset_token)
        known = ids.get(frame.sequence)
        if known is not None and known != remote:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "connection id changed its meaning")
        bound = max(self._retire_prior_to.get(frame.path_id, 0), frame.retire_prior_to)
        self._retire_prior_to[frame.path_id] = bound
        ids[frame.sequence] = remote
        retired = [sequence for sequence in ids if sequence < bound]
        for sequence in retired:
            del ids[sequence]
        if len(ids) > MAX_IDS_PER_PATH or len(retired) > MAX_RETIRED:
            raise TransportError(ErrorCode.CONNECTION_ID_LIMIT_ERROR, "too many connection ids")
        self.tokens_changed = True
        return [RetireConnectionId(frame.path_id, sequence) for sequence in retired]

    def abandon(self, path_id: int) -> None:
        self._ids.pop(path_id, None)
        self._retire_prior_to.pop(path_id, None)
        self._retired_paths.add(path_id, path_id + 1)
        self.tokens_changed = True
