"""Fuzz targets with a live connection in them."""

import contextlib
from typing import Final

from p2pnode.errors import DecodeError, HandshakeError
from p2pnode.machine import Received, SocketAddr, SocketId
from p2pnode.transports.events import ConnectionClosed
from p2pnode.transports.noise_udp.endpoint import Endpoint
from p2pnode.transports.noise_udp.packet import decode_initial_untrusted
from tests.fuzz.choices import Choices
from tests.support.noise_udp import DESTINATION, SOURCE, exchange
from tests.support.pair import Pair, Side
from tests.support.raw_peer import RawPeer

MAX_ACTIONS: Final = 60
STRANGER: Final = SocketAddr("203.0.113.66", 666)


def fuzz_handshake(data: bytes) -> None:
    """Changed handshake messages are refused, and what was not changed is understood."""
    choices = Choices(data)

    def tamper(initial):
        changed = choices.mutate(initial.encode())
        with contextlib.suppress(DecodeError):
            return decode_initial_untrusted(changed)
        return initial

    try:
        dialogue = exchange(token=choices.take(choices.byte() % 129), tamper=tamper)
    except (DecodeError, HandshakeError):
        return
    response = choices.mutate(dialogue.response)
    with contextlib.suppress(DecodeError, HandshakeError):
        dialogue.initiator.read_response_untrusted(response)
        assert response == dialogue.response, "a forged message 2 was believed"
    try:
        message, secrets = dialogue.finish()
    except HandshakeError:
        return  # message 1 was changed on its way
    assert (dialogue.initial.destination, dialogue.initial.source) == (DESTINATION, SOURCE)
    final = choices.mutate(message)
    with contextlib.suppress(DecodeError, HandshakeError):
        dialogue.responder.read_final_untrusted(final)
        assert final == message, "a forged message 3 was believed"
    assert dialogue.responder.read_final_untrusted(message)[1] == secrets


def fuzz_authenticated_peer(data: bytes) -> None:
    """Whatever an authenticated peer says, the endpoint raises nothing and comes to rest."""
    choices = Choices(data)
    peer = RawPeer(is_initiator=choices.byte() % 2 == 0)
    peer.connect()
    for _ in range(MAX_ACTIONS):
        if choices.is_empty:
            break
        act_as_peer(peer, choices)
    peer.wait(100.0)
    assert all(connection.is_forgotten for connection in peer.endpoint.connections.values())


def act_as_peer(peer: RawPeer, choices: Choices) -> None:
    action = choices.byte()
    match action % 8:
        case 0:
            peer.wait(choices.byte() / 50)
        case 1:
            port = 7000 + choices.byte() % 4
            peer.deliver(
                peer.seal(choices.take(choices.byte())), source=SocketAddr("1.2.3.4", port)
            )
        case 2:
            path_id = choices.byte() % 4
            if path_id in peer.ids:
                peer.send(choices.take(choices.byte()), path_id=path_id)
        case 3:
            say_something_back(peer, choices)
        case 4:
            use_the_connection(peer.endpoint, peer.handle, choices, peer.now)
            peer.drain()
        case _:
            peer.send(choices.take(choices.byte()))


def say_something_back(peer: RawPeer, choices: Choices) -> None:
    """Repeats to the endpoint what it said itself, changed or not: ACKs, challenges, limits."""
    if peer.opened:
        heard = peer.opened[-1 - choices.below(len(peer.opened))]
        peer.send(choices.mutate(heard.payload))


def use_the_connection(endpoint: Endpoint, handle: int, choices: Choices, now: float) -> None:
    """Does what an application may do at any time."""
    connection = endpoint.command(handle)
    if connection is None or connection.is_closed:
        return
    match choices.byte() % 5:
        case 0:
            stream_id = connection.streams.open()
            if stream_id is not None:
                connection.streams.write(stream_id, bytes(choices.below(20_000)))
        case 1:
            connection.send_datagram(bytes(min(choices.byte(), connection.max_datagram_size)))
        case 2:
            connection.ping()
        case 3:
            connection.update_keys(now)
        case _:
            connection.close(choices.byte(), "enough", now)


def fuzz_endpoint(data: bytes) -> None:
    """Anybody may send anything: a live connection next to it survives and delivers its data."""
    choices = Choices(data)
    pair = Pair(seed=1)
    pair.connect()
    client = pair.client.connection
    stream_id = client.streams.open()
    assert stream_id is not None
    written = 0
    for _ in range(MAX_ACTIONS):
        if choices.is_empty:
            break
        if choices.byte() % 4 == 0:
            written += pair.client.connection.streams.write(stream_id, bytes(choices.below(5000)))
        else:
            disturb(pair, choices)
        pair.drive(seconds=choices.byte() / 1000)
    pair.client.connection.streams.write(stream_id, b"end")
    pair.client.connection.streams.finish(stream_id)
    pair.client.events += pair.client.endpoint.poll_events()
    received = bytearray()

    def arrived() -> bool:
        received.extend(pair.server.connection.streams.read(stream_id, 1 << 20))
        return len(received) >= written + 3

    assert pair.drive(arrived, seconds=30.0), "the connection did not survive"
    assert received == bytes(written) + b"end"
    for side in pair.sides:
        assert not any(isinstance(e.event, ConnectionClosed) for e in side.events)


def disturb(pair: Pair, choices: Choices) -> None:
    """Delivers something forged, changed, repeated or out of order."""
    side = pair.sides[choices.byte() % 2]
    other = pair.client if side is pair.server else pair.server
    source = (other.address, STRANGER, SocketAddr("192.0.2.1", 9))[choices.byte() % 3]
    action = choices.byte() % 5
    if action == 0:
        deliver(pair, side, choices.take(choices.byte()), source, choices)
        return
    heard = [datagram for _, sender, datagram in pair.log if sender == other.name]
    datagram = heard[choices.below(len(heard))]
    if action == 1:
        deliver(pair, side, datagram, source, choices)
    elif action == 2:
        joined = datagram + heard[choices.below(len(heard))]
        deliver(pair, side, joined, source, choices)
    else:
        deliver(pair, side, choices.mutate(datagram), source, choices)


def deliver(pair: Pair, to: Side, datagram: bytes, source: SocketAddr, choices: Choices) -> None:
    """Delivers a read of the socket, cut into datagrams of any size."""
    size = len(datagram) if choices.byte() % 4 else 1 + choices.below(1500)
    received = Received(
        SocketId(0), to.address.ip, source, choices.byte() % 4, max(1, size), datagram
    )
    to.endpoint.handle_received([received], pair.now)
