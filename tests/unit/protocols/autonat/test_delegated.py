"""Delegated dial-back: asker, server and helpers, stepped by hand."""

import random

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.protocols.autonat import DELEGATION_LIMITS, HELPER_LIMITS, Asker, Budget, DialAbility
from p2pnode.protocols.autonat.delegated_asker import DelegatedAsker, HelperResult, ProbeResult
from p2pnode.protocols.autonat.delegated_helper import OrderReceiver, OrderSender
from p2pnode.protocols.autonat.delegated_messages import (
    Ask,
    Choice,
    DialBackOffer,
    HelperStatus,
    Order,
    Report,
    asker_commitment,
    decode_delegated_message_untrusted,
    decode_done_untrusted,
    decode_probe_untrusted,
    encode_delegated_message,
    encode_order,
    probe_token,
)
from p2pnode.protocols.autonat.delegated_server import DelegatedServer, Helper, eligible_helpers
from tests.support.addresses import NOISE_UDP, TCP
from tests.support.autonat import (
    ABILITY,
    ALICE,
    ASKER,
    OTHER_IP,
    PRIVATE_IP,
    RELAYED,
    SAME_IP,
    addr,
    asker,
    deliver,
    frame,
    outputs,
)
from tests.support.identities import peer_id

SERVER_IP = "8.8.8.8"
HELPERS = [Helper(peer_id(f"h{n}"), f"7.0.0.{n}") for n in range(1, 5)]
IPS = [helper.ip for helper in HELPERS]
NONCE = bytes(range(16))
ORDER = Order(SAME_IP, NONCE, asker_commitment(ALICE, NONCE), "7.0.0.1")


class Talk:
    """An asker and a server, a stream between them."""

    def __init__(self, address=SAME_IP, who: Asker = ASKER, budget: Budget | None = None) -> None:
        self.asker = DelegatedAsker(
            ALICE, address, server_ip=SERVER_IP, entropy=random.Random(1).randbytes, now=0.0
        )
        budget = budget or Budget(DELEGATION_LIMITS)
        self.server = DelegatedServer(who, ABILITY, budget, random.Random(1), 0.0)

    def carry(self, now: float) -> None:
        deliver(self.asker, self.server, now)
        deliver(self.server, self.asker, now)

    def choose(self, helpers=HELPERS, strangers=IPS) -> None:
        """Goes on until the orders stand."""
        self.carry(0.0)
        self.server.on_helpers(helpers, 0.1)
        self.carry(0.1)
        self.asker.on_chosen(strangers, 0.2)
        self.carry(0.2)

    def arrive(self, index: int, **changed) -> bool:
        """The probe of one order arrives; `changed` says what is wrong with it."""
        order = self.server.orders[index].order
        how = {"source_ip": order.helper_ip, "was_contacted": False, "now": 0.3} | changed
        return self.asker.on_probe(probe_token(order), **how)

    def report(self, status: HelperStatus, now: float = 0.4) -> None:
        for order in self.server.orders:
            self.server.on_report(order.index, status, now)
        self.carry(now)

    @property
    def results(self) -> list[ProbeResult]:
        assert self.asker.results is not None
        return [result for _, result in self.asker.results]


@pytest.mark.spec("AUTONAT-14")
@pytest.mark.spec("AUTONAT-18")
def test_probes_of_three_strangers_arrive() -> None:
    talk = Talk(addr(f"/ip4/1.2.3.4/udp/4001/noise/p2p/{ALICE}"))
    talk.choose()
    orders = talk.server.orders
    assert len(orders) == 3
    assert len({each.order.nonce for each in orders}) == 3
    assert {each.order.address for each in orders} == {SAME_IP}
    for index in range(3):
        assert talk.arrive(index)

    assert talk.results == [ProbeResult.ARRIVED] * 3
    assert talk.asker.is_done
    assert not talk.asker.ended_because
    talk.report(HelperStatus.SENT)
    assert talk.server.is_done


@pytest.mark.spec("AUTONAT-19")
def test_silence_counts_a_while_after_the_helpers_word_and_not_before() -> None:
    talk = Talk()
    talk.choose()
    talk.report(HelperStatus.SENT)
    talk.asker.handle_timeout(1.39)
    assert talk.asker.results is None
    assert talk.arrive(0, now=1.39)
    talk.asker.handle_timeout(1.4)

    silent = ProbeResult.SILENT
    assert sorted(talk.results, key=str) == [ProbeResult.ARRIVED, silent, silent]
    assert not talk.arrive(1, now=1.5)


