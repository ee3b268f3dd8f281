"""Netcheck: a node of its own that finds out how its NAT behaves, from peers alone.

    begin --> a first peer --> AutoNAT asks it; measuring sockets look at it  (`nat_measure`)
          --> the verdict, or SETTLE_TIME --> other peers, given or found --> the same by them
          --> everything is known, nothing goes on any more, or CHECK_TIME --> the report

A DatagramMachine made of a swarm, for finding peers and asking them, and of measuring sockets.  Its
identity is made for the check, so that a running node's connections are not disturbed.  Rule: until
it is settled whether strangers reach the main socket, one peer is contacted only.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple, TypeAlias

from p2pnode.clock import Deadline, Instant, UnixTime, earliest
from p2pnode.entropy import Entropy
from p2pnode.errors import P2PNodeError
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.transport_addr import transport_addr
from p2pnode.machine import ConnectionHandle, Received, SocketAddr, SocketId, Transmit, Unreachable
from p2pnode.netcheck.knocking import NatAsk
from p2pnode.netcheck.lifetime import LIFETIME_SOCKETS, Lifetime
from p2pnode.netcheck.measure import MEASURE_SOCKETS, Findings, Measurement, Witness
from p2pnode.netcheck.measuring_sockets import MeasuringSockets
from p2pnode.netcheck.report import (
    NetcheckReport,
    make_empty_report,
    make_report,
    make_silent_report,
)
from p2pnode.protocols import nat_behaviour
from p2pnode.protocols.autonat import Reachability
from p2pnode.protocols.nat_behaviour import (
    NONCE_SIZE,
    Dependence,
    KnockRequest,
    LocateRequest,
    NatStatus,
    PortAllocation,
    ReportRequest,
)
from p2pnode.protocols.nat_behaviour.judge import Judgement, without_nat
from p2pnode.protocols.nat_behaviour.udp_silence import SILENCE_TIME, Silence
from p2pnode.swarm import Swarm, SwarmConfig, events
from p2pnode.transports.makers import all_makers
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.wire.multiaddr import Multiaddr

CHECK_TIME: Final = 8.5
"""seconds until the report, whatever is missing; chosen: the command answers within ten, its start
included"""
SETTLE_TIME: Final = 3.0
"""seconds from the first connection until others are dialled; chosen: AutoNAT's for a verdict"""
NEXT_PEER_DELAY: Final = 0.7
"""seconds for a peer to answer before the next one is tried; chosen: two losses at 100 ms"""
DIAL_PATIENCE: Final = 1.5
"""seconds that a check which has everything else waits for a peer; chosen: two losses at 200 ms"""
QUIET_TIME: Final = 1.5
"""seconds in which nothing has happened, after SETTLE_TIME, that end the check; chosen"""
WANTED_WITNESSES: Final = 4
"""peers; three tell everything, and one may be silent"""
MAX_DIALS: Final = 12
"""peers dialled in all; chosen: some of those found are gone"""
NETCHECK_SOCKETS: Final = MEASURE_SOCKETS
"""measuring sockets of one IP version; and LIFETIME_SOCKETS more where the lifetime is wanted"""
LIFETIME_TIME: Final = 600.0
"""seconds until the report where the lifetime is wanted; chosen: two rounds of the longest wait"""

_POLL: Final = 0.25
"""seconds between two looks at what has no event; chosen"""


class Bootstrap(NamedTuple):
    """A peer to begin with."""

    peer_id: PeerId | None
    address: Multiaddr


class NetcheckDone(NamedTuple):
    """The end."""

    report: NetcheckReport


NetcheckEvent: TypeAlias = NetcheckDone | events.Fault


