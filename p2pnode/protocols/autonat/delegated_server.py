"""Delegated dial-back, the server between asker and helpers (specs/autonat.md).

    READING --Ask--> NAMING --on_helpers--> OFFERED --Choice--> ORDERING --all reported--> ended
       |                 `--nobody--> ended              `--none--> ended   `--8 s--> ended
       `--refused | end | reset | malformed | 10 s--> ended

Rules: helpers are in networks apart from the asker's, the address's and our own, and from one
another; an asker over a relay, or above its share, is offered nobody; the asker sends more bytes
than all the probes together have.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from p2pnode.clock import Deadline, Instant
from p2pnode.errors import DecodeError
from p2pnode.identity.peer_id import PeerId
from p2pnode.identity.peer_multiaddr import split_peer_id
from p2pnode.protocols.autonat.budget import Budget
from p2pnode.protocols.autonat.delegated_messages import (
    MAX_HELPERS_CHOSEN,
    MAX_HELPERS_OFFERED,
    MAX_MESSAGE_SIZE_DELEGATED,
    Ask,
    Choice,
    DialBackOffer,
    HelperStatus,
    Order,
    Report,
    asker_commitment,
    decode_delegated_message_untrusted,
    encode_delegated_message,
)
from p2pnode.protocols.autonat.dialable import Asker, DialAbility, probe_target, refusal
from p2pnode.protocols.autonat.served_dialogue import ServedDialogue
from p2pnode.wire.ip_ranges import IpScope, ip_scope, owner_group
from p2pnode.wire.multiaddr import Multiaddr

SERVER_TIMEOUT = 10.0  # seconds in all; chosen: as the asker's
ORDER_TIMEOUT = 3.0  # seconds for a helper to answer; chosen: a stream, and one round trip


class Helper(NamedTuple):
    """A peer that speaks the helper's protocol, directly connected."""

    peer_id: PeerId
    ip: str
    """Where its connection comes from."""


@dataclass(frozen=True, slots=True)
class HelperOrder:
    """What a server's owner is to do: run an `OrderSender` on a new stream to the helper."""

    index: int
    """For `on_report`."""
    helper: PeerId
    order: Order


def eligible_helpers(
    helpers: Sequence[Helper], asker: Asker, target_ip: str, rng: Random
) -> tuple[Helper, ...]:
    """Returns up to MAX_HELPERS_OFFERED helpers, by chance, each in a network of its own."""
    taken = {owner_group(target_ip): None}
    if asker.observed is not None:
        taken[owner_group(asker.observed.ip)] = None
    chosen: list[Helper] = []
    for helper in rng.sample(helpers, len(helpers)):
        group = owner_group(helper.ip)
        is_other_family = (":" in helper.ip) is not (":" in target_ip)
        if group in taken or is_other_family or ip_scope(helper.ip) is not IpScope.PUBLIC:
            continue
        if helper.peer_id == asker.peer_id:
            continue
        taken[group] = None
        chosen.append(helper)
        if len(chosen) == MAX_HELPERS_OFFERED:
            break
    return tuple(chosen)


class DelegatedServerState(enum.Enum):
    READING = enum.auto()
    NAMING = enum.auto()
    OFFERED = enum.auto()
    ORDERING = enum.auto()


TRANSITIONS: Final = {
    DelegatedServerState.READING: (DelegatedServerState.NAMING,),
    DelegatedServerState.NAMING: (DelegatedServerState.OFFERED,),
    DelegatedServerState.OFFERED: (DelegatedServerState.ORDERING,),
    DelegatedServerState.ORDERING: (),
}


