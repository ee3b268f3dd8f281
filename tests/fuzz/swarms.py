"""A fuzz target of everything at once: a whole swarm between hostile peers, timers and its user."""

from functools import partial
from typing import TYPE_CHECKING, Final

from p2pnode.clock import UnixTime
from p2pnode.machine import Received, SocketAddr
from p2pnode.protocols import autonat, dcutr, identify, kad, nat_behaviour, ping, relay
from p2pnode.protocols.autonat import delegated_messages as dial_back
from p2pnode.protocols.autonat.messages_v1 import DialResponseV1, DialV1, encode_message_v1
from p2pnode.protocols.autonat.messages_v2 import (
    DialDataRequest,
    DialRequest,
    DialResponse,
    encode_message_v2,
)
from p2pnode.protocols.dcutr.messages import Connect, Sync, encode_hole_punch
from p2pnode.protocols.identify.messages import IdentifyMessage, encode_identify_frames
from p2pnode.protocols.kad import messages as kad_messages
from p2pnode.protocols.nat_behaviour import messages as nat
from p2pnode.protocols.relay import seal_voucher
from p2pnode.protocols.relay.circuit_messages import (
    CircuitClosing,
    CircuitConnect,
    CircuitStatus,
    encode_circuit,
)
from p2pnode.protocols.relay.messages import (
    ConnectRequest,
    HopStatus,
    Limit,
    Reservation,
    ReserveRequest,
    StopConnect,
    StopStatus,
    encode_hop,
    encode_stop,
)
from p2pnode.swarm import SwarmConfig
from p2pnode.swarm.address_book import AddressSource
from p2pnode.swarm.config import RelayMode
from p2pnode.swarm.services.service import (
    CircuitFailed,
    Command,
    DialBack,
    DialPeer,
    DropCircuit,
    FindPeers,
    LearnAddresses,
    OpenStream,
    ProbePath,
    PunchRoutes,
    Readvertise,
    ReplaceCircuit,
    SendDatagram,
    UseCircuit,
)
from p2pnode.transports.datagrams.control_frames import MAX_OUTSTANDING
from p2pnode.transports.delivery import frame as stream_frame
from p2pnode.transports.noise_udp import frame
from p2pnode.transports.punch import Punch, PunchProbe
from p2pnode.wire.framing import encode_frame
from p2pnode.wire.multiaddr import parse_multiaddr
from p2pnode.wire.multistream.messages import encode_message
from tests.fuzz.choices import Choices
from tests.support.addresses import NOISE_UDP
from tests.support.identities import peer_id, private_key
from tests.support.raw_swarm import HEADER, OWN, PROBE_SOCKET, SOCKET, RawSwarm, RawSwarmPeer

if TYPE_CHECKING:
    from p2pnode.swarm.swarm_stream import SwarmStream
    from p2pnode.transports.route import Route

MAX_ACTIONS: Final = 120
END: Final = 900.0
"""seconds after which nothing may be left of peers that have fallen silent"""
ECHO: Final = "/test/echo/1"
CIRCUIT_ID: Final = bytes(range(8))


