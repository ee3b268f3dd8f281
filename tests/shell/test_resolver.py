"""Names in addresses, with a resolver of our own in place of the system's."""

import socket

import pytest
import trio
from trio.testing import MockClock

from p2pnode.errors import AddressError
from p2pnode.io.resolver import MAX_RESULTS, RESOLVE_TIMEOUT, needs_resolving, resolve
from p2pnode.wire.multiaddr import parse_multiaddr

TAIL = "/udp/4001/noise/p2p/12D3KooWLRPJYsFsXRmhtjxVL5B4nQhmSzLGUsJrXh7XrXcFRpZB"
RELAYED = f"{TAIL}/p2p-circuit/p2p/12D3KooWLRPJYsFsXRmhtjxVL5B4nQhmSzLGUsJrXh7XrXcFRpZB"


class Resolver(trio.abc.HostnameResolver):
    """Answers from a table; what is not in it never gets an answer."""

    def __init__(self, table: dict[str, list[str] | OSError]) -> None:
        self._table = table

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        name = host.decode() if isinstance(host, bytes) else host
        answer = self._table.get(name)
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, OSError):
            raise answer
        return [
            (socket.AF_INET6, type, proto, "", (ip, 0, 0, 0))
            if ":" in ip
            else (socket.AF_INET, type, proto, "", (ip, 0))
            for ip in answer
            if family in (0, socket.AF_INET6 if ":" in ip else socket.AF_INET)
        ]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def looked_up(text: str, table: dict[str, list[str] | OSError]) -> list[str]:
    trio.socket.set_custom_hostname_resolver(Resolver(table))
    return [str(address) for address in await resolve(parse_multiaddr(text))]


TABLE: dict[str, list[str] | OSError] = {
    "both.example": ["2001:db8::1", "192.0.2.1", "2001:DB8::1"],
    "none.example": [],
    "gone.example": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "many.example": [f"192.0.2.{n}" for n in range(100)],
    "zone.example": ["fe80::1%eth0"],
    "half.example": ["0.0.0.0", "192.0.2.1", "224.0.0.1"],
    "blocked.example": ["0.0.0.0"],
}


@pytest.mark.parametrize(
    ("kind", "hosts"),
    [
        ("dns", ["/ip6/2001:db8::1", "/ip4/192.0.2.1"]),
        ("dns4", ["/ip4/192.0.2.1"]),
        ("dns6", ["/ip6/2001:db8::1"]),
    ],
)
@pytest.mark.parametrize("tail", [TAIL, RELAYED])
async def test_a_name_becomes_the_addresses_of_its_kind(
    kind: str, hosts: list[str], tail: str
) -> None:
    assert await looked_up(f"/{kind}/both.example{tail}", TABLE) == [h + tail for h in hosts]


async def test_an_address_without_a_name_stays_as_it_is() -> None:
    assert await looked_up("/ip4/192.0.2.9" + TAIL, {}) == ["/ip4/192.0.2.9" + TAIL]
    assert not needs_resolving(parse_multiaddr("/ip4/192.0.2.9" + TAIL))
    assert needs_resolving(parse_multiaddr("/dns/both.example" + TAIL))


async def test_the_number_of_results_is_bounded() -> None:
    assert len(await looked_up("/dns4/many.example/udp/1", TABLE)) == MAX_RESULTS


async def test_a_zone_in_an_answer_is_left_out() -> None:
    assert await looked_up("/dns6/zone.example/udp/1", TABLE) == ["/ip6/fe80::1/udp/1"]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("/dns4/gone.example/udp/1", "cannot look up 'gone.example': Name or service not known"),
        ("/dns4/none.example/udp/1", "'none.example' has no address of that kind"),
        ("/dnsaddr/boot.example", "/dnsaddr names are not supported"),
    ],
)
async def test_a_name_without_an_answer_is_one_sentence(address: str, sentence: str) -> None:
    with pytest.raises(AddressError) as caught:
        await looked_up(address, TABLE)
    assert sentence in str(caught.value)


async def test_a_resolver_that_does_not_answer_is_given_up(autojump_clock: MockClock) -> None:
    start = trio.current_time()
    with pytest.raises(AddressError, match=r"looking up 'silent\.example' took longer than 5 s"):
        await looked_up("/dns/silent.example/udp/1", TABLE)
    assert trio.current_time() - start == RESOLVE_TIMEOUT


async def test_what_is_no_address_of_a_host_is_left_out_and_said_where_nothing_is_left() -> None:
    assert await looked_up(f"/dns/half.example{TAIL}", TABLE) == [f"/ip4/192.0.2.1{TAIL}"]
    with pytest.raises(AddressError, match=r"stands for 0\.0\.0\.0, .* is the name blocked here\?"):
        await looked_up(f"/dns4/blocked.example{TAIL}", TABLE)
