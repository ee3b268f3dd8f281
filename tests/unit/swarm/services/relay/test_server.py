"""The relay's service between clients and targets, stepped by hand."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from p2pnode.clock import UnixTime
from p2pnode.machine import Received, SocketAddr, SocketId, StreamMachine, Transmit
from p2pnode.protocols.relay import (
    CIRCUIT_HOP_PROTOCOL_ID,
    CIRCUIT_STOP_PROTOCOL_ID,
    HOP_PROTOCOL_ID,
    STOP_PROTOCOL_ID,
    AccessList,
    CircuitEnded,
    CircuitEnding,
    CircuitOffered,
    CircuitOpened,
    CircuitReady,
    CircuitRefused,
    CircuitRequester,
    CircuitResponder,
    MonthlyVolume,
    NotReserved,
    RelayLimits,
    ReservationRequester,
    Reserved,
    Status,
    StopResponder,
    StreamConnector,
)
from p2pnode.protocols.relay.circuit_table import END_NOTICE
from p2pnode.protocols.relay.hop import HOP_TIMEOUT
from p2pnode.protocols.relay.messages import ReserveRequest, encode_hop
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.peer import Peer
from p2pnode.swarm.services.relay.server import Relaying, RelayServer
from p2pnode.swarm.services.service import Disconnect, OpenStream, PumpMachine, Readvertise
from p2pnode.swarm.stream_pump import MAX_UNSENT, READ_SIZE
from p2pnode.transports.route import Route
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.addresses import NOISE_UDP
from tests.support.identities import peer_id, private_key
from tests.support.machine_streams import StreamEnd, Talker

UNIX = UnixTime(1_700_000_000)
RELAY, ALICE, BOB, CAROL = (peer_id(name) for name in ("relay", "a", "b", "c"))
A, B, C = 1, 2, 3
"""Connections of the relay to them."""
PEERS = {A: ALICE, B: BOB, C: CAROL}
HOST = "/ip4/1.2.3.4/udp/4001/noise"
LIMITS = RelayLimits()


NEXT = 99
"""another connection of one of them"""


def route(connection: int, port: int = 4001) -> Route:
    return Route(SocketId(0), "10.0.0.1", SocketAddr(f"9.8.7.{connection}", port))


class Facts:
    """Who is connected."""

    def __init__(self) -> None:
        self.peers = {c: Peer(c, peer, route(c), False, NOISE_UDP) for c, peer in PEERS.items()}

    def peer(self, connection: int) -> Peer | None:
        return self.peers.get(connection)


class Relay:
    """A relay, the streams that lead to it, and the machines at their far ends."""

    def __init__(
        self,
        limits: RelayLimits = LIMITS,
        *,
        mode: RelayMode = RelayMode.ALWAYS,
        access: AccessList | None = None,
        used: int = 0,
    ) -> None:
        self.now = 0.0
        self.facts = Facts()
        self.volume = MonthlyVolume(
            limits.monthly_bytes,
            peer_cap=limits.peer_monthly_bytes,
            now=0.0,
            unix_now=UNIX,
            used={"2023-11": used},
        )
        self.server = RelayServer(
            self.facts,
            private_key("relay"),
            limits=limits,
            access=access or AccessList(),
            volume=self.volume,
            mode=mode,
            own_addresses=lambda peer: (
                parse_multiaddr(HOST),
                parse_multiaddr(f"{HOST}/p2p/{RELAY}/p2p-circuit"),
                parse_multiaddr(f"/ip4/5.6.7.8/udp/1/noise/p2p/{BOB}"),
            ),
            entropy=Random(1).randbytes,
            now=0.0,
            unix_now=UNIX,
        )
        self.streams: list[tuple[int, StreamEnd, StreamEnd]] = []
        """Connection, the relay's end, the other end."""
        self.speaks = dict[tuple[int, str], Callable[[], StreamMachine]]()
        self.answers: list[StreamMachine] = []
        """Machines at the far ends of streams that the relay has opened."""
        self.news = 0
        self.turned_out: list[int] = []

    def ask(self, connection: int, protocol: str, machine: StreamMachine) -> bool:
        """Opens a stream to the relay; returns whether it takes it."""
        if protocol not in self.server.inbound:
            return False
        served = self.server.accept(self.facts.peers[connection], protocol, self.now)
        assert served is not None
        self.streams.append((connection, StreamEnd(served), StreamEnd(machine)))
        self.run()
        return True

    def run(self) -> None:
        """Lets everybody move until nobody can."""
        moved = True
        while moved:
            moved = self._run_commands()
            for connection, near, far in list(self.streams):
                moved |= far.pump(near, self.now)
                moved |= self._pump(connection, near, far)
        self.streams = [s for s in self.streams if not (s[1].is_over and s[2].is_over)]

    def _pump(self, connection: int, near: StreamEnd, far: StreamEnd) -> bool:
        moved = near.pump(far, self.now)
        if moved:
            self.server.on_progress(connection, near.machine, self.now)
        return moved

    def _run_commands(self) -> bool:
        commands = self.server.poll_commands()
        for command in commands:
            match command:
                case OpenStream(connection, protocol, machine):
                    make = self.speaks.get((connection, protocol))
                    if make is None:
                        self.server.on_stream_failed(connection, machine, "refused", self.now)
                        continue
                    self.answers.append(make())
                    ends = StreamEnd(machine), StreamEnd(self.answers[-1])
                    self.streams.append((connection, *ends))
                case PumpMachine(connection, machine):
                    for other, near, far in self.streams:
                        if other == connection and near.machine is machine:
                            self._pump(connection, near, far)
                case Readvertise():
                    self.news += 1
                case Disconnect(connection, _, for_load=True):
                    self.turned_out.append(connection)
                case _:
                    raise AssertionError(command)
        return bool(commands)

    def at(self, now: float) -> None:
        """Lets time pass, with everybody's timers."""
        self.now = now
        self.server.handle_timeout(now)
        for connection, near, _ in list(self.streams):
            deadline = near.machine.poll_timeout()
            if deadline is not None and deadline.at <= now:
                near.machine.handle_timeout(now)
                self.server.on_progress(connection, near.machine, now)
        self.run()

    def lose(self, connection: int) -> None:
        """A connection is gone: first its streams, then itself."""
        for other, near, _ in [s for s in self.streams if s[0] == connection]:
            near.machine.handle_reset(0, self.now)
            near.give_up()
            self.server.on_progress(other, near.machine, self.now)
        self.streams = [s for s in self.streams if s[0] != connection]
        self.server.on_disconnected(self.facts.peers.pop(connection), self.now)
        self.run()

    # what clients do

    def reserve(self, connection: int) -> Reserved | NotReserved | None:
        asked = ReservationRequester(RELAY, PEERS[connection], now=self.now)
        assert self.ask(connection, HOP_PROTOCOL_ID, asked)
        return asked.outcome

    def accepting(self, connection: int) -> None:
        """The peer of a connection takes every circuit, and every stream circuit."""
        self.speaks[connection, CIRCUIT_STOP_PROTOCOL_ID] = lambda: Target(self, connection)
        self.speaks[connection, STOP_PROTOCOL_ID] = lambda: StopTarget(self)

    def circuit(self, source: int = A, target: int = B) -> "Asker":
        """Opens a datagram circuit, or tries to."""
        asker = Asker(self, source, target)
        assert self.ask(source, CIRCUIT_HOP_PROTOCOL_ID, asker)
        return asker

    def stream_circuit(self, source: int = A, target: int = B) -> Talker:
        talker = Talker(StreamConnector(PEERS[target], self.now))
        assert self.ask(source, HOP_PROTOCOL_ID, talker)
        return talker

    def send(self, source: int, circuit_id: bytes, inner: bytes) -> list[Transmit]:
        path = self.facts.peers[source].route
        data = b"\x90" + circuit_id + inner
        batch = [Received(path.socket, path.local_ip, path.remote, 0, len(data), data)]
        self.server.handle_circuit_packets(batch, self.now)
        return self.server.poll_transmits(self.now)


