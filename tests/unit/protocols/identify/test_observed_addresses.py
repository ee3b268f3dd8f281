"""The book of what observers say our addresses are."""

import pytest

from p2pnode.machine import SocketAddr, SocketId
from p2pnode.protocols.identify import (
    Disposition,
    MappingKind,
    Observation,
    ObservedAddressBook,
)
from p2pnode.protocols.identify.observed_addresses import MAX_SOCKETS
from p2pnode.protocols.identify.socket_evidence import (
    MAX_OBSERVATIONS_PER_GROUP,
    MAX_OBSERVATIONS_PER_SOCKET,
    OBSERVATION_LIFETIME,
)
from tests.support.identities import peer_id
from tests.support.python_calls import python_calls

SOCKET = SocketId(1)
OURS = SocketAddr("5.6.7.8", 4001)


def observation(
    observer: object,
    observer_ip: str,
    observed: SocketAddr = OURS,
    socket: SocketId = SOCKET,
) -> Observation:
    return Observation(peer_id(observer), SocketAddr(observer_ip, 9), socket, observed)


def book_of(*observations: Observation) -> ObservedAddressBook:
    book = ObservedAddressBook()
    for item in observations:
        assert book.update(item, 0.0) is Disposition.COUNTED
    return book


def port(number: int) -> SocketAddr:
    return SocketAddr("5.6.7.8", number)


@pytest.mark.spec("IDENTIFY-13")
def test_four_observers_confirm_and_the_way_there_is_told() -> None:
    book, told = ObservedAddressBook(), []
    for index in range(5):
        book.update(observation(index, f"1.1.1.{index}"), float(index))
        (address,) = book.report(SOCKET, float(index)).addresses
        told.append((address.progress, address.is_confirmed))

    assert address.address == OURS
    assert (address.first_seen, address.last_seen) == (0.0, 4.0)
    assert told == [
        ("1 of 4 observers so far", False),
        ("2 of 4 observers so far", False),
        ("3 of 4 observers so far", False),
        ("confirmed by 4 observers", True),
        ("confirmed by 5 observers", True),
    ]


@pytest.mark.spec("IDENTIFY-12")
def test_observers_of_one_owner_count_once() -> None:
    v6 = SocketAddr("2a00::5", 4001)
    same = book_of(*[observation(i, "1.1.1.1") for i in range(3)])
    same_56 = book_of(*[observation(i, f"2a01:1:1:1{i:02x}::1", v6) for i in range(3)])
    other_56 = book_of(*[observation(i, f"2a01:1:1:{i}00::1", v6) for i in range(3)])

    assert [b.report(SOCKET, 0.0).addresses[0].observers for b in (same, same_56, other_56)] == [
        1,
        1,
        3,
    ]


@pytest.mark.spec("IDENTIFY-14")
@pytest.mark.parametrize(
    ("observer_ip", "observed", "disposition"),
    [
        (None, OURS, Disposition.RELAYED),
        ("127.0.0.1", OURS, Disposition.LOOPBACK),
        ("1.1.1.1", SocketAddr("127.0.0.1", 1), Disposition.LOOPBACK),
        ("192.168.1.2", SocketAddr("192.168.1.3", 1), Disposition.PRIVATE),
        ("1.1.1.1", SocketAddr("100.64.0.1", 1), Disposition.PRIVATE),
        ("192.168.1.2", OURS, Disposition.OBSERVER_PRIVATE),
        ("64:ff9b::101:101", SocketAddr("2a00::1", 1), Disposition.NAT64),
        ("2a00::1", SocketAddr("64:ff9b::101:101", 1), Disposition.NAT64),
        ("2a00::1", OURS, Disposition.FAMILY_MISMATCH),
        ("1.1.1.1", SocketAddr("203.0.113.1", 1), Disposition.UNROUTABLE),
        ("1.1.1.1", SocketAddr("5.6.7.8", 0), Disposition.UNROUTABLE),
        ("1.1.1.1", SocketAddr("nonsense", 1), Disposition.UNROUTABLE),
    ],
)
def test_what_an_observer_cannot_know_is_left_out(
    observer_ip: str | None, observed: SocketAddr, disposition: Disposition
) -> None:
    book = ObservedAddressBook()
    observer_addr = None if observer_ip is None else SocketAddr(observer_ip, 9)

    result = book.update(Observation(peer_id("a"), observer_addr, SOCKET, observed), 0.0)

    assert result is disposition
    assert book.snapshot(0.0) == ()
    assert book.poll_timeout() is None


@pytest.mark.spec("IDENTIFY-15")
@pytest.mark.parametrize(
    ("seen", "mapping", "why"),
    [
        ([], MappingKind.UNKNOWN, "no peer has said"),
        ([("1.1.1.1", 1)], MappingKind.UNKNOWN, "it takes two"),
        ([("1.1.1.1", 1), ("1.1.1.1", 2)], MappingKind.UNKNOWN, "it takes two"),
        ([("1.1.1.1", 1), ("1.1.1.2", 1)], MappingKind.ENDPOINT_INDEPENDENT, "2 of 2"),
        ([("1.1.1.1", 1), ("1.1.1.2", 2)], MappingKind.UNKNOWN, "disagree"),
        (
            [("1.1.1.1", 1), ("1.1.1.1", 2), ("1.1.1.2", 3)],
            MappingKind.ENDPOINT_DEPENDENT,
            "3 different",
        ),
        (
            [("1.1.1.1", 1), ("1.1.1.1", 1), ("1.1.1.2", 3)],
            MappingKind.ENDPOINT_DEPENDENT,
            "2 different",
        ),
        ([(f"1.1.1.{i}", i) for i in range(1, 4)], MappingKind.ENDPOINT_DEPENDENT, "in 3 places"),
        # One liar or latecomer among four changes nothing.
        (
            [("1.1.1.1", 9), *[(f"1.1.1.{i}", 1) for i in range(2, 5)]],
            MappingKind.ENDPOINT_INDEPENDENT,
            "3 of 4",
        ),
        # Half of them have noticed that the NAT was restarted.
        (
            [("1.1.1.1", 1), ("1.1.1.2", 1), ("1.1.1.3", 2), ("1.1.1.4", 2)],
            MappingKind.UNKNOWN,
            "disagree",
        ),
    ],
)
def test_the_mapping_follows_from_what_different_places_see(
    seen: list[tuple[str, int]], mapping: MappingKind, why: str
) -> None:
    book = book_of(*[observation(i, ip, port(p)) for i, (ip, p) in enumerate(seen)])

    report = book.report(SOCKET, 0.0)

    assert report.mapping is mapping
    assert why in report.why
    assert report.evidence == tuple((peer_id(i), port(p)) for i, (_, p) in enumerate(seen))


