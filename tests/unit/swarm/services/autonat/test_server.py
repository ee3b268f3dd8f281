"""The serving side: whom it serves, what it has the swarm do, and what it answers."""

from random import Random

import pytest

from p2pnode.machine import SocketAddr, SocketId, StreamMachine
from p2pnode.protocols.autonat import (
    DELEGATION_PROTOCOL_ID,
    DIAL_BACK_PROTOCOL_ID,
    DIAL_REQUEST_PROTOCOL_ID,
    HELPER_PROTOCOL_ID,
    PROBE_SIZE,
    V1_PROTOCOL_ID,
    ContactLog,
    DelegatedAsker,
    DialBackReceiver,
    HelperStatus,
    Inconclusive,
    NotReached,
    OrderSender,
    Reached,
    V1Requester,
    V2Requester,
)
from p2pnode.protocols.autonat.delegated_messages import Order, asker_commitment
from p2pnode.protocols.identify import IdentifyInfo
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.autonat.dial_backs import MAX_V1_DIALS
from p2pnode.swarm.services.autonat.server import AutonatServer
from p2pnode.swarm.services.service import (
    Command,
    DialBack,
    Disconnect,
    OpenStream,
    PumpMachine,
    SendDatagram,
)
from p2pnode.transports.route import Route
from tests.support.addresses import NOISE_UDP, noise_udp_multiaddr
from tests.support.autonat import deliver
from tests.support.autonat_swarm import FakeFacts
from tests.support.identities import peer_id

ALICE = peer_id("alice")
ALICE_ADDR = SocketAddr("1.2.3.4", 4001)
TARGET = noise_udp_multiaddr(ALICE_ADDR)
NONCE = bytes(range(16))


class Serving:
    """A server with a public address, and one stream of a client at a time."""

    def __init__(self, local: str = "8.8.8.8") -> None:
        self.facts = FakeFacts(SocketAddr(local, 4001))
        self.contacts = ContactLog()
        self.server = AutonatServer(self.facts, self.contacts, Random(1))
        self.alice = self.meet(1, ALICE, ALICE_ADDR)

    def meet(self, number: int, who, addr: SocketAddr, socket: int = 1, protocols=()) -> Peer:
        peer = Peer(number, who, Route(SocketId(socket), None, addr), False, NOISE_UDP)
        self.facts.peers[number] = peer
        self.server.on_connected(peer, 0.0)
        self.server.on_identified(peer, IdentifyInfo(who, protocols=protocols), 0.0)
        return peer

    def ask(self, protocol: str, requester: StreamMachine, peer: Peer | None = None, now=0.0):
        """Carries a request to the server; returns its machine and what it commands."""
        machine = self.server.accept(peer or self.alice, protocol, now)
        assert machine is not None
        return machine, self.carry(requester, machine, now)

    def carry(self, requester: StreamMachine, machine: StreamMachine, now=0.0) -> list[Command]:
        deliver(requester, machine, now)
        self.server.on_progress(1, machine, now)
        commands = list(self.server.poll_commands())
        deliver(machine, requester, now)
        if machine.is_done:
            self.server.on_stream_over(1, machine, now)
        return commands

    def answer(self, machine: StreamMachine, requester: StreamMachine, now: float):
        """Carries what the server was made to say, and returns what else it commands."""
        commands = list(self.server.poll_commands())
        assert PumpMachine(1, machine) in commands
        self.server.on_progress(1, machine, now)
        deliver(machine, requester, now)
        return [each for each in commands if not isinstance(each, PumpMachine)]


def v2(address=TARGET) -> V2Requester:
    return V2Requester((address,), 7, 0.0)


def asker() -> DelegatedAsker:
    entropy = Random(2).randbytes
    return DelegatedAsker(ALICE, TARGET, server_ip="8.8.8.8", entropy=entropy, now=0.0)


def order(helper_ip: str = "8.8.8.8") -> Order:
    return Order(TARGET, NONCE, asker_commitment(ALICE, NONCE), helper_ip)


# version 2


@pytest.mark.spec("AUTONAT-4")
def test_v2_dials_delivers_the_nonce_and_hangs_up() -> None:
    serving, requester = Serving(), v2()
    machine, [dial] = serving.ask(DIAL_REQUEST_PROTOCOL_ID, requester)
    assert dial == DialBack(1, ALICE, ALICE_ADDR, NOISE_UDP, 1.5)
    serving.server.on_dial_back(1, 77, "", 0.2)
    [opened] = serving.server.poll_commands()
    assert isinstance(opened, OpenStream)
    assert (opened.connection, opened.protocol) == (77, DIAL_BACK_PROTOCOL_ID)
    receiver = DialBackReceiver(0.2)
    deliver(opened.machine, receiver, 0.2)
    assert receiver.nonce == 7
    requester.on_dial_back(7, local=TARGET, was_contacted=True, now=0.2)
    receiver.accept()
    deliver(receiver, opened.machine, 0.3)
    serving.server.on_stream_over(77, opened.machine, 0.3)
    [hung_up] = serving.answer(machine, requester, 0.3)

    assert isinstance(hung_up, Disconnect)
    assert hung_up.connection == 77
    assert isinstance(requester.outcome, Reached)