class Asker(CircuitRequester):
    """Keeps what it is told."""

    def __init__(self, relay: Relay, source: int, target: int) -> None:
        self.receive_id = b"recv" + source.to_bytes(4, "big")
        super().__init__(PEERS[target], self.receive_id, relay.now)
        self.told: list[object] = []

    def take_events(self) -> list[object]:
        self.told += self.poll_events()
        return self.told

    @property
    def ready(self) -> CircuitReady:
        (ready,) = [event for event in self.take_events() if isinstance(event, CircuitReady)]
        return ready


class Target(CircuitResponder):
    """Takes every circuit."""

    def __init__(self, relay: Relay, connection: int) -> None:
        super().__init__(relay.now)
        self.receive_id = b"targ" + connection.to_bytes(4, "big")
        self.told: list[object] = []

    def poll_output(self):
        self.take_events()
        return super().poll_output()

    def take_events(self) -> list[object]:
        for event in self.poll_events():
            self.told.append(event)
            if isinstance(event, CircuitOffered):
                self.accept(self.receive_id, now=0.0)
        return self.told


class Refuser(Target):
    def accept(self, *args, **kwargs):
        self.refuse(Status.RESOURCE_LIMIT_EXCEEDED)


class StopTarget(Talker):
    """Takes every stream circuit."""

    def __init__(self, relay: Relay) -> None:
        self.stop = StopResponder(relay.now)
        super().__init__(self.stop)

    def poll_output(self):
        if self.stop.is_deciding:
            self.stop.accept()
        return super().poll_output()