@pytest.mark.spec("AUTONAT-37")
def test_what_is_settled_can_be_taken_before_the_end() -> None:
    talk = Talk()
    assert talk.asker.awaited_ips == ()
    talk.choose()
    assert len(talk.asker.awaited_ips) == 3
    assert talk.asker.take_settled() == ()
    helper_ip = talk.server.orders[0].order.helper_ip
    talk.arrive(0)

    assert talk.asker.take_settled() == (HelperResult(helper_ip, ProbeResult.ARRIVED),)
    assert talk.asker.take_settled() == ()
    assert len(talk.asker.awaited_ips) == 2
    assert helper_ip not in talk.asker.awaited_ips
    talk.report(HelperStatus.SENT)
    talk.asker.handle_timeout(1.4)
    assert len(talk.asker.take_settled()) == 2
    assert talk.asker.awaited_ips == ()


@pytest.mark.spec("AUTONAT-19")
@pytest.mark.parametrize("status", [HelperStatus.REFUSED, HelperStatus.ACQUAINTED])
def test_probes_that_were_not_sent_say_nothing(status: HelperStatus) -> None:
    talk = Talk()
    talk.choose()
    talk.report(status)

    assert talk.results == [ProbeResult.NOT_SENT] * 3


@pytest.mark.spec("AUTONAT-19")
@pytest.mark.parametrize("how", ["order timeout", "end", "reset", "ask timeout"])
def test_what_was_lost_on_the_way_is_unknown(how: str) -> None:
    talk = Talk()
    talk.choose()
    match how:
        case "order timeout":
            talk.server.handle_timeout(3.2)
            talk.carry(3.2)
        case "end":
            talk.asker.handle_eof(1.0)
        case "reset":
            talk.asker.handle_reset(0, 1.0)
        case _:
            talk.asker.handle_timeout(10.0)

    assert set(talk.results) <= {ProbeResult.NOT_SENT, ProbeResult.UNSETTLED}
    assert len(talk.results) == 3


@pytest.mark.spec("AUTONAT-18")
@pytest.mark.parametrize(
    "changed", [{"source_ip": "7.0.0.99"}, {"source_ip": SERVER_IP}, {"was_contacted": True}]
)
def test_a_probe_from_elsewhere_or_from_an_acquaintance_proves_nothing(changed: dict) -> None:
    talk = Talk()
    talk.choose(helpers=HELPERS[:1])
    assert talk.arrive(0, **changed)

    assert talk.asker.results == (HelperResult("7.0.0.1", ProbeResult.UNPROVEN),)


@pytest.mark.spec("AUTONAT-17")
@pytest.mark.parametrize(
    "wrong",
    [
        {"address": OTHER_IP},
        {"helper_ip": "7.0.0.9"},
        {"asker": asker_commitment(peer_id("b"), NONCE)},
        {"nonce": NONCE},
    ],
)
def test_a_probe_of_a_changed_order_is_nobodys(wrong: dict) -> None:
    talk = Talk()
    talk.choose(helpers=HELPERS[:1])
    order = talk.server.orders[0].order
    parts = {name: getattr(order, name) for name in ("address", "nonce", "asker", "helper_ip")}
    token = probe_token(Order(**parts | wrong))

    assert not talk.asker.on_probe(token, source_ip="7.0.0.1", was_contacted=False, now=0.3)
    assert talk.asker.results is None


@pytest.mark.spec("AUTONAT-14")
def test_acquaintances_and_the_servers_neighbours_are_vetoed() -> None:
    asking = DelegatedAsker(
        ALICE, SAME_IP, server_ip=SERVER_IP, entropy=random.Random(1).randbytes, now=0.0
    )
    asking.poll_output()
    offered = (SERVER_IP, "7.0.0.1", "7.0.0.2", "7.0.0.2", "10.0.0.1", "7.0.0.3")
    asking.handle_data(frame(encode_delegated_message(DialBackOffer(offered))), 0.1)
    assert asking.offer == offered
    asking.on_chosen([ip for ip in offered if ip != "7.0.0.1"], 0.1)

    data, acts = outputs(asking)
    choice = decode_delegated_message_untrusted(data[1:])
    assert isinstance(choice, Choice)
    assert [nonce is not None for nonce in choice.nonces] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]
    assert acts == ["eof"]


@pytest.mark.spec("AUTONAT-20")
@pytest.mark.parametrize(
    ("helpers", "strangers"), [([], IPS), (HELPERS, []), ([Helper(ALICE, "7.7.7.7")], IPS)]
)
def test_without_a_stranger_there_is_no_result(helpers, strangers) -> None:
    talk = Talk()
    talk.choose(helpers, strangers)

    assert talk.results == []
    assert talk.asker.ended_because
    assert talk.server.is_done


