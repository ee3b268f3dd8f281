"""The paths of one connection, which of them carries the data, and when that changes.

The rules: a path is used once it is validated; one path carries data, the others stand by; the old
one carries on until the new one is validated (make before break); each end chooses for itself.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

from p2pnode.clock import Instant
from p2pnode.entropy import Entropy
from p2pnode.errors import LocalProtocolError, TransportError
from p2pnode.transports.datagrams.control_frames import ControlFrames
from p2pnode.transports.datagrams.frame import PathChallenge, PathResponse
from p2pnode.transports.delivery.ranges import RangeSet
from p2pnode.transports.error_code import ErrorCode
from p2pnode.transports.events import (
    AddressObserved,
    ConnectionEvent,
    PathChanged,
    PathConfirmed,
    PathFailed,
    PathSuspected,
    PathValidated,
)
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.connection_id import LocalIds, RemoteIds
from p2pnode.transports.noise_udp.frame import (
    MaxPathId,
    ObservedAddress,
    PathAbandon,
    PathStatus,
)
from p2pnode.transports.noise_udp.path import Path, PathLimits
from p2pnode.transports.noise_udp.path_validation import FULL_SIZE, RouteState, RouteValidation
from p2pnode.transports.punch import Punch
from p2pnode.transports.route import Route

RTT_GAIN: Final = 0.8
"""A path of the same kind must have at most this part of the RTT to be preferred (nobody flaps)."""
RTT_GAIN_MIN: Final = 0.005
"""seconds that it must also gain; iroh's and Firezone's hysteresis"""
IDLE_PTOS: Final = 3
"""probe timeouts without traffic after which a path's congestion window means nothing"""
SUSPICION_INTERVAL: Final = 3.0
"""seconds at least until it is told again; chosen: ten tries for another way in an idle timeout"""


