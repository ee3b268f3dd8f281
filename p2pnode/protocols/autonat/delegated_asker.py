"""Delegated dial-back, the asker's side (specs/autonat.md, Delegated dial-back).

    ASKING --DialBackOffer--> CHOOSING --on_chosen--> AWAITING --each probe settled--> results
       |                 `--nobody--> ended       `--10 s--> results so far
       `--end | reset | malformed | 10 s--> ended

A probe is settled when it arrives, when its helper did not send it, or when it was sent and has not
come for ARRIVAL_WAIT.

Rules: a probe counts as a stranger's only if it comes from the IP that was named and approved, and
that IP was not contacted meanwhile.  Silence counts only after the helper's word that it has sent.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.entropy import Entropy
from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import split_peer_id
from p2pnode.protocols.autonat.delegated_messages import (
    MAX_HELPERS_CHOSEN,
    MAX_MESSAGE_SIZE_DELEGATED,
    NONCE_SIZE,
    Ask,
    Choice,
    DialBackOffer,
    HelperStatus,
    Order,
    Report,
    asker_commitment,
    decode_delegated_message_untrusted,
    encode_delegated_message,
    probe_token,
)
from p2pnode.protocols.dialogue import FramedDialogue
from p2pnode.wire.ip_ranges import IpScope, ip_scope, owner_group
from p2pnode.wire.multiaddr import Multiaddr

ASK_TIMEOUT = 10.0  # seconds in all; chosen: ten round trips of the slowest path, twice
ARRIVAL_WAIT = 1.0  # seconds after the report; chosen: the report took two legs, the probe one


class ProbeResult(enum.Enum):
    """How one helper's probe was settled; the value says it to people."""

    ARRIVED = "a stranger's packet arrived"
    SILENT = "a stranger's packet was sent and did not arrive"
    NOT_SENT = "the helper did not send"
    UNPROVEN = "a packet arrived, but not from the stranger that was named"
    UNSETTLED = "the time was over"


class HelperResult(NamedTuple):
    """One helper's probe."""

    helper_ip: str
    result: ProbeResult


class _Probe:
    __slots__ = ("helper_ip", "index", "is_taken", "result", "silent_at", "token")

    def __init__(self, index: int, helper_ip: str, token: bytes) -> None:
        self.index = index
        self.helper_ip = helper_ip
        self.token = token
        self.silent_at: Instant | None = None
        self.result: ProbeResult | None = None
        self.is_taken = False


