"""The decisions of a NAT box in the terms of RFC 4787: mapping x filtering x lifetime.  Pure.

Packets are questions here: `outbound` answers with the source address that the remote will see,
`inbound` with the inside endpoint that gets the packet, both with a `Drop` where the box drops it.
The part that sits in the network and asks them is `nat_box`.
"""

from collections.abc import Hashable
from random import Random
from typing import TypeAlias

from p2pnode.clock import Instant
from p2pnode.machine import SocketAddr
from p2pnode.netsim.nat_behaviour import (
    Collision,
    FilterScope,
    NatBehaviour,
    Pooling,
    Refresh,
)
from p2pnode.netsim.port_pool import PortPool
from p2pnode.netsim.trace import Drop

MAX_FILTER_ENTRIES = 65_536
"""Remotes that one filter remembers.  Source: as many as a usual nf_conntrack_max has flows."""

Key: TypeAlias = tuple[SocketAddr, Hashable]
"""An inside endpoint, and what of the remote the mapping depends on."""


class Mapping:
    """An inside endpoint's external address, towards the remotes of its key."""

    __slots__ = ("allowed", "expires_at", "external", "internal", "is_replied", "key")

    def __init__(self, key: Key, external: SocketAddr, allowed: dict[Hashable, Instant]) -> None:
        self.key = key
        self.internal = key[0]
        self.external = external
        self.allowed = allowed
        """Until when whom the filter lets in; the endpoint's mappings may share it."""
        self.expires_at: Instant = 0.0
        self.is_replied = False


