"""What a node tells of itself, and how it stays with the peers it was given: in virtual time."""

import pytest
import trio
from trio.testing import MockClock

from p2pnode.errors import AddressError, DialError
from p2pnode.io.dial_target import bootstrap_targets, dial_target
from p2pnode.io.metrics.node_metrics import NodeFactsSource
from p2pnode.io.node.bootstrap import FIRST_RETRY, keep_connected
from p2pnode.io.node.events import BootstrapFailed
from p2pnode.protocols.autonat import Reachability
from tests.shell.fake_node import PEER
from tests.support.addresses import NOISE_UDP
from tests.support.node_pair import SimNetwork, node_pair, sim_node


async def test_a_status_names_connections_and_addresses(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        await pair.client.connect(pair.address)
        await trio.sleep(5)
        status = pair.client.status()
        assert (status.peer_id, status.reachability) == (
            pair.client.peer_id,
            Reachability.UNKNOWN,
        )
        (connection,) = status.connections
        assert (connection.peer_id, connection.path) == (pair.server.peer_id, "direct")
        assert [(str(each.address), each.verdict) for each in status.addresses] == [
            ("/ip4/10.0.0.1/udp/4001/noise", Reachability.PRIVATE),
            ("/ip4/10.0.0.1/udp/4001/quic-v1", Reachability.PRIVATE),
        ]
        assert status.relaying == ()
        assert pair.client.known_peers == [pair.server.peer_id]


async def test_why_a_peer_is_reached_directly_or_not_at_all(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        found = await pair.client.why(pair.address)
        assert (found.peer_id, found.path, found.side) == (pair.server.peer_id, "direct", None)

        found = await pair.client.why(PEER)
        assert (found.peer_id, found.path, found.side) == (PEER, None, None)
        assert found.verdict.startswith(f"cannot reach {PEER}: no peer told where it is")

        with pytest.raises(AddressError):
            await pair.client.why("rubbish")
        with pytest.raises(DialError):
            await pair.client.why("/ip4/10.0.0.99/udp/1/noise")


async def test_a_node_that_relays_nothing_has_nothing_to_wait_for(
    autojump_clock: MockClock,
) -> None:
    async with node_pair() as pair:
        started = trio.current_time()
        await pair.server.drain(5.0)
        assert trio.current_time() == started


async def test_a_peer_that_comes_back_is_met_again(autojump_clock: MockClock) -> None:
    network = SimNetwork()
    async with sim_node(network, "client", "10.0.0.1") as client, trio.open_nursery() as nursery:
        events = client.events()
        async with sim_node(network, "server", "10.0.0.2") as server:
            target = dial_target(str(server.addresses[0]))
            nursery.start_soon(keep_connected, client, target)
            await trio.sleep(20)
            assert client.peers == [server.peer_id]
        await trio.sleep(FIRST_RETRY + 15)
        assert client.peers == []
        async with sim_node(network, "server", "10.0.0.2") as server:
            await trio.sleep(30)
            assert client.peers == [server.peer_id]
        nursery.cancel_scope.cancel()
    failed = [event async for event in events if isinstance(event, BootstrapFailed)]
    assert {event.target for event in failed} == {f"{target.address}/p2p/{target.peer_id}"}
    pauses = [event.retry_in for event in failed]
    assert pauses == sorted(pauses)
    assert len(failed) < 5


def test_a_peer_to_begin_with_needs_an_address() -> None:
    with pytest.raises(AddressError, match="full address"):
        bootstrap_targets([PEER])
    with pytest.raises(AddressError):
        bootstrap_targets(["rubbish"])


async def test_metrics_count_what_happens_and_look_at_what_is(autojump_clock: MockClock) -> None:
    async with node_pair() as pair:
        engine = pair.client.engine
        source = NodeFactsSource(engine.swarm.facts, lambda: engine.now)
        pair.client.watch(source.count)
        await pair.client.connect(pair.address)
        await trio.sleep(5)
        facts = source.metric_facts()
        assert facts.connections == {("outbound", "direct", NOISE_UDP): 1}
        assert facts.connections_opened == {("outbound", "noise-udp", "ip4"): 1}
        assert facts.autonat.reachability == "unknown"
        assert facts.protocols > 5
        await pair.client.disconnect(pair.server.peer_id)
        facts = source.metric_facts()
        assert facts.connections_closed == {("outbound", "noise-udp", "ip4"): 1}
        assert facts.connections == {}
