"""What hostile relays, and hostile users of honest ones, can do to nodes (specs/security.md)."""

import pytest

from p2pnode.errors import PeerIdMismatch
from p2pnode.machine import Received, SocketAddr, SocketId, Transmit
from p2pnode.netsim.nat_presets import corporate, full_cone, home
from p2pnode.netsim.topology import SiteParams
from p2pnode.protocols import relay
from p2pnode.protocols.relay import RelayLimits, Status, seal_voucher
from p2pnode.protocols.relay.admission import RATE_WINDOW
from p2pnode.protocols.relay.circuit_messages import (
    CircuitClosing,
    CircuitConnect,
    CircuitStatus,
    decode_circuit_untrusted,
    encode_circuit,
)
from p2pnode.protocols.relay.messages import (
    HopStatus,
    Reservation,
    ReserveRequest,
    encode_hop,
)
from p2pnode.resources.limits import ResourceLimits
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.events import ConnectionEstablished, DialFailed, DialSucceeded, PongReceived
from p2pnode.swarm.relayed_paths import MAX_REPLACEMENTS, MAX_SUSPECT_REQUESTS
from p2pnode.swarm.services.relay.client import MAX_OFFERED
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import SimNode
from p2pnode.wire.framing import FrameReader, encode_frame
from tests.support.datagram_machines import ScriptedMachine, transmit
from tests.support.echo import echo
from tests.support.hostile import Mess, Town, give_secret, identities
from tests.support.pair import endpoint_of

ECHO = "/echo/1.0.0"
CHUNK = 60_000
"""bytes"""


def visitor(town: Town, name: str = "visitor", *, nat: bool = True) -> SimNode:
    """Adds an honest node, which is connected to the relay and cannot reach the other directly."""
    params = SiteParams(nat=corporate() if nat else None)
    node = SimNode(town.net.site(name, params).hosts[0])
    give_secret(node)
    node.connect(town.relay)
    return node


def dial(town: Town, node: SimNode, timeout: float = 20.0) -> DialSucceeded | DialFailed:
    """Dials the town's node by its id; returns what came of it."""
    dial_id = node.do(node.swarm.dial, town.node.peer_id, (), town.world.now)

    def outcomes() -> list[DialSucceeded | DialFailed]:
        found: list[DialSucceeded | DialFailed] = [*node.of(DialSucceeded), *node.of(DialFailed)]
        return [outcome for outcome in found if outcome.dial_id == dial_id]

    town.world.run_until(lambda: bool(outcomes()), timeout)
    return outcomes()[0]


def reach(town: Town, node: SimNode) -> int:
    """Dials the town's node; returns the connection."""
    outcome = dial(town, node)
    assert isinstance(outcome, DialSucceeded), outcome
    return outcome.connection


# relays that lie


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_relay_does_to_packets_streams_are_exact_or_end(seed: int) -> None:
    town = Town(seed=seed, nat=corporate())
    town.node.serve(ECHO, echo)
    visitors = [visitor(town, f"visitor {n}") for n in range(2)]
    streams = [(v, v.open(reach(town, v), ECHO)) for v in visitors]
    mess = Mess(town.world.rng("mess"), share=0.15)
    town.relay.tamper(mess)
    data = [town.world.rng(f"data {n}").randbytes(CHUNK) for n in range(2)]
    got = [bytearray(), bytearray()]
    sent = [0, 0]

    def step() -> bool:
        for n, (node, stream) in enumerate(streams):
            sent[n] += node.do(stream.write, data[n][sent[n] :])
            got[n] += node.do(stream.read, 1 << 16)
            assert data[n].startswith(bytes(got[n])), "something that was not said"
        return all(len(each) == CHUNK for each in got)

    town.world.run_until(step, 120)
    assert len(mess.done) >= 7
    for key, received in town.node.received.items():
        assert bytes(received) in data, key
    assert len(town.node.received) == 2
    assert len(town.node.of(ConnectionEstablished)) == 3, "the relay, and two visitors, once each"


def test_a_relay_that_changes_every_packet_ends_the_dial_and_nothing_else() -> None:
    town = Town(nat=corporate())
    guest = visitor(town)
    town.relay.tamper(Mess(town.world.rng("mess"), share=1.0))
    town.relay.tamper(lambda transmits: [t for t in transmits if len(t.buffer) < 100])
    outcome = dial(town, guest, 60)
    assert isinstance(outcome, DialFailed)
    assert not [e for e in town.node.of(ConnectionEstablished) if e.peer_id == guest.peer_id]