class DelegatedServer(ServedDialogue):
    """Serves one ask.  The owner answers `wants_helpers` and the `orders`."""

    def __init__(
        self, asker: Asker, ability: DialAbility, budget: Budget, rng: Random, now: Instant
    ) -> None:
        super().__init__(
            MAX_MESSAGE_SIZE_DELEGATED, Deadline(now + SERVER_TIMEOUT, "a delegated dial-back")
        )
        self._asker = asker
        self._ability = ability
        self._rng = rng
        self._admit(budget, asker, now)
        self._state = DelegatedServerState.READING
        self._address: Multiaddr | None = None
        self._target_ip = ""
        self._helpers: tuple[Helper, ...] = ()
        self._open: dict[int, None] = {}
        self.wants_helpers = False
        """True while the owner is to call `on_helpers`."""
        self.orders: tuple[HelperOrder, ...] = ()
        """Set once, when the asker has chosen; the owner answers each by `on_report`."""

    def on_helpers(self, helpers: Sequence[Helper], now: Instant) -> None:
        """The owner names the peers that could help; which of them are eligible is seen to here."""
        if self._state is not DelegatedServerState.NAMING or self._is_done:
            return
        self.wants_helpers = False
        self._helpers = eligible_helpers(helpers, self._asker, self._target_ip, self._rng)
        if not self._helpers:
            self._offer_nobody()
            return
        self._enter(DelegatedServerState.OFFERED)
        offer = DialBackOffer(tuple(helper.ip for helper in self._helpers))
        self._send(encode_delegated_message(offer))

    def on_report(self, index: int, status: HelperStatus, now: Instant) -> None:
        """The helper's answer to an order, or UNAVAILABLE where there was none."""
        if self._is_done or index not in self._open:
            return
        del self._open[index]
        self._send(encode_delegated_message(Report(index, status)))
        if not self._open:
            self._close()

    def _take_untrusted(self, frame: bytes, now: Instant) -> None:
        match decode_delegated_message_untrusted(frame):
            case Ask(address) if self._state is DelegatedServerState.READING:
                self._judge(address, now)
            case Choice(nonces) if self._state is DelegatedServerState.OFFERED:
                self._order_untrusted(nonces, now)
            case _:
                raise DecodeError("a message that has no place here")

    def _enter(self, state: DelegatedServerState) -> None:
        assert state in TRANSITIONS[self._state]
        self._state = state

    def _judge(self, address: Multiaddr, now: Instant) -> None:
        target = probe_target(address)
        if (
            self._permit is None
            or target is None
            or refusal(address, self._asker, self._ability) is not None
            or self._permit.refuse_target(target.ip, now) is not None
        ):
            self._offer_nobody()
            return
        self._address, _ = split_peer_id(address)  # helpers need not know who it is
        self._target_ip = target.ip
        self._enter(DelegatedServerState.NAMING)
        self.wants_helpers = True

    def _order_untrusted(self, nonces: tuple[bytes | None, ...], now: Instant) -> None:
        given = [nonce for nonce in nonces if nonce is not None]
        if len(nonces) != len(self._helpers) or len(given) > MAX_HELPERS_CHOSEN:
            raise DecodeError("a dial-back choice that does not fit the offer")
        if len(set(given)) != len(given):
            raise DecodeError("a dial-back choice with one nonce for two helpers")
        assert self._address is not None
        orders: list[HelperOrder] = []
        for index, (helper, nonce) in enumerate(zip(self._helpers, nonces, strict=True)):
            if nonce is None:
                continue
            commitment = asker_commitment(self._asker.peer_id, nonce)
            order = Order(self._address, nonce, commitment, helper.ip)
            orders.append(HelperOrder(index, helper.peer_id, order))
            self._open[index] = None
        self._enter(DelegatedServerState.ORDERING)
        self.orders = tuple(orders)
        if orders:
            self._timer = Deadline(now + ORDER_TIMEOUT, "a dial-back order")
        else:
            self._close()

    def _on_timer(self, now: Instant) -> None:
        for index in list(self._open):
            self.on_report(index, HelperStatus.UNAVAILABLE, now)

    def _on_eof(self, now: Instant) -> None:
        if self._state is not DelegatedServerState.ORDERING:
            super()._on_eof(now)

    def _offer_nobody(self) -> None:
        self._send(encode_delegated_message(DialBackOffer(())))
        self._close()

    def _withdraw(self) -> None:
        self.wants_helpers = False