class DelegatedAsker(FramedDialogue):
    """Asks a server to have strangers knock at one address.

    The owner answers `offer` by `on_chosen`, and hands every probe datagram that arrives, on the
    sockets behind the address, to `on_probe`.
    """

    def __init__(
        self, own_id: PeerId, address: Multiaddr, *, server_ip: str, entropy: Entropy, now: Instant
    ) -> None:
        super().__init__(
            MAX_MESSAGE_SIZE_DELEGATED, Deadline(now + ASK_TIMEOUT, "a delegated dial-back")
        )
        self._own_id = own_id
        self.address, _ = split_peer_id(address)
        """What is being tested, an address over UDP."""
        self._server_ip = server_ip
        self._entropy = entropy
        self._offered: tuple[str, ...] | None = None
        self._probes: list[_Probe] = []
        self.offer: tuple[str, ...] | None = None
        """The helpers' IPs while the owner is to say which of them are strangers."""
        self.results: tuple[HelperResult, ...] | None = None
        """One for each chosen helper at the end; empty where there was none."""
        self.ended_because = ""
        """Why there are no results, or not all; empty where there is nothing to explain."""
        self._send(encode_delegated_message(Ask(self.address)))

    def on_chosen(self, strangers: Sequence[str], now: Instant) -> None:
        """The owner names those of the offered IPs that this node has not contacted.

        Of them, up to MAX_HELPERS_CHOSEN in different networks are chosen, neither in the server's.
        The owner must not contact them until the end.
        """
        if self.offer is None or self._is_done:
            return
        offered, self.offer = self.offer, None
        groups: dict[str, None] = {owner_group(self._server_ip): None}
        nonces: list[bytes | None] = []
        for index, ip in enumerate(offered):
            nonce = None
            group = owner_group(ip)
            is_free = ip in strangers and group not in groups and ip_scope(ip) is IpScope.PUBLIC
            if is_free and len(self._probes) < MAX_HELPERS_CHOSEN:
                groups[group] = None
                nonce = self._entropy(NONCE_SIZE)
                order = Order(self.address, nonce, asker_commitment(self._own_id, nonce), ip)
                self._probes.append(_Probe(index, ip, probe_token(order)))
            nonces.append(nonce)
        self._send(encode_delegated_message(Choice(tuple(nonces))))
        self._send_eof()
        if not self._probes:
            self._sum_up("no helper is a stranger to this node")

    @property
    def awaited_ips(self) -> tuple[str, ...]:
        """The helpers whose probes are not settled: this node must not contact them now."""
        if self._is_done:
            return ()
        return tuple(probe.helper_ip for probe in self._probes if probe.result is None)

    @property
    def found_nobody(self) -> bool:
        """True at the end of a dialogue in which no helper was there to choose."""
        return self._is_done and self._offered is not None and not self._probes

    def take_settled(self) -> tuple[HelperResult, ...]:
        """Returns what was settled since the last call, so that none has to wait for the last."""
        settled: list[HelperResult] = []
        for probe in self._probes:
            if probe.result is not None and not probe.is_taken:
                probe.is_taken = True
                settled.append(HelperResult(probe.helper_ip, probe.result))
        return tuple(settled)

    def on_probe(self, token: bytes, *, source_ip: str, was_contacted: bool, now: Instant) -> bool:
        """A probe arrived from `source_ip`.  Returns whether it belongs to this dialogue."""
        if self._is_done:
            return False
        for probe in self._probes:
            if probe.token == token:
                if probe.result is None:
                    is_proof = source_ip == probe.helper_ip and not was_contacted
                    self._settle(probe, ProbeResult.ARRIVED if is_proof else ProbeResult.UNPROVEN)
                return True
        return False

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        match decode_delegated_message_untrusted(frame):
            case DialBackOffer(helper_ips) if self._offered is None:
                self._offered = helper_ips
                if helper_ips:
                    self.offer = helper_ips
                else:
                    self._send_eof()
                    self._sum_up("the server knows no helper")
            case Report(index, status) if self._probes:
                self._take_report(index, status, now)
            case _:
                raise DecodeError("a message that has no place here")

    def _take_report(self, index: int, status: int, now: Instant) -> None:
        for probe in self._probes:
            if probe.index != index or probe.result is not None or probe.silent_at is not None:
                continue
            if status == HelperStatus.SENT:
                probe.silent_at = now + ARRIVAL_WAIT
                self._set_timer()
            else:
                self._settle(probe, ProbeResult.NOT_SENT)

    def _on_timer(self, now: Instant) -> None:
        for probe in self._probes:
            is_over = probe.silent_at is not None and now >= probe.silent_at
            if probe.result is None and is_over:
                self._settle(probe, ProbeResult.SILENT)
        self._set_timer()

    def _on_eof(self, now: Instant) -> None:
        # The server has said all; what it has not reported will not be.
        if not self._probes:
            super()._on_eof(now)
            return
        for probe in self._probes:
            if probe.result is None and probe.silent_at is None:
                self._settle(probe, ProbeResult.NOT_SENT)

    def _on_failure(self, reason: str) -> None:
        self._sum_up(reason)

    def _set_timer(self) -> None:
        due = [p.silent_at for p in self._probes if p.result is None and p.silent_at is not None]
        self._timer = Deadline(min(due), "dial-back arrival wait") if due else None

    def _settle(self, probe: _Probe, result: ProbeResult) -> None:
        probe.result = result
        if all(each.result is not None for each in self._probes):
            self._sum_up("")

    def _sum_up(self, reason: str) -> None:
        self.offer = None
        self.ended_because = reason
        self.results = tuple(
            HelperResult(probe.helper_ip, probe.result or ProbeResult.UNSETTLED)
            for probe in self._probes
        )
        self._end()