@pytest.mark.spec("AUTONAT-13")
def test_helpers_are_of_the_same_family_and_each_in_a_network_of_its_own() -> None:
    candidates = [
        Helper(peer_id(1), "7.0.0.1"),
        Helper(peer_id(2), "7.0.0.1"),
        Helper(peer_id(3), "1.2.3.4"),  # the asker's own
        Helper(peer_id(4), "5.6.7.8"),  # the target's own
        Helper(peer_id(5), "2a00::1"),
        Helper(peer_id(6), "192.168.1.1"),
        *(Helper(peer_id(n), f"7.0.1.{n}") for n in range(7, 30)),
    ]
    seen = []
    for seed in range(20):
        chosen = eligible_helpers(candidates, ASKER, "5.6.7.8", random.Random(seed))
        assert len(chosen) == 8
        assert not {helper.ip for helper in chosen} & {"1.2.3.4", "5.6.7.8", "2a00::1"}
        assert "192.168.1.1" not in {helper.ip for helper in chosen}
        assert len({helper.ip for helper in chosen}) == 8
        seen.append(chosen)

    assert len(set(seen)) == 20
    assert eligible_helpers(candidates, ASKER, "2a00:1::1", random.Random(1)) == (candidates[4],)


@pytest.mark.spec("AUTONAT-21")
@pytest.mark.spec("AUTONAT-22")
@pytest.mark.parametrize(
    ("address", "who"),
    [
        (PRIVATE_IP, ASKER),
        (addr("/ip4/1.2.3.4/tcp/1"), ASKER),
        (addr("/ip4/9.9.9.9/udp/1/noise"), ASKER),
        (SAME_IP, RELAYED),
    ],
)
def test_the_server_offers_nobody_for_what_it_would_not_dial(address, who) -> None:
    talk = Talk(address, who)
    talk.carry(0.0)

    assert not talk.server.wants_helpers
    assert talk.results == []


@pytest.mark.spec("AUTONAT-23")
def test_a_target_is_probed_for_so_many_askers_only() -> None:
    budget = Budget(DELEGATION_LIMITS)
    served = 0
    for number in range(20):
        talk = Talk(OTHER_IP, asker(number, f"1.1.1.{number}"), budget)
        talk.carry(0.0)
        served += talk.server.wants_helpers
        talk.server.handle_reset(0, 0.0)

    assert served == DELEGATION_LIMITS.per_target


@pytest.mark.spec("AUTONAT-24")
@pytest.mark.parametrize(
    "nonces", [(NONCE,), (NONCE, NONCE, None, None), tuple(bytes([n]) * 16 for n in range(4))]
)
def test_a_choice_that_does_not_fit_the_offer_resets_the_stream(nonces) -> None:
    server = DelegatedServer(ASKER, ABILITY, Budget(DELEGATION_LIMITS), random.Random(1), 0.0)
    server.handle_data(frame(encode_delegated_message(Ask(SAME_IP))), 0.0)
    server.on_helpers(HELPERS, 0.0)
    server.poll_output()
    server.handle_data(frame(encode_delegated_message(Choice(nonces))), 0.1)

    assert outputs(server) == (b"", ["reset 0x1004"])
    assert server.orders == ()
    server.on_helpers(HELPERS, 0.1)
    assert server.poll_output() == []


@pytest.mark.spec("AUTONAT-24")
@pytest.mark.parametrize("message", [Ask(SAME_IP), Report(0, 1), DialBackOffer(("7.7.7.7",))])
def test_messages_out_of_place_reset_the_stream(message) -> None:
    asking = DelegatedAsker(
        ALICE, SAME_IP, server_ip=SERVER_IP, entropy=random.Random(1).randbytes, now=0.0
    )
    asking.poll_output()
    asking.handle_data(frame(encode_delegated_message(DialBackOffer(("7.7.7.6",)))), 0.0)
    asking.handle_data(frame(encode_delegated_message(message)), 0.0)

    assert outputs(asking) == (b"", ["reset 0x1004"])
    assert asking.results == ()
    assert asking.offer is None
    asking.on_chosen(["7.7.7.6"], 0.1)
    assert asking.poll_output() == []


def order_at(helper_sees: Asker, order: Order = ORDER, budget: Budget | None = None):
    receiver = OrderReceiver(helper_sees, ABILITY, budget or Budget(HELPER_LIMITS), 0.0)
    receiver.handle_data(frame(encode_order(order)), 0.0)
    return receiver


def status_of(receiver: OrderReceiver) -> HelperStatus:
    data, acts = outputs(receiver)
    assert acts == ["eof"]
    return decode_done_untrusted(data[1:])


