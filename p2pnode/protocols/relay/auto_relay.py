"""Which relays we keep a reservation with (specs/relay.md, Auto-relay).

    facts in     reachability, candidates, answers, losses, signs of life
    commands out Reserve, Release, ProbeRelay, FindCandidates, Advertise

The states of a relay are the table below: what is not in it does not happen.

Rules: two relays in different networks where there are such, both reserved all the time, so that
the standby needs no round trip when the first dies; near ones are likelier, never certain, or all
nodes of a region would crowd one relay; a relay that failed rests, longer each time.
"""

import enum
from dataclasses import dataclass
from ipaddress import ip_network
from math import log
from random import Random
from typing import Final, TypeAlias

from p2pnode.clock import Deadline, Instant
from p2pnode.identity.peer_id import PeerId
from p2pnode.wire.ip_ranges import parse_ip

WANTED_RELAYS: Final = 2
"""go-libp2p's; the second is the standby"""
MAX_CANDIDATES: Final = 20
"""go-libp2p"""
CANDIDATE_LIFETIME: Final = 1800.0
"""seconds; go-libp2p"""
FIND_INTERVAL: Final = 30.0
"""seconds between calls for more candidates; go-libp2p"""
RESERVE_DEADLINE: Final = 10.0
"""seconds for dial and reservation together; go-libp2p gives the reservation as much"""
REFRESH_PART: Final = 0.75
"""part of a reservation's lifetime after which it is refreshed; go-libp2p: 2 minutes before"""
UNCERTAIN_REFRESH_PART: Final = 0.5
"""the same where the lifetime is an assumption, because the relay's clock is not ours; chosen"""
REFRESH_JITTER: Final = 0.1
"""part of the lifetime that the refresh may come earlier: relays do not get all at once"""
REFRESH_RETRY: Final = 30.0
"""seconds; chosen: several tries fit into the last quarter of an hour's reservation"""
FIRST_REST: Final = 15.0
"""seconds that a relay rests after its first failure, doubled each time"""
MAX_REST: Final = 3600.0
"""seconds; go-libp2p's backoff"""
SILENCE: Final = 10.0
"""seconds without a sign of life after which a relay is probed"""
PROBE_INTERVAL: Final = 1.5
"""seconds between probes"""
MAX_PROBES: Final = 3
"""unanswered ones: a dead relay is found out in 14.5 s, before half of an idle timeout"""
UNKNOWN_RTT: Final = 0.2
"""seconds that a relay counts with whose RTT nobody has measured; chosen"""
RTT_FLOOR: Final = 0.01
"""seconds added to each RTT: below that, nearer is no better"""
IPV4_NETWORK: Final = 16
"""bits of an IPv4 address that relays share which fail together; chosen"""
IPV6_NETWORK: Final = 32
"""the same for IPv6: what providers have"""


class SlotState(enum.Enum):
    """What a relay is to us."""

    CANDIDATE = "candidate"
    RESERVING = "reserving"
    RESERVED = "reserved"
    REFRESHING = "refreshing"
    RESTING = "resting"


class SlotStep(enum.Enum):
    RESERVE = "reserve"
    REFRESH = "refresh"
    GRANTED = "granted"
    RETRY = "retry"
    FAILED = "failed"
    LOST = "lost"
    RELEASE = "release"
    RESTED = "rested"