def test_a_relay_that_answers_the_handshake_itself_is_not_taken_for_the_peer() -> None:
    town = Town(nat=corporate())
    guest, liar = visitor(town), town.relay
    own_id = bytes(range(8))

    def hijack(stream: SwarmStream, data: bytes, eof: bool) -> None:
        if not data:
            return
        reader = FrameReader(4096)
        reader.feed(data)
        frame = reader.next_frame_untrusted()
        assert frame is not None
        wanted = decode_circuit_untrusted(frame)
        assert isinstance(wanted, CircuitConnect)
        assert liar.swarm._state.circuits.open(stream.connection, wanted.circuit_id, own_id)
        stream.write(encode_frame(encode_circuit(CircuitStatus(Status.OK, own_id))))

    liar.take_over(relay.CIRCUIT_HOP_PROTOCOL_ID, hijack)
    outcome = dial(town, guest, 60)
    assert isinstance(outcome, DialFailed)
    assert any(isinstance(error, PeerIdMismatch) for _, error in outcome.attempts)


def test_circuits_are_not_taken_from_a_relay_that_nothing_was_reserved_with() -> None:
    town = Town()
    mallory = town.hostile()
    mallory.connect(town.relay)
    stranger = identities(1)[0]
    target = town.honest("public")
    connection = mallory.connect(target)
    for n in range(200):
        offer = encode_circuit(CircuitConnect(stranger, n.to_bytes(8, "big")))
        mallory.say(connection, relay.CIRCUIT_STOP_PROTOCOL_ID, offer)
        town.world.run_for(0.05)
    assert len(target.swarm._state.circuits) == 0
    assert target.swarm._services.relay_client._ends == {}


def test_a_relay_cannot_offer_circuits_without_end() -> None:
    town = Town()
    liar = town.relay
    best = liar.swarm.facts.best(town.node.peer_id)
    assert best is not None
    opened = 0
    for n, stranger in enumerate(identities(400)):
        offer = encode_circuit(CircuitConnect(stranger, n.to_bytes(8, "big")))
        stream = liar.do(
            liar.swarm.open_stream, best, [relay.CIRCUIT_STOP_PROTOCOL_ID], town.world.now
        )
        if stream is not None:
            liar.do(stream.write, encode_frame(offer))
            opened += 1
        town.world.run_for(0.02)
    town.world.run_for(2)
    assert 0 < len(town.node.swarm._state.circuits) <= min(MAX_OFFERED, opened)
    assert len(town.node.swarm._transports.connections) == 1, "offers alone make no connection"


@pytest.mark.parametrize(
    ("notices", "ends"),
    [
        (0, False),
        (1, False),
        pytest.param(0, True),
        pytest.param(16, False),
    ],
    ids=["silence", "one notice", "an end at once", "notices without end"],
)
def test_a_circuit_that_carries_nothing_ends_the_dial(notices: int, ends: bool) -> None:
    town = Town(nat=corporate())
    guest = visitor(town)
    asked = 0

    def accept(stream: SwarmStream, data: bytes, eof: bool) -> None:
        nonlocal asked
        if data:
            asked += 1
            accepted = encode_circuit(CircuitStatus(Status.OK, asked.to_bytes(8, "big")))
            closing = encode_circuit(CircuitClosing(Status.CONNECTION_FAILED, 0.5))
            stream.write(encode_frame(accepted) + encode_frame(closing) * notices)
            if ends:
                stream.finish()

    town.relay.take_over(relay.CIRCUIT_HOP_PROTOCOL_ID, accept)
    assert isinstance(dial(town, guest, 30), DialFailed)
    assert asked <= MAX_REPLACEMENTS + 1
    assert len(guest.swarm._state.circuits) == 0


@pytest.mark.parametrize("grace", [0.0, 0.2])
def test_a_relay_that_says_closing_for_ever_does_not_set_the_pace(grace: float) -> None:
    town = Town(nat=corporate())
    guest, server = visitor(town), town.relay.swarm._services.relay_server
    reach(town, guest)
    for _ in range(120):
        server._datagrams.drain(grace, town.world.now)
        town.relay.host.drain()
        town.world.run_for(0.5)
    asked = server.circuit_answers[Status.OK]
    assert asked <= 2 * (MAX_REPLACEMENTS + MAX_SUSPECT_REQUESTS), "as many in each of two windows"
    assert len(guest.swarm._state.circuits) <= 1
    assert len(town.node.swarm._state.circuits) <= 1