class NatTable:
    """The mappings and filters of one box."""

    def __init__(self, public_ips: tuple[str, ...], behaviour: NatBehaviour, rng: Random) -> None:
        self._behaviour = behaviour
        self._rng = rng
        self._public_ips = public_ips
        self._pools = {ip: PortPool(behaviour, rng) for ip in public_ips}
        self._by_key: dict[Key, Mapping] = {}
        self._by_external: dict[SocketAddr, list[Mapping]] = {}
        self._filters: dict[SocketAddr, dict[Hashable, Instant]] = {}
        self._paired: dict[tuple[str, bool], str] = {}
        self._per_host: dict[str, int] = {}
        self._occupied: dict[tuple[SocketAddr, SocketAddr], Instant] = {}
        self._forwards: dict[SocketAddr, SocketAddr] = {}
        self._forwarded: dict[SocketAddr, SocketAddr] = {}
        self._none_expires_before: Instant = 0.0

    def outbound(self, src: SocketAddr, dst: SocketAddr, now: Instant) -> SocketAddr | Drop:
        """Returns the source address that `dst` will see; opens or refreshes the mapping."""
        behaviour = self._behaviour
        if src in self._forwarded:
            return self._forwarded[src]
        mapping = self._find(src, dst, now)
        if isinstance(mapping, Drop):
            return mapping
        allowed, scope = mapping.allowed, behaviour.filtering.scope(dst)
        if len(allowed) >= MAX_FILTER_ENTRIES and scope not in allowed:
            self._forget_expired_entries(allowed, now)
            if len(allowed) >= MAX_FILTER_ENTRIES:
                return Drop.TABLE_FULL
        lifetime = self._lifetime(mapping)
        mapping.expires_at = now + lifetime
        timeout = behaviour.filter_timeout
        allowed[scope] = now + (lifetime if timeout is None else timeout)
        return mapping.external

    def inbound(self, src: SocketAddr, dst: SocketAddr, now: Instant) -> SocketAddr | Drop:
        """Returns the inside endpoint, or why the box drops the packet."""
        if dst in self._forwards:
            return self._forwards[dst]
        behaviour = self._behaviour
        scope = behaviour.filtering.scope(src)
        accepted, allowed_until = None, now
        reason = Drop.NO_MAPPING
        for mapping in self._by_external.get(dst, ()):
            if mapping.expires_at <= now:
                continue
            reason = Drop.FILTERED
            until = mapping.allowed.get(scope, now)
            if until > allowed_until:  # of those that share the port, the last to send to src
                accepted, allowed_until = mapping, until
            elif behaviour.refresh is Refresh.OUTBOUND_AND_ANY_INBOUND:
                mapping.expires_at = now + self._lifetime(mapping)
        if accepted is None:
            if behaviour.leaky:
                self._occupy(dst, src, now)
            return reason
        accepted.is_replied = True
        if behaviour.refresh is not Refresh.OUTBOUND:
            accepted.expires_at = now + behaviour.stream_timeout
            if behaviour.filter_timeout is None:
                accepted.allowed[scope] = accepted.expires_at
        return accepted.internal

    def add_forward(self, external: SocketAddr, internal: SocketAddr) -> None:
        """Maps a port by hand: open to everybody, never expires, as UPnP and PCP leave it."""
        self._forwards[external] = internal
        self._forwarded[internal] = external

    def remove_forward(self, external: SocketAddr) -> None:
        """Takes a port forward back.  Raises KeyError where there is none."""
        self._forwarded.pop(self._forwards.pop(external), None)

    def mappings(self, now: Instant) -> tuple[tuple[SocketAddr, SocketAddr], ...]:
        """Returns the (internal, external) pairs that are alive, oldest first."""
        return tuple((m.internal, m.external) for m in self._by_key.values() if m.expires_at > now)

    def _lifetime(self, mapping: Mapping) -> float:
        if mapping.is_replied:
            return self._behaviour.stream_timeout
        return self._behaviour.unreplied_timeout

    def _find(self, src: SocketAddr, dst: SocketAddr, now: Instant) -> Mapping | Drop:
        key: Key = (src, self._behaviour.mapping.scope(dst))
        mapping = self._by_key.get(key)
        if self._behaviour.leaky:
            detour: Key = (src, ("detour", dst))
            found = self._by_key.get(detour)
            if found is not None and found.expires_at > now:
                return found
            if mapping is not None and self._is_occupied(mapping.external, dst, now):
                return self._bind(detour, dst, None, now)
        if mapping is not None and mapping.expires_at > now:
            return mapping
        return self._bind(key, dst, mapping, now)

    def _bind(self, key: Key, dst: SocketAddr, old: Mapping | None, now: Instant) -> Mapping | Drop:
        internal, behaviour = key[0], self._behaviour
        quota = behaviour.max_mappings_per_host
        if old is not None:
            self._remove(old)
        if len(self._by_key) >= behaviour.max_mappings:
            self._forget_expired(now)
            if len(self._by_key) >= behaviour.max_mappings:
                return Drop.TABLE_FULL
        if quota is not None and self._per_host.get(internal.ip, 0) >= quota:
            self._forget_expired(now)
            if self._per_host.get(internal.ip, 0) >= quota:
                return Drop.QUOTA
        external = self._choose(internal, dst, old, now)
        if external is None:
            return Drop.NO_FREE_PORT
        allowed: dict[Hashable, Instant] = {}
        if behaviour.filter_scope is FilterScope.INTERNAL_ENDPOINT:
            allowed = self._filters.setdefault(internal, allowed)
        mapping = Mapping(key, external, allowed)
        self._by_key[key] = mapping
        self._by_external.setdefault(external, []).append(mapping)
        self._per_host[internal.ip] = self._per_host.get(internal.ip, 0) + 1
        soonest = now + min(behaviour.unreplied_timeout, behaviour.stream_timeout)
        self._none_expires_before = min(self._none_expires_before, soonest)
        return mapping

    def _choose(
        self, internal: SocketAddr, dst: SocketAddr, old: Mapping | None, now: Instant
    ) -> SocketAddr | None:
        same = old is not None and self._behaviour.same_port_after_expiry
        if old is not None and same and self._is_free(old.external, internal, dst, now):
            return old.external
        ip = self._public_ip(internal)

        def is_free(port: int) -> bool:
            return self._is_free(SocketAddr(ip, port), internal, dst, now)

        port = self._pools[ip].choose(internal, is_free)
        return None if port is None else SocketAddr(ip, port)

    def _public_ip(self, internal: SocketAddr) -> str:
        is_ipv6 = ":" in internal.ip
        candidates = [ip for ip in self._public_ips if (":" in ip) is is_ipv6]
        if self._behaviour.pooling is Pooling.ARBITRARY or len(candidates) == 1:
            return candidates[self._rng.randrange(len(candidates))]
        key = (internal.ip, is_ipv6)
        if key not in self._paired:
            self._paired[key] = candidates[self._rng.randrange(len(candidates))]
        return self._paired[key]

    def _is_free(
        self, external: SocketAddr, internal: SocketAddr, dst: SocketAddr, now: Instant
    ) -> bool:
        if external in self._forwards or self._is_occupied(external, dst, now):
            return False
        holders = self._by_external.get(external)
        if not holders:
            return True
        hold = self._behaviour.port_hold
        if self._behaviour.collision is not Collision.SHARE:
            return not any(
                m.expires_at > now or (m.internal != internal and m.expires_at + hold > now)
                for m in holders
            )
        # Overloading: the pair of port and remote must be free, and an endpoint never shares
        # with itself by mistake, for its mappings to one remote have one key.
        scope = self._behaviour.filtering.scope(dst)
        return not any(m.expires_at > now and m.allowed.get(scope, now) > now for m in holders)

    def _occupy(self, external: SocketAddr, stranger: SocketAddr, now: Instant) -> None:
        if len(self._occupied) >= self._behaviour.max_mappings:
            self._occupied = {k: until for k, until in self._occupied.items() if until > now}
            if len(self._occupied) >= self._behaviour.max_mappings:
                return
        self._occupied[external, stranger] = now + self._behaviour.unreplied_timeout

    def _is_occupied(self, external: SocketAddr, remote: SocketAddr, now: Instant) -> bool:
        return self._occupied.get((external, remote), now) > now

    def _remove(self, mapping: Mapping) -> None:
        del self._by_key[mapping.key]
        self._per_host[mapping.internal.ip] -= 1
        holders = self._by_external[mapping.external]
        holders.remove(mapping)
        if not holders:
            del self._by_external[mapping.external]

    def _forget_expired(self, now: Instant) -> None:
        """Makes room.  Does nothing while nothing can have expired, so a full table stays cheap."""
        if now < self._none_expires_before:
            return
        hold = self._behaviour.port_hold
        for mapping in [m for m in self._by_key.values() if m.expires_at + hold <= now]:
            self._remove(mapping)
        self._none_expires_before = min(
            (m.expires_at + hold for m in self._by_key.values()), default=now
        )
        in_use = dict.fromkeys(m.internal for m in self._by_key.values())
        for internal in [i for i in self._filters if i not in in_use]:
            if all(until <= now for until in self._filters[internal].values()):
                del self._filters[internal]

    @staticmethod
    def _forget_expired_entries(allowed: dict[Hashable, Instant], now: Instant) -> None:
        for scope in [s for s, until in allowed.items() if until <= now]:
            del allowed[scope]
