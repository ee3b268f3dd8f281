"""All addresses that this node might have: which to probe when, which to advertise.

Rules: an address is advertised while its verdict is PUBLIC and no longer; a settled verdict is
probed again at leisure, an unsettled one soon and ever more rarely; one address is probed at most
MAX_PROBES_PER_ADDRESS times in PROBE_WINDOW, whatever happens.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from p2pnode.clock import Deadline, Instant
from p2pnode.protocols.autonat.outcomes import Doubt
from p2pnode.protocols.autonat.reachability import (
    AddressEvidence,
    Evidence,
    Reachability,
    Verdict,
)
from p2pnode.wire.multiaddr import Code, Multiaddr, components

MAX_TRACKED = 50  # addresses; go-libp2p
MAX_DUE = 10  # addresses at once; go-libp2p's addresses a probe
PROBE_TIMEOUT = 30.0  # seconds that a probe may take before it is due again; go-libp2p
FIRST_BACKOFF = 5.0  # seconds; go-libp2p
MAX_BACKOFF = 5 * 60.0  # seconds; go-libp2p
SETTLED_CONFIDENCE = 2  # go-libp2p's least confidence
REPROBE_WEAK = 60.0  # seconds while one witness only stands behind a verdict; chosen
REPROBE_SETTLED = 15 * 60.0  # seconds; AutoNAT v1's refresh (v2: an hour), a probe is 33 bytes
MAX_PROBES_PER_ADDRESS = 10  # go-libp2p
PROBE_WINDOW = 10 * 60.0  # seconds; go-libp2p
MAX_REFUSALS = 5  # in a row, then REFUSED_PAUSE; go-libp2p
REFUSED_PAUSE = 10 * 60.0  # seconds; go-libp2p


@dataclass(slots=True)
class _Tracked:
    evidence: AddressEvidence
    due_at: Instant
    backoff: float = FIRST_BACKOFF
    refusals: int = 0
    probes: deque[Instant] = field(default_factory=deque[Instant])
    is_history: bool = False
    """All its evidence is of an earlier run: the first fresh piece replaces it."""


class AddressTracker:
    """The fold over all candidates.  Pure: `now` is an argument everywhere."""

    def __init__(self) -> None:
        self._addresses: dict[Multiaddr, _Tracked] = {}
        self._history: dict[Multiaddr, list[Evidence]] = {}

    def remember(self, address: Multiaddr, piece: Evidence) -> None:
        """Takes evidence of an earlier run in this network, oldest first.

        It counts from when the address is a candidate again until there is fresh evidence.
        """
        if address in self._history or len(self._history) < MAX_TRACKED:
            self._history.setdefault(address, []).append(piece)

    def track(self, candidates: Iterable[Multiaddr], now: Instant) -> None:
        """Names all candidates, best first; others are forgotten, with their evidence."""
        wanted = list(dict.fromkeys(candidates))[:MAX_TRACKED]
        self._addresses = {
            address: self._addresses.get(address) or self._new(address, now) for address in wanted
        }

    def due(self, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns what to probe now, best first; `on_probe_started` takes it off the list."""
        due = [address for address, tracked in self._addresses.items() if now >= tracked.due_at]
        return tuple(due[:MAX_DUE])

    def on_probe_started(self, address: Multiaddr, now: Instant) -> None:
        """A probe of the address is under way."""
        tracked = self._addresses.get(address)
        if tracked is None:
            return
        tracked.probes.append(now)
        if len(tracked.probes) > MAX_PROBES_PER_ADDRESS:
            tracked.probes.popleft()
        self._schedule(tracked, now + PROBE_TIMEOUT)

    def may_probe(self, address: Multiaddr, now: Instant) -> bool:
        """True for a candidate that was not probed too often of late."""
        tracked = self._addresses.get(address)
        if tracked is None:
            return False
        is_full = len(tracked.probes) == MAX_PROBES_PER_ADDRESS
        return not is_full or now >= tracked.probes[0] + PROBE_WINDOW

    def hurry(self, now: Instant) -> None:
        """There is somebody new to ask: what is unknown is due at once."""
        for tracked in self._addresses.values():
            if tracked.evidence.verdict(now).reachability is Reachability.UNKNOWN:
                tracked.backoff = FIRST_BACKOFF
                self._schedule(tracked, now)

    def on_probe_void(self, address: Multiaddr) -> None:
        """The last probe that was started came to no packet: it does not count."""
        tracked = self._addresses.get(address)
        if tracked is not None and tracked.probes:
            tracked.probes.pop()

    def postpone(self, address: Multiaddr, now: Instant) -> None:
        """The owner cannot probe it now, for reasons of its own."""
        tracked = self._addresses.get(address)
        if tracked is not None:
            self._schedule(tracked, now + FIRST_BACKOFF)

    def on_evidence(
        self,
        address: Multiaddr,
        pieces: Iterable[Evidence],
        now: Instant,
        *,
        is_last: bool = True,
    ) -> None:
        """A probe has proved something.

        Where more may follow soon (`is_last` is False), an address that stays unknown waits for
        it; the owner then says the end by `on_inconclusive`.
        """
        tracked = self._addresses.get(address)
        if tracked is None:
            return
        if tracked.is_history:
            tracked.is_history = False
            tracked.evidence.clear()
        for piece in pieces:
            tracked.evidence.add(piece)
        tracked.refusals = 0
        verdict = tracked.evidence.verdict(now)
        if verdict.reachability is Reachability.UNKNOWN:
            if is_last:
                self._back_off(tracked, now)
            return
        tracked.backoff = FIRST_BACKOFF
        is_settled = verdict.confidence >= SETTLED_CONFIDENCE
        self._schedule(tracked, now + (REPROBE_SETTLED if is_settled else REPROBE_WEAK))

    def on_inconclusive(self, address: Multiaddr, doubt: Doubt, now: Instant) -> None:
        """A probe has proved nothing."""
        tracked = self._addresses.get(address)
        if tracked is None:
            return
        tracked.refusals = tracked.refusals + 1 if doubt is Doubt.REFUSED else 0
        if tracked.refusals >= MAX_REFUSALS:
            tracked.refusals = 0
            self._schedule(tracked, now + REFUSED_PAUSE)
        else:
            self._back_off(tracked, now)

    def on_network_changed(self, now: Instant) -> None:
        """Interfaces or the NAT have changed: what was proved is proved no longer."""
        self._history.clear()
        for tracked in self._addresses.values():
            tracked.evidence.clear()
            tracked.backoff = FIRST_BACKOFF
            self._schedule(tracked, now)

    def verdict(self, address: Multiaddr, now: Instant) -> Verdict | None:
        """Returns what is believed of the address, or None where it is no candidate."""
        tracked = self._addresses.get(address)
        return None if tracked is None else tracked.evidence.verdict(now)

    def verdicts(self, now: Instant) -> tuple[tuple[Multiaddr, Verdict], ...]:
        """Returns the verdict on every candidate, best candidates first."""
        return tuple((a, t.evidence.verdict(now)) for a, t in self._addresses.items())

    def confirmed(self, now: Instant) -> tuple[Multiaddr, ...]:
        """Returns what may be advertised."""
        verdicts = self.verdicts(now)
        return tuple(a for a, v in verdicts if v.reachability is Reachability.PUBLIC)

    def overall(self, now: Instant) -> Reachability:
        """Returns what to say of the node.

        Public by any address.  Private where each IP version that it has candidates of has one
        that was found private: a NAT that shows every peer another address makes candidates
        faster than they can be probed, and filters them all alike.
        """
        families: dict[bool, Reachability] = {}
        for address, verdict in self.verdicts(now):
            if verdict.reachability is Reachability.PUBLIC:
                return Reachability.PUBLIC
            family = _is_ipv6(address)
            if families.get(family) is not Reachability.PRIVATE:
                families[family] = verdict.reachability
        if families and all(found is Reachability.PRIVATE for found in families.values()):
            return Reachability.PRIVATE
        return Reachability.UNKNOWN

    def poll_timeout(self, now: Instant) -> Deadline | None:
        """Returns when `due` or a verdict changes next, without anything new coming in."""
        moments = [(tracked.due_at, "AutoNAT probe") for tracked in self._addresses.values()]
        moments += [
            (verdict.expires_at, "AutoNAT verdict expires")
            for _, verdict in self.verdicts(now)
            if verdict.expires_at is not None
        ]
        return Deadline(*min(moments)) if moments else None

    def _new(self, address: Multiaddr, now: Instant) -> _Tracked:
        evidence = AddressEvidence(acquaintances_suffice=False)
        history = self._history.pop(address, [])
        for piece in history:
            evidence.add(piece)
        return _Tracked(evidence, now, is_history=bool(history))

    def _back_off(self, tracked: _Tracked, now: Instant) -> None:
        self._schedule(tracked, now + tracked.backoff)
        tracked.backoff = min(MAX_BACKOFF, 2 * tracked.backoff)

    def _schedule(self, tracked: _Tracked, at: Instant) -> None:
        if len(tracked.probes) == MAX_PROBES_PER_ADDRESS:
            at = max(at, tracked.probes[0] + PROBE_WINDOW)
        tracked.due_at = at


def _is_ipv6(address: Multiaddr) -> bool:
    return components(address)[0].code == Code.IP6
