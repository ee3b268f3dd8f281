"""`p2pnode netcheck` over real sockets, and where it takes its first peers from."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
import typer

from p2pnode.cli.command import Invocation
from p2pnode.cli.netcheck import _lines, netcheck
from p2pnode.cli.output import Output
from p2pnode.clock import UnixTime
from p2pnode.errors import AddressError, P2PNodeError
from p2pnode.io.netcheck import run_netcheck
from p2pnode.io.netcheck_peers import known_peers
from p2pnode.io.node.connection_info import ConnectionInfo
from p2pnode.io.node.lifetime import open_node
from p2pnode.io.store.records import AddressRecord
from p2pnode.io.store.store import Store
from p2pnode.protocols.nat_behaviour import PROTOCOL_ID
from p2pnode.swarm.address_book import AddressSource
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.shell.cli_support import RunningNode
from tests.shell.fake_node import EMPTY_STATUS, FULL_STATUS, PEER, RELAY, VIA, FakeEnvironment
from tests.support.addresses import TCP
from tests.support.identities import peer_id

LOOPBACK = "/ip4/127.0.0.1/udp/0/noise"
HERE, ELSEWHERE = "/ip4/192.0.2.7/udp/4001/noise", "/ip4/192.0.2.8/udp/4001/noise"
KEYS = {
    "mapping",
    "filtering",
    "port_allocation",
    "hairpin",
    "binding_lifetime_s",
    "udp",
    "tcp",
    "external",
    "reachability",
    "unknown",
}


@contextmanager
def running_node() -> Iterator[str]:
    """Yields the address of a node on loopback, in a thread of its own."""
    started: trio.Event | None = None
    address: list[str] = []
    is_ready = threading.Event()

    async def run() -> None:
        nonlocal started
        started = trio.Event()
        token.append(trio.lowlevel.current_trio_token())
        async with open_node(listen=[LOOPBACK]) as node:
            address.append(str(node.addresses[0]))
            is_ready.set()
            await started.wait()

    token: list[trio.lowlevel.TrioToken] = []
    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        assert is_ready.wait(10)
        yield address[0]
    finally:
        assert started is not None
        token[0].run_sync_soon(started.set)
        thread.join(10)


def command(environment: FakeEnvironment, *arguments: str) -> int | None:
    """Runs the one command; returns its exit code."""
    app = typer.Typer()
    app.command()(netcheck)
    invocation = Invocation(environment, Output(is_json="--json" in arguments))
    code: object = typer.main.get_command(app).main(
        args=list(arguments), standalone_mode=False, obj=invocation
    )
    assert isinstance(code, int)
    return code


@pytest.mark.slow
@pytest.mark.spec("NATB-12")
def test_it_prints_every_field_and_the_reason_of_what_it_cannot_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_node() as address:
        began = time.monotonic()
        code = command(FakeEnvironment(tmp_path), "--bootstrap", address, "--json")
        took = time.monotonic() - began

    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert code == 0
    assert set(found) == KEYS
    assert (found["udp"], found["tcp"]) == (True, None)
    assert found["mapping"] == "unknown"
    assert found["unknown"]["mapping"] == "the peers are in this machine's own network"
    assert took < 10


@pytest.mark.slow
@pytest.mark.spec("NATB-12")
def test_a_person_reads_a_line_a_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_node() as address:
        command(FakeEnvironment(tmp_path), "--bootstrap", address)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("mapping", "filtering", "ports", "hairpin", "lifetime", "UDP", "seen", "reachable")
    ]
    assert lines[0] == "mapping    unknown: the peers are in this machine's own network"
    assert lines[5] == "UDP        yes"


def test_without_any_peer_it_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(P2PNodeError, match="--bootstrap"):
        command(FakeEnvironment(tmp_path))


async def test_an_address_is_needed_to_begin_with() -> None:
    with pytest.raises(AddressError, match="peer id alone"):
        await run_netcheck([str(peer_id("bare"))])
    for targets in ([], ["/ip4/127.0.0.1/tcp/4001"]):
        with pytest.raises(AddressError, match=r"one of UDP: .* such as /ip4/…/udp/…/noise"):
            await run_netcheck(targets)


async def test_a_remembered_address_that_cannot_be_dialled_does_not_keep_from_the_others() -> None:
    link_local = f"/ip6/fe80::1/udp/4001/noise/p2p/{peer_id('near')}"
    with pytest.raises(AddressError, match="peer id alone"):
        await run_netcheck([link_local, str(peer_id("bare"))])


async def test_without_a_node_it_begins_with_who_is_remembered(tmp_path: Path) -> None:
    store = Store(tmp_path)
    expires = UnixTime(time.time() + 1000)
    said, heard, away = (str(peer_id(name)) for name in ("said", "heard", "away"))
    address = "/ip4/8.8.8.8/udp/4001/noise"
    signed, hearsay = AddressSource.SIGNED.value, AddressSource.HEARSAY.value
    store.write(
        [
            AddressRecord(said, address, signed, expires),
            AddressRecord(heard, "/ip4/8.8.4.4/udp/4001/noise", hearsay, time.time() + 60),
            AddressRecord(said, "/ip4/8.8.8.8/tcp/4001", signed, expires),
            AddressRecord(away, f"{address}/p2p/{said}/p2p-circuit", signed, expires),
        ]
    )
    store.close()

    assert await known_peers(tmp_path, None) == [f"{address}/p2p/{said}"]


async def test_an_empty_folder_remembers_nobody_and_stays_empty(tmp_path: Path) -> None:
    assert await known_peers(tmp_path, None) == []
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a test may wait for the disk


@pytest.mark.slow
@pytest.mark.spec("NATB-16", "NATB-23")
@pytest.mark.parametrize("takes_tcp", [True, False])
async def test_where_nothing_is_heard_over_udp_it_looks_whether_tcp_gets_through(
    takes_tcp: bool,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute, ExitStack() as stack:
        mute.bind(("127.0.0.1", 0))
        place = mute.getsockname()
        if takes_tcp:
            stack.enter_context(socket.create_server(place))
        report = await run_netcheck([f"/ip4/127.0.0.1/udp/{place[1]}/noise"])

    assert (report.udp, report.tcp) == (False, takes_tcp)
    said = "UDP seems to be blocked: the one host that was tried answers over TCP alone, which"
    assert report.unknown["udp"].startswith(said) is takes_tcp
    (line,) = [line for line in _lines(report) if line.startswith("TCP")]
    assert line.split()[1] == ("yes" if takes_tcp else "no")


@pytest.mark.parametrize(
    ("told", "speaks", "found"),
    [
        ([HERE.replace("4001", "5001")], [PROTOCOL_ID], [HERE.replace("4001", "5001")]),
        ([ELSEWHERE], [PROTOCOL_ID], [HERE]),
        ([HERE.replace("/noise", "/quic-v1")], ["/ipfs/id/1.0.0"], []),
    ],
    ids=["it says where", "one port number", "a stranger"],
)
async def test_who_is_connected_over_tcp_is_checked_with_over_udp_on_the_same_host(
    tmp_path: Path, told: list[str], speaks: list[str], found: list[str]
) -> None:
    over_tcp = parse_multiaddr("/ip4/192.0.2.7/tcp/4001")
    connection = ConnectionInfo(PEER, "direct", over_tcp, None, 0, TCP, False)
    with RunningNode(
        tmp_path,
        status=EMPTY_STATUS._replace(connections=(connection,)),
        reachable=[f"{over_tcp}/p2p/{PEER}"],
        told=[str(over_tcp), *told],
        speaks=speaks,
    ):
        peers = await known_peers(tmp_path, FakeEnvironment(tmp_path).control_socket(tmp_path))
    assert peers == [f"{address}/p2p/{PEER}" for address in found]


async def test_who_is_connected_over_udp_is_asked_nothing(tmp_path: Path) -> None:
    with RunningNode(tmp_path, status=FULL_STATUS, reachable=[]):
        found = await known_peers(tmp_path, FakeEnvironment(tmp_path).control_socket(tmp_path))
    assert found == [f"{VIA}/p2p/{RELAY}"]
