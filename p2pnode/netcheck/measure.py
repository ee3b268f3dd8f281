"""What a netcheck does with its measuring sockets, and what it makes of the answers.

    socket 0        the mapping: where do several peers, and two ports of each, see it?
    socket 1        the filter: writes to one port of one peer; others knock
    sockets 2, 3    hairpin: each writes to where the other is seen
    all of them     port allocation: first used one after the other, at the same peer

Rule: the first peer with a direct connection, the anchor, sees every socket first, and all in the
same moment, so that nothing else takes ports in between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant, earliest
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle, SocketAddr, SocketId
from p2pnode.netcheck.knocking import KNOCKS, Knocking, NatAsk
from p2pnode.netcheck.locating import Locating
from p2pnode.netcheck.measuring_sockets import Knock, Looked, MeasuringSockets
from p2pnode.protocols.nat_behaviour import (
    LOWEST_KNOCK_PORT,
    Dependence,
    PortAllocation,
    encode_knock,
)
from p2pnode.protocols.nat_behaviour.judge import (
    Judgement,
    PortSample,
    View,
    judge_allocation,
    judge_filtering,
    judge_mapping,
    without_nat,
)
from p2pnode.wire.ip_ranges import IpScope, ip_scope

MEASURE_SOCKETS: Final = 6
"""measuring sockets; chosen: five differences tell a block from random ports, see nat_judge"""
LOOK_TIMEOUT: Final = 3.0
"""seconds for a handshake of a measuring socket; chosen: three losses in a row at 100 ms"""
HAIRPINS: Final = 4
"""datagrams in each direction; chosen: the first ones only open the filter for the others"""
HAIRPIN_INTERVAL: Final = 0.2
"""seconds between two; chosen: both directions have passed by then"""
HAIRPIN_WAIT: Final = 0.5
"""seconds after the last; chosen: the way is that to one's own router and back"""

_MAPPING, _FILTER, _LEFT, _RIGHT = range(4)
"""Places of the sockets with a task of their own."""


@dataclass(slots=True)
class Witness:
    """A peer with a direct connection that can be asked."""

    peer_id: PeerId
    connection: ConnectionHandle
    remote: SocketAddr
    alternate: SocketAddr | None = None
    """Its other port, once it has told."""
    sees_us_at: SocketAddr | None = None
    """Our main socket, as it sees it."""


@dataclass(slots=True)
class _Hairpin:
    nonces: tuple[bytes, bytes]
    next_at: Instant
    sent: int = 0
    works: bool | None = None


@dataclass(slots=True)
class _Seen:
    """Where the anchor sees a socket."""

    local: SocketAddr
    external: SocketAddr | None = None
    is_over: bool = False


class Findings(NamedTuple):
    """Each field judged as of now."""

    mapping: Judgement[Dependence]
    filtering: Judgement[Dependence]
    allocation: Judgement[PortAllocation]
    hairpin: Judgement[bool | None]


_WHY_INSIDE = "the peers are in this machine's own network"
_INSIDE = Findings(
    Judgement(Dependence.UNKNOWN, _WHY_INSIDE),
    Judgement(Dependence.UNKNOWN, _WHY_INSIDE),
    Judgement(PortAllocation.UNKNOWN, _WHY_INSIDE),
    Judgement(None, _WHY_INSIDE),
)


