"""Every number that a package of the protocol names is in a table of one of its specs.

For most specs a test of its own compares the values; for the rest, and for none missing, see here.
"""

import re

import pytest

from tests.support.spec_tables import constant, limits_in_code, names_in_tables, tables

PAGES = {
    "p2pnode.io.tcp": ("links.md",),
    "p2pnode.links": ("links.md",),
    "p2pnode.protocols.autonat": ("autonat.md",),
    "p2pnode.protocols.dcutr": ("dcutr.md",),
    "p2pnode.protocols.file_transfer": ("file_transfer.md",),
    "p2pnode.protocols.identify": ("identify.md",),
    "p2pnode.protocols.kad": ("kad.md",),
    "p2pnode.protocols.nat_behaviour": ("nat_behaviour.md",),
    "p2pnode.protocols.ping": ("ping.md",),
    "p2pnode.protocols.relay": ("relay.md",),
    "p2pnode.rate_limit": ("relay.md",),
    "p2pnode.netcheck": ("nat_behaviour.md",),
    "p2pnode.noise": ("noise.md",),
    "p2pnode.resources": ("resources.md",),
    "p2pnode.swarm": ("swarm.md", "autonat.md", "kad.md", "nat_behaviour.md", "relay.md"),
    "p2pnode.transports": (
        "transport.md",
        "quic.md",
        "recovery.md",
        "streams.md",
        "tcp.md",
        "upgrade.md",
        "yamux.md",
    ),
    "p2pnode.wire.multistream": ("multistream.md",),
}
FORMATS = {
    "p2pnode.io.tcp": {"READ", "WRITE"},
    "p2pnode.links": {"FIRST_ACCEPTED_LINK", "FIRST_OWN_LINK", "LINK_ID_STEP"},
    "p2pnode.protocols.autonat": {"ASKER_SIZE", "NONCE_SIZE", "TOKEN_SIZE", "PROBE_FIRST_BYTE"},
    "p2pnode.protocols.file_transfer": {"DIGEST_SIZE"},
    "p2pnode.protocols.kad": {"FIND_NODE"},
    "p2pnode.protocols.nat_behaviour": {"TOKEN_SIZE", "KNOCK_FIRST_BYTE"},
    "p2pnode.protocols.relay": {"CIRCUIT_TYPE", "HEADER_SIZE", "IDLE", "NEW", "OLD", "WAITING"},
    "p2pnode.netcheck": {"NETCHECK_SOCKETS"},
    "p2pnode.swarm": {"FIRST_HANDLE", "READ_SIZE", "MAX_UNSENT"},
    "p2pnode.transports": {
        "ANY_PORT",
        "CHALLENGE_SIZE",
        "CIRCUIT",
        "CONNECTION_ID_SIZE",
        "CRYPTO",
        "CUBIC_ALPHA",
        "DATA",
        "DATA_HEADER_SIZE",
        "DATA_OVERHEAD",
        "ETHERNET_SIZE",
        "FAST_CONVERGENCE",
        "FIXED",
        "FIRST_BYTES",
        "FIRST_HANDLE",
        "ID_AT",
        "ID_KIND_BITS",
        "IV_SIZE",
        "KEY_PHASE",
        "KEY_SIZE",
        "LONG",
        "LONG_RESERVED",
        "MAC_SIZE",
        "MAX_ACK_DELAY_US",
        "MAX_LENGTH",
        "MAX_STREAMS_UNI",
        "MAX_UDP_PAYLOAD",
        "MAX_VARINT",
        "MIN_PROTECTED_SIZE",
        "MIN_SHORT_SIZE",
        "MIN_UDP_PAYLOAD",
        "NUMBER_BYTES",
        "NUMBER_SIZE",
        "PATTERN_XX",
        "RESET_SIZE",
        "RESET_TOKEN_SIZE",
        "SAMPLE_SIZE",
        "SECRET_SIZE",
        "SESSION_ID",
        "SHORT",
        "SHORT_RESERVED",
        "STATELESS_RESET",
        "STREAMS_BLOCKED_UNI",
        "STREAM_FIN",
        "STREAM_LEN",
        "STREAM_OFF",
        "TAG_SIZE",
        "UNLIMITED",
        "UNPACED",
        "VERSION",
    },
}
"""Numbers that a format fixes, that follow from others, or that only tell states apart."""