TRANSITIONS: dict[tuple[SlotState, SlotStep], SlotState] = {
    (SlotState.CANDIDATE, SlotStep.RESERVE): SlotState.RESERVING,
    (SlotState.RESERVING, SlotStep.GRANTED): SlotState.RESERVED,
    (SlotState.RESERVING, SlotStep.FAILED): SlotState.RESTING,
    (SlotState.RESERVING, SlotStep.LOST): SlotState.RESTING,
    (SlotState.RESERVING, SlotStep.RELEASE): SlotState.CANDIDATE,
    (SlotState.RESERVED, SlotStep.REFRESH): SlotState.REFRESHING,
    (SlotState.RESERVED, SlotStep.LOST): SlotState.RESTING,
    (SlotState.RESERVED, SlotStep.RELEASE): SlotState.CANDIDATE,
    (SlotState.REFRESHING, SlotStep.GRANTED): SlotState.RESERVED,
    (SlotState.REFRESHING, SlotStep.RETRY): SlotState.RESERVED,
    (SlotState.REFRESHING, SlotStep.FAILED): SlotState.RESTING,
    (SlotState.REFRESHING, SlotStep.LOST): SlotState.RESTING,
    (SlotState.REFRESHING, SlotStep.RELEASE): SlotState.CANDIDATE,
    (SlotState.RESTING, SlotStep.RESTED): SlotState.CANDIDATE,
}
IN_USE: Final = (SlotState.RESERVED, SlotState.REFRESHING)


@dataclass(frozen=True, slots=True)
class Reserve:
    """Ask this relay for a reservation, or refresh it; `handle_granted` or `_failed` follows."""

    relay: PeerId


@dataclass(frozen=True, slots=True)
class Release:
    """This relay is not needed any more: let its reservation go."""

    relay: PeerId


@dataclass(frozen=True, slots=True)
class ProbeRelay:
    """Ask this relay for a sign of life; answer with `handle_alive`."""

    relay: PeerId


@dataclass(frozen=True, slots=True)
class FindCandidates:
    """There are too few relays to choose from: look for peers that may be some."""


@dataclass(frozen=True, slots=True)
class Advertise:
    """The relays to be reached through have changed; the first one is the best."""

    relays: tuple[PeerId, ...]


Command: TypeAlias = Reserve | Release | ProbeRelay | FindCandidates | Advertise


@dataclass(slots=True)
class _Slot:
    relay: PeerId
    network: str
    rtt: float | None
    seen_at: Instant
    state: SlotState = SlotState.CANDIDATE
    until: Instant = 0.0
    """When the state is over: the deadline of an answer, the refresh, the end of the rest."""
    expires_at: Instant = 0.0
    alive_at: Instant = 0.0
    probes: int = 0
    failures: int = 0
    has_refused: bool = False
    """The last failure was the relay's own word."""

    @property
    def next_probe(self) -> Instant:
        return self.alive_at + SILENCE + self.probes * PROBE_INTERVAL