@pytest.mark.parametrize("whose", ["another relay's", "another peer's"])
def test_a_replayed_voucher_is_no_reservation(whose: str) -> None:
    town = Town()
    mallory, node = town.hostile(), town.node
    later = int(town.world.unix_now) + 3600
    voucher = {
        "another relay's": seal_voucher(town.relay.identity, node.peer_id, later),
        "another peer's": seal_voucher(mallory.identity, identities(1)[0], later),
    }[whose]
    answers = 0

    def grant(stream: SwarmStream, data: bytes, eof: bool) -> None:
        nonlocal answers
        if data:
            answers += 1
            reservation = Reservation(later, (mallory.address(),), voucher.encode())
            stream.write(encode_frame(encode_hop(HopStatus(Status.OK, reservation))))

    mallory.claim(mallory.address(), protocols=(relay.HOP_PROTOCOL_ID,))
    mallory.take_over(relay.HOP_PROTOCOL_ID, grant)
    node.connect(mallory)
    town.world.run_until(lambda: answers > 0, 60)
    town.world.run_for(5)
    assert [held.relay for held in node.swarm.facts.reservations()] == [town.relay.peer_id]
    assert not any(mallory.host.ip in str(a) for a in node.swarm.facts.advertised_addresses())


# users of an honest relay


def test_connects_without_end_leave_circuits_for_others() -> None:
    town = Town(nat=corporate())
    mallory = town.hostile()
    best = mallory.swarm.facts.best(town.relay.peer_id)
    assert best is not None
    limits, server = (
        town.relay.swarm._services.relay_server._gate.limits,
        town.relay.swarm._services.relay_server,
    )
    most = 0
    for n in range(300):
        ask = encode_circuit(CircuitConnect(town.node.peer_id, n.to_bytes(8, "big")))
        stream = mallory.do(
            mallory.swarm.open_stream, best, [relay.CIRCUIT_HOP_PROTOCOL_ID], town.world.now
        )
        if stream is not None:
            mallory.do(stream.write, encode_frame(ask))
        town.world.run_for(0.05)
        most = max(most, server.circuits)
    assert most == limits.max_circuits_per_pair
    assert len(town.node.swarm._state.circuits) <= limits.max_circuits_per_pair
    assert server.circuit_answers[Status.OK] <= limits.requests_per_peer
    mallory.host.detach()
    town.world.run_for(90)
    assert server.circuits == 0
    assert len(town.node.swarm._state.circuits) == 0


def test_one_peer_cannot_take_all_circuits_of_a_listener() -> None:
    town = Town(nat=corporate())
    mallory, guest = town.hostile(), visitor(town)
    best = mallory.swarm.facts.best(town.relay.peer_id)
    assert best is not None
    for n in range(20):
        ask = encode_circuit(CircuitConnect(town.node.peer_id, n.to_bytes(8, "big")))
        mallory.say(best, relay.CIRCUIT_HOP_PROTOCOL_ID, ask)
        town.world.run_for(0.2)
    assert isinstance(dial(town, guest), DialSucceeded)


def relay_config(**limits: int) -> SwarmConfig:
    return SwarmConfig(relay_mode=RelayMode.ALWAYS, relay_limits=RelayLimits(**limits))


def test_identities_of_one_network_share_its_reservations() -> None:
    town = Town()
    limits = town.relay.swarm._services.relay_server._gate.limits
    crowd = town.net.site("crowd", SiteParams(nat=home(), hosts=limits.max_reservations_per_ip + 6))
    for host in crowd.hosts:
        SimNode(host).dial(town.relay)
    town.world.run_for(30)
    reserved = town.relay.swarm._services.relay_server.reservations()
    assert len(reserved) == limits.max_reservations_per_ip + 1
    assert town.node.peer_id in reserved


def test_a_flood_of_reservations_from_many_networks_takes_none_away() -> None:
    town = Town(relay_config=relay_config(max_reservations=6))
    for n in range(12):
        SimNode(town.net.site(f"home {n}", SiteParams(nat=home())).hosts[0]).dial(town.relay)
    town.world.run_for(30)
    server = town.relay.swarm._services.relay_server
    assert len(server.reservations()) == 6
    assert town.node.peer_id in server.reservations()
    town.world.run_for(3700)
    assert town.node.peer_id in server.reservations(), "a refresh needs no free place"


def test_requests_to_reserve_are_limited_and_cost_no_place() -> None:
    town = Town()
    mallory = town.hostile()
    best = mallory.swarm.facts.best(town.relay.peer_id)
    assert best is not None
    for _ in range(100):
        mallory.say(best, relay.HOP_PROTOCOL_ID, encode_hop(ReserveRequest()))
        town.world.run_for(0.1)
    server = town.relay.swarm._services.relay_server
    limits = server._gate.limits
    granted = server.reservation_answers[Status.OK]
    refilled = 100 * 0.1 / RATE_WINDOW * limits.requests_per_peer
    assert granted <= limits.requests_per_peer + refilled + 2, "the node's own, and mallory's first"
    assert server.reservation_answers[Status.RESOURCE_LIMIT_EXCEEDED] >= 100 - granted
    assert len(server.reservations()) == 2