def is_stated(limit: str, stated: set[str]) -> bool:
    """True where a table names the limit, with as much of its module's path as it likes."""
    parts = limit.split(".")
    return any(".".join(parts[start:]) in stated for start in range(len(parts)))


@pytest.mark.parametrize("package", sorted(PAGES))
def test_every_limit_of_a_package_is_in_a_table_of_its_specs(package: str) -> None:
    stated = set().union(*(names_in_tables(page) for page in PAGES[package]))
    formats = FORMATS.get(package, set())
    limits = limits_in_code(package)

    missing = [
        limit
        for limit in limits
        if limit.rpartition(".")[2] not in formats and not is_stated(limit, stated)
    ]
    assert missing == [], f"a row in {' or '.join(PAGES[package])}, or in FORMATS, is missing"


@pytest.mark.parametrize("package", sorted(FORMATS))
def test_what_is_excepted_exists(package: str) -> None:
    names = {limit.rpartition(".")[2] for limit in limits_in_code(package)}

    assert FORMATS[package] - names == set()


def test_a_limit_is_stated_by_its_own_module_only() -> None:
    assert is_stated("p2pnode.a.b.MAX", {"b.MAX"})
    assert is_stated("p2pnode.a.b.MAX", {"MAX"})
    assert not is_stated("p2pnode.a.b.MAX", {"c.MAX", "MAXIMUM"})


UNITS = {"ms": 0.001, "min": 60, "KiB": 1024, "MiB": 1024**2}
COMPARED = [
    ("identify.md", "Limits and timers", "p2pnode.protocols.identify"),
    ("identity.md", "Limits", "p2pnode.identity"),
    ("links.md", "Limits", "p2pnode"),
    ("multistream.md", "Limits", "p2pnode.wire.multistream"),
    ("ping.md", "Limits and timers", "p2pnode.protocols.ping"),
    ("quic.md", "Limits", "p2pnode.transports.quic_v1"),
    ("recovery.md", "Limits and timers", "p2pnode.transports.delivery"),
    ("resources.md", "Limits", "p2pnode.resources"),
    ("tcp.md", "Limits", "p2pnode.transports.tcp"),
    ("upgrade.md", "Limits", "p2pnode.transports.stream_upgrade"),
    ("yamux.md", "Limits", "p2pnode.transports.stream_upgrade.yamux"),
]


def numbers(cell: str) -> list[float]:
    """Returns the values of a cell: "4 ms, 16 ms", "9/8, 2 round trips", "3, 96 packets"."""
    found = []
    for text, unit in re.findall(r"(?:^|, | to )([\d,./^-]*\d)(?: (?!to )(\w+))?", cell):
        value = text.replace(",", "")
        if value == "2^31-1":
            found.append(2.0**31 - 1)
            continue
        top, _, bottom = value.partition("/")
        found.append(float(top) / float(bottom or 1) * UNITS.get(unit, 1))
    return found


@pytest.mark.parametrize(("spec", "heading", "package"), COMPARED)
def test_the_limits_of_a_spec_have_the_values_of_the_code(
    spec: str, heading: str, package: str
) -> None:
    rows = tables(spec, heading)[0]
    assert rows
    for cell, value, _source in rows:
        module = ""
        values: list[object] = []
        for name in re.findall(r"`([\w.]+)`", cell):
            module = name.rpartition(".")[0] or module or package.rpartition(".")[2]
            found = constant(f"{module}.{name.rpartition('.')[2]}", package)
            values += found if isinstance(found, tuple) else [found]
        assert values == pytest.approx(numbers(value)), cell


def test_values_of_cells_are_read_with_their_units() -> None:
    assert numbers("4 ms, 16 ms") == [0.004, 0.016]
    assert numbers("9/8, 2 round trips") == [1.125, 2]
    assert numbers("10 packets, 14,720 bytes") == [10, 14720]
    assert numbers("300 to 900 packets") == [300, 900]
    assert numbers("256 MiB") == [1 << 28]
