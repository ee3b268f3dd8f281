"""`p2pnode why`: connects with a peer, lets hole punching have its say, and asks for the reason.

Rule: whatever comes of it is an answer; only what nobody could have meant is an error.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import trio

from p2pnode.errors import AddressError, DialError
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.connection_info import ConnectionInfo, PathKind
from p2pnode.io.dial_target import DialTarget
from p2pnode.io.node_events import EventSubscription, PathChanged, PunchEnded
from p2pnode.protocols.dcutr.plan import MAX_ROUNDS

PUNCH_PATIENCE: Final = 10.0
"""seconds for a fresh relayed connection to become direct; chosen: three rounds of punching"""

Side: TypeAlias = Literal["ours", "theirs", "both"]


class AttemptFacts(Protocol):
    """One round of hole punching."""

    @property
    def round(self) -> int: ...
    @property
    def strategy(self) -> str: ...
    @property
    def is_direct(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class Explained(Protocol):
    """Why the packets to a peer go the way they go."""

    @property
    def peer_id(self) -> PeerId: ...
    @property
    def path(self) -> PathKind | None: ...
    @property
    def verdict(self) -> str: ...
    @property
    def side(self) -> Side | None: ...
    @property
    def attempts(self) -> Sequence[AttemptFacts]: ...
    @property
    def property(self) -> str | None: ...  # last: it hides the decorator


class Explanation(NamedTuple):
    """An `Explained`."""

    peer_id: PeerId
    path: PathKind | None
    verdict: str
    side: Side | None = None
    property: str | None = None
    attempts: tuple[PunchEnded, ...] = ()


class ConnectingNode(Protocol):
    """The part of a Node that is needed here."""

    @property
    def peers(self) -> Sequence[PeerId]: ...

    def events(self) -> EventSubscription: ...

    async def connect_to(self, target: DialTarget) -> PeerId: ...

    def connection_info(self, peer: PeerId) -> ConnectionInfo: ...


async def explain(node: ConnectingNode, target: DialTarget) -> Explained:
    """Returns the explanation.  Raises AddressError; DialError where no id is known."""
    events = node.events()
    had_its_time = target.peer_id in node.peers
    try:
        peer = await node.connect_to(target)
    except AddressError:
        raise
    except DialError as exc:
        if target.peer_id is None:
            raise
        return Explanation(target.peer_id, None, str(exc))
    attempts: list[PunchEnded] = []
    if node.connection_info(peer).path == "relayed" and not had_its_time:
        with trio.move_on_after(PUNCH_PATIENCE):
            await _watch(events, peer, attempts)
    info = node.connection_info(peer)
    return Explanation(peer, info.path, _verdict(info, attempts), attempts=tuple(attempts))


async def _watch(events: EventSubscription, peer: PeerId, attempts: list[PunchEnded]) -> None:
    """Returns once the path is direct, or the last round has failed."""
    async for event in events:
        match event:
            case PathChanged(peer_id, "direct") if peer_id == peer:
                return
            case PunchEnded(peer_id, number, _, is_direct) if peer_id == peer:
                attempts.append(event)
                if is_direct or number >= MAX_ROUNDS:
                    return
            case _:
                pass


def _verdict(info: ConnectionInfo, attempts: Sequence[PunchEnded]) -> str:
    if info.path == "direct":
        return f"packets go straight to {info.via}"
    if not attempts:
        return (
            f"packets go through the relay at {info.via}; no round of hole punching has ended yet"
        )
    rounds = "1 round" if len(attempts) == 1 else f"{len(attempts)} rounds"
    return (
        f"packets go through the relay at {info.via}: {rounds} of hole punching did not open a "
        f"direct path; the last one: {attempts[-1].reason}"
    )