class AutoRelay:
    """The policy.  After each fact, take the commands."""

    def __init__(self, rng: Random, wanted: int = WANTED_RELAYS) -> None:
        self._rng = rng
        self._wanted = wanted
        self._needs_relay = False
        self._slots: dict[PeerId, _Slot] = {}
        self._advertised: tuple[PeerId, ...] = ()
        self._find_at: Instant | None = None
        self._commands: list[Command] = []

    @property
    def relays(self) -> tuple[PeerId, ...]:
        """The relays that we can be reached through, the best one first."""
        return self._advertised

    def set_needs_relay(self, needs_relay: bool, now: Instant) -> None:
        """True while strangers cannot reach us, or nobody knows whether they can."""
        self._needs_relay = needs_relay
        if not needs_relay:
            for slot in self._slots.values():
                if (slot.state, SlotStep.RELEASE) in TRANSITIONS:
                    self._release(slot)
        self._settle(now)

    def add_candidate(self, relay: PeerId, network: str, rtt: float | None, now: Instant) -> None:
        """A peer speaks the hop protocol, is directly connected or known, and may be asked.

        `network` is equal for relays that are likely to fail together (`ip_ranges.owner_group`,
        or a wider one).  `rtt` is in seconds.
        """
        slot = self._slots.get(relay)
        if slot is None:
            if len(self._slots) >= MAX_CANDIDATES and not self._make_room():
                return
            slot = self._slots[relay] = _Slot(relay, network, rtt, now)
        slot.network, slot.seen_at = network, now
        slot.rtt = rtt if rtt is not None else slot.rtt
        self._settle(now)

    def handle_granted(
        self, relay: PeerId, lifetime: float, now: Instant, *, is_certain: bool = True
    ) -> None:
        """The relay granted what Reserve asked for, for so many seconds, as far as is known."""
        slot = self._slots.get(relay)
        if slot is None or (slot.state, SlotStep.GRANTED) not in TRANSITIONS:
            if slot is None or slot.state not in IN_USE:
                self._commands.append(Release(relay))  # it came too late
            return
        self._step(slot, SlotStep.GRANTED)
        latest = REFRESH_PART if is_certain else UNCERTAIN_REFRESH_PART
        part = latest - REFRESH_JITTER * self._rng.random()
        slot.until = now + part * lifetime
        slot.expires_at = now + lifetime
        slot.alive_at, slot.probes, slot.failures = now, 0, 0
        self._settle(now)

    def handle_connected(self, relay: PeerId, now: Instant) -> None:
        """There is a new connection with the relay: it rests no longer, unless it has refused."""
        slot = self._slots.get(relay)
        if slot is not None and slot.state is SlotState.RESTING and not slot.has_refused:
            self._step(slot, SlotStep.RESTED)
            slot.failures = 0
            slot.seen_at = now
            self._settle(now)

    def handle_failed(self, relay: PeerId, now: Instant, *, has_refused: bool = False) -> None:
        """The relay refused, did not answer, or could not be dialled."""
        slot = self._slots.get(relay)
        if slot is None:
            return
        slot.has_refused = has_refused
        retry_at = now + REFRESH_RETRY
        if slot.state is SlotState.REFRESHING and retry_at < slot.expires_at:
            self._step(slot, SlotStep.RETRY)
            slot.until = retry_at
        elif (slot.state, SlotStep.FAILED) in TRANSITIONS:
            self._rest(slot, SlotStep.FAILED, now)
        self._settle(now)

    def handle_lost(self, relay: PeerId, now: Instant) -> None:
        """The connection to the relay is gone, or it announced that it will be."""
        slot = self._slots.get(relay)
        if slot is not None and (slot.state, SlotStep.LOST) in TRANSITIONS:
            self._rest(slot, SlotStep.LOST, now)
        self._settle(now)

    def handle_alive(self, relay: PeerId, now: Instant) -> None:
        """Something authentic came from the relay."""
        slot = self._slots.get(relay)
        if slot is not None:
            slot.alive_at, slot.probes = now, 0

    def handle_timeout(self, now: Instant) -> None:
        """Refreshes, probes and gives up what is due."""
        for slot in list(self._slots.values()):
            self._tick(slot, now)
        self._settle(now)

    def poll_commands(self) -> list[Command]:
        """Returns what to do, in order."""
        commands, self._commands = self._commands, []
        return commands

    def poll_timeout(self) -> Deadline | None:
        """Returns when something is due."""
        due = [Deadline(slot.until, slot.state.value) for slot in self._timed()]
        due += [Deadline(s.next_probe, "probe") for s in self._slots.values() if s.state in IN_USE]
        if self._find_at is not None and self._is_short():
            due.append(Deadline(self._find_at, "find candidates"))
        return min(due, default=None)

    def _timed(self) -> list[_Slot]:
        return [s for s in self._slots.values() if s.state is not SlotState.CANDIDATE]

    def _tick(self, slot: _Slot, now: Instant) -> None:
        if slot.state in IN_USE and now >= slot.next_probe:
            if slot.probes >= MAX_PROBES:
                self._rest(slot, SlotStep.LOST, now)
                return
            slot.probes += 1
            self._commands.append(ProbeRelay(slot.relay))
        if slot.state is SlotState.CANDIDATE or now < slot.until:
            return
        match slot.state:
            case SlotState.RESERVING:
                self._rest(slot, SlotStep.FAILED, now)
            case SlotState.RESERVED:
                self._step(slot, SlotStep.REFRESH)
                slot.until = min(now + RESERVE_DEADLINE, max(now, slot.expires_at))
                self._commands.append(Reserve(slot.relay))
            case SlotState.REFRESHING:
                self.handle_failed(slot.relay, now)
            case SlotState.RESTING:
                self._step(slot, SlotStep.RESTED)

    def _settle(self, now: Instant) -> None:
        """Asks for relays that are missing, lets superfluous ones go, tells what has changed."""
        self._forget_old(now)
        if self._needs_relay:
            self._release_superfluous()
            while (slot := self._choose()) is not None:
                self._step(slot, SlotStep.RESERVE)
                slot.until = now + RESERVE_DEADLINE
                self._commands.append(Reserve(slot.relay))
            if self._is_short() and (self._find_at is None or now >= self._find_at):
                self._find_at = now + FIND_INTERVAL
                self._commands.append(FindCandidates())
        used = sorted(self._in(*IN_USE), key=_distance)
        relays = tuple(slot.relay for slot in used)
        if relays != self._advertised:
            if sorted(relays) != sorted(self._advertised):
                self._commands.append(Advertise(relays))
            self._advertised = relays

    def _choose(self) -> _Slot | None:
        """Returns a candidate to ask now, or None where enough are asked or none is left."""
        busy = self._in(SlotState.RESERVING, *IN_USE)
        networks = [slot.network for slot in busy]
        candidates = self._in(SlotState.CANDIDATE)
        elsewhere = [slot for slot in candidates if slot.network not in networks]
        if len(busy) < self._wanted:
            return self._draw(elsewhere or candidates)
        # Enough, but of one network: one more elsewhere, and then the superfluous one goes.
        if len(busy) == self._wanted and len(set(networks)) < len(networks):
            return self._draw(elsewhere)
        return None

    def _draw(self, slots: list[_Slot]) -> _Slot | None:
        """Draws one, with a weight that falls with the square of its RTT."""
        return min(slots, key=self._lot, default=None)

    def _lot(self, slot: _Slot) -> float:
        # The smallest of exponential variables: each wins in proportion to its weight.
        return -log(1.0 - self._rng.random()) * _distance(slot) ** 2

    def _release_superfluous(self) -> None:
        used = self._in(*IN_USE)
        while len(used) > self._wanted:
            networks = [slot.network for slot in used]
            double = [slot for slot in used if networks.count(slot.network) > 1]
            worst = max(double or used, key=_distance)
            self._release(worst)
            used.remove(worst)

    def _release(self, slot: _Slot) -> None:
        self._step(slot, SlotStep.RELEASE)
        self._commands.append(Release(slot.relay))

    def _rest(self, slot: _Slot, step: SlotStep, now: Instant) -> None:
        self._step(slot, step)
        slot.until = now + min(FIRST_REST * 2**slot.failures, MAX_REST)
        slot.failures = min(slot.failures + 1, 16)

    def _step(self, slot: _Slot, step: SlotStep) -> None:
        slot.state = TRANSITIONS[slot.state, step]

    def _in(self, *states: SlotState) -> list[_Slot]:
        return [slot for slot in self._slots.values() if slot.state in states]

    def _is_short(self) -> bool:
        return self._needs_relay and len(self._in(SlotState.RESERVING, *IN_USE)) < self._wanted

    def _make_room(self) -> bool:
        """Drops the worst that is not in use, where there is one; returns whether."""
        idle = self._in(SlotState.RESTING) or self._in(SlotState.CANDIDATE)
        if not idle:
            return False
        del self._slots[max(idle, key=_distance).relay]
        return True

    def _forget_old(self, now: Instant) -> None:
        for slot in self._in(SlotState.CANDIDATE):
            if now >= slot.seen_at + CANDIDATE_LIFETIME:
                del self._slots[slot.relay]


def _distance(slot: _Slot) -> float:
    return RTT_FLOOR + (UNKNOWN_RTT if slot.rtt is None else slot.rtt)


def relay_network(ip: str) -> str:
    """Returns what `add_candidate` calls a network: an IPv4 /16 or an IPv6 /32.

    So wide, because one data centre or provider fails at once.
    """
    bits = IPV6_NETWORK if ":" in ip else IPV4_NETWORK
    return str(ip_network((parse_ip(ip), bits), strict=False))