def test_v2_says_that_the_dial_failed() -> None:
    serving, requester = Serving(), v2()
    machine, [dial] = serving.ask(DIAL_REQUEST_PROTOCOL_ID, requester)
    serving.server.on_dial_back(dial.ticket, None, "no answer", 1.5)

    assert serving.answer(machine, requester, 1.5) == []
    assert isinstance(requester.outcome, NotReached)


@pytest.mark.parametrize(("rtt", "timeout"), [(0.01, 1.5), (0.25, 3.0), (2.0, 10.0), (None, 10.0)])
def test_a_dial_is_given_up_after_what_the_way_bears(rtt, timeout) -> None:
    serving = Serving()
    serving.facts.rtts[1] = rtt
    _, [dial] = serving.ask(DIAL_REQUEST_PROTOCOL_ID, v2())

    assert dial.timeout == timeout


def test_a_dial_back_stream_that_cannot_be_had_is_no_delivery() -> None:
    serving, requester = Serving(), v2()
    machine, [dial] = serving.ask(DIAL_REQUEST_PROTOCOL_ID, requester)
    serving.server.on_dial_back(dial.ticket, 77, "", 0.2)
    [opened] = serving.server.poll_commands()
    serving.server.on_stream_over(77, opened.machine, 0.3)
    [hung_up] = serving.answer(machine, requester, 0.3)

    assert hung_up.connection == 77


def test_a_dial_back_that_comes_too_late_is_closed() -> None:
    serving = Serving()
    _, [dial] = serving.ask(DIAL_REQUEST_PROTOCOL_ID, v2())
    serving.server.on_disconnected(serving.alice, 1.0)
    serving.server.on_dial_back(dial.ticket, 77, "", 1.1)
    serving.server.on_dial_back(99, 78, "", 1.1)

    assert [each.connection for each in serving.server.poll_commands()] == [77, 78]


# version 1


@pytest.mark.spec("AUTONAT-2")
def test_v1_dials_a_few_addresses_one_after_the_other_at_the_observed_ip() -> None:
    serving = Serving()
    wished = [SocketAddr("5.6.7.8", port) for port in (1, 2, 3, 4)]
    requester = V1Requester(ALICE, tuple(map(noise_udp_multiaddr, wished)), 0.0)
    _, commands = serving.ask(V1_PROTOCOL_ID, requester)
    dialled = []
    for second in range(1, 20):
        if not commands:
            break
        [dial] = commands
        assert isinstance(dial, DialBack)
        dialled.append(dial.address)
        serving.server.on_dial_back(dial.ticket, None, "no answer", second)
        commands = [c for c in serving.server.poll_commands() if isinstance(c, DialBack)]

    assert dialled == [ALICE_ADDR, SocketAddr("1.2.3.4", 1), SocketAddr("1.2.3.4", 2)]
    assert len(dialled) == MAX_V1_DIALS


def test_v1_names_the_address_that_answered() -> None:
    serving, requester = Serving(), V1Requester(ALICE, (TARGET,), 0.0)
    machine, [dial] = serving.ask(V1_PROTOCOL_ID, requester)
    serving.server.on_dial_back(dial.ticket, 77, "", 0.2)
    [hung_up] = serving.answer(machine, requester, 0.2)

    assert hung_up.connection == 77
    assert isinstance(requester.outcome, Reached)
    assert requester.outcome.address == TARGET


# delegated dial-back


def helpers(serving: Serving) -> None:
    serving.meet(2, peer_id("h2"), SocketAddr("7.0.0.2", 1), protocols=(HELPER_PROTOCOL_ID,))
    serving.meet(3, peer_id("h3"), SocketAddr("7.0.0.3", 1), protocols=(HELPER_PROTOCOL_ID,))
    serving.meet(4, peer_id("h4"), SocketAddr("7.0.0.4", 1), protocols=(V1_PROTOCOL_ID,))
    serving.meet(5, peer_id("h5"), SocketAddr("192.168.1.5", 1), protocols=(HELPER_PROTOCOL_ID,))
    serving.meet(6, peer_id("h6"), SocketAddr("7.0.0.6", 1), -1, (HELPER_PROTOCOL_ID,))


@pytest.mark.spec("AUTONAT-13")
def test_helpers_are_direct_public_peers_that_speak_the_protocol() -> None:
    serving, requester = Serving(), asker()
    helpers(serving)
    machine, _ = serving.ask(DELEGATION_PROTOCOL_ID, requester)
    assert requester.offer is not None
    assert sorted(requester.offer) == ["7.0.0.2", "7.0.0.3"]
    requester.on_chosen(requester.offer, 0.1)
    commands = serving.carry(requester, machine, 0.1)

    assert sorted(c.connection for c in commands) == [2, 3]
    assert {c.protocol for c in commands} == {HELPER_PROTOCOL_ID}
    serving.server.on_progress(1, machine, 0.1)
    assert serving.server.poll_commands() == []  # each order goes out once
    first, second = commands
    serving.server.on_stream_over(first.connection, first.machine, 0.2)
    second.machine.handle_reset(0, 0.2)
    serving.server.on_stream_over(second.connection, second.machine, 0.2)
    assert serving.answer(machine, requester, 0.2) == []
    assert requester.is_done
    assert machine.is_done


