"""One path: a packet number space and everything that is measured along it.

The rule (RFC 9000 section 9.4): what was learned of one address does not hold for another, so a
move to another IP address starts congestion control, RTT and MTU anew; packet numbers go on.
"""

from random import Random
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.transports.delivery.ack_tracker import AckTracker
from p2pnode.transports.delivery.cubic import Cubic
from p2pnode.transports.delivery.ecn import EcnValidator
from p2pnode.transports.delivery.loss_recovery import LossRecovery
from p2pnode.transports.delivery.mtu_discovery import MtuDiscovery
from p2pnode.transports.delivery.pacing import Pacer
from p2pnode.transports.delivery.rtt import RttEstimator
from p2pnode.transports.noise_udp.path_validation import FULL_SIZE, RouteState, RouteValidation
from p2pnode.transports.punch import Punch
from p2pnode.transports.route import Route, RouteKey

MAX_ROUTES: Final = 8
"""addresses of one path that are probed at a time; the budget for unproven addresses"""
MAX_RESPONSES: Final = 16
"""PATH_RESPONSEs that wait to be sent; chosen: two for every address that may be probing us"""
MAX_RESPONSES_PER_ROUTE: Final = 2
"""of them to one address, or a packet full of challenges would bring a victim many answers"""
SETTLING_TIME: Final = 5.0
"""seconds in which the initiator does not follow the peer to another of the addresses that were
tried together; chosen: the responder has followed the initiator by then"""


class PathLimits(NamedTuple):
    """What a connection allows each of its paths."""

    max_ack_delay: float
    """seconds"""
    maximum_size: int
    """bytes of UDP payload up to which the path MTU is searched"""
    ecn: bool


