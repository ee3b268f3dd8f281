"""What lies about a node, forged packets and idle streams can do to it (specs/security.md)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim.host import Host
from p2pnode.netsim.nat_behaviour import NatBehaviour
from p2pnode.netsim.nat_presets import address_restricted, full_cone, home
from p2pnode.netsim.packet import DEFAULT_TTL, Packet
from p2pnode.protocols import autonat, dcutr, identify, kad, nat_behaviour, ping, relay
from p2pnode.protocols.autonat import Reachability
from p2pnode.protocols.autonat import delegated_messages as dial_back
from p2pnode.protocols.autonat.contact_log import CONTACT_MEMORY
from p2pnode.protocols.autonat.delegated_messages import MAX_HELPERS_CHOSEN
from p2pnode.protocols.autonat.messages_v1 import DialResponseV1, encode_message_v1
from p2pnode.protocols.autonat.messages_v2 import (
    DialResponse,
    DialStatus,
    ResponseStatus,
    encode_message_v2,
)
from p2pnode.protocols.autonat.tracker import REPROBE_SETTLED
from p2pnode.protocols.autonat.v2_server import STREAM_TIMEOUT_V2
from p2pnode.protocols.identify.socket_evidence import (
    CONFIRMATIONS_NEEDED,
    MAX_ADDRESSES_PER_SOCKET,
)
from p2pnode.protocols.ping.dialogue import RESPONDER_IDLE_TIMEOUT
from p2pnode.protocols.relay.hop import HOP_TIMEOUT
from p2pnode.swarm.events import PeerIdentified, PongReceived
from p2pnode.swarm.swarm_stream import SwarmStream
from p2pnode.testbed.sim_node import SimNode
from p2pnode.transports.noise_udp.packet import (
    DATA,
    VERSION,
    HandshakeType,
    VersionNegotiation,
    stateless_reset,
)
from p2pnode.transports.noise_udp.path import MAX_ROUTES
from p2pnode.transports.noise_udp.path_validation import GIVES_UP_AFTER, MAX_PROBES, PROBE_SIZE
from p2pnode.transports.route import Route
from p2pnode.wire.framing import FrameReader, encode_frame
from tests.support.addresses import noise_udp_multiaddr
from tests.support.datagram_machines import ScriptedMachine, transmit
from tests.support.hostile import Hostile, Town
from tests.support.raw_peer import RawPeer

LIE = SocketAddr("99.1.1.1", 53)


def seen(node: SimNode) -> dict[SocketAddr, bool]:
    """Returns where the node believes to be seen, and whether that is confirmed."""
    now = node.host.now
    return {address: confirmed for _, address, confirmed in node.swarm.facts.seen_at(now)}


# where we are seen


def observed_by(town: Town, liars: int, *lies: SocketAddr) -> list[Hostile]:
    """Has so many peers in networks of their own say so to the node, in turn."""
    found = []
    for n in range(liars):
        mallory = town.hostile(f"mallory {n}")
        town.node.connect(mallory)
        town.world.run_for(0.2)
        connection = mallory.swarm.facts.best(town.node.peer_id)
        assert connection is not None
        mallory.observe(connection, lies[n % len(lies)])
        town.world.run_for(0.2)
        found.append(mallory)
    return found


@pytest.mark.parametrize("liars", range(1, CONFIRMATIONS_NEEDED))
def test_a_minority_of_observers_confirms_no_address(liars: int) -> None:
    town = Town()
    observed_by(town, liars, LIE)
    town.world.run_for(60)
    assert seen(town.node).get(LIE) is False
    lie = noise_udp_multiaddr(LIE)
    assert lie not in town.node.swarm.facts.advertised_addresses()
    assert town.node.swarm.facts.reachability(town.node.host.now) is not Reachability.PUBLIC


def test_observers_of_one_network_are_one_observer() -> None:
    town = Town()
    liars = observed_by(town, 1, LIE)
    host = liars[0].host
    assert seen(town.node)[LIE] is False
    for n in range(CONFIRMATIONS_NEEDED + 2):
        twin = second_node(town, host, n)
        town.node.connect(twin, twin.address())
        town.world.run_for(0.2)
        connection = twin.swarm.facts.best(town.node.peer_id)
        assert connection is not None
        twin.observe(connection, LIE)
        town.world.run_for(0.5)
    assert seen(town.node).get(LIE) is not True


def second_node(town: Town, host: Host, n: int) -> Hostile:
    """Adds a node in the same IPv4 address's place: the first one's network, one after another."""
    host.detach()
    return Hostile(host, port=5000 + 10 * n)


def test_many_lies_leave_the_truth_among_the_candidates() -> None:
    town = Town()
    truth = next(iter(seen(town.node)))
    for n in range(3):
        town.node.connect(town.honest(f"honest {n}"))
    observed_by(town, 12, *(SocketAddr("99.1.1.1", 1000 + n) for n in range(12)))
    town.world.run_for(10)
    assert len(seen(town.node)) <= MAX_ADDRESSES_PER_SOCKET
    assert next(iter(seen(town.node))) == truth


def test_a_lie_about_our_address_has_few_probes_sent_there() -> None:
    town = Town()
    for n in range(3):
        town.node.connect(town.honest(f"server {n}"))
    liars = observed_by(town, 3, LIE)
    began = town.world.now
    for n in range(60):
        for mallory in liars:
            connection = mallory.swarm.facts.best(town.node.peer_id)
            if connection is not None:
                mallory.observe(connection, SocketAddr(LIE.ip, 1000 + n))
        town.world.run_for(2)
    minutes = (town.world.now - began) / autonat.budget.RATE_WINDOW + 1
    small = [p for _, p in town.bystanders.arrivals if len(p.payload) <= autonat.PROBE_SIZE]
    limits, servers = autonat.HELPER_LIMITS, 5
    assert len(small) <= limits.per_target * servers * minutes
    handshakes = town.bystanders.initials
    assert handshakes <= 5 * autonat.V2_LIMITS.per_target * servers * minutes


# who reaches us


def lying_server(town: Town, name: str, helper_ips: tuple[str, ...] = ()) -> Hostile:
    """A server that says yes to everything, and helpers of its own that claim to have sent."""
    mallory = town.hostile(name)

    def on_v1(stream: SwarmStream, data: bytes, eof: bool) -> None:
        if data:
            at = next(iter(seen(town.node)))
            answer = DialResponseV1(0, "", noise_udp_multiaddr(at))
            stream.write(encode_frame(encode_message_v1(answer)))

    def on_v2(stream: SwarmStream, data: bytes, eof: bool) -> None:
        if data:
            answer = DialResponse(ResponseStatus.OK, 0, DialStatus.OK)
            stream.write(encode_frame(encode_message_v2(answer)))

    def on_ask(stream: SwarmStream, data: bytes, eof: bool) -> None:
        if not data:
            return
        key = stream.connection, stream.stream_id
        messages: list[dial_back.DelegatedMessage] = [dial_back.DialBackOffer(helper_ips)]
        if bytes(mallory.received[key]) != data:
            sent = dial_back.HelperStatus.SENT
            messages = [dial_back.Report(n, sent) for n in range(len(helper_ips))]
        for message in messages:
            stream.write(encode_frame(dial_back.encode_delegated_message(message)))

    mallory.take_over(autonat.V1_PROTOCOL_ID, on_v1)
    mallory.take_over(autonat.DIAL_REQUEST_PROTOCOL_ID, on_v2)
    mallory.take_over(autonat.DELEGATION_PROTOCOL_ID, on_ask)
    return mallory


@pytest.mark.parametrize("nat", [home(), address_restricted()], ids=["home", "address restricted"])
@pytest.mark.parametrize("servers", [1, 2, 5])
def test_servers_that_say_yes_to_everything_make_no_node_public(
    servers: int, nat: NatBehaviour
) -> None:
    town = Town(nat=nat)
    helpers = tuple(f"99.{n}.0.1" for n in range(2, 2 + MAX_HELPERS_CHOSEN))
    liars = [lying_server(town, f"mallory {n}", helpers) for n in range(servers)]
    for mallory in liars:
        town.node.connect(mallory)
    town.world.run_for(300)
    assert town.node.swarm.facts.reachability(town.node.host.now) is not Reachability.PUBLIC
    public = [
        a for a in town.node.swarm.facts.advertised_addresses() if "p2p-circuit" not in str(a)
    ]
    assert not any(str(a).startswith("/ip4/21.") for a in public)


def test_servers_that_lie_cannot_hide_a_public_node_from_honest_ones() -> None:
    town = Town(nat=full_cone())
    helpers = tuple(f"99.{n}.0.1" for n in range(2, 2 + MAX_HELPERS_CHOSEN))
    town.node.connect(lying_server(town, "mallory", helpers))
    honest = [town.honest(f"honest {n}") for n in range(5)]
    for one in honest:
        for other in honest[:2]:
            if one is not other:
                one.connect(other)
    for server in honest[:2]:
        town.node.connect(server)
    facts, host = town.node.swarm.facts, town.node.host

    def is_public() -> bool:
        return facts.reachability(host.now) is Reachability.PUBLIC

    town.world.run_until(is_public, REPROBE_SETTLED + 60)
    for _ in range(2):
        town.world.run_for(REPROBE_SETTLED)
        assert is_public(), "the same lie again"


def test_an_old_acquaintance_that_keeps_knocking_is_no_stranger() -> None:
    town = Town(nat=replace(address_restricted(), filter_timeout=None))
    helpers = [town.hostile(f"helper {n}") for n in range(MAX_HELPERS_CHOSEN)]
    for helper in helpers:
        connection = town.node.connect(helper)
        town.node.do(town.node.swarm.disconnect, connection, town.world.now)
    town.world.run_for(5)
    knockers = {}
    for helper in helpers:
        helper.host.detach()
        machine = helper.host.attach(lambda host: ScriptedMachine())
        knockers[helper.host.ip] = helper, machine
    at = next(iter(seen(town.node)))

    def knock(ip: str, payload: bytes) -> None:
        helper, machine = knockers[ip]
        machine.out.append(transmit(payload, helper.sockets[0], at))
        helper.host.drain()

    for _ in range(int(CONTACT_MEMORY / 20) + 3):
        for ip in knockers:
            knock(ip, bytes([autonat.PROBE_FIRST_BYTE]) + bytes(32))
        town.world.run_for(20)
    town.node.connect(accomplice(town, tuple(knockers), knock))
    verdicts = []
    for _ in range(10):
        town.world.run_for(60)
        verdicts.append(town.node.swarm.facts.reachability(town.node.host.now))
    assert Reachability.PUBLIC not in verdicts


def accomplice(
    town: Town, helper_ips: tuple[str, ...], knock: Callable[[str, bytes], None]
) -> Hostile:
    """A server that names these helpers, and has each of them knock as it should."""
    mallory = town.hostile("accomplice")

    def on_ask(stream: SwarmStream, data: bytes, eof: bool) -> None:
        reader = FrameReader(4096)
        reader.feed(data)
        frame = reader.next_frame_untrusted() if data else None
        if frame is None:
            return
        messages: list[dial_back.DelegatedMessage] = [dial_back.DialBackOffer(helper_ips)]
        match dial_back.decode_delegated_message_untrusted(frame):
            case dial_back.Choice(nonces):
                messages = []
                for n, (ip, nonce) in enumerate(zip(helper_ips, nonces, strict=True)):
                    if nonce is not None:
                        asker = dial_back.asker_commitment(town.node.peer_id, nonce)
                        order = dial_back.Order(address, nonce, asker, ip)
                        knock(ip, dial_back.encode_probe(dial_back.probe_token(order)))
                        messages.append(dial_back.Report(n, dial_back.HelperStatus.SENT))
            case _:
                pass
        for message in messages:
            stream.write(encode_frame(dial_back.encode_delegated_message(message)))

    address = noise_udp_multiaddr(next(iter(seen(town.node))))
    mallory.take_over(autonat.DELEGATION_PROTOCOL_ID, on_ask)
    return mallory


def test_helpers_in_league_that_were_never_contacted_do_not_get_through() -> None:
    town = Town(nat=address_restricted())
    helpers = [town.hostile(f"helper {n}") for n in range(MAX_HELPERS_CHOSEN)]
    at = next(iter(seen(town.node)))
    knocks = 0

    def knock(ip: str, payload: bytes) -> None:
        nonlocal knocks
        knocks += 1
        helper = next(helper for helper in helpers if helper.host.ip == ip)
        inject(town, SocketAddr(helper.host.ip, 5001), at, payload)

    ips = tuple(helper.host.ip for helper in helpers)
    town.node.connect(accomplice(town, ips, knock))
    town.world.run_for(60)
    assert knocks > 0
    assert town.node.swarm.facts.reachability(town.node.host.now) is not Reachability.PUBLIC


# forged packets


def inject(town: Town, source: SocketAddr, target: SocketAddr, payload: bytes) -> None:
    """Puts a packet with a forged source on the Internet."""
    packet = Packet(next(town.world.packet_ids), source, target, 0, DEFAULT_TTL, payload)
    router = town.net.router
    router.handle_packet(packet, router.port(), town.world.now)


FORGED = {
    "data of nobody": bytes([DATA]) + bytes(100),
    "a reset": stateless_reset(1, bytes(16)),
    "another version": bytes([HandshakeType.INITIAL]) + bytes(1199),
    "a version negotiation": VersionNegotiation(1, (VERSION + 1,)).encode(),
    "a circuit's packet": bytes([relay.CIRCUIT_TYPE]) + bytes(100),
    "a probe": bytes([autonat.PROBE_FIRST_BYTE]) + bytes(32),
    "nothing known": bytes([0x40]) + bytes(100),
}


@pytest.mark.parametrize("payload", FORGED.values(), ids=FORGED)
def test_two_nodes_do_not_answer_each_others_answers(payload: bytes) -> None:
    town = Town()
    one, other = town.honest("one"), town.honest("other")
    ends = SocketAddr(one.host.ip, 4001), SocketAddr(other.host.ip, 4001)
    count = 100
    for n in range(count):
        inject(town, ends[n % 2], ends[1 - n % 2], payload)
        town.world.run_for(0.01)
    town.world.run_for(60)
    sent = [
        record.packet
        for record in town.world.trace.records
        if record.kind == "sent" and record.where in ("one", "other")
    ]
    assert len(sent) <= count
    assert sum(len(packet.payload) for packet in sent) <= count * len(payload)


def test_a_forged_source_gets_at_most_three_times_what_came_from_it() -> None:
    town = Town()
    server = town.honest("server")
    target = SocketAddr(server.host.ip, 4001)
    mallory = town.hostile()
    route = Route(mallory.sockets[0], None, target)
    mallory.swarm._transports.dial(route, None, town.world.now, timeout=1.0)
    (initial,) = [
        bytes(transmit.buffer)
        for transmit in mallory.swarm.poll_transmits(town.world.now)
        if transmit.buffer[0] == HandshakeType.INITIAL
    ]
    paid = 0
    for n in range(100):
        source = SocketAddr("99.1.1.1", 1000 + n % 10)
        inject(town, source, target, initial)
        paid += len(initial)
        town.world.run_for(0.01)
    town.world.run_for(20)
    assert 0 < town.bystanders.size <= 3 * paid


@pytest.mark.spec("TRANSPORT-27")
@pytest.mark.parametrize("victims", [1, 100], ids=["one IP", "many IPs"])
def test_forged_sources_of_a_connections_packets_get_the_probes_of_few_routes(
    victims: int,
) -> None:
    peer = RawPeer()
    peer.connect()
    sources = [SocketAddr(f"203.0.{n % victims}.9", 1000 + n) for n in range(100)]
    for source in sources:
        peer.deliver(peer.seal(b"\x01"), source=source)
    peer.wait(GIVES_UP_AFTER - 0.5)
    sent = sum(peer.bytes_to[source] for source in sources)
    assert 0 < sent <= MAX_ROUTES * MAX_PROBES * PROBE_SIZE
    assert sum(peer.bytes_to[source] > 0 for source in sources) <= MAX_ROUTES
    assert max(peer.bytes_to[source] for source in sources) <= MAX_PROBES * PROBE_SIZE


# streams that are opened and never finished

BUILT_IN = {
    ping.PROTOCOL_ID: ping.MAX_INBOUND_STREAMS_PER_PEER,
    identify.PROTOCOL_ID: identify.MAX_INBOUND_STREAMS_PER_PEER,
    identify.PUSH_PROTOCOL_ID: identify.MAX_INBOUND_STREAMS_PER_PEER,
    kad.PROTOCOL_ID: kad.MAX_INBOUND_STREAMS_PER_PEER,
    relay.HOP_PROTOCOL_ID: relay.MAX_INBOUND_STREAMS_PER_PEER,
    relay.CIRCUIT_HOP_PROTOCOL_ID: relay.MAX_INBOUND_STREAMS_PER_PEER,
    autonat.V1_PROTOCOL_ID: autonat.MAX_INBOUND_STREAMS_PER_PEER,
    autonat.DIAL_REQUEST_PROTOCOL_ID: autonat.MAX_INBOUND_STREAMS_PER_PEER,
    autonat.DELEGATION_PROTOCOL_ID: autonat.MAX_INBOUND_STREAMS_PER_PEER,
    autonat.HELPER_PROTOCOL_ID: autonat.HELPER_LIMITS.concurrent_per_peer,
    nat_behaviour.PROTOCOL_ID: nat_behaviour.MAX_INBOUND_STREAMS_PER_PEER,
    dcutr.PROTOCOL_ID: 0,
    relay.CIRCUIT_STOP_PROTOCOL_ID: 0,
    autonat.DIAL_BACK_PROTOCOL_ID: 0,
}
"""What a peer with a direct connection may have open of each, where nothing is expected of it."""


def open_streams(node: SimNode, connection: int) -> Counter[str]:
    """Returns how many of a connection's streams built-in machines serve, by protocol."""
    pumps = node.swarm._streams._pumps
    return Counter(
        str(pump.stream.protocol)
        for key, (pump, _) in pumps.items()
        if key[0] == connection and pump.stream.is_inbound
    )