@pytest.mark.spec("AUTONAT-20")
def test_who_has_left_helps_no_more() -> None:
    serving, requester = Serving(), asker()
    helpers(serving)
    for number in (2, 3):
        serving.server.on_disconnected(serving.facts.peers.pop(number), 0.0)
    serving.ask(DELEGATION_PROTOCOL_ID, requester)

    assert requester.found_nobody


@pytest.mark.spec("AUTONAT-16")
def test_a_helper_sends_one_datagram() -> None:
    serving, sender = Serving(), OrderSender(order(), 0.0)
    server = serving.meet(2, peer_id("s"), SocketAddr("7.0.0.2", 1))
    _, commands = serving.ask(HELPER_PROTOCOL_ID, sender, server)
    [sent] = [each for each in commands if isinstance(each, SendDatagram)]

    assert sent.target == ALICE_ADDR
    assert len(sent.payload) == PROBE_SIZE
    assert sender.status is HelperStatus.SENT
    assert not serving.contacts.has_contacted(ALICE_ADDR.ip, 1.0)


@pytest.mark.spec("AUTONAT-15")
def test_a_helper_that_knows_the_ip_says_so_and_sends_nothing() -> None:
    serving, sender = Serving(), OrderSender(order(), 0.0)
    serving.contacts.note(ALICE_ADDR.ip, 0.0)
    server = serving.meet(2, peer_id("s"), SocketAddr("7.0.0.2", 1))
    _, commands = serving.ask(HELPER_PROTOCOL_ID, sender, server)

    assert not any(isinstance(each, SendDatagram) for each in commands)
    assert sender.status is HelperStatus.ACQUAINTED


# whom it serves


def refusals(serving: Serving, peer: Peer) -> list[bool]:
    """Returns whether each of the four protocols refuses, without any command but to say so."""
    v1, v2_, delegated = V1Requester(ALICE, (TARGET,), 0.0), v2(), asker()
    sender = OrderSender(order(), 0.0)
    helpers(serving)
    commands: list[Command] = []
    commands += serving.ask(V1_PROTOCOL_ID, v1, peer)[1]
    commands += serving.ask(DIAL_REQUEST_PROTOCOL_ID, v2_, peer)[1]
    commands += serving.ask(DELEGATION_PROTOCOL_ID, delegated, peer)[1]
    commands += serving.ask(HELPER_PROTOCOL_ID, sender, peer)[1]
    assert all(isinstance(each, PumpMachine) for each in commands)
    return [
        isinstance(v1.outcome, Inconclusive),
        isinstance(v2_.outcome, Inconclusive),
        delegated.found_nobody,
        sender.status is HelperStatus.REFUSED,
    ]


@pytest.mark.spec("AUTONAT-34")
@pytest.mark.parametrize("ip", ["192.168.1.9", "127.0.0.1", "fe80::1", "100.64.0.1"])
def test_peers_seen_at_private_addresses_are_not_served(ip: str) -> None:
    serving = Serving()
    peer = serving.meet(9, ALICE, SocketAddr(ip, 4001))

    assert all(refusals(serving, peer))


@pytest.mark.spec("AUTONAT-22")
def test_peers_behind_a_relay_are_not_served() -> None:
    serving = Serving()
    peer = serving.meet(9, ALICE, ALICE_ADDR, socket=-1)

    assert all(refusals(serving, peer))


@pytest.mark.spec("AUTONAT-40")
def test_a_node_that_does_not_know_its_own_address_does_not_serve() -> None:
    serving = Serving(local="192.168.1.10")
    assert all(refusals(serving, serving.alice))


@pytest.mark.spec("AUTONAT-40")
@pytest.mark.parametrize(
    ("own", "serves"), [("5.5.5.5", True), (ALICE_ADDR.ip, False), ("2400::1", False)]
)
def test_behind_a_nat_it_serves_once_it_knows_that_it_is_not_the_same_one(own, serves) -> None:
    serving, requester = Serving(local="192.168.1.10"), v2()
    serving.facts.seen = [(SocketId(1), SocketAddr(own, 999), False)]
    _, commands = serving.ask(DIAL_REQUEST_PROTOCOL_ID, requester)

    assert bool(commands) is serves


def test_what_is_over_is_forgotten() -> None:
    serving = Serving()
    for second in range(30):
        serving.ask(DIAL_REQUEST_PROTOCOL_ID, v2(noise_udp_multiaddr(SocketAddr("10.0.0.1", 1))))
        serving.ask(DELEGATION_PROTOCOL_ID, asker(), now=float(second))

    assert serving.server._clients == {}