class PathSet:
    """Paths by id.  Path 0 is the one that the handshake made."""

    def __init__(
        self,
        *,
        is_initiator: bool,
        route: Route,
        local_ids: LocalIds,
        remote_ids: RemoteIds,
        control: ControlFrames,
        config: TransportConfig,
        remote_max_path_id: int,
        remote_max_udp_payload: int,
        entropy: Entropy,
        rng: Random,
        now: Instant,
    ) -> None:
        self._is_initiator = is_initiator
        self._local_ids = local_ids
        self._remote_ids = remote_ids
        self._control = control
        self._config = config
        self._local_max_path_id = config.max_path_id
        self._remote_max_path_id = remote_max_path_id
        self._limits = PathLimits(
            max_ack_delay=config.max_ack_delay,
            maximum_size=min(config.max_udp_payload, remote_max_udp_payload)
            if config.pmtud
            else FULL_SIZE,
            ecn=config.ecn,
        )
        self._rng = rng
        self._entropy = entropy
        self._next_path_id = 1
        self._ack_frequency: tuple[int, float] | None = None
        self._suspicion_due: Instant | None = None
        """when it is told again that the path in use does not answer"""
        self._abandoned = RangeSet()
        self._given_up_by_peer: int | None = None
        """a path that the peer has given up, and that stays until another one is validated"""
        self.events: list[ConnectionEvent] = []
        self.active = self._new_path(0, route, now)
        self.paths: dict[int, Path] = {0: self.active}
        self._observe(self.active, route)
        self.issue_ids()

    @property
    def max_path_id(self) -> int:
        """Highest path id that either side may use now."""
        return min(self._local_max_path_id, self._remote_max_path_id)

    @property
    def is_suspect(self) -> bool:
        return self.active.is_suspect

    def routes(self) -> Iterator[Route]:
        """Returns those that are validated, the one in use among them."""
        return (path.route for path in self.paths.values() if path.route is not None)

    def runs_over(self, route: Route) -> bool:
        """Whether a path uses a route, or tries it."""
        key = route.key
        return any(
            key in path.validations or (path.route is not None and path.route.key == key)
            for path in self.paths.values()
        )

    def issue_ids(self) -> None:
        """Tells the peer the connection ids that it should have and has not."""
        for frame in self._local_ids.issue_unused(self._next_path_id - 1, self.max_path_id):
            self._control.push(frame.encode())

    def open(self, routes: list[Route], now: Instant) -> int:
        """Starts to validate a new path, which may turn out to run over any of `routes`.

        Returns the path id.  Raises LocalProtocolError where none can be opened now.
        """
        if not self._is_initiator:
            raise LocalProtocolError("only the initiator of a connection numbers its paths")
        path_id = self._next_path_id
        if path_id > self.max_path_id or self._remote_ids.current(path_id) is None:
            raise LocalProtocolError("the peer allows no further path now")
        self.probe(path_id, routes, now)
        return path_id

    def probe(self, path_id: int, routes: list[Route], now: Instant) -> None:
        """Sends challenges over routes that `path_id` may come to run over.

        Raises LocalProtocolError where the peer has given no id for that path.
        """
        path = self.get_or_create(path_id, now)
        if path is None:
            raise LocalProtocolError("the peer has given no connection id for this path")
        for route in routes:
            path.probe(route, self._entropy, now, address_proven=self._is_proven(route))

    def punch(self, routes: list[Route], punch: Punch, now: Instant) -> int:
        """Sends challenges by the punch's schedule; both ends do so, on the next path id.

        Returns the path id.  Raises LocalProtocolError where the peer allows no further path now.
        """
        # One that tries a circuit is none: whichever route came first would end the other.
        started = (
            p.path_id
            for p in self.paths.values()
            if p.route is None and not any(v.route.is_relayed for v in p.validations.values())
        )
        path_id = next(started, self._next_path_id)
        path = self.get_or_create(path_id, now) if path_id <= self.max_path_id else None
        if path is None:
            raise LocalProtocolError("the peer allows no further path now")
        for route in routes:
            proven = self._is_proven(route)
            path.probe(route, self._entropy, now, address_proven=proven, punch=punch)
        return path_id

    def get_or_create(self, path_id: int, now: Instant) -> Path | None:
        """Returns a path by id; one that a packet authenticates on exists from then on.

        None where the peer has given no id to answer to: then nothing could be sent on it.
        """
        path = self.paths.get(path_id)
        if path is None and self._remote_ids.current(path_id) is not None:
            path = self.paths[path_id] = self._new_path(path_id, None, now)
            self._next_path_id = max(self._next_path_id, path_id + 1)
            self.issue_ids()
        return path

    def abandon(self, path_id: int, code: int, reason: str, now: Instant) -> None:
        """Gives a path up for ever, and tells the peer."""
        if path_id in self.paths:
            self._control.push(PathAbandon(path_id, code).encode())
            self._forget(path_id, reason, now)

    def lose(self, route: Route, reason: str, now: Instant) -> None:
        """A route is gone for good, as a circuit that has ended: no waiting for timeouts.

        The last path stays, unusable, until another one takes over or the connection ends.
        """
        for path in list(self.paths.values()):
            tried = path.validations.pop(route.key, None)
            if path.route is None and tried is not None and not path.validations:
                self.abandon(path.path_id, ErrorCode.NO_ERROR, reason, now)
            if path.route is None or path.route.key != route.key:
                continue
            if any(p.route is not None for p in self.paths.values() if p is not path):
                self.abandon(path.path_id, ErrorCode.NO_ERROR, reason, now)
            else:
                path.is_lost = True

    def retire(self, route: Route, now: Instant) -> None:
        """A route will be gone soon: the data moves on as soon as there is another one."""
        for path in self.paths.values():
            if path.route is not None and path.route.key == route.key:
                path.is_leaving = True
        self.choose(now)

    def set_ack_frequency(self, threshold: int, max_ack_delay: float) -> None:
        """Takes what the peer's ACK_FREQUENCY asks for, for these paths and for those to come."""
        self._ack_frequency = threshold, max_ack_delay
        for path in self.paths.values():
            path.acks.set_frequency(threshold, max_ack_delay)

    def forget_local_ips(self, present: tuple[str, ...]) -> None:
        """Lets the system choose the source where the address that was used is gone."""
        for path in self.paths.values():
            route = path.route
            if route is not None and route.local_ip is not None and route.local_ip not in present:
                path.route = route._replace(local_ip=None)

    def validate_all(self, now: Instant) -> None:
        """Probes the route of every path: after a suspend, or a change of interfaces."""
        for path in self.paths.values():
            if path.route is not None:
                path.probe(path.route, self._entropy, now, address_proven=True)

    def on_packet(
        self,
        path: Path,
        route: Route,
        size: int,
        *,
        is_newest: bool,
        is_probing: bool,
        now: Instant,
    ) -> None:
        """An authenticated packet came over `route`, which may be a new one."""
        current = path.route
        if current is not None and route.key == current.key:
            if is_newest and not is_probing:
                path.on_data_from(current)
                if route.local_ip is not None and route.local_ip != current.local_ip:
                    path.route = route
            return
        is_move = is_newest and not is_probing
        if is_move and self._is_initiator and path.is_settling(route, now):
            is_move = False  # the responder follows us, or both would follow each other for ever
        if is_move:
            path.on_data_from(route)
        validation = path.validations.get(route.key)
        if validation is None and (is_move or current is None):
            path.probe(route, self._entropy, now, address_proven=self._is_proven(route))
            validation = path.validations.get(route.key)
        if validation is not None:
            validation.on_heard(size, now)

    def on_challenge(self, frame: PathChallenge, path: Path, route: Route) -> None:
        path.add_response(route, frame.data)

    def on_response(self, frame: PathResponse, path: Path, now: Instant) -> None:
        validation = path.on_response(frame.data, now)
        if validation is not None:
            self._on_validated(path, validation, now)

    def on_abandon(self, frame: PathAbandon, now: Instant) -> None:
        path_id = frame.path_id
        if path_id > self.max_path_id or path_id in self._abandoned:
            return
        self._control.push(PathAbandon(path_id, ErrorCode.NO_ERROR).encode())
        path = self.paths.get(path_id)
        if path is None:  # only the peer had opened it, and now its ids are void
            self._next_path_id = max(self._next_path_id, path_id + 1)
            self._retire(path_id)
            self.issue_ids()
            return
        others = [p for p in self.paths.values() if p is not path]
        if any(p.validations for p in others) and all(p.route is None for p in others):
            path.is_lost = True  # the peer is ahead: it has validated what we are still probing
            self._given_up_by_peer = path_id
        else:
            self._forget(path_id, "the peer gave the path up", now)

    def on_status(self, frame: PathStatus, now: Instant) -> None:
        path = self.paths.get(frame.path_id)
        if path is not None and frame.sequence > path.remote_status_sequence:
            path.remote_status_sequence = frame.sequence
            path.is_peer_available = frame.is_available
            self.choose(now)

    def on_max_path_id(self, frame: MaxPathId) -> None:
        if frame.maximum >= 1 << 32:
            raise TransportError(ErrorCode.PROTOCOL_VIOLATION, "path ids have 32 bits")
        self._remote_max_path_id = max(self._remote_max_path_id, frame.maximum)
        self.issue_ids()

    def on_observed_address(self, frame: ObservedAddress) -> None:
        """Takes a peer's word: of those that come together for a path the newest one counts.

        What a node makes of one costs it far more than the frame costs its sender.
        """
        path = self.paths.get(frame.path_id)
        if path is None or path.route is None or frame.sequence <= path.remote_observed_sequence:
            return  # a frame that was lost is sent again, and comes after its successor
        path.remote_observed_sequence = frame.sequence
        event = AddressObserved(frame.path_id, path.route, frame.address)
        for at, before in enumerate(self.events):
            if isinstance(before, AddressObserved) and before.path_id == frame.path_id:
                self.events[at] = event
                return
        self.events.append(event)

    def handle_timeout(self, now: Instant) -> None:
        """Drops routes that did not answer, and paths that have none left."""
        for path in list(self.paths.values()):
            if path.leaves_at is not None and now >= path.leaves_at:
                path.leaves_at = None
                if path is not self.active:
                    self.abandon(path.path_id, ErrorCode.NO_ERROR, "its route ends", now)
                    continue
            if not path.validations:
                continue
            for key, validation in list(path.validations.items()):
                validation.handle_timeout(now)
                if validation.state is RouteState.FAILED:
                    del path.validations[key]
            if not path.validations and self._is_given_up(path):
                self.abandon(path.path_id, ErrorCode.NO_ERROR, "no answer to any probe", now)
        if self._given_up_by_peer is not None and not any(
            p.validations for p in self.paths.values()
        ):
            self._forget(self._given_up_by_peer, "the peer gave the path up", now)
        self.choose(now)
        active = self.active
        for path in self.paths.values():
            # What was on its way when the data moved on is lost with a standby that dies.
            if path is not active and path.is_suspect and path.recovery.bytes_in_flight:
                self._leave(path, now)
        if not active.is_suspect:
            self._suspicion_due = None
        elif active.route is not None and now >= (self._suspicion_due or now):
            self._suspicion_due = now + SUSPICION_INTERVAL
            self.events.append(PathSuspected(active.path_id, active.route))

    def choose(self, now: Instant) -> None:
        """Moves the data to the best validated path, where that is not the one in use."""
        active = self.active
        best = active
        for path in self.paths.values():
            if path.route is not None and path is not best and self._is_better(path, best):
                best = path
        if best is active:
            return
        reason = _reason(active, best)
        assert best.route is not None
        if now - best.last_sent > IDLE_PTOS * best.pto(self._config.max_ack_delay):
            best.restart_congestion()
        if active.is_suspect:
            self._leave(active, now)
        self.active = best
        self.events.append(PathChanged(best.path_id, best.route, reason))
        if active.is_leaving:  # what is on its way over it may still arrive
            active.leaves_at = now + IDLE_PTOS * active.pto(self._config.max_ack_delay)

    def _leave(self, path: Path, now: Instant) -> None:
        """A path that stopped answering: until it answers again nobody returns to it."""
        timeouts = path.recovery.pto_count
        path.recovery.discard_all()
        path.recovery.pto_count = timeouts
        if path.route is not None and not path.is_lost:
            path.probe(path.route, self._entropy, now, address_proven=True)

    def _is_better(self, path: Path, than: Path) -> bool:
        rank, other = _rank(path), _rank(than)
        if rank != other:
            return rank < other
        gain = than.rtt.smoothed - path.rtt.smoothed
        return gain >= RTT_GAIN_MIN and path.rtt.smoothed <= RTT_GAIN * than.rtt.smoothed

    def _on_validated(self, path: Path, validation: RouteValidation, now: Instant) -> None:
        route = validation.route
        was_validated = path.route is not None
        if path.route is not None and path.route.key == route.key:
            path.recovery.pto_count = 0
            self.events.append(PathConfirmed(path.path_id, path.route))
            self.choose(now)
            return
        if not path.should_move_to(route):
            return
        path.move(route, validation.rtt, now)
        self._observe(path, route)
        self.events.append(PathValidated(path.path_id, route, validation.rtt))
        if not was_validated:
            path.validations.clear()
            self._clear_up(path, route, now)
        if path is self.active:
            self.events.append(PathChanged(path.path_id, route, "the peer's address changed"))
        self.choose(now)

    def _is_given_up(self, path: Path) -> bool:
        """Whether a path whose probes nobody answered is not worth its id any more.

        A circuit stays until it ends: its relay may come back, and nobody would ask for it again.
        """
        if path.route is None:
            return True
        is_left = path is not self.active and path.is_suspect and not self.active.is_suspect
        return is_left and not path.route.is_relayed

    def _clear_up(self, made: Path, route: Route, now: Instant) -> None:
        """A path works from now on: what it replaces goes, of two over one route the older."""
        if self._given_up_by_peer is not None:
            self._forget(self._given_up_by_peer, "the peer gave the path up", now)
        for path in list(self.paths.values()):
            if path.path_id < made.path_id and path.route and path.route.key == route.key:
                self.abandon(path.path_id, ErrorCode.NO_ERROR, "a newer path replaces it", now)

    def _observe(self, path: Path, route: Route) -> None:
        if not route.is_relayed:
            frame = ObservedAddress(path.path_id, path.observed_sequence, route.remote)
            path.observed_sequence += 1
            self._control.push(frame.encode())

    def let_go(self) -> None:
        """The connection is forgotten: paths hold neither themselves nor each other."""
        for path in self.paths.values():
            path.recovery.let_go()
            path.owed_acks.clear()

    def _forget(self, path_id: int, reason: str, now: Instant) -> None:
        others = [p for p in self.paths.values() if p.route is not None and p.path_id != path_id]
        if not others:
            raise TransportError(ErrorCode.NO_VIABLE_PATH, "no path is left")
        path = self.paths.pop(path_id)
        if path_id == self._given_up_by_peer:
            self._given_up_by_peer = None
        path.recovery.discard_all()
        self._retire(path_id)
        self.events.append(PathFailed(path_id, reason))
        if path is self.active:
            self.active = min(others, key=_rank)
            assert self.active.route is not None
            self.events.append(PathChanged(self.active.path_id, self.active.route, reason))
            self.choose(now)

    def _retire(self, path_id: int) -> None:
        """Nothing is sent to or taken for this path id any more; another one may be used."""
        self._abandoned.add(path_id, path_id + 1)
        self._local_ids.abandon(path_id)
        self._remote_ids.abandon(path_id)
        self._local_max_path_id += 1
        self._control.push(MaxPathId(self._local_max_path_id).encode())

    def _is_proven(self, route: Route) -> bool:
        """An address that a path of ours runs to has proved that it wants our packets."""
        return any(
            path.route is not None
            and path.route.remote == route.remote
            and path.route.is_relayed == route.is_relayed
            for path in self.paths.values()
        )

    def _new_path(self, path_id: int, route: Route | None, now: Instant) -> Path:
        path = Path(path_id, route, limits=self._limits, rng=self._rng, now=now)
        if self._ack_frequency is not None:
            path.acks.set_frequency(*self._ack_frequency)
        return path


def _rank(path: Path) -> tuple[bool, bool, bool, bool]:
    assert path.route is not None
    is_relayed = path.route.is_relayed
    return path.is_suspect, path.is_leaving, not path.is_peer_available, is_relayed


def _reason(old: Path, new: Path) -> str:
    assert old.route is not None
    assert new.route is not None
    if old.is_suspect:
        return "the path in use stopped answering"
    if old.is_leaving:
        return "the relay in use is going away"
    if old.route.is_relayed and not new.route.is_relayed:
        return "a direct path works"
    if not old.is_peer_available:
        return "the peer asked to leave the path"
    return "a faster path works"