def serving(limits: RelayLimits = LIMITS, **options) -> Relay:
    """Returns a relay at which Bob has a reservation, who takes whatever comes."""
    relay = Relay(limits, **options)
    assert isinstance(relay.reserve(B), Reserved)
    relay.accepting(B)
    return relay


def refused(asker: Asker) -> int | None:
    (event,) = asker.take_events()
    assert isinstance(event, CircuitEnded)
    return event.status


# reservations


@pytest.mark.spec("RELAY-1")
@pytest.mark.spec("RELAY-3")
@pytest.mark.spec("RELAY-6")
def test_a_reservation_is_granted_with_our_addresses_and_a_voucher() -> None:
    relay = Relay()
    outcome = relay.reserve(B)

    assert isinstance(outcome, Reserved)
    assert outcome.expire == int(UNIX + LIMITS.reservation_ttl)
    assert outcome.addrs == (parse_multiaddr(f"{HOST}/p2p/{RELAY}"),)
    assert outcome.limit == LIMITS.stream_limit
    assert outcome.voucher is not None
    assert outcome.voucher.peer == BOB
    assert relay.server.reservations() == {BOB: 3600.0}
    assert relay.server.reservation_answers == {Status.OK: 1}
    assert relay.streams == []


@pytest.mark.spec("RELAY-5")
def test_a_reservation_is_refreshed_expires_and_goes_with_its_connection() -> None:
    relay = Relay()
    relay.reserve(B)
    relay.at(2700.0)
    relay.reserve(B)
    assert relay.server.reservations() == {BOB: 6300.0}
    relay.reserve(C)
    relay.lose(C)
    assert relay.server.reservations() == {BOB: 6300.0}
    relay.at(6300.0)
    assert relay.server.reservations() == {}
    assert relay.server.poll_timeout() is None


@pytest.mark.spec("RELAY-20")
def test_nobody_is_served_over_a_relayed_connection() -> None:
    relay = serving()
    relay.facts.peers[A] = relay.facts.peers[A]._replace(
        route=Route(SocketId(-1), None, route(A).remote)
    )
    outcome = relay.reserve(A)
    assert isinstance(outcome, NotReserved)
    assert outcome.status == Status.PERMISSION_DENIED
    assert refused(relay.circuit()) == Status.PERMISSION_DENIED
    refusal = relay.stream_circuit().dialogue
    assert isinstance(refusal, StreamConnector)
    assert refusal.outcome == CircuitRefused(Status.PERMISSION_DENIED, "PERMISSION_DENIED")