class _Scene:
    """A swarm that relays, and three peers: two that dialled, and one that was dialled."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.world = RawSwarm(SwarmConfig(relay_mode=RelayMode.ALWAYS))
        self.world.call(self.world.swarm.handle_protocol, ECHO, self.world.now, 4)
        self.peers = [self.world.peer(i, is_initiator=i != 1) for i in range(3)]
        self.words = words(self.peers)
        self.streams: list[SwarmStream] = []
        """What the user opened."""
        self.dials: list[int] = []
        self.routes: list[Route] = []
        """Circuits of the swarm."""

    def act(self) -> None:
        choices = self.choices
        peer = self.peers[choices.byte() % len(self.peers)]
        match choices.byte() % 10:
            case 0:
                self.world.wait(choices.byte() ** 2 / 1000)
            case 1:
                self.ask(peer)
            case 2:
                self.answer(peer)
            case 3:
                peer.send(choices.mutate(self.frames(peer)))
            case 4:
                peer.acknowledge()
            case 5:
                self.throw(peer)
            case 6:
                self.flood(peer)
            case 7:
                self.serve(peer)
            case _:
                self.command(peer)

    # the peers

    def flood(self, peer: RawSwarmPeer) -> None:
        """Has the swarm say more than is acknowledged."""
        connection = self.world.swarm._transports.connections.get(peer.handle)
        peer.send(frame.MaxPathId(1 << 12).encode())
        for number in range(1, 1 + self.choices.byte()):  # each abandoned path makes room for one
            peer.send(frame.PathAbandon(number, 0).encode())
            # The last one that is too many is left to something else: there are paths for it.
            if connection is None or connection._control.outstanding > MAX_OUTSTANDING - 4:
                for path_id in range(number + 1, number + 7):
                    new = frame.NewConnectionId(
                        path_id, 0, 0, path_id.to_bytes(8, "big"), bytes(16)
                    )
                    peer.send(new.encode())
                return

    def ask(self, peer: RawSwarmPeer) -> None:
        choices = self.choices
        protocols = list(self.words)
        protocol = protocols[choices.byte() % len(protocols)]
        peer.ask(protocol, self.word(protocol))

    def answer(self, peer: RawSwarmPeer) -> None:
        """Agrees to whatever the swarm proposes, and says what may fit."""
        for stream_id, protocol in peer.asked():
            if self.choices.byte() % 8:
                reply = HEADER + encode_message(protocol) + self.word(protocol)
                peer.say(stream_id, reply, is_end=self.choices.byte() % 4 == 0)
        if peer.streams and self.choices.byte() % 2:
            stream_ids = list(peer.streams)
            stream_id = stream_ids[-1 - self.choices.byte() % min(8, len(stream_ids))]
            every = [word for some in self.words.values() for word in some]
            word = every[self.choices.byte() % len(every)]
            peer.say(stream_id, word, is_end=self.choices.byte() % 4 == 0)

    def word(self, protocol: str) -> bytes:
        known = self.words.get(protocol, [b""])
        word = known[self.choices.byte() % len(known)]
        return self.choices.mutate(word) if self.choices.byte() % 4 == 0 else word

    def frames(self, peer: RawSwarmPeer) -> bytes:
        choices = self.choices
        number, other = choices.byte() % 6, choices.byte()
        stream_id = list(peer.streams)[-1 - other % len(peer.streams)] if peer.streams else 0
        every = [
            stream_frame.ResetStream(stream_id, other, peer.streams.get(stream_id, 0)).encode(),
            stream_frame.StopSending(stream_id, other).encode(),
            frame.NewConnectionId(number, other % 3, 0, choices.take(8).ljust(8, b"\1"), bytes(16))
            .encode(),
            frame.RetireConnectionId(number, other % 3).encode(),
            frame.PathAbandon(number, other).encode(),
            frame.PathStatus(number, other, bool(other % 2)).encode(),
            frame.MaxPathId(8 + other).encode(),
            frame.PathChallenge(bytes([other] * 8)).encode() * (1 + number),
            frame.ObservedAddress(0, other, SocketAddr(f"9.9.9.{number}", 4001)).encode(),
            frame.AckFrequency(other, number, other * 1000).encode(),
            frame.ImmediateAck().encode(),
            stream_frame.MaxData(other << 16).encode()
            + stream_frame.MaxStreams(other << 2).encode(),
            stream_frame.MaxStreamData(stream_id, other << 12).encode(),
            frame.Datagram(choices.take(number)).encode(),
            frame.NewToken(b"token").encode(),
            frame.HandshakeDone().encode(),
            frame.encode_ack(
                stream_frame.Ack(number % 3, other, ((max(0, other - number), other + 1),))
            ),
            peer.opened[-1 - other % len(peer.opened)].payload if peer.opened else b"\1",
            frame.ConnectionClose(other, 0, "x", number == 5).encode() if number > 3 else b"\1",
        ]  # fmt: skip
        return every[choices.byte() % len(every)]

    def throw(self, peer: RawSwarmPeer) -> None:
        """Sends something outside of the connection, or from elsewhere, or on another path."""
        choices = self.choices
        source = [peer.address, SocketAddr("66.6.6.6", 6), SocketAddr("10.0.0.6", 6)][
            choices.byte() % 3
        ]
        socket = (SOCKET, PROBE_SOCKET)[choices.byte() % 2]
        path_id = choices.byte() % 3
        match choices.byte() % 5:
            case 0:
                known = path_id in peer.ids
                inside = peer.seal(b"\1", path_id=path_id) if known else choices.take(60)
                payload = bytes([relay.CIRCUIT_TYPE]) + CIRCUIT_ID + inside
                source = self.peers[choices.byte() % len(self.peers)].address
            case 1:
                payload = bytes([autonat.PROBE_FIRST_BYTE]) + choices.take(60)
            case 2 if path_id in peer.ids:
                payload = peer.seal(b"\1", path_id=path_id)
            case 3 if peer.datagrams:
                payload = choices.mutate(peer.datagrams[-1 - choices.byte() % len(peer.datagrams)])
            case _:
                payload = choices.take(60)
        if payload:
            step = max(1, len(payload) - choices.byte() % 3)
            self.world.receive(Received(socket, OWN.ip, source, 0, step, payload))

    # services, whatever has made them ask

    def serve(self, peer: RawSwarmPeer) -> None:
        choices, swarm, now = self.choices, self.world.swarm, self.world.now
        other = self.peers[choices.byte() % len(self.peers)]
        number = choices.byte()
        if number % 4 == 0 or not self.routes:
            route = swarm._state.circuits.open(other.handle, b"sends-as", CIRCUIT_ID)
            if route is not None:
                self.routes.append(route)
                self.obey(UseCircuit(route, peer.peer_id, number % 8 == 0))
            return
        route = self.routes[-1 - number % len(self.routes)]
        punch = Punch(now + number % 3, (PunchProbe(0.0), PunchProbe(0.2, 3)), now + 5.0)
        remotes = (peer.address, SocketAddr(f"88.8.8.{number}", 8))
        every: list[Command] = [
            PunchRoutes(peer.handle, remotes, punch),
            UseCircuit(route, peer.peer_id, True),
            DropCircuit(route, peer.peer_id, "it is gone"),
            ReplaceCircuit(route, peer.peer_id, other.peer_id),
            CircuitFailed(peer.peer_id, other.peer_id, "no"),
            ProbePath(peer.handle),
            OpenStream(peer.handle, ping.PROTOCOL_ID, ping.PingRequester(bytes)),
            DialPeer(peer.peer_id, (other.multiaddr,)),
            DialBack(number, peer.peer_id, peer.address, NOISE_UDP, 5.0),
            SendDatagram(remotes[1], b"knock"),
            LearnAddresses(other.peer_id, (peer.multiaddr,)),
            FindPeers(),
            Readvertise(),
        ]
        self.obey(every[choices.byte() % len(every)])

    def obey(self, command: Command) -> None:
        self.world.call(self.world.swarm._services.ping._command, command)

    # the user

    def command(self, peer: RawSwarmPeer) -> None:
        choices, swarm, now = self.choices, self.world.swarm, self.world.now
        other = self.peers[choices.byte() % len(self.peers)]
        handle, number = peer.handle, choices.byte()
        through = parse_multiaddr(
            f"{other.multiaddr}/p2p/{other.peer_id}/p2p-circuit/p2p/{peer.peer_id}"
        )
        request = [nat.ReportRequest(), nat.KnockRequest(4001, bytes(32))][number % 2]
        strange = SocketAddr(f"77.7.7.{number}", 7)
        every = [
            lambda: self.open(handle, (ECHO, ping.PROTOCOL_ID)[number % 2]),
            self.use_stream,
            partial(swarm.ping, handle, now),
            partial(swarm.identify, handle, now),
            partial(swarm.ask_nat, handle, request, now),
            partial(swarm.send_datagram, handle, bytes(number)),
            lambda: self.dials.append(swarm.dial(peer.peer_id, [through], now)),
            lambda: self.dials.append(swarm.dial(peer_id(number), [], now)),
            lambda: self.dials.append(swarm.dial(None, [other.multiaddr], now)),
            lambda: swarm.cancel_dial(self.dials[-1] if self.dials else number, now),
            partial(swarm.revalidate, now),
            partial(swarm.handle_interfaces_changed, (OWN.ip, f"10.0.0.{number % 3}"), now),
            partial(swarm.handle_clock_changed, UnixTime(1.7e9 + number * 1e6), now),
            partial(swarm.handle_protocol, ECHO, now, number % 4),
            partial(swarm.unhandle_protocol, ECHO, now),
            partial(swarm.remember_relay, other.peer_id, "20.7.7.7", number / 100, now),
            partial(
                swarm.remember_address,
                peer.peer_id, through, AddressSource.HEARSAY, now + number,
            ),
            partial(swarm.remember_token, udp(peer.address), bytes(number)),
            partial(swarm.drain_relay, number / 10, now) if number % 8 == 0 else swarm.poll_key_log,
            partial(swarm.disconnect, handle, now, number) if number % 8 == 0 else swarm.poll_qlog,
            partial(swarm.handle_unreachable, [], now),
            lambda: self.dials.append(swarm.dial(None, [udp(strange)], now)),
            partial(swarm.close, now) if number == 255 else swarm.poll_qlog,
        ]  # fmt: skip
        self.world.call(every[choices.byte() % len(every)])

    def open(self, handle: int, protocol: str) -> None:
        stream = self.world.swarm.open_stream(handle, [protocol], self.world.now)
        if stream is not None:
            self.streams.append(stream)

    def use_stream(self) -> None:
        choices, swarm = self.choices, self.world.swarm
        if not self.streams:
            return
        stream = self.streams[-1 - choices.byte() % len(self.streams)]
        match choices.byte() % 5:
            case 0:
                stream.write(bytes(choices.below(20_000)))
            case 1:
                stream.read(1 << 16)
            case 2:
                stream.finish()
            case 3:
                swarm.reset_stream(stream, choices.byte(), self.world.now)
            case _:
                swarm.release_stream(stream, self.world.now)


def udp(address: SocketAddr) -> object:
    return parse_multiaddr(f"/ip4/{address.ip}/udp/{address.port}/noise")


def words(peers: list[RawSwarmPeer]) -> dict[str, list[bytes]]:
    """Returns what may be said on streams of each protocol, by either side."""
    a, b, _ = peers
    own = private_key("swarm")
    own_id = peer_id("swarm")
    victim = parse_multiaddr("/ip4/99.1.1.1/udp/53/noise")
    through = parse_multiaddr(f"{a.multiaddr}/p2p/{a.peer_id}/p2p-circuit")
    knows = IdentifyMessage(
        public_key=private_key(f"raw peer {0}").public_key,
        listen_addrs=(a.multiaddr, through, victim),
        protocols=(relay.HOP_PROTOCOL_ID, relay.CIRCUIT_HOP_PROTOCOL_ID, kad.PROTOCOL_ID,
                   dcutr.PROTOCOL_ID, autonat.DELEGATION_PROTOCOL_ID, nat_behaviour.PROTOCOL_ID,
                   autonat.V1_PROTOCOL_ID, autonat.DIAL_REQUEST_PROTOCOL_ID),
        observed_addr=udp(OWN),
        protocol_version="p2pnode",
        agent_version="raw",
        signed_peer_record=None,
    )  # fmt: skip
    reservations = [
        HopStatus(
            100,
            Reservation(
                1_700_003_600,
                (parse_multiaddr(f"{each.multiaddr}/p2p/{each.peer_id}"),),
                seal_voucher(private_key(f"raw peer {i}"), own_id, 1_700_003_600).encode(),
            ),
            Limit(120, 1 << 20),
        )
        for i, each in enumerate(peers)
    ]
    assert own.public_key
    hop = [ReserveRequest(), *(ConnectRequest(p.peer_id) for p in peers), *reservations]
    hop += [HopStatus(201), ConnectRequest(own_id)]
    circuit = [CircuitConnect(p.peer_id, CIRCUIT_ID) for p in peers]
    circuit += [CircuitStatus(100, CIRCUIT_ID), CircuitStatus(203), CircuitClosing(203, 1.0)]
    punch = [Connect((b.multiaddr, victim)), Connect(()), Sync()]
    v1 = [DialV1(a.peer_id, (a.multiaddr, victim)), DialResponseV1(0, "", udp(OWN))]
    v2 = [
        DialRequest((a.multiaddr, victim), 7),
        DialDataRequest(0, 40_000),
        DialResponse(200, 0, 200),
    ]
    delegated = [
        dial_back.encode_delegated_message(dial_back.Ask(a.multiaddr)),
        dial_back.encode_delegated_message(dial_back.DialBackOffer(("20.7.7.7", "21.7.7.7"))),
        dial_back.encode_delegated_message(dial_back.Choice((bytes(16), None))),
        dial_back.encode_order(dial_back.Order(a.multiaddr, bytes(16), bytes(32), "20.7.7.7")),
    ]
    people = [
        kad_messages.CloserPeer(peer_id(i), (udp(SocketAddr(f"55.5.5.{i}", 5)),)) for i in range(4)
    ]
    found = [kad_messages.CloserPeer(p.peer_id, (p.multiaddr, through)) for p in peers]
    nats = [
        nat.encode_request(nat.KnockRequest(4001, bytes(32))),
        nat.encode_request(nat.ReportRequest()),
        nat.encode_request(nat.LocateRequest(bytes(32))),
        nat.encode_answer(nat.NatAnswer(nat.NatStatus.OK, seen_at=OWN)),
    ]
    return {
        identify.PROTOCOL_ID: [encode_identify_frames(knows), b""],
        identify.PUSH_PROTOCOL_ID: [encode_identify_frames(knows)],
        ping.PROTOCOL_ID: [bytes(32), bytes(96), b""],
        kad.PROTOCOL_ID: [
            encode_frame(kad_messages.encode_request(own_id.multihash)),
            encode_frame(kad_messages.encode_answer(people)),
            encode_frame(kad_messages.encode_answer(found)),
        ],
        dcutr.PROTOCOL_ID: [encode_frame(encode_hole_punch(each)) for each in punch]
        + [b"".join(encode_frame(encode_hole_punch(each)) for each in (punch[0], punch[2]))],
        nat_behaviour.PROTOCOL_ID: [encode_frame(each) for each in nats],
        autonat.V1_PROTOCOL_ID: [encode_frame(encode_message_v1(each)) for each in v1],
        autonat.DIAL_REQUEST_PROTOCOL_ID: [encode_frame(encode_message_v2(each)) for each in v2],
        autonat.DELEGATION_PROTOCOL_ID: [encode_frame(each) for each in delegated],
        autonat.HELPER_PROTOCOL_ID: [encode_frame(each) for each in delegated],
        autonat.DIAL_BACK_PROTOCOL_ID: [encode_frame(bytes(8))],
        relay.HOP_PROTOCOL_ID: [encode_frame(encode_hop(each)) for each in hop],
        relay.STOP_PROTOCOL_ID: [
            encode_frame(encode_stop(StopConnect(b.peer_id, Limit(120, 1 << 20)))),
            encode_frame(encode_stop(StopStatus(100))),
        ],
        relay.CIRCUIT_HOP_PROTOCOL_ID: [encode_frame(encode_circuit(each)) for each in circuit]
        + [encode_frame(encode_hop(each)) for each in reservations],
        relay.CIRCUIT_STOP_PROTOCOL_ID: [encode_frame(encode_circuit(each)) for each in circuit],
        ECHO: [b"x" * 100, b""],
    }


def fuzz_swarm(data: bytes) -> None:
    """Whatever peers say and the user asks for, the swarm keeps its contract and comes to rest."""
    choices = Choices(data)
    scene = _Scene(choices)
    for _ in range(MAX_ACTIONS):
        if choices.is_empty:
            break
        scene.act()
    scene.world.wait(END)
    assert not scene.world.swarm.facts.connections()