class Netcheck:
    """Give it its sockets and addresses, then `begin`."""

    def __init__(
        self,
        config: SwarmConfig,
        transport: TransportConfig,
        *,
        bootstrap: Sequence[Bootstrap],
        wants_lifetime: bool,
        secret: bytes,
        entropy: Entropy,
        rng: Random,
        now: Instant,
        unix_now: UnixTime,
        isolates_faults: bool = False,
    ) -> None:
        """With `isolates_faults` a bug that is met while one connection, stream or datagram is
        served costs that alone, and is an event `Fault`; else it is raised."""
        makers = all_makers(transport, secret=secret, entropy=entropy, rng=rng)
        # It is UDP that is checked: by one transport, for all over it share a NAT's mapping.
        makers = makers._replace(over_datagrams=makers.over_datagrams[:1], over_links=None)
        self.swarm = Swarm(
            PrivateKey.generate(entropy),
            config=config,
            makers=makers,
            entropy=entropy,
            rng=rng,
            now=now,
            unix_now=unix_now,
            isolates_faults=isolates_faults,
        )
        self._measuring_sockets = MeasuringSockets(
            transport,
            secret=secret,
            entropy=entropy,
            rng=rng,
            now=now,
            unix_now=unix_now,
            isolates_faults=isolates_faults,
        )
        self._nonce: Callable[[], bytes] = lambda: entropy(NONCE_SIZE)
        self._bootstrap = deque(bootstrap)
        self._wants_lifetime = wants_lifetime
        self._measuring_addresses: dict[SocketId, SocketAddr] = {}
        self._interfaces: tuple[str, ...] = ()
        self._measurement: Measurement | None = None
        self._lifetime: Lifetime | None = None
        self._is_ipv6 = False
        """The IP version that is checked: the first peer's."""
        self._witnesses: dict[PeerId, Witness] = {}
        self._sees_us_at: dict[PeerId, SocketAddr] = {}
        self._asked: set[PeerId] = set()
        self._dialled: dict[PeerId | Multiaddr, None] = {}
        self._dials_open: dict[int, Instant] = {}
        """dial -> when it began"""
        self._has_heard = False
        self._began_at = now
        self._next_dial_at = now
        self._first_at: Instant | None = None
        self._changed_at = now
        self._poll_at: Instant | None = None
        self._report: NetcheckReport | None = None
        self._events: list[NetcheckEvent] = []

    # the driver's side

    def add_main_socket(self, socket: SocketId, local: SocketAddr, now: Instant) -> None:
        """Tells of a socket for the node that asks peers; one an IP version."""
        self.swarm.add_socket(socket, local, now)

    def add_probe_socket(self, socket: SocketId, local: SocketAddr) -> None:
        """Tells of a socket for dial-backs, with which this node helps others meanwhile."""
        self.swarm.add_probe_socket(socket, local)

    def add_measuring_socket(self, socket: SocketId, local: SocketAddr) -> None:
        """Tells of a socket to measure with; `measuring_sockets_wanted` of them an IP version."""
        self._measuring_addresses[socket] = local

    @property
    def measuring_sockets_wanted(self) -> int:
        return NETCHECK_SOCKETS + (LIFETIME_SOCKETS if self._wants_lifetime else 0)

    def handle_interfaces_changed(self, addresses: tuple[str, ...], now: Instant) -> None:
        """Tells the machine's addresses."""
        self._interfaces = addresses
        self.swarm.handle_interfaces_changed(addresses, now)

    def begin(self, now: Instant) -> None:
        """Starts the check; its end is the event NetcheckDone."""
        self._began_at = self._next_dial_at = self._changed_at = self._poll_at = now
        self._advance(now)

    def close(self, now: Instant) -> None:
        """Tells the peers that it is over."""
        self.swarm.close(now)
        self._measuring_sockets.close_all(now)

    # the machine

    def handle_received(self, batch: Sequence[Received], now: Instant) -> None:
        self._has_heard = self._has_heard or bool(batch)
        measuring = [r for r in batch if r.socket in self._measuring_addresses]
        if measuring:
            self._measuring_sockets.handle_received(measuring, now)
        main = [r for r in batch if r.socket not in self._measuring_addresses]
        if main:
            self.swarm.handle_received(main, now)
        self._advance(now)

    def handle_unreachable(self, reports: Sequence[Unreachable], now: Instant) -> None:
        self.swarm.handle_unreachable(reports, now)
        self._measuring_sockets.handle_unreachable(reports, now)
        self._advance(now)

    def handle_timeout(self, now: Instant) -> None:
        self.swarm.handle_timeout(now)
        self._measuring_sockets.handle_timeout(now)
        self._advance(now)

    def poll_transmits(self, now: Instant) -> list[Transmit]:
        return self._measuring_sockets.poll_transmits(now) + self.swarm.poll_transmits(now)

    def poll_events(self) -> list[NetcheckEvent]:
        found, self._events = self._events, []
        return found

    def poll_timeout(self) -> Deadline | None:
        is_running = self._poll_at is not None and self._report is None
        return earliest(
            self.swarm.poll_timeout(),
            self._measuring_sockets.poll_timeout(),
            Deadline(self._poll_at, "a netcheck goes on") if is_running and self._poll_at else None,
            self._measurement.poll_timeout() if is_running and self._measurement else None,
            self._lifetime.poll_timeout() if is_running and self._lifetime else None,
        )

    # steps

    def _advance(self, now: Instant) -> None:
        if self._report is not None or self._poll_at is None:
            self.swarm.poll_events()
            return
        for event in self.swarm.poll_events():
            self._on_event(event, now)
        self._events += map(events.Fault, self._measuring_sockets.poll_faults())
        self._find_witnesses(now)
        self._take_from_measuring_sockets(now)
        self._dial_more(now)
        if self._measurement is not None:
            self._ask(self._measurement.advance(now), now)
        self._measure_lifetime(now)
        if now >= self._poll_at:
            self._poll_at = now + _POLL
        self._end_if_over(now)

    def _on_event(self, event: events.SwarmEvent, now: Instant) -> None:
        match event:
            case events.Fault():
                self._events.append(event)
                return
            case events.DialSucceeded(dial_id) | events.DialFailed(dial_id):
                self._dials_open.pop(dial_id, None)
                self._next_dial_at = now
            case events.AddressObserved(peer_id, address):
                self._sees_us_at[peer_id] = address
                if peer_id in self._witnesses:
                    self._witnesses[peer_id].sees_us_at = address
            case events.NatAnswered():
                self._on_answered(event, now)
            case _:
                return
        self._changed_at = now

    def _find_witnesses(self, now: Instant) -> None:
        """Takes peers with a direct connection of the checked IP version, and asks who they are."""
        for peer_id in self.swarm.facts.peers():
            connection = self.swarm.facts.direct(peer_id)
            peer = None if connection is None else self.swarm.facts.peer(connection)
            if peer is None or connection is None:
                continue
            if peer_id not in self._witnesses:
                self._add_witness(peer_id, connection, peer.route.remote, now)
            info = self.swarm.facts.info(peer_id)
            speaks = info is not None and nat_behaviour.PROTOCOL_ID in info.protocols
            if speaks and peer_id in self._witnesses and peer_id not in self._asked:
                self._asked.add(peer_id)
                self.swarm.ask_nat(connection, ReportRequest(), now)

    def _add_witness(
        self, peer_id: PeerId, connection: ConnectionHandle, remote: SocketAddr, now: Instant
    ) -> None:
        if self._first_at is None:
            self._first_at = now
            self._is_ipv6 = remote.is_ipv6
            sockets = [
                (s, a) for s, a in self._measuring_addresses.items() if a.is_ipv6 == self._is_ipv6
            ]
            if len(sockets) >= MEASURE_SOCKETS:
                self._measurement = Measurement(
                    self._measuring_sockets,
                    sockets[:MEASURE_SOCKETS],
                    self._interfaces,
                    self._nonce,
                )
        if remote.is_ipv6 != self._is_ipv6:
            return
        seen = self._sees_us_at.get(peer_id)
        witness = Witness(peer_id, connection, remote, None, seen)
        self._witnesses[peer_id] = witness
        self._changed_at = now
        if self._measurement is not None:
            self._measurement.add_witness(witness, now)

    def _on_answered(self, answered: events.NatAnswered, now: Instant) -> None:
        match answered.request:
            case KnockRequest(_, nonce) | LocateRequest(nonce):
                askings = [] if self._measurement is None else self._measurement.askings
                if self._lifetime is not None:
                    askings = [*askings, *self._lifetime.askings]
                for asking in askings:
                    asking.on_answer(nonce, answered.answer, answered.reason, now)
            case ReportRequest():
                if answered.answer is None or answered.answer.status is not NatStatus.OK:
                    return
                port = answered.answer.facts.alternate_port(ipv6=self._is_ipv6)
                for witness in self._witnesses.values():
                    if witness.connection == answered.connection and port is not None:
                        witness.alternate = witness.remote._replace(port=port)

    def _take_from_measuring_sockets(self, now: Instant) -> None:
        for looked in self._measuring_sockets.poll_looked():
            self._changed_at = now
            if self._measurement is not None:
                self._measurement.on_looked(looked, now)
        for knock in self._measuring_sockets.poll_knocks():
            if self._measurement is not None:
                self._measurement.on_knock(knock)
            if self._lifetime is not None:
                self._lifetime.on_knock(knock.socket, knock.payload, now)

    def _ask(self, asks: Sequence[NatAsk], now: Instant) -> None:
        for ask in asks:
            self.swarm.ask_nat(ask.connection, ask.request, now)

    # peers

    def _dial_more(self, now: Instant) -> None:
        if self._first_at is None:
            if self._bootstrap and now >= self._next_dial_at:
                self._dial(self._bootstrap.popleft(), now)
                self._next_dial_at = now + NEXT_PEER_DELAY
            return
        if not self._is_settled(now):
            return
        while self._bootstrap and self._may_dial:
            self._dial(self._bootstrap.popleft(), now)
        for peer_id in self.swarm.facts.known_peers():
            if not self._may_dial:
                return
            if peer_id not in self._witnesses and peer_id not in self._dialled:
                addresses = self.swarm.facts.known_addresses(peer_id, now)
                if any(self._is_usable(address) for address in addresses):
                    self._start_dial(peer_id, peer_id, (), now)

    @property
    def _may_dial(self) -> bool:
        wanted = WANTED_WITNESSES - len(self._witnesses) - len(self._dials_open)
        return wanted > 0 and len(self._dialled) < MAX_DIALS

    def _is_usable(self, address: Multiaddr) -> bool:
        """True for a direct address of the checked IP version."""
        parts = transport_addr(address)
        is_version = parts is not None and parts.kind == ("ip6" if self._is_ipv6 else "ip4")
        return is_version and self.swarm.facts.is_dialable(address)

    def _is_settled(self, now: Instant) -> bool:
        """True once contacting others spoils no verdict."""
        if self._first_at is None:
            return False
        known = self.swarm.facts.reachability(now) is not Reachability.UNKNOWN
        return known or now >= self._first_at + SETTLE_TIME

    def _dial(self, target: Bootstrap, now: Instant) -> None:
        if target.peer_id is None or target.peer_id not in self._witnesses:
            key = target.address if target.peer_id is None else target.peer_id
            self._start_dial(key, target.peer_id, (target.address,), now)

    def _start_dial(
        self,
        key: PeerId | Multiaddr,
        peer_id: PeerId | None,
        addresses: tuple[Multiaddr, ...],
        now: Instant,
    ) -> None:
        self._dialled[key] = None
        try:
            self._dials_open[self.swarm.dial(peer_id, addresses, now)] = now
        except P2PNodeError:
            return  # an address that this machine cannot dial: as if nobody were there

    # the lifetime of mappings

    def _measure_lifetime(self, now: Instant) -> None:
        if not self._wants_lifetime:
            return
        if self._lifetime is None:
            sockets = [
                s for s, a in self._measuring_addresses.items() if a.is_ipv6 == self._is_ipv6
            ]
            for witness in self._witnesses.values():
                if witness.alternate is not None and witness.sees_us_at is not None:
                    self._lifetime = Lifetime(
                        sockets[MEASURE_SOCKETS:],
                        witness.alternate,
                        witness.connection,
                        self._nonce,
                        self._measuring_sockets,
                        now,
                    )
                    break
        if self._lifetime is not None:
            self._lifetime.handle_timeout(now)
            self._ask(self._lifetime.poll_asks(now), now)

    # the end

    def _end_if_over(self, now: Instant) -> None:
        if self._is_over(now):
            self._report = self._make_report(now)
            self._events.append(NetcheckDone(self._report))

    def _is_over(self, now: Instant) -> bool:
        elapsed = now - self._began_at
        if self._first_at is None:
            is_silent = not self._has_heard and elapsed >= SILENCE_TIME
            in_vain = not self._bootstrap and not self._dials_open
            return is_silent or in_vain or elapsed >= CHECK_TIME
        if self._lifetime is not None and not self._lifetime.is_over:
            return elapsed >= LIFETIME_TIME
        if elapsed >= CHECK_TIME:
            return True
        measurement = self._measurement
        is_dialling = any(now < at + DIAL_PATIENCE for at in self._dials_open.values())
        if is_dialling or (measurement is not None and measurement.is_busy):
            return False
        is_quiet = now >= max(self._changed_at, self._first_at + SETTLE_TIME) + QUIET_TIME
        return is_quiet or self._is_complete(now)

    def _is_complete(self, now: Instant) -> bool:
        if self._measurement is None:
            return False
        found = self._measurement.findings()
        return (
            found.mapping.kind not in (Dependence.UNKNOWN, Dependence.ENDPOINT_DEPENDENT)
            and found.filtering.kind is not Dependence.UNKNOWN
            and found.allocation.kind is not PortAllocation.UNKNOWN
            and (found.hairpin.kind is not None or found.mapping.kind is Dependence.NONE)
            and self.swarm.facts.reachability(now) is not Reachability.UNKNOWN
        )

    def _make_report(self, now: Instant) -> NetcheckReport:
        if self._first_at is None or self._measurement is None:
            return self._empty_report()
        found = self._measurement.findings()
        return make_report(
            found._replace(filtering=self._filtering(found, now)),
            reachability=self._reachability(now),
            lifetime=self._binding_lifetime(),
            external=self._external(),
        )

    def _empty_report(self) -> NetcheckReport:
        if self._first_at is not None:
            why = "this machine has too few sockets to measure with"
        elif self._has_heard:
            why = "something answers over UDP, but no peer could be connected with"
        else:
            return make_silent_report(Silence(len(self._dialled)))
        return make_empty_report(why, has_heard=self._has_heard)

    def _filtering(self, found: Findings, now: Instant) -> Judgement[Dependence]:
        """Returns what knocks have shown, else what AutoNAT's probes of the main socket have."""
        if found.filtering.kind is not Dependence.UNKNOWN:
            return found.filtering
        behaviour = self.swarm.facts.nat_behaviour(now, ipv6=self._is_ipv6)
        if behaviour.filtering.kind is Dependence.UNKNOWN:
            return found.filtering
        return without_nat(behaviour.filtering, found.mapping.kind)

    def _reachability(self, now: Instant) -> Judgement[Reachability]:
        reachability = self.swarm.facts.reachability(now)
        for _, verdict in self.swarm.facts.verdicts(now):
            if verdict.reachability is reachability:
                return Judgement(reachability, verdict.why)
        why = "no peer has tried yet whether strangers get through"
        return Judgement(reachability, why)

    def _binding_lifetime(self) -> Judgement[float | None]:
        lifetime = self._lifetime
        if not self._wants_lifetime:
            return Judgement(None, "it takes minutes: ask for it with --lifetime")
        if lifetime is None:
            return Judgement(None, "no peer has told of a second port, which it takes")
        if lifetime.result is None:
            return Judgement(None, lifetime.reason or "it was not done in time")
        return Judgement(lifetime.result, "the longest silence that a mapping outlived")

    def _external(self) -> list[Multiaddr]:
        """Returns where witnesses see the main socket, the most often seen first."""
        seen = Counter(w.sees_us_at for w in self._witnesses.values() if w.sees_us_at is not None)
        multiaddrs = self.swarm.facts.multiaddrs
        return [address for at, _ in seen.most_common() for address in multiaddrs(at)]