@pytest.mark.spec("RELAY-34")
def test_a_node_serves_only_while_it_is_public_and_offers_only_then() -> None:
    relay = Relay(mode=RelayMode.WHEN_PUBLIC)
    outcome = relay.reserve(B)
    assert isinstance(outcome, NotReserved)
    assert outcome.status == Status.PERMISSION_DENIED
    assert refused(relay.circuit()) == Status.PERMISSION_DENIED
    assert relay.server.offered_ids == ()

    relay.server.set_public(True, 1.0)
    relay.server.set_public(True, 1.0)
    assert relay.server.offered_ids == (HOP_PROTOCOL_ID, CIRCUIT_HOP_PROTOCOL_ID)
    assert isinstance(relay.reserve(B), Reserved)
    relay.accepting(B)
    asker = relay.circuit()
    assert relay.news == 1

    relay.server.set_public(False, 2.0)
    assert refused(relay.circuit(C)) == Status.PERMISSION_DENIED
    assert relay.news == 2
    assert relay.send(A, asker.ready.send_id, b"goes on")


@pytest.mark.spec("RELAY-34")
def test_a_node_that_is_no_relay_takes_no_such_streams() -> None:
    relay = Relay(mode=RelayMode.OFF)
    relay.server.set_public(True, 0.0)
    assert relay.server.inbound == {}
    assert relay.server.offered_ids == ()
    assert not relay.ask(A, HOP_PROTOCOL_ID, Talker(StreamConnector(BOB, 0.0)))
    assert relay.news == 0


@pytest.mark.spec("RELAY-9")
def test_a_client_may_end_its_direction_behind_its_request() -> None:
    relay = serving()
    hop = relay.server.accept(relay.facts.peers[A], HOP_PROTOCOL_ID, 0.0)
    assert hop is not None
    ends = StreamEnd(hop), StreamEnd(Talker(StreamConnector(BOB, 0.0)))
    ends[1].pump(ends[0], 0.0)
    ends[0].stream.inbox[:] = encode_frame(encode_hop(ReserveRequest()))
    ends[0].stream.eof_arrived = True
    relay.streams.append((A, *ends))
    relay.run()
    assert ALICE in relay.server.reservations()


@pytest.mark.spec("RELAY-9")
def test_silence_and_a_reset_before_the_request_leave_nothing_behind() -> None:
    relay = Relay()
    for ending in ("silence", "reset"):
        hop = relay.server.accept(relay.facts.peers[A], HOP_PROTOCOL_ID, relay.now)
        assert hop is not None
        far = StreamEnd(CircuitResponder(1e9))
        relay.streams.append((A, StreamEnd(hop), far))
        if ending == "silence":
            relay.at(relay.now + HOP_TIMEOUT)
        else:
            relay.streams[-1][1].stream.reset_arrived = 0
            far.give_up()
            relay.run()
        assert hop.is_done
        assert hop.poll_timeout() is None
        assert relay.streams == []


def test_who_is_gone_when_the_request_is_read_gets_nothing() -> None:
    relay = serving()
    served = relay.facts.peers.pop(A)
    for protocol, machine in (
        (HOP_PROTOCOL_ID, ReservationRequester(RELAY, ALICE, now=0.0)),
        (CIRCUIT_HOP_PROTOCOL_ID, Asker(relay, A, B)),
    ):
        hop = relay.server.accept(served, protocol, 0.0)
        assert hop is not None
        relay.streams.append((A, StreamEnd(hop), StreamEnd(machine)))
        relay.run()
    assert relay.server.circuits == 0
    assert relay.server.reservation_answers[Status.CONNECTION_FAILED] == 1
    assert relay.server.circuit_answers == {Status.CONNECTION_FAILED: 1}


# datagram circuits


