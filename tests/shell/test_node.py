import logging
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2pnode.errors import (
    AddressError,
    ClosedByPeer,
    ConnectionLost,
    DialError,
    LocalProtocolError,
    NoAnswer,
    PeerBusy,
    PeerIdMismatch,
)
from p2pnode.identity.keys import PrivateKey
from p2pnode.identity.peer_id import PeerId
from p2pnode.io.node.events import EventsDropped, PeerConnected, PeerDisconnected, PeerIdentified
from p2pnode.io.node.pings import PingLost, PingOutcome, Pong
from p2pnode.io.node.stream import Stream
from p2pnode.machine import SocketAddr
from p2pnode.protocols.ping import MAX_INBOUND_STREAMS_PER_PEER as MAX_PINGS
from p2pnode.protocols.ping import PROTOCOL_ID as PING
from p2pnode.wire.reset_code import StreamResetCode
from tests.support.node_pair import PROTOCOL, SimNetwork, node_pair, sim_node

STRANGER = PeerId.from_public_key(PrivateKey(bytes(32)).public_key)


def without_peer(address: str) -> str:
    return address.partition("/p2p/")[0]


# reaching peers


async def test_a_peer_is_reached_by_address_with_or_without_id_and_then_by_id(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        server_id = pair.server.peer_id

        assert await pair.client.connect(without_peer(pair.address)) == server_id
        assert await pair.client.connect(pair.address) == server_id
        assert await pair.client.connect(server_id) == server_id
        assert await pair.client.connect(str(server_id)) == server_id
        assert await pair.client.connect(f"/p2p/{server_id}") == server_id
        assert await pair.client.connect(without_peer(pair.address)) == server_id

        assert pair.client.peers == [server_id]
        assert len(pair.network.handshakes) == 1


async def test_who_is_connected_is_not_found_at_a_port_of_another_transport(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        await pair.client.connect(pair.address)
        other = "/ip4/127.0.0.1/tcp/1"
        with pytest.raises(AddressError) as caught:
            await pair.client.connect(other)
        assert f"{other} is no address of a transport that this node dials" in str(caught.value)


async def test_those_who_want_the_same_peer_share_one_dial(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(pair.client.connect, pair.address)

        assert len(pair.network.handshakes) == 1


async def test_one_who_stops_waiting_does_not_end_the_dial_of_the_others(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        pair.network.is_cut = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.client.connect, pair.address)
            with trio.move_on_after(1):
                await pair.client.connect(pair.address)
            pair.network.is_cut = False

        assert pair.client.peers == [pair.server.peer_id]


async def test_a_dial_that_nobody_waits_for_is_given_up(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        pair.network.is_cut = True
        with trio.move_on_after(1):
            await pair.client.connect(pair.address)
        pair.network.is_cut = False
        await trio.sleep(20)

        assert pair.client.peers == pair.server.peers == []


async def test_the_wrong_peer_at_an_address_is_told_by_both_names(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        with pytest.raises(DialError) as failure:
            await pair.client.connect(f"{without_peer(pair.address)}/p2p/{STRANGER}")

        assert f"expected peer {STRANGER}, but {pair.server.peer_id} answered" in str(failure.value)
        assert isinstance(failure.value.__cause__, PeerIdMismatch)


async def test_an_address_without_an_answer_is_told_with_the_reason(
    autojump_clock: MockClock,
) -> None:
    address = "/ip4/192.0.2.99/udp/4001/noise"
    async with node_pair() as pair:
        client = pair.client
        for attempt in (
            client.connect(address),
            client.identify(address),
            client.open_stream(address, PROTOCOL),
        ):
            with pytest.raises(DialError) as failure:
                await attempt

            assert str(failure.value) == (
                f"cannot reach {address}: no answer; is the peer running there, and does UDP get "
                "through?"
            )
            assert failure.value.attempts == ((address, "no answer"),)


async def test_what_cannot_be_dialled_is_told_at_once(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        nobody = "no peer told where it is: no connected peer can be asked; is it running"
        with pytest.raises(DialError, match=nobody):
            await pair.client.connect(STRANGER)
        with pytest.raises(DialError, match="this node itself"):
            await pair.client.connect(pair.client.peer_id)
        with pytest.raises(AddressError):
            await pair.client.connect("/ip4/10.0.0.2/tcp/4001")
        neither = r"^'nonsense' is neither a multiaddr such as /ip4/\S+ nor a peer id$"
        with pytest.raises(AddressError, match=neither):
            await pair.client.connect("nonsense")


async def test_disconnecting_tells_the_peer_why(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        events = pair.server.events()
        await pair.client.connect(pair.address)

        await pair.client.disconnect(pair.server.peer_id, code=9, reason="moving on")

        reasons = []
        while not reasons:
            event = await anext(events)
            reasons += [event.reason] if isinstance(event, PeerDisconnected) else []
        assert isinstance(reasons[0], ClosedByPeer)
        assert (reasons[0].code, reasons[0].reason) == (9, "moving on")
        assert pair.client.peers == pair.server.peers == []
        with pytest.raises(ConnectionLost):
            pair.client.connection_info(pair.server.peer_id)


@pytest.mark.parametrize("seconds_later", [0, 60], ids=["closed", "forgotten"])
async def test_a_stream_of_a_lost_connection_tells_the_way_that_its_packets_went_last(
    autojump_clock: MockClock, seconds_later: float
) -> None:
    async with node_pair() as pair:
        opened, accepted = await pair.streams()
        pair.network.move(SocketAddr("10.0.0.1", 4001), SocketAddr("10.0.0.9", 30000))
        await opened.send_all(b"from elsewhere")
        await wait_all_tasks_blocked()

        await pair.client.disconnect(pair.server.peer_id)
        await trio.sleep(seconds_later)

        assert pair.server.peers == []
        assert str(accepted.connection_info.via) == "/ip4/10.0.0.9/udp/30000/noise"


async def test_connection_info_tells_the_way_and_its_time(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        await pair.streams()

        info = pair.client.connection_info(pair.server.peer_id)

        assert info.peer_id == pair.server.peer_id
        assert (info.path, str(info.via)) == ("direct", without_peer(pair.address))
        assert info.rtt is not None
        assert info.streams >= 1


# ping and identify


async def test_pings_come_back_and_simultaneous_ones_share_an_answer(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        rtts: list[float] = []

        async def ping() -> None:
            rtts.append(await pair.client.ping(pair.address))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ping)

        assert len(rtts) == 5
        assert all(0 <= rtt < 1 for rtt in rtts)


async def test_a_series_of_pings_survives_a_loss_and_a_new_connection(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        outcomes: list[PingOutcome] = []
        async for outcome in pair.client.pings(pair.address, count=4, interval=50):
            outcomes.append(outcome)
            if len(outcomes) == 1:
                pair.network.is_cut = True
            if len(outcomes) == 2:
                pair.network.is_cut = False
                await pair.client.disconnect(pair.server.peer_id)

        assert [outcome.seq for outcome in outcomes] == [1, 2, 3, 4]
        assert [type(outcome) for outcome in outcomes] == [Pong, PingLost, Pong, Pong]


async def test_pings_to_nobody_raise_at_the_first_step(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        with pytest.raises(DialError):
            await anext(pair.client.pings("/ip4/192.0.2.99/udp/4001/noise"))


async def test_identify_tells_who_the_peer_is_and_where_it_sees_us(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        info = await pair.client.identify(pair.address)

        assert info.peer_id == pair.server.peer_id
        assert PROTOCOL in info.protocols
        assert str(info.observed_addr) == "/ip4/10.0.0.1/udp/4001/noise"
        over_noise = without_peer(pair.address)
        over_quic = over_noise.replace("/noise", "/quic-v1")
        assert [str(a) for a in info.listen_addrs] == [over_noise, over_quic]


# handlers


async def test_a_handler_that_fails_loses_its_stream_and_nothing_else(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with node_pair() as pair:

        async def fail(stream: Stream) -> None:
            raise RuntimeError("a bug of the application")

        pair.server.handle("/fails/1.0.0", fail)
        broken = await pair.client.open_stream(pair.address, "/fails/1.0.0")
        with pytest.raises(trio.BrokenResourceError):
            await broken.receive_some()
        await broken.aclose()

        ours, theirs = await pair.streams()
        await ours.send_all(b"still there")
        assert await theirs.receive_some() == b"still there"
        errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert ["/fails/1.0.0" in r.getMessage() for r in errors] == [True]


async def test_a_peer_that_goes_is_no_fault_of_a_handler_with_tasks_of_its_own(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def read_in_two_tasks(stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await stream.receive_some()

    async with node_pair() as pair:
        pair.server.handle("/tasks/1.0.0", read_in_two_tasks)
        stream = await pair.client.open_stream(pair.address, "/tasks/1.0.0")
        await stream.send_all(b"")
        await trio.sleep(1)

        await pair.client.disconnect(pair.server.peer_id)
        await pair.server.wait_disconnected(pair.client.peer_id)
        await wait_all_tasks_blocked()

        assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_a_stream_is_closed_when_its_handler_returns(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:

        async def greet(stream: Stream) -> None:
            await stream.send_all(b"hello")

        pair.server.handle("/greet/1.0.0", greet)
        stream = await pair.client.open_stream(pair.address, "/greet/1.0.0")

        assert b"".join([data async for data in stream]) == b"hello"


async def test_a_protocol_has_one_handler(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:

        async def handler(stream: Stream) -> None: ...

        with pytest.raises(LocalProtocolError):
            pair.server.handle(PROTOCOL, handler)
        with pytest.raises(LocalProtocolError):
            pair.server.handle("/ipfs/ping/1.0.0", handler)
        pair.server.unhandle(PROTOCOL)
        pair.server.handle(PROTOCOL, handler)


@pytest.mark.spec("SWARM-24", "SWARM-25")
async def test_one_peer_has_so_many_streams_of_a_protocol_and_no_more(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:

        async def keep(stream: Stream) -> None:
            await stream.send_all(b"x")
            await stream.receive_some()

        pair.server.handle("/kept/1.0.0", keep, max_streams=2)
        for _ in range(2):
            stream = await pair.client.open_stream(pair.address, "/kept/1.0.0")
            await stream.receive_some()

        third = await pair.client.open_stream(pair.address, "/kept/1.0.0")
        with pytest.raises(PeerBusy, match="busy") as told:
            await third.receive_some()
        assert told.value.protocols == ("/kept/1.0.0",)
        with pytest.raises(PeerBusy):
            await third.send_all(b"x")
        with pytest.raises(PeerBusy):
            await pair.client.open_stream(pair.address, ["/newer/1.0.0", "/kept/1.0.0"])

        await stream.aclose()
        await trio.sleep(1)
        fourth = await pair.client.open_stream(pair.address, "/kept/1.0.0")
        assert await fourth.receive_some() == b"x"


@pytest.mark.spec("SWARM-25")
@pytest.mark.parametrize("code", [StreamResetCode.RESOURCE_LIMIT, StreamResetCode.RATE_LIMITED])
async def test_a_handler_may_say_that_it_is_busy(
    autojump_clock: MockClock, code: StreamResetCode
) -> None:
    async with node_pair() as pair:

        async def refuse(stream: Stream) -> None:
            stream.reset(code)

        async def answer_and_refuse(stream: Stream) -> None:
            await stream.send_all(b"x")
            await trio.sleep(1)
            stream.reset(code)

        pair.server.handle("/refusing/1.0.0", refuse)
        pair.server.handle("/ending/1.0.0", answer_and_refuse)

        stream = await pair.client.open_stream(pair.address, "/refusing/1.0.0")
        with pytest.raises(PeerBusy):
            await stream.receive_some()
        stream = await pair.client.open_stream(pair.address, "/ending/1.0.0")
        await stream.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


@pytest.mark.spec("SWARM-25")
async def test_a_peer_that_answers_no_more_pings_now_is_busy(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        for _ in range(MAX_PINGS):
            await pair.client.open_stream(pair.address, PING)
        await trio.sleep(1)

        with pytest.raises(NoAnswer, match="busy"):
            await pair.client.ping(pair.address)


# events


async def test_events_tell_of_peers_that_come_and_go(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        events = pair.server.events()
        await pair.client.connect(pair.address)
        await trio.sleep(1)
        await pair.client.disconnect(pair.server.peer_id)
        await wait_all_tasks_blocked()
        pair.server.close()

        seen = [event async for event in events]

        assert isinstance(seen[0], PeerConnected)
        assert seen[0].peer_id == pair.client.peer_id
        assert not seen[0].is_initiator
        assert any(isinstance(event, PeerIdentified) for event in seen)
        assert isinstance(seen[-1], PeerDisconnected)


async def test_a_slow_subscriber_is_told_how_much_it_has_missed(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        slow = pair.server.events(max_events=1)
        fast = pair.server.events()
        await pair.client.connect(pair.address)
        await pair.client.disconnect(pair.server.peer_id)
        await wait_all_tasks_blocked()
        pair.server.close()

        all_of_them = [event async for event in fast]
        first, *others = [event async for event in slow]

        assert first == EventsDropped(len(all_of_them) - 1)
        assert others == all_of_them[-1:]


# the end


async def test_leaving_the_block_tells_the_peers_at_once(autojump_clock: MockClock) -> None:
    network = SimNetwork()
    async with sim_node(network, "server", "10.0.0.2") as server:
        async with sim_node(network, "client", "10.0.0.1") as client:
            await client.connect(server.addresses[0])
            await wait_all_tasks_blocked()
            assert server.peers == [client.peer_id]
            before = trio.current_time()
        await wait_all_tasks_blocked()

        assert server.peers == []
        assert trio.current_time() - before < 0.1


async def test_a_cancelled_block_tells_the_peers_as_well(autojump_clock: MockClock) -> None:
    network = SimNetwork()
    async with sim_node(network, "server", "10.0.0.2") as server:
        with trio.move_on_after(5) as scope:
            async with sim_node(network, "client", "10.0.0.1") as client:
                await client.connect(server.addresses[0])
                await trio.sleep_forever()
        await wait_all_tasks_blocked()

        assert scope.cancelled_caught
        assert server.peers == []
        assert trio.current_time() < scope.deadline + 0.1


async def test_handlers_end_with_the_node(autojump_clock: MockClock) -> None:
    ended = trio.Event()

    async def stay(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    network = SimNetwork()
    async with sim_node(network, "client", "10.0.0.1") as client:
        async with sim_node(network, "server", "10.0.0.2") as server:
            server.handle("/stay/1.0.0", stay)
            stream = await client.open_stream(server.addresses[0], "/stay/1.0.0")
            await trio.sleep(1)
        assert ended.is_set()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_every_peer_is_told_before_close_returns_though_much_was_left_to_send(
    autojump_clock: MockClock,
) -> None:
    async def send(stream: Stream) -> None:
        await stream.send_all(bytes(10_000_000))

    network = SimNetwork()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(sim_node(network, "server", "10.0.0.2"))
        server.handle(PROTOCOL, send)
        clients = [
            await stack.enter_async_context(sim_node(network, f"c{n}", f"10.0.1.{n}"))
            for n in range(1, 21)
        ]
        for client in clients:
            stream = await client.open_stream(server.addresses[0], PROTOCOL)
            await stream.receive_some(1)

        server.close()
        network.is_cut = True

        with trio.fail_after(1):
            for client in clients:
                await client.wait_disconnected(server.peer_id)


async def test_what_the_block_raises_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    cause = ValueError("the reason")
    with pytest.raises(KeyError) as failure:
        async with sim_node(SimNetwork(), "alone", "10.0.0.1"):
            raise KeyError("the failure") from cause
    assert failure.value.__cause__ is cause


async def test_a_closed_node_does_nothing_any_more(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(node_pair())
        address = pair.address
        client = pair.client
    with pytest.raises(LocalProtocolError):
        await client.connect(address)
