"""The public calls with what they cannot take: told at the call, and the node goes on."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from p2pnode import (
    AddressError,
    ArgumentError,
    Multiaddr,
    Node,
    NodeConfig,
    P2PNodeError,
    PeerId,
    Stream,
    open_node,
)
from tests.support.node_pair import PROTOCOL, node_pair

PEER = PeerId(b"\x12\x20" + bytes(32))


class Anything:
    """Has no more of a meaning than any object."""

    def __repr__(self) -> str:
        return "anything"


WRONG: list[object] = [None, 5, 1.5, b"/x", Anything(), [], {}, ["/x"], True]
TARGET_CALLS = ["connect", "identify", "ping", "pings", "why"]
PEER_CALLS = ["connection_info", "explain", "wait_disconnected", "disconnect"]


async def call(function: Callable[..., Any], *arguments: object, **named: object) -> None:
    """Calls it, and awaits what it returns where that is to be awaited."""
    result = function(*arguments, **named)
    if hasattr(result, "__await__"):
        await result


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@pytest.mark.parametrize("name", [*TARGET_CALLS, *PEER_CALLS])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
async def test_what_names_no_peer_is_a_type_error(
    autojump_clock: MockClock, name: str, wrong: object
) -> None:
    async with node_pair() as pair:
        with pytest.raises(TypeError):
            await call(getattr(pair.client, name), wrong)


@pytest.mark.parametrize("name", TARGET_CALLS)
@pytest.mark.parametrize("text", ["", " ", "/", "nonsense", "/ip4/1.2.3/udp/1/noise", "\ud800"])
async def test_text_that_names_no_peer_is_an_address_error(
    autojump_clock: MockClock, name: str, text: str
) -> None:
    async with node_pair() as pair:
        with pytest.raises(AddressError):
            await call(getattr(pair.client, name), text)


@pytest.mark.parametrize("protocol", [None, 5, b"/x", Anything(), {}, [5], [None], True])
async def test_what_is_no_protocol_id_is_a_type_error(
    autojump_clock: MockClock, protocol: Any
) -> None:
    async with node_pair() as pair:
        for attempt in (
            lambda: pair.client.open_stream(pair.address, protocol),
            lambda: pair.client.handle(protocol, echo),
            lambda: pair.client.unhandle(protocol),
        ):
            with pytest.raises(TypeError):
                await call(attempt)


@pytest.mark.parametrize(
    "protocol", ["", "/a\nb", "/x" * 600, "\ud800", "na", "ls", "/multistream/1.0.0"]
)
async def test_text_that_is_no_protocol_id_is_an_argument_error(
    autojump_clock: MockClock, protocol: str
) -> None:
    async with node_pair() as pair:
        for wanted in (protocol, [PROTOCOL, protocol]):
            with pytest.raises(ArgumentError):
                await pair.client.open_stream(pair.address, wanted)
        with pytest.raises(ArgumentError):
            pair.client.handle(protocol, echo)
        with pytest.raises(ArgumentError):
            await pair.client.open_stream(pair.address, [])


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (lambda node: node.handle("/y", None), TypeError),
        (lambda node: node.handle("/y", "echo"), TypeError),
        (lambda node: node.handle("/y", echo, "8"), TypeError),
        (lambda node: node.handle("/y", echo, True), TypeError),
        (lambda node: node.handle("/y", echo, 1.5), TypeError),
        (lambda node: node.handle("/y", echo, 0), ArgumentError),
        (lambda node: node.events("many"), TypeError),
        (lambda node: node.events(0), ArgumentError),
        (lambda node: node.pings(PEER, "3"), TypeError),
        (lambda node: node.pings(PEER, -1), ArgumentError),
        (lambda node: node.pings(PEER, 3, "1"), TypeError),
        (lambda node: node.pings(PEER, 3, None), TypeError),
        (lambda node: node.pings(PEER, 3, -1.0), ArgumentError),
        (lambda node: node.pings(PEER, 3, math.nan), ArgumentError),
        (lambda node: node.disconnect(PEER, "0"), TypeError),
        (lambda node: node.disconnect(PEER, -1), ArgumentError),
        (lambda node: node.disconnect(PEER, 1 << 62), ArgumentError),
        (lambda node: node.disconnect(PEER, 0, b"bye"), TypeError),
        (lambda node: node.drain("5"), TypeError),
        (lambda node: node.drain(-5), ArgumentError),
    ],
)
async def test_other_arguments_are_looked_at_by_the_call(
    autojump_clock: MockClock, attempt: Callable[[Node], object], expected: type[Exception]
) -> None:
    async with node_pair() as pair:
        with pytest.raises(expected):
            await call(attempt, pair.client)
        assert await pair.client.ping(pair.address) >= 0


@pytest.mark.parametrize(
    ("code", "expected"),
    [("0", TypeError), (None, TypeError), (-1, ArgumentError), (1 << 62, ArgumentError)],
)
async def test_a_stream_is_reset_with_a_code_that_can_be_sent(
    autojump_clock: MockClock, code: Any, expected: type[Exception]
) -> None:
    async with node_pair() as pair:
        ours, theirs = await pair.streams()
        with pytest.raises(expected):
            ours.reset(code)
        await ours.send_all(b"x")
        assert await theirs.receive_some() == b"x"


@pytest.mark.parametrize(
    "setting",
    [
        *({"data_folder": wrong} for wrong in (5, b"x", [], True)),
        {"key_log": 5},
        {"qlog_dir": 5},
        {"identity": bytes(32)},
        {"identity": "key"},
        {"listen": "/ip4/127.0.0.1/udp/0/noise"},
        {"listen": 4001},
        {"listen": [4001]},
        {"listen": [None]},
        {"bootstrap": "/ip4/127.0.0.1/udp/1/noise"},
        {"bootstrap": None},
        {"bootstrap": [None]},
        {"relay_mode": "always"},
        {"relay_limits": None},
        {"relay_access": []},
        {"agent_version": None},
        {"agent_version": 1.0},
        {"control_socket": "yes"},
        {"transport": None},
        {"config": {}},
        {"config": "p2pnode.toml"},
        {"nonsense": 1},
    ],
    ids=repr,
)
async def test_a_setting_of_a_wrong_type_is_a_type_error(setting: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        async with open_node(**{"listen": [], **setting}):
            pass


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"data_folder": ""}, ArgumentError),
        ({"listen": ["nonsense"]}, AddressError),
        ({"bootstrap": ["nonsense"]}, AddressError),
        ({"bootstrap": [PEER]}, AddressError),
    ],
    ids=repr,
)
async def test_a_setting_of_a_wrong_value_is_one_of_the_librarys_errors(
    setting: dict[str, Any], expected: type[P2PNodeError]
) -> None:
    with pytest.raises(expected):
        async with open_node(**{"listen": [], **setting}):
            pass


async def test_paths_may_be_text_and_addresses_multiaddrs(tmp_path: Path) -> None:
    listen = [Multiaddr("/ip4/127.0.0.1/udp/0/noise")]
    config = NodeConfig(data_folder=str(tmp_path / "node"), key_log=str(tmp_path / "keys"))
    async with (
        open_node(config, listen=listen, qlog_dir=str(tmp_path)) as node,
        open_node(listen=[]) as other,
    ):
        with trio.fail_after(30):
            assert await other.connect(node.addresses[0]) == node.peer_id
    assert (tmp_path / "node").is_dir()
    assert (tmp_path / "keys").stat().st_size > 0