@pytest.mark.spec("RELAY-11")
@pytest.mark.spec("RELAY-15")
def test_packets_pass_both_ways_through_a_circuit_with_their_ids_rewritten() -> None:
    relay = serving()
    asker = relay.circuit()
    (target,) = relay.answers
    assert isinstance(target, Target)
    offered, ready = target.take_events()
    assert offered == CircuitOffered(ALICE, LIMITS.datagram_limit)
    assert isinstance(ready, CircuitReady)
    assert asker.ready.limit == LIMITS.datagram_limit

    (there,) = relay.send(A, asker.ready.send_id, b"hello")
    (back,) = relay.send(B, ready.send_id, b"world!")

    assert (there.remote, there.buffer) == (
        route(B).remote,
        b"\x90" + target.receive_id + b"hello",
    )
    assert (back.remote, back.buffer) == (
        route(A).remote,
        b"\x90" + asker.receive_id + b"world!",
    )
    assert relay.send(C, asker.ready.send_id, b"forged") == []
    assert relay.server.strays == 1
    carried = 9 + 5 + 9 + 6
    assert relay.server.relaying() == (Relaying(ALICE, carried, 1), Relaying(BOB, carried, 1))
    assert relay.server.usage()[ALICE].sent.forwarded_bytes == 14
    assert relay.server.circuit_answers == {Status.OK: 1}
    assert relay.volume.used == carried


@pytest.mark.spec("RELAY-22")
def test_a_circuit_needs_a_reservation_and_a_target_that_takes_it() -> None:
    relay = Relay()
    assert refused(relay.circuit()) == Status.NO_RESERVATION
    relay.reserve(B)
    assert refused(relay.circuit()) == Status.CONNECTION_FAILED  # speaks no circuits
    relay.speaks[B, CIRCUIT_STOP_PROTOCOL_ID] = lambda: Refuser(relay, B)
    assert refused(relay.circuit()) == Status.CONNECTION_FAILED
    assert refused(relay.circuit(B, B)) == Status.PERMISSION_DENIED

    assert relay.server.circuits == 0
    assert relay.server.circuit_answers == {
        Status.NO_RESERVATION: 1,
        Status.CONNECTION_FAILED: 2,
        Status.PERMISSION_DENIED: 1,
    }
    assert relay.streams == []


@pytest.mark.spec("RELAY-22")
@pytest.mark.spec("RELAY-23")
def test_circuits_are_limited_and_for_those_who_may() -> None:
    relay = serving(replace(LIMITS, max_circuits=1))
    first = relay.circuit()
    assert refused(relay.circuit(C)) == Status.RESOURCE_LIMIT_EXCEEDED
    first.close()
    relay.run()
    assert relay.circuit(C).ready

    relay = serving(access=AccessList(deny_peers=frozenset({ALICE})))
    assert refused(relay.circuit()) == Status.PERMISSION_DENIED


@pytest.mark.spec("RELAY-44")
@pytest.mark.parametrize("is_used", [False, True])
def test_a_circuit_of_the_fullest_network_gives_way_to_one_of_another(is_used: bool) -> None:
    relay = serving(replace(LIMITS, max_circuits=2))
    first, second = relay.circuit(), relay.circuit()
    if is_used:
        assert relay.send(A, second.ready.send_id, b"hello")
    last, kept = (first, second) if is_used else (second, first)

    assert relay.circuit(C).ready
    assert isinstance(last.take_events()[-1], CircuitEnded)
    assert relay.server.circuits == 2
    assert relay.send(A, kept.ready.send_id, b"hello")
    assert relay.send(A, last.ready.send_id, b"hello") == []
    assert refused(relay.circuit(A)) == Status.RESOURCE_LIMIT_EXCEEDED


@pytest.mark.spec("RELAY-44")
def test_a_stream_circuit_of_the_fullest_network_gives_way_to_one_of_another() -> None:
    relay = serving(replace(LIMITS, max_circuits=2))
    one, other = relay.stream_circuit(), relay.stream_circuit()
    assert relay.circuit(C).ready
    assert relay.server.circuits == 2
    over = [
        talker for talker in (one, other) if talker not in [s[2].machine for s in relay.streams]
    ]
    assert over == [other]


@pytest.mark.spec("RELAY-44")
def test_a_peer_whose_reservation_gives_way_is_told_by_the_end_of_its_connection() -> None:
    relay = Relay(replace(LIMITS, max_reservations=2))
    relay.facts.peers[A] = relay.facts.peers[A]._replace(route=route(B))
    for connection in (A, B, C):
        assert isinstance(relay.reserve(connection), Reserved)
    assert relay.turned_out == [B]
    assert list(relay.server.reservations()) == [ALICE, CAROL]