class Measurement:
    """Steps through the measurements as witnesses come."""

    def __init__(
        self,
        measuring_sockets: MeasuringSockets,
        sockets: Sequence[tuple[SocketId, SocketAddr]],
        interfaces: Sequence[str],
        nonce: Callable[[], bytes],
    ) -> None:
        """`sockets` are of one IP version, with what they are bound to."""
        self._measuring_sockets = measuring_sockets
        self._interfaces = interfaces
        self._nonce = nonce
        self._order = [socket for socket, _ in sockets]
        self._seen = {socket: _Seen(local) for socket, local in sockets}
        self._anchor: Witness | None = None
        self._has_inside = False
        """Whether there is a peer in this machine's own network, which tells nothing of a NAT."""
        self._witnesses: dict[PeerId, Witness] = {}
        self._views: list[View] = []
        self._looking: set[int] = set()
        self._looked_at: set[SocketAddr] = set()
        self._locatings: list[Locating] = []
        self._by_anchor: Knocking | None = None
        self._by_stranger: Knocking | None = None
        self._tried_strangers: set[PeerId] = set()
        self._hairpin: _Hairpin | None = None

    @property
    def is_busy(self) -> bool:
        """True while answers are awaited that will come, or not, within a second or three."""
        hairpin = self._hairpin
        return bool(
            self._looking
            or any(not asking.is_over for asking in self.askings)
            or (hairpin is not None and hairpin.works is None)
        )

    @property
    def askings(self) -> list[Knocking | Locating]:
        """Those that want to hear of answers."""
        return [*self.knockings, *self._locatings]

    @property
    def knockings(self) -> list[Knocking]:
        return [k for k in (self._by_anchor, self._by_stranger) if k is not None]

    # what happens

    def add_witness(self, witness: Witness, now: Instant) -> None:
        """A peer is connected directly; the first one outside of this network is the anchor."""
        if ip_scope(witness.remote.ip) is not IpScope.PUBLIC:
            self._has_inside = True
            return
        self._witnesses[witness.peer_id] = witness
        if self._anchor is None:
            self._anchor = witness
            for socket in self._order:
                self._look(socket, witness.remote, now)
            self._looked_at.add(witness.remote)

    def on_looked(self, looked: Looked, now: Instant) -> None:
        """A peer told where it sees a socket, or did not answer."""
        if looked.handle not in self._looking:
            return
        self._looking.discard(looked.handle)
        is_first = self._anchor is not None and looked.remote == self._anchor.remote
        if is_first:
            seen = self._seen[looked.socket]
            seen.external, seen.is_over = looked.observed, True
        if looked.socket == self._order[_MAPPING] and looked.observed is not None:
            self._views.append(View(looked.remote, looked.observed))

    def on_knock(self, knock: Knock) -> None:
        """A datagram arrived at a measuring socket outside of any connection."""
        for knocking in self.knockings:
            knocking.on_knock(knock.socket, knock.payload)
        hairpin = self._hairpin
        if hairpin is None:
            return
        for place, nonce in zip((_RIGHT, _LEFT), hairpin.nonces, strict=True):
            if knock.socket == self._order[place] and knock.payload == encode_knock(nonce):
                hairpin.works = True

    # time

    def advance(self, now: Instant) -> list[NatAsk]:
        """Does what can be done now; returns the knocks to ask for."""
        self._take_located()
        self._look_around(now)
        self._start_knocking(now)
        self._step_hairpin(now)
        asks: list[NatAsk] = []
        for asking in self.askings:
            asking.handle_timeout(now)
            asks += asking.poll_asks(now)
        return asks

    def poll_timeout(self) -> Deadline | None:
        hairpin = self._hairpin
        is_open = hairpin is not None and hairpin.works is None
        return earliest(
            Deadline(hairpin.next_at, "the next hairpin") if hairpin and is_open else None,
            *(asking.poll_timeout() for asking in self.askings),
        )

    # results

    def findings(self) -> Findings:
        """Returns what the evidence says so far."""
        if self._anchor is None and self._has_inside:
            return _INSIDE
        local = self._seen[self._order[_MAPPING]].local
        own = [SocketAddr(ip, local.port) for ip in self._interfaces]
        mapping = judge_mapping(self._views, own)
        return Findings(
            mapping,
            self._judge_filtering(mapping.kind),
            self._judge_allocation(mapping.kind),
            self._judge_hairpin(mapping.kind),
        )

    def _judge_filtering(self, mapping: Dependence) -> Judgement[Dependence]:
        by_anchor, by_stranger = self._by_anchor, self._by_stranger
        judged = judge_filtering(
            from_other_port=None if by_anchor is None else by_anchor.result,
            from_stranger=None if by_stranger is None else by_stranger.result,
        )
        judged = without_nat(judged, mapping)
        reasons = [k.reason for k in self.knockings if k.is_over and k.result is None and k.reason]
        if judged.kind is Dependence.UNKNOWN and reasons:
            return judged._replace(why=f"{judged.why} ({reasons[0]})")
        return judged

    def _judge_allocation(self, mapping: Dependence) -> Judgement[PortAllocation]:
        if mapping is Dependence.NONE:
            return Judgement(PortAllocation.PRESERVING, "there is no NAT")
        samples = [
            PortSample(seen.local.port, seen.external.port)
            for seen in (self._seen[socket] for socket in self._order)
            if seen.external is not None
        ]
        return judge_allocation(samples)

    def _judge_hairpin(self, mapping: Dependence) -> Judgement[bool | None]:
        if mapping is Dependence.NONE:
            return Judgement(None, "there is no NAT to turn packets round")
        if self._hairpin is None or self._hairpin.works is None:
            return Judgement(None, "no peer has told where it sees two sockets")
        why = f"{HAIRPINS} datagrams each way between two sockets"
        return Judgement(self._hairpin.works, why)

    # steps

    def _look(self, socket: SocketId, remote: SocketAddr, now: Instant) -> None:
        handle = self._measuring_sockets.look(socket, remote, now, LOOK_TIMEOUT)
        if handle is not None:
            self._looking.add(handle)

    def _take_located(self) -> None:
        for locating in self._locatings:
            if locating.result is not None:
                self._views.append(View(locating.remote, locating.result))
        self._locatings = [each for each in self._locatings if not each.is_over]

    def _look_around(self, now: Instant) -> None:
        """Shows the mapping's socket to everybody, once the anchor has seen all sockets."""
        if self._anchor is None or not all(seen.is_over for seen in self._seen.values()):
            return
        for witness in self._witnesses.values():
            socket, alternate = self._order[_MAPPING], witness.alternate
            if witness.remote not in self._looked_at:
                self._looked_at.add(witness.remote)
                self._look(socket, witness.remote, now)
            if alternate is not None and alternate not in self._looked_at:
                self._looked_at.add(alternate)
                self._locatings.append(
                    Locating(
                        witness.connection,
                        socket,
                        alternate,
                        self._nonce(),
                        self._measuring_sockets,
                        now,
                    )
                )

    def _start_knocking(self, now: Instant) -> None:
        anchor, socket = self._anchor, self._order[_FILTER]
        external = self._seen[socket].external
        if anchor is None or external is None or external.port < LOWEST_KNOCK_PORT:
            return
        if self._by_anchor is None and _can_knock(anchor, external):
            self._by_anchor = self._knocking(anchor, socket, external, now)
        by_stranger = self._by_stranger
        if by_stranger is None or (by_stranger.is_over and by_stranger.result is None):
            for witness in self._witnesses.values():
                is_new = witness.peer_id not in self._tried_strangers
                is_elsewhere = witness.remote.ip != anchor.remote.ip
                if is_new and is_elsewhere and _can_knock(witness, external):
                    self._tried_strangers.add(witness.peer_id)
                    self._by_stranger = self._knocking(witness, socket, external, now)
                    return

    def _knocking(
        self, witness: Witness, socket: SocketId, external: SocketAddr, now: Instant
    ) -> Knocking:
        nonces = [self._nonce() for _ in range(KNOCKS)]
        return Knocking(witness.connection, socket, external.port, nonces, now)

    def _step_hairpin(self, now: Instant) -> None:
        left, right = self._order[_LEFT], self._order[_RIGHT]
        at_left, at_right = self._seen[left].external, self._seen[right].external
        if at_left is None or at_right is None:
            return
        if self._hairpin is None:
            self._hairpin = _Hairpin((self._nonce(), self._nonce()), now)
        hairpin = self._hairpin
        if hairpin.works is not None or now < hairpin.next_at:
            return
        if hairpin.sent == HAIRPINS:
            hairpin.works = False
            return
        hairpin.sent += 1
        is_last = hairpin.sent == HAIRPINS
        hairpin.next_at = now + (HAIRPIN_WAIT if is_last else HAIRPIN_INTERVAL)
        self._measuring_sockets.send(left, at_right, encode_knock(hairpin.nonces[0]))
        self._measuring_sockets.send(right, at_left, encode_knock(hairpin.nonces[1]))


def _can_knock(witness: Witness, external: SocketAddr) -> bool:
    """A knock goes to the IP address that the peer sees us at: it must be this socket's, too."""
    seen = witness.sees_us_at
    return witness.alternate is not None and seen is not None and seen.ip == external.ip
