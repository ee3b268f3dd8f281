"""Delegated dial-back, server to helper: an order, and what became of it (specs/autonat.md).

    OrderSender     sends the order --Done--> status        `--end | reset | 3 s--> UNAVAILABLE
    OrderReceiver   READING --Order--> SENDING --on_sent--> answered
                       `--refused--> answered

Rules: one order is one datagram of PROBE_SIZE bytes, from a socket that is used for nothing else;
it carries nothing of the helper's identity, and an order is larger than its probe.
"""

from dataclasses import dataclass

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.machine import SocketAddr
from p2pnode.protocols.autonat.budget import Budget
from p2pnode.protocols.autonat.delegated_messages import (
    MAX_MESSAGE_SIZE_DELEGATED,
    HelperStatus,
    Order,
    decode_done_untrusted,
    decode_order_untrusted,
    encode_done,
    encode_order,
    encode_probe,
    probe_token,
)
from p2pnode.protocols.autonat.delegated_server import ORDER_TIMEOUT
from p2pnode.protocols.autonat.dialable import Asker, DialAbility, probe_target, refusal
from p2pnode.protocols.autonat.served_dialogue import ServedDialogue
from p2pnode.protocols.dialogue import FramedDialogue

HELPER_TIMEOUT = 5.0  # seconds; chosen: longer than the server waits


@dataclass(frozen=True, slots=True)
class ProbeDatagram:
    """What a helper's owner is to do: send this once, from a fresh socket.

    Unless it has exchanged packets with that IP lately: then it answers `on_sent(ACQUAINTED)`.
    """

    target: SocketAddr
    payload: bytes


class OrderSender(FramedDialogue):
    """The server's side of one order."""

    def __init__(self, order: Order, now: Instant) -> None:
        deadline = Deadline(now + ORDER_TIMEOUT, "a dial-back order")
        super().__init__(MAX_MESSAGE_SIZE_DELEGATED, deadline)
        self.status: HelperStatus | None = None
        """For the server's `on_report`, or None before that is known."""
        self._send(encode_order(order))
        self._send_eof()

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        self.status = decode_done_untrusted(frame)
        self._end()

    def _on_failure(self, reason: str) -> None:
        self.status = HelperStatus.UNAVAILABLE


class OrderReceiver(ServedDialogue):
    """The helper's side of one order.  `server` is the peer that gives it."""

    def __init__(self, server: Asker, ability: DialAbility, budget: Budget, now: Instant) -> None:
        deadline = Deadline(now + HELPER_TIMEOUT, "a dial-back order")
        super().__init__(MAX_MESSAGE_SIZE_DELEGATED, deadline)
        self._server = server
        self._ability = ability
        self._admit(budget, server, now)
        self.wants_probe: ProbeDatagram | None = None
        """Set while the owner is to send, and answer by `on_sent`."""

    def on_sent(self, status: HelperStatus, now: Instant) -> None:
        """The owner has sent the probe (SENT), or has a reason not to."""
        if self.wants_probe is not None and not self._is_done:
            self._answer(status)

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        if self.wants_probe is not None:
            raise DecodeError("one order a stream")
        order = decode_order_untrusted(frame)
        if self._permit is None:
            self._answer(HelperStatus.REFUSED)
            return
        target = probe_target(order.address)
        if target is None or refusal(order.address, self._server, self._ability) is not None:
            self._answer(HelperStatus.REFUSED)
            return
        if self._server.observed is not None and target.ip == self._server.observed.ip:
            self._answer(HelperStatus.ACQUAINTED)
            return
        if self._permit.refuse_target(target.ip, now) is not None:
            self._answer(HelperStatus.REFUSED)
            return
        self.wants_probe = ProbeDatagram(target, encode_probe(probe_token(order)))

    def _on_eof(self, now: Instant) -> None:
        if self.wants_probe is None:
            super()._on_eof(now)

    def _answer(self, status: HelperStatus) -> None:
        self._send(encode_done(status))
        self._close()

    def _withdraw(self) -> None:
        self.wants_probe = None