@pytest.mark.spec("RELAY-13")
@pytest.mark.parametrize("who", ["asker", "target"])
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_the_end_of_either_stream_ends_the_circuit(who: str, how: str) -> None:
    relay = serving()
    asker = relay.circuit()
    (target,) = relay.answers
    assert isinstance(target, Target)
    send_id = asker.ready.send_id
    leaving, staying = (asker, target) if who == "asker" else (target, asker)
    if how == "closes":
        leaving.close()
    else:
        index = next(i for i, s in enumerate(relay.streams) if s[2].machine is leaving)
        relay.streams[index][1].stream.reset_arrived = 0
        relay.streams[index][2].give_up()
    relay.run()

    assert isinstance(staying.take_events()[-1], CircuitEnded)
    assert relay.send(A, send_id, b"late") == []
    assert relay.server.circuits == 0
    assert relay.streams == []


@pytest.mark.spec("RELAY-13")
@pytest.mark.parametrize("lost", [A, B])
def test_a_lost_connection_ends_its_circuits(lost: int) -> None:
    relay = serving()
    asker = relay.circuit()
    (target,) = relay.answers
    assert isinstance(target, Target)
    talker = relay.stream_circuit()
    spliced = relay.answers[-1]
    assert isinstance(spliced, StopTarget)
    relay.lose(lost)

    staying, heard = (target, spliced) if lost == A else (asker, talker)
    assert isinstance(staying.take_events()[-1], CircuitEnded)
    assert heard.reset_code == 0
    assert relay.server.circuits == 0
    assert (relay.server.reservations() == {}) == (lost == B)
    assert relay.streams == []


@pytest.mark.spec("RELAY-36")
def test_a_peer_that_reserves_on_another_connection_has_begun_anew() -> None:
    relay = serving()
    asker = relay.circuit()
    assert relay.server.circuits == 1
    relay.facts.peers[NEXT] = Peer(NEXT, BOB, route(NEXT, 4002), False, NOISE_UDP)
    PEERS[NEXT] = BOB
    assert isinstance(relay.reserve(NEXT), Reserved)
    del PEERS[NEXT]
    assert relay.server.circuits == 0
    assert asker.is_done


@pytest.mark.spec("RELAY-12")
def test_a_target_that_is_lost_while_it_is_asked_is_a_failed_connection() -> None:
    relay = serving()
    relay.speaks[B, CIRCUIT_STOP_PROTOCOL_ID] = lambda: CircuitResponder(0.0)
    asker = relay.circuit()
    assert relay.server.circuits == 1
    assert relay.server.relaying() == (Relaying(ALICE, 0, 0), Relaying(BOB, 0, 0))
    relay.lose(B)
    assert refused(asker) == Status.CONNECTION_FAILED
    assert relay.server.circuits == 0


def test_an_answer_that_comes_when_the_asker_has_just_gone_opens_nothing() -> None:
    relay = serving()
    silent = CircuitResponder(0.0)
    relay.speaks[B, CIRCUIT_STOP_PROTOCOL_ID] = lambda: silent
    relay.circuit()
    near = next(near for connection, near, _ in relay.streams if connection == A)
    near.machine.handle_reset(0, 0.0)  # and nobody has said so yet
    silent.accept(b"receives", now=0.0)
    relay.streams.reverse()  # the answer is read first
    relay.run()
    assert relay.server.circuit_answers == {Status.CONNECTION_FAILED: 1}
    assert relay.server.circuits == 0


def test_an_end_that_says_it_will_leave_keeps_its_circuit_until_it_does() -> None:
    relay = serving()
    asker = relay.circuit()
    send_id = asker.ready.send_id
    asker.announce_end(Status.CONNECTION_FAILED, 5.0)
    relay.run()
    assert relay.send(A, send_id, b"still here")