@pytest.mark.parametrize(
    "start", [b"", b"\x7f", b"\x7f\x08"], ids=["nothing", "a length", "a start"]
)
def test_streams_that_are_never_finished_are_few_and_given_up(start: bytes) -> None:
    town = Town()
    server = town.relay
    mallory = town.hostile()
    town.world.run_for(1)
    connection = mallory.swarm.facts.best(server.peer_id)
    theirs = server.swarm.facts.best(mallory.peer_id)
    assert connection is not None
    assert theirs is not None
    most: Counter[str] = Counter()
    for protocol in BUILT_IN:
        for _ in range(40):
            stream = mallory.do(mallory.swarm.open_stream, connection, [protocol], town.world.now)
            if stream is not None and start:
                mallory.do(stream.write, start)
        town.world.run_for(0.5)
        most |= open_streams(server, theirs)
    assert {p: n for p, n in most.items() if n > BUILT_IN[p]} == {}
    guest = town.honest("guest")
    before = town.world.now
    guest.do(guest.swarm.ping, guest.connect(server), town.world.now)
    town.world.run_until(lambda: bool(guest.of(PongReceived)), 1)
    assert town.world.now - before < 1
    town.world.run_for(max(STREAM_TIMEOUT_V2, HOP_TIMEOUT, RESPONDER_IDLE_TIMEOUT) + 10)
    assert open_streams(server, theirs).total() == 0
    assert server.swarm._streams._negotiating == {}


def test_streams_that_were_reset_count_no_longer() -> None:
    town = Town()
    mallory = town.hostile()
    connection = mallory.swarm.facts.best(town.relay.peer_id)
    assert connection is not None
    town.world.run_for(1)
    for protocol in (kad.PROTOCOL_ID, relay.HOP_PROTOCOL_ID, identify.PUSH_PROTOCOL_ID):
        for _ in range(40):
            stream = mallory.open(connection, protocol)
            mallory.do(stream.write, b"\x7f")
            town.world.run_for(0.1)
            mallory.do(stream.reset, 0)
            town.world.run_for(0.1)
    before = len(mallory.of(PeerIdentified))
    mallory.do(mallory.swarm.identify, connection, town.world.now)
    town.world.run_for(5)
    assert len(mallory.of(PeerIdentified)) > before