class Path:
    """State of one path id.  `route` is None until some address has been validated."""

    __slots__ = (
        "_alternates",
        "_limits",
        "_settled_at",
        "_wanted",
        "acks",
        "controller",
        "ecn",
        "is_leaving",
        "is_lost",
        "is_peer_available",
        "last_sent",
        "leaves_at",
        "mtu",
        "next_packet_number",
        "nonce_base",
        "observed_sequence",
        "owed_acks",
        "pacer",
        "path_id",
        "phase_start",
        "probes_due",
        "recovery",
        "remote_observed_sequence",
        "remote_status_sequence",
        "responses",
        "route",
        "rtt",
        "validations",
    )

    def __init__(
        self,
        path_id: int,
        route: Route | None,
        *,
        limits: PathLimits,
        rng: Random,
        now: Instant,
    ) -> None:
        self.path_id = path_id
        self.route = route
        self.nonce_base = path_id << 64
        self.next_packet_number = 0
        self.phase_start = 0
        """First packet number that was sealed in the current key phase."""
        self.validations: dict[RouteKey, RouteValidation] = {}
        self.responses: list[tuple[Route, bytes]] = []
        self._wanted: RouteKey | None = None
        self._alternates: dict[RouteKey, None] = {}
        """Other addresses that were tried, or used, when the route was chosen."""
        self._settled_at: Instant = now
        self.is_peer_available = True
        self.is_lost = False
        """Its route is gone for good."""
        self.is_leaving = False
        """Its route will be gone soon: any other one is better."""
        self.leaves_at: Instant | None = None
        """When it is given up, after the data has left it for that reason."""
        self.remote_status_sequence = -1
        self.observed_sequence = 0
        self.remote_observed_sequence = -1
        """Of the newest word that the peer gave on our address here."""
        self.owed_acks: list[Path] = []
        """Paths that the peer's data has left for this one: what came by them is said here."""
        self.probes_due = 0
        """Packets that a probe timeout allows beyond the congestion window."""
        self.last_sent = now
        self.acks = AckTracker(limits.max_ack_delay)
        self._limits = limits
        self.rtt = RttEstimator()
        self.ecn = EcnValidator(is_enabled=limits.ecn)
        self.mtu = MtuDiscovery(maximum=limits.maximum_size)
        self.controller = Cubic(FULL_SIZE)
        self.pacer = Pacer()
        self.recovery = LossRecovery(self.rtt, self.controller, rng=rng, ecn=self.ecn, mtu=self.mtu)

    @property
    def is_suspect(self) -> bool:
        """True after two probe timeouts in a row: a connection with another path should use it."""
        return self.is_lost or self.recovery.pto_count >= 2

    def probe(
        self,
        route: Route,
        entropy: Entropy,
        now: Instant,
        *,
        address_proven: bool,
        punch: Punch | None = None,
    ) -> bool:
        """Starts to validate a route; returns False where that is under way, or too many are."""
        if route.key in self.validations:
            return False
        if len(self.validations) >= MAX_ROUTES:
            return False
        validation = RouteValidation(
            route, entropy, now, address_proven=address_proven, punch=punch
        )
        self.validations[route.key] = validation
        return True

    def on_data_from(self, route: Route) -> None:
        """The newest packet that is more than a probe came from this route."""
        self._wanted = route.key

    def is_settling(self, route: Route, now: Instant) -> bool:
        """Whether both ends may still be choosing among several addresses, of which this is one."""
        return now < self._settled_at and route.key in self._alternates and not self.is_suspect

    def add_response(self, route: Route, data: bytes) -> None:
        """Takes a PATH_CHALLENGE, to be answered where it came from."""
        same = sum(waiting.key == route.key for waiting, _ in self.responses)
        if len(self.responses) < MAX_RESPONSES and same < MAX_RESPONSES_PER_ROUTE:
            self.responses.append((route, data))

    def on_response(self, data: bytes, now: Instant) -> RouteValidation | None:
        """Takes a PATH_RESPONSE; returns the validation that it completed."""
        for key, validation in self.validations.items():
            if validation.on_response(data, now):
                if validation.state is not RouteState.VALIDATED:
                    return None
                del self.validations[key]
                return validation
        return None

    def should_move_to(self, route: Route) -> bool:
        return self.route is None or self._wanted == route.key

    def move(self, route: Route, rtt: float, now: Instant) -> None:
        """Makes a validated route the one that is used."""
        old = self.route
        alternates = [old.key] if old is not None else []
        alternates += [*self.validations, *(key for key in self._alternates if old is not None)]
        self._alternates = {key: None for key in alternates[:MAX_ROUTES] if key != route.key}
        self._settled_at = now + SETTLING_TIME
        self.route = route
        self.is_lost = self.is_leaving = False
        self._wanted = route.key
        if old is not None and old.remote.ip != route.remote.ip:
            self._measure_anew()
        if not self.rtt.has_sample:
            self.rtt.update(rtt, 0.0, 0.0, now)

    def restart_congestion(self) -> None:
        """Forgets the congestion window of a path that was idle for too long to trust it."""
        self.controller.on_idle()
        self.pacer = Pacer()

    def _measure_anew(self) -> None:
        self.rtt = RttEstimator()
        self.ecn = EcnValidator(is_enabled=self._limits.ecn)
        self.mtu = MtuDiscovery(maximum=self._limits.maximum_size)
        self.controller = Cubic(FULL_SIZE)
        self.pacer = Pacer()
        self.recovery.restart(self.rtt, self.controller, ecn=self.ecn, mtu=self.mtu)

    def pto(self, max_ack_delay: float) -> float:
        return self.rtt.pto_interval(max_ack_delay)

    def deadlines(self) -> list[Deadline | None]:
        """Returns what the parts of the path wait for."""
        deadlines = [self.recovery.poll_timeout(), self.acks.poll_timeout()]
        if self.leaves_at is not None:
            deadlines.append(Deadline(self.leaves_at, "a path is given up"))
        if self.validations:
            deadlines += [v.poll_timeout() for v in self.validations.values()]
        return deadlines