@pytest.mark.spec("RELAY-15")
@pytest.mark.spec("RELAY-35")
def test_circuits_follow_their_connections_but_not_to_another_relay() -> None:
    relay = serving()
    asker = relay.circuit()
    (target,) = relay.answers
    assert isinstance(target, Target)
    talker = relay.stream_circuit()
    moved = relay.facts.peers[B]._replace(route=route(B, port=5000))
    relay.facts.peers[B] = moved
    relay.server.on_path_changed(moved, 1.0)
    (there,) = relay.send(A, asker.ready.send_id, b"hello")
    assert there.remote.port == 5000
    assert relay.send(B, target.told[-1].send_id, b"from there")

    behind = moved._replace(route=Route(SocketId(-2), None, moved.route.remote))
    relay.facts.peers[B] = behind
    relay.server.on_path_changed(behind, 2.0)
    relay.run()
    assert isinstance(asker.take_events()[-1], CircuitEnded)
    assert talker.reset_code == 0
    assert refused(relay.circuit()) == Status.CONNECTION_FAILED
    assert relay.server.circuits == 0


@pytest.mark.spec("RELAY-14")
@pytest.mark.spec("RELAY-24")
def test_a_drain_tells_both_ends_takes_nothing_more_and_ends_after_the_grace() -> None:
    relay = serving()
    asker = relay.circuit()
    (target,) = relay.answers
    assert isinstance(target, Target)
    talker = relay.stream_circuit()
    relay.speaks[B, CIRCUIT_STOP_PROTOCOL_ID] = lambda: CircuitResponder(0.0)
    waiting = relay.circuit(C)
    relay.server.drain(5.0, 0.0)
    relay.server.drain(50.0, 0.0)
    relay.run()

    ending = CircuitEnding(Status.CONNECTION_FAILED, 5.0)
    assert asker.take_events()[-1] == ending
    assert target.take_events()[-1] == ending
    assert refused(waiting) == Status.CONNECTION_FAILED
    assert relay.news == 1
    assert relay.server.offered_ids == ()
    outcome = relay.reserve(C)
    assert isinstance(outcome, NotReserved)
    assert outcome.status == Status.RESERVATION_REFUSED
    assert refused(relay.circuit(C)) == Status.RESOURCE_LIMIT_EXCEEDED
    assert relay.send(A, asker.ready.send_id, b"still")
    assert not relay.server.is_drained

    relay.at(5.0)
    assert isinstance(asker.take_events()[-1], CircuitEnded)
    assert isinstance(target.take_events()[-1], CircuitEnded)
    assert talker.reset_code is not None
    assert relay.server.is_drained
    assert relay.streams == []


# stream circuits


@pytest.mark.spec("RELAY-8")
@pytest.mark.spec("RELAY-32")
def test_a_stream_circuit_carries_bytes_both_ways_until_both_have_ended() -> None:
    relay = serving(replace(LIMITS, stream_data=10_000_000))
    talker = relay.stream_circuit()
    target = relay.answers[-1]
    assert isinstance(target, StopTarget)
    assert isinstance(talker.dialogue, StreamConnector)
    assert talker.dialogue.outcome == CircuitOpened(
        replace(LIMITS, stream_data=10_000_000).stream_limit
    )
    assert target.stop.offer is not None
    assert target.stop.offer.peer == ALICE
    up, down = Random(1).randbytes(1_000_000), Random(2).randbytes(700_000)
    talker.say(up)
    talker.finish()
    target.say(down)
    relay.run()

    assert target.received == up
    assert talker.received == down
    assert (target.has_eof, talker.has_eof) == (True, False)
    assert relay.server.relaying() == (Relaying(ALICE, 1_700_000, 1), Relaying(BOB, 1_700_000, 1))
    target.finish()
    relay.run()
    assert talker.has_eof
    assert relay.server.circuits == 0
    assert relay.server.relaying() == (Relaying(ALICE, 1_700_000, 0), Relaying(BOB, 1_700_000, 0))
    assert relay.server.usage()[ALICE].sent.forwarded_bytes == len(up)
    assert relay.volume.used == 1_700_000
    assert all(near.is_over for _, near, _ in relay.streams)