def test_a_circuit_id_is_of_no_use_from_another_address() -> None:
    town = Town(nat=corporate())
    guest = visitor(town)
    town.node.serve(ECHO, echo)
    stream = guest.open(reach(town, guest), ECHO)
    spy = town.net.host("spy")
    sender = spy.attach(lambda host: ScriptedMachine())
    socket = spy.bind(7)
    table = town.relay.swarm._services.relay_server._table
    target = SocketAddr(town.relay.host.ip, 4001)
    known = list(table._flows)
    guesses = [*known, *(town.world.rng("guess").randbytes(8) for _ in range(1000))]
    before, at_node = table.strays, packets_of(town, spy.name)
    for circuit_id in guesses:
        packet = bytes([relay.CIRCUIT_TYPE]) + circuit_id + bytes(60)
        sender.out.append(transmit(packet, socket, target))
    spy.drain()
    town.world.run_for(1)
    assert len(known) == 2
    assert table.strays - before == len(guesses)
    assert packets_of(town, spy.name) == at_node, "something came back, or went on"
    guest.do(stream.write, b"still here")
    town.world.run_until(lambda: guest.do(stream.read, 100) == b"still here", 5)


def packets_of(town: Town, host: str) -> int:
    """Returns how many packets were delivered at a host."""
    return sum(
        record.where == host and record.kind == "delivered" for record in town.world.trace.records
    )


def test_a_circuit_packet_from_elsewhere_is_not_taken_by_its_end() -> None:
    town = Town(nat=full_cone())
    guest = visitor(town)
    town.node.serve(ECHO, echo)
    connection = reach(town, guest)
    node, now = town.node, town.world.now
    (own,) = node.swarm._state.circuits._by_socket.values()
    packet = bytes([relay.CIRCUIT_TYPE]) + own.receive_id + bytes(100)
    elsewhere = SocketAddr("99.9.9.9", 9)
    received = Received(SocketId(node.sockets[0]), None, elsewhere, 0, len(packet), packet)
    assert node.swarm._state.circuits.unwrap([received]) == ([], [])
    guest.do(guest.swarm.ping, connection, now)
    town.world.run_until(lambda: bool(guest.of(PongReceived)), 5)


class Flood:
    """Handshakes over one circuit that never go beyond message 2."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.mallory = mallory = town.hostile()
        self.connection = reach(town, mallory)
        (route,) = mallory.swarm.facts.circuits_to(town.node.peer_id)
        self.route = route
        endpoint = endpoint_of(mallory.swarm)
        endpoint._on_response = lambda datagram, now: 0  # type: ignore[method-assign]

    def run(self, count: int, seconds: float) -> None:
        """Begins so many handshakes, and keeps their answers to itself."""
        for _ in range(count):
            self._begin()
            self.town.world.run_for(seconds / count)

    def go_on(self, pause: float) -> None:
        """Begins another one after each pause, for ever."""
        self._begin()
        self.town.world.after(pause, lambda: self.go_on(pause))

    def _begin(self) -> None:
        self.mallory.do(self.mallory.swarm._transports.dial, self.route, None, self.town.world.now)


def test_a_flood_of_handshakes_over_one_circuit_does_not_shut_others_out() -> None:
    town = Town(nat=corporate())
    guest = visitor(town)
    flood = Flood(town)
    flood.go_on(0.02)
    town.world.run_for(5)
    assert isinstance(dial(town, guest, 30), DialSucceeded)


def test_handshakes_over_circuits_are_bounded_and_forgotten() -> None:
    town = Town(nat=corporate())
    flood = Flood(town)
    incoming = endpoint_of(town.node.swarm)._incoming
    flood.run(300, 3.0)
    assert 0 < len(incoming.by_id) <= ResourceLimits().half_open.network
    flood.mallory.host.detach()
    town.world.run_for(15)
    assert len(incoming.by_id) == 0


def test_a_stranger_over_a_circuit_gets_no_more_than_three_times_what_it_sent() -> None:
    town = Town(nat=corporate())
    flood = Flood(town)
    sent: list[int] = [0, 0]
    forward = town.relay.swarm._services.relay_server._table.poll_transmits

    def count(now: float) -> list[Transmit]:
        transmits = forward(now)
        for one in transmits:
            to_node = one.remote != SocketAddr(flood.mallory.host.ip, 4001)
            sent[to_node] += len(one.buffer)
        return transmits

    town.relay.swarm._services.relay_server._table.poll_transmits = count  # type: ignore[method-assign]
    flood.run(100, 2.0)
    to_mallory, to_node = sent
    assert 0 < to_mallory <= 3 * to_node
