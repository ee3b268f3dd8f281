"""Sizes as people give them, and tables as they read them."""

import pytest

from p2pnode.cli.columns import columns
from p2pnode.cli.units import carriers_text, parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1500", 1500),
        ("64KiB", 65536),
        ("64 kib", 65536),
        ("1.5MB", 1_500_000),
        ("2 GiB", 2 << 30),
        ("1TB", 10**12),
        ("7b", 7),
    ],
)
def test_sizes_are_understood(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "fast", "-1", "1e9", "1 QB", "KiB", "1..5MB", "\u0661MB"])
def test_what_is_no_size_is_none(text: str) -> None:
    assert parse_size(text) is None


def test_a_size_is_read_back_as_it_is_written() -> None:
    assert parse_size(size_text(3 << 20)) == 3 << 20


def test_columns_are_as_wide_as_their_widest_cell_and_cut_nothing_off() -> None:
    assert columns("peers", ("id", "path"), [("a" * 60, "direct"), ("b", "x")]) == [
        "peers:",
        f"  {'id':<60}  path",
        f"  {'a' * 60}  direct",
        f"  {'b':<60}  x",
    ]
    assert columns("peers", ("id", "path"), []) == ["peers: none"]


@pytest.mark.parametrize(
    ("addresses", "text"),
    [
        (["/ip4/192.0.2.1/udp/1/noise"], "UDP"),
        (["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"], "TCP"),
        (["/ip4/192.0.2.1/udp/1/quic-v1", "/ip4/192.0.2.1/tcp/1"], "UDP or TCP"),
    ],
)
def test_what_has_to_get_through_is_named(addresses: list[str], text: str) -> None:
    assert carriers_text(addresses) == text