@pytest.mark.spec("RELAY-33")
def test_an_end_that_does_not_read_holds_the_other_one_back() -> None:
    relay = serving(replace(LIMITS, stream_data=10_000_000))
    talker = relay.stream_circuit()
    target = relay.answers[-1]
    assert isinstance(target, StopTarget)
    target.takes = False
    talker.say(bytes(2_000_000))
    target.say(b"the other way is free")
    relay.run()
    near = next(near for connection, near, _ in relay.streams if connection == B)

    assert near.stream.most_offered <= MAX_UNSENT + READ_SIZE
    assert talker.received == b"the other way is free"
    target.takes = True
    relay.run()
    assert len(target.received) == 2_000_000
    assert talker.reset_code is None


@pytest.mark.spec("RELAY-32")
def test_volume_time_and_a_reset_break_a_stream_circuit() -> None:
    for how in ("volume", "time", "reset"):
        relay = serving(replace(LIMITS, stream_data=100_000))
        talker = relay.stream_circuit()
        target = relay.answers[-1]
        assert isinstance(target, StopTarget)
        if how == "volume":
            talker.say(bytes(100_001))
        elif how == "time":
            relay.at(120.0)
        else:
            talker.reset()
        relay.run()

        assert target.reset_code is not None, how
        assert relay.server.circuits == 0
        assert relay.streams == []


@pytest.mark.spec("RELAY-22")
def test_a_stream_circuit_needs_a_target_that_takes_it() -> None:
    relay = Relay()

    def status() -> int | None:
        talker = relay.stream_circuit()
        assert isinstance(talker.dialogue, StreamConnector)
        assert isinstance(talker.dialogue.outcome, CircuitRefused)
        return talker.dialogue.outcome.status

    assert status() == Status.NO_RESERVATION
    relay.reserve(B)
    assert status() == Status.CONNECTION_FAILED
    silent = StopResponder(0.0)
    relay.speaks[B, STOP_PROTOCOL_ID] = lambda: silent
    talker = relay.stream_circuit()
    assert silent.is_deciding
    silent.refuse(Status.PERMISSION_DENIED)
    relay.run()
    assert isinstance(talker.dialogue, StreamConnector)
    assert talker.dialogue.outcome == CircuitRefused(Status.CONNECTION_FAILED, "CONNECTION_FAILED")
    assert relay.server.circuits == 0
    assert relay.streams == []


def test_a_client_that_goes_away_takes_the_question_to_the_target_with_it() -> None:
    relay = serving()
    silent = StopResponder(0.0)
    relay.speaks[B, STOP_PROTOCOL_ID] = lambda: silent
    relay.stream_circuit()
    relay.lose(A)
    assert silent.failure == "the stream was reset"
    assert relay.server.circuits == 0
    assert relay.streams == []


@pytest.mark.spec("RELAY-26")
def test_streams_use_the_months_volume_up_and_end_with_it() -> None:
    relay = serving(replace(LIMITS, monthly_bytes=100_000), used=85_000)
    asker = relay.circuit()
    talker = relay.stream_circuit()
    talker.say(bytes(6_000))
    relay.run()
    relay.at(0.2)
    assert asker.take_events()[-1] == CircuitEnding(Status.RESOURCE_LIMIT_EXCEEDED, END_NOTICE)
    assert refused(relay.circuit(C)) == Status.RESOURCE_LIMIT_EXCEEDED
    assert talker.reset_code is None
    relay.at(0.2 + END_NOTICE)
    assert talker.reset_code is not None
    assert relay.server.circuits == 0

    relay = serving(replace(LIMITS, monthly_bytes=100_000), used=85_000)
    talker = relay.stream_circuit()
    talker.say(bytes(15_000))
    relay.run()
    assert talker.reset_code is not None
    assert (relay.volume.month, relay.volume.used) == ("2023-11", 100_000)


@pytest.mark.spec("RELAY-26")
def test_who_has_had_its_share_of_the_month_gets_nothing_more_and_others_do() -> None:
    relay = serving(replace(LIMITS, peer_monthly_bytes=10_000))
    talker = relay.stream_circuit()
    talker.say(bytes(9_500))
    relay.run()
    assert talker.reset_code is None
    assert refused(relay.circuit(A)) == Status.RESOURCE_LIMIT_EXCEEDED
    talker.say(bytes(500))
    relay.run()
    assert talker.reset_code is not None
    assert relay.server.circuits == 0