@pytest.mark.spec("AUTONAT-16")
def test_an_order_becomes_one_datagram_and_a_report() -> None:
    sender = OrderSender(ORDER, 0.0)
    receiver = OrderReceiver(asker("s", SERVER_IP), ABILITY, Budget(HELPER_LIMITS), 0.0)
    deliver(sender, receiver, 0.0)

    probe = receiver.wants_probe
    assert probe is not None
    assert probe.target == SocketAddr("1.2.3.4", 4001)
    assert decode_probe_untrusted(probe.payload) == probe_token(ORDER)
    receiver.on_sent(HelperStatus.SENT, 0.1)
    assert receiver.wants_probe is None
    deliver(receiver, sender, 0.2)
    assert sender.status is HelperStatus.SENT
    receiver.on_sent(HelperStatus.SENT, 0.3)
    assert receiver.poll_output() == []


@pytest.mark.spec("AUTONAT-15")
def test_a_helper_that_knows_the_address_says_so() -> None:
    receiver = order_at(asker("s", SERVER_IP))
    receiver.on_sent(HelperStatus.ACQUAINTED, 0.1)
    assert status_of(receiver) is HelperStatus.ACQUAINTED

    from_the_target = order_at(asker("s", "1.2.3.4"))
    assert from_the_target.wants_probe is None
    assert status_of(from_the_target) is HelperStatus.ACQUAINTED


@pytest.mark.spec("AUTONAT-15")
@pytest.mark.spec("AUTONAT-21")
@pytest.mark.parametrize(
    "address",
    [PRIVATE_IP, addr("/ip4/1.2.3.4/tcp/1"), addr(f"/ip4/1.2.3.4/udp/1/noise/p2p/{ALICE}")],
)
def test_a_helper_refuses_what_it_would_not_dial(address) -> None:
    receiver = order_at(asker("s", SERVER_IP), Order(address, NONCE, bytes(32), "7.0.0.1"))

    assert receiver.wants_probe is None
    assert status_of(receiver) is HelperStatus.REFUSED


@pytest.mark.spec("AUTONAT-43")
def test_nothing_is_probed_at_a_port_of_tcp_by_whoever_dials_it() -> None:
    address, able = addr("/ip4/1.2.3.4/tcp/4001"), DialAbility((NOISE_UDP, TCP))
    order = Order(address, NONCE, bytes(32), "7.0.0.1")
    helper = OrderReceiver(asker("s", SERVER_IP), able, Budget(HELPER_LIMITS), 0.0)
    helper.handle_data(frame(encode_order(order)), 0.0)
    server = DelegatedServer(ASKER, able, Budget(DELEGATION_LIMITS), random.Random(1), 0.0)
    server.handle_data(frame(encode_delegated_message(Ask(address))), 0.0)

    assert helper.wants_probe is None
    assert status_of(helper) is HelperStatus.REFUSED
    assert not server.wants_helpers


@pytest.mark.spec("AUTONAT-22")
@pytest.mark.spec("AUTONAT-23")
def test_a_helper_refuses_relayed_servers_and_too_many_orders() -> None:
    assert status_of(order_at(RELAYED)) is HelperStatus.REFUSED
    budget = Budget(HELPER_LIMITS)
    sent = 0
    for number in range(20):
        receiver = order_at(asker(number, f"8.1.1.{number}"), budget=budget)
        sent += receiver.wants_probe is not None
        receiver.on_sent(HelperStatus.SENT, 0.0)

    assert sent == HELPER_LIMITS.per_target


@pytest.mark.parametrize("ending", ["eof", "reset", "timeout", "garbage"])
def test_a_helper_that_does_not_answer_is_unavailable(ending: str) -> None:
    sender = OrderSender(ORDER, 0.0)
    match ending:
        case "eof":
            sender.handle_eof(0.1)
        case "reset":
            sender.handle_reset(0, 0.1)
        case "timeout":
            sender.handle_timeout(3.0)
        case _:
            sender.handle_data(b"\x01\xff", 0.1)

    assert sender.status is HelperStatus.UNAVAILABLE


def test_a_helper_gives_up_a_server_that_says_nothing_or_too_much() -> None:
    silent = OrderReceiver(asker("s", SERVER_IP), ABILITY, Budget(HELPER_LIMITS), 0.0)
    silent.handle_timeout(5.0)
    talkative = order_at(asker("s", SERVER_IP))
    talkative.handle_data(frame(encode_order(ORDER)), 0.1)
    ended = OrderReceiver(asker("s", SERVER_IP), ABILITY, Budget(HELPER_LIMITS), 0.0)
    ended.handle_eof(0.0)

    for machine in (silent, talkative, ended):
        assert machine.is_done
        assert machine.wants_probe is None
        assert outputs(machine)[1][0].startswith("reset")