@pytest.mark.spec("IDENTIFY-16")
def test_an_observers_newer_word_replaces_the_older() -> None:
    book = book_of(observation("a", "1.1.1.1", port(1)))

    book.update(observation("a", "1.1.1.1", port(2)), 1.0)

    (address,) = book.report(SOCKET, 1.0).addresses
    assert (address.address, address.first_seen) == (port(2), 1.0)


@pytest.mark.spec("IDENTIFY-16")
def test_who_leaves_is_forgotten() -> None:
    book = book_of(observation("a", "1.1.1.1"), observation("b", "1.1.1.2"))

    book.remove(peer_id("a"))
    assert book.report(SOCKET, 0.0).addresses[0].observers == 1
    book.remove(peer_id("b"))
    book.remove(peer_id("never seen"))

    assert book.snapshot(0.0) == ()


@pytest.mark.spec("IDENTIFY-16")
def test_evidence_expires_unless_it_is_refreshed() -> None:
    book = book_of(observation("a", "1.1.1.1"), observation("b", "1.1.1.2"))
    book.refresh(peer_id("a"), 100.0)
    deadline = book.poll_timeout()

    assert deadline is not None
    assert deadline.at == OBSERVATION_LIFETIME
    assert book.report(SOCKET, OBSERVATION_LIFETIME - 0.1).addresses[0].observers == 2
    assert book.report(SOCKET, OBSERVATION_LIFETIME).addresses[0].observers == 1
    assert book.report(SOCKET, OBSERVATION_LIFETIME + 100.0).addresses == ()


@pytest.mark.spec("IDENTIFY-17")
def test_one_owner_cannot_crowd_out_the_others() -> None:
    book = book_of(observation("honest", "1.1.1.1"))
    for index in range(1000):
        book.update(observation(index, "6.6.6.6", port(index + 1)), 1.0)

    evidence = book.report(SOCKET, 1.0).evidence

    assert len(evidence) == 1 + MAX_OBSERVATIONS_PER_GROUP
    assert evidence[0] == (peer_id("honest"), OURS)


@pytest.mark.spec("IDENTIFY-17")
def test_the_book_is_bounded_and_the_oldest_goes() -> None:
    book = ObservedAddressBook()
    for index in range(MAX_OBSERVATIONS_PER_SOCKET + 10):
        book.update(observation(index, f"1.1.{index // 250}.{index % 250}", port(index + 1)), 1.0)
    evidence = book.report(SOCKET, 1.0).evidence
    for index in range(MAX_SOCKETS + 10):
        book.update(observation("a", "1.1.1.1", socket=SocketId(100 + index)), 2.0)

    assert len(evidence) == MAX_OBSERVATIONS_PER_SOCKET
    assert evidence[0] == (peer_id(10), port(11))
    assert len(book.report(SocketId(173), 2.0).addresses) == 1
    assert [report.socket for report in book.snapshot(2.0)] == [110 + i for i in range(MAX_SOCKETS)]


def test_sockets_are_told_apart_and_can_be_closed() -> None:
    other = SocketId(2)
    book = book_of(
        observation("a", "1.1.1.1", port(1)), observation("a", "1.1.1.1", port(2), socket=other)
    )

    assert [r.addresses[0].address for r in book.snapshot(0.0)] == [port(1), port(2)]
    book.remove_socket(SOCKET)
    assert [r.socket for r in book.snapshot(0.0)] == [other]


def test_the_three_most_seen_addresses_are_reported_in_a_stable_order() -> None:
    seen = [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4)]
    book = book_of(*[observation(i, f"1.1.1.{i}", port(p)) for i, p in seen])

    assert [(a.address.port, a.observers) for a in book.report(SOCKET, 0.0).addresses] == [
        (2, 2),
        (1, 1),
        (3, 1),
    ]


def test_a_scope_is_no_part_of_an_observed_address() -> None:
    book = book_of(observation("a", "2a01::1", SocketAddr("2a00::1", 1, 5)))

    assert book.report(SOCKET, 0.0).addresses[0].address == SocketAddr("2a00::1", 1)


def cost_of_one_more(observers: int) -> int:
    """Returns the calls that a statement and a report cost, where so many have spoken."""
    book = book_of(*[observation(i, f"1.{i // 250}.{i % 250}.1") for i in range(observers)])

    def work() -> None:
        book.update(observation("one more", "9.9.9.9"), 0.0)
        book.report(SOCKET, 0.0)

    return python_calls(work)


def test_a_statement_costs_no_more_where_many_have_spoken() -> None:
    assert cost_of_one_more(MAX_OBSERVATIONS_PER_SOCKET) <= 1.5 * cost_of_one_more(4)
