"""Who gets a reservation or a circuit, and why not."""

import pytest

from p2pnode.clock import UnixTime
from p2pnode.identity.peer_id import PeerId
from p2pnode.machine import ConnectionHandle
from p2pnode.protocols.relay.accounting import MonthlyVolume
from p2pnode.protocols.relay.admission import (
    Admitted,
    CircuitAdmission,
    Client,
    Granted,
    Refused,
    ReservationEnded,
    ReservationTable,
    circuit_ledger,
    reservation_ledger,
)
from p2pnode.protocols.relay.limits import AccessList, RelayLimits
from p2pnode.protocols.relay.messages import Status
from p2pnode.resources.refusal import Refusals
from tests.support.identities import peer_id

UNIX = UnixTime(1_700_000_000)
PEERS = [peer_id(index) for index in range(6)]


def table(limits: RelayLimits | None = None, access: AccessList | None = None) -> ReservationTable:
    return ReservationTable(limits or RelayLimits(), access or AccessList(), now=0.0, unix_now=UNIX)


def client(
    index: int, ip: str = "", *, connection: int | None = None, is_relayed: bool = False
) -> Client:
    key = ConnectionHandle(index if connection is None else connection)
    return Client(peer_id(index), key, ip or f"1.2.3.{index}", is_relayed)


def admission(
    limits: RelayLimits | None = None, access: AccessList | None = None, *, used: int = 0
) -> tuple[CircuitAdmission, ReservationTable]:
    limits = limits or RelayLimits()
    reservations = table(RelayLimits(), AccessList())
    for index in range(len(PEERS)):
        reservations.reserve(client(index), 0.0)
    volume = MonthlyVolume(1000, now=0.0, unix_now=UNIX)
    volume.add(used, 0.0)
    return CircuitAdmission(limits, access or AccessList(), reservations, volume), reservations


def status(answer: object) -> Status | None:
    return answer.status if isinstance(answer, Refused) else None


@pytest.mark.spec("RELAY-5")
@pytest.mark.spec("RELAY-39")
@pytest.mark.parametrize("step", [8 * 3600, -8 * 3600, -2_000_000_000])
def test_a_step_of_the_clock_is_told_and_ends_no_reservation(step: float) -> None:
    reservations = table()
    reservations.reserve(client(1), 0.0)
    reservations.handle_clock_changed(UnixTime(UNIX + step), 0.0)
    reservations.handle_timeout(3599.0)
    assert reservations.connection_of(client(1).peer, 3599.0) is not None
    granted = reservations.reserve(client(1), 3599.0)
    assert isinstance(granted, Granted)
    assert granted.expire == max(1, UNIX + step + 3599 + 3600)


def test_a_reservation_lasts_its_time_unless_it_is_refreshed() -> None:
    reservations = table()
    assert reservations.reserve(client(1), 0.0) == Granted(3600.0, int(UNIX) + 3600)
    assert reservations.reserve(client(1), 3000.0) == Granted(6600.0, int(UNIX) + 6600)
    assert reservations.reserve(client(2), 3000.0) == Granted(6600.0, int(UNIX) + 6600)

    reservations.handle_timeout(3600.0)
    assert reservations.connection_of(PEERS[1], 6599.0) == 1
    assert reservations.poll_events() == []
    deadline = reservations.poll_timeout()
    assert deadline is not None
    assert deadline.at == 6600.0

    reservations.handle_timeout(6600.0)
    assert len(reservations) == 0
    assert reservations.connection_of(PEERS[1], 6600.0) is None
    assert reservations.poll_timeout() is None
    assert [event.peer for event in reservations.poll_events()] == [PEERS[1], PEERS[2]]


@pytest.mark.spec("RELAY-5")
def test_a_reservation_goes_with_its_newest_connection() -> None:
    reservations = table()
    reservations.reserve(client(1, connection=10), 0.0)
    reservations.reserve(client(1, connection=11), 1.0)

    reservations.handle_disconnected(ConnectionHandle(10))
    assert reservations.connection_of(PEERS[1], 2.0) == 11

    reservations.handle_disconnected(ConnectionHandle(11))
    assert reservations.connection_of(PEERS[1], 2.0) is None
    assert reservations.poll_events() == [
        ReservationEnded(PEERS[1], "the connection was lost", ConnectionHandle(11))
    ]


@pytest.mark.spec("RELAY-20")
def test_requests_over_a_relayed_connection_are_refused() -> None:
    circuits, reservations = admission()

    assert status(reservations.reserve(client(1, is_relayed=True), 0.0)) == 202
    assert status(circuits.admit(client(1, is_relayed=True), PEERS[2], 0.0)) == 202
    assert status(circuits.admit(client(1), PEERS[1], 0.0)) == 202


@pytest.mark.spec("RELAY-21")
def test_reservations_are_bounded_in_all_and_by_network() -> None:
    limits = RelayLimits(max_reservations=3, max_reservations_per_ip=2)
    reservations = table(limits)
    ips = [
        "2600:1:2:ff00::1",
        "2600:1:2:ffff::2",
        "2600:1:2:ff11::3",
        "2600:1:2:fe00::4",
        "5.5.5.5",
    ]
    answers = [reservations.reserve(client(i, ip), 0.0) for i, ip in enumerate(ips)]

    assert [status(answer) for answer in answers] == [None, None, 200, None, None]
    (ended,) = reservations.poll_events()  # of the fullest site, the newest, for another network
    assert (ended.peer, ended.connection, ended.gives_way) == (peer_id(3), 3, True)
    # A refresh, also from another address, needs no further place.
    assert status(reservations.reserve(client(0, ips[0]), 1.0)) is None
    assert status(reservations.reserve(client(0, "7.7.7.7"), 2.0)) is None
    assert status(reservations.reserve(client(2, ips[2]), 3.0)) == 200
    reservations.handle_disconnected(ConnectionHandle(4))
    assert status(reservations.reserve(client(2, ips[2]), 4.0)) is None


@pytest.mark.spec("RELAY-44")
def test_reservations_of_few_networks_give_way_to_those_of_others() -> None:
    limits = RelayLimits()
    reservations = table(limits)
    for index in range(limits.max_reservations):
        ip = f"2600:{index // 8}::{index % 8 + 1}"
        assert status(reservations.reserve(client(index, ip), 0.0)) is None

    # Those with circuits stay; of the others the newest of the fullest network goes.
    def is_used(peer: PeerId) -> bool:
        return peer in (peer_id(6), peer_id(7))

    newcomer = client(900, "203.0.113.1")
    assert isinstance(reservations.reserve(newcomer, 1.0, is_used), Granted)
    (ended,) = reservations.poll_events()
    assert ended.gives_way
    assert ended.peer not in (peer_id(6), peer_id(7))
    assert len(reservations) == limits.max_reservations
    for index in range(901, 906):
        other = client(index, f"203.0.113.{index - 899}")
        assert isinstance(reservations.reserve(other, 1.0, is_used), Granted)
    assert reservations.connection_of(newcomer.peer, 2.0) == newcomer.connection
    # One more of a network that has all but as many as the fullest changes nothing.
    again = client(999, "2600:0::99")
    assert status(reservations.reserve(again, 2.0, is_used)) == 200


@pytest.mark.spec("RELAY-44")
def test_circuits_of_few_networks_give_way_to_those_of_others() -> None:
    circuits, _ = admission(RelayLimits(max_circuits=4, max_circuits_per_pair=9))
    admitted = [circuits.admit(client(0, "9.9.9.9"), PEERS[n], 0.0) for n in (1, 2, 3, 4)]
    numbers = [a.number for a in admitted if isinstance(a, Admitted)]
    assert len(numbers) == 4

    def is_used(number: int) -> bool:
        return number == numbers[3]

    assert status(circuits.admit(client(2, "9.9.9.9"), PEERS[5], 0.0, is_used)) == 201
    answer = circuits.admit(client(3, "8.8.8.8"), PEERS[5], 0.0, is_used)
    assert isinstance(answer, Admitted)
    assert answer.instead_of == (numbers[2],)
    circuits.release(admitted[2])  # type: ignore[arg-type]
    answer = circuits.admit(client(4, "7.7.7.7"), PEERS[5], 0.0, lambda _: True)
    assert isinstance(answer, Admitted)
    assert answer.instead_of == (numbers[3],)
    assert circuits.has_circuits(PEERS[5])
    assert not circuits.has_circuits(peer_id("nobody"))


@pytest.mark.spec("RELAY-44")
def test_a_few_peers_of_one_network_keep_nobody_from_a_target() -> None:
    circuits, _ = admission()
    limits = RelayLimits()
    admitted = [
        circuits.admit(client(f, "9.9.9.9"), PEERS[1], 0.0)
        for f in (10, 11, 12, 13)
        for _ in range(limits.max_circuits_per_pair)
    ]
    numbers = [a.number for a in admitted if isinstance(a, Admitted)]
    assert len(numbers) == limits.max_circuits_per_peer

    def is_used(number: int) -> bool:
        return number == numbers[-1]

    assert status(circuits.admit(client(14, "9.9.9.9"), PEERS[1], 0.0, is_used)) == 201
    answer = circuits.admit(client(20, "8.8.8.8"), PEERS[1], 0.0, is_used)
    assert isinstance(answer, Admitted)
    assert answer.instead_of == (numbers[-2],)
    # What a peer itself has too many of gives way to nobody.
    for target in (2, 3, 4, 5):
        for _ in range(limits.max_circuits_per_pair):
            circuits.admit(client(0, "7.7.7.7"), PEERS[target], 0.0)
    assert status(circuits.admit(client(0, "7.7.7.7"), PEERS[1], 0.0)) == 201


@pytest.mark.spec("RESOURCES-8")
def test_a_protected_peer_reserves_where_strangers_have_all_of_theirs() -> None:
    limits, refusals = RelayLimits(max_reservations=16, max_reservations_per_ip=3), Refusals()
    ledger, protected = reservation_ledger(limits, refusals), {peer_id(100): None}
    reservations = ReservationTable(
        limits, AccessList(), now=0.0, unix_now=UNIX, ledger=ledger, protected=protected
    )
    ledger.reserve(len(protected))
    for n in range(20):
        reservations.reserve(client(n), 0.0)
    assert len(reservations) == 15
    assert isinstance(reservations.reserve(client(100, "1.2.3.1"), 0.0), Granted)
    assert (len(reservations), reservations.poll_events()) == (16, [])

    # It keeps its place when it renews, also elsewhere, and takes no second one.
    for ip in ("1.2.3.1", "8.8.8.8"):
        assert isinstance(reservations.reserve(client(100, ip), 0.0), Granted)
    assert (len(reservations), ledger.protected.used) == (16, 1)

    # One that is named when all is taken: a stranger gives way, and no protected one.
    protected[peer_id(1)] = protected[peer_id(101)] = None
    ledger.reserve(len(protected))
    answers = [reservations.reserve(client(n, "1.2.3.1"), 0.0) for n in (101, 102)]
    assert isinstance(answers[0], Granted)
    assert status(answers[1]) is Status.RESERVATION_REFUSED
    (ended,) = reservations.poll_events()
    assert ended.gives_way
    assert ended.peer not in protected


@pytest.mark.spec("RESOURCES-8")
def test_a_protected_peer_gets_a_circuit_where_strangers_have_all_of_theirs() -> None:
    limits = RelayLimits(max_circuits=16, max_circuits_per_ip=8, max_circuits_per_pair=16)
    reservations = table()
    for index in range(6):
        reservations.reserve(client(index), 0.0)
    ledger, protected = circuit_ledger(limits, Refusals()), {peer_id(100): None}
    volume = MonthlyVolume(0, now=0.0, unix_now=UNIX)
    circuits = CircuitAdmission(limits, AccessList(), reservations, volume, ledger, protected)
    ledger.reserve(len(protected))
    for n in range(20):
        circuits.admit(client(20 + n // 7, f"9.9.9.{n % 2}"), PEERS[n % 5], 0.0)
    assert len(circuits) == 15

    own = circuits.admit(client(100, "9.9.9.0"), PEERS[5], 0.0)
    assert isinstance(own, Admitted)
    assert own.instead_of == ()
    # No more is kept than one for each, so the next one is a stranger's as any other.
    assert status(circuits.admit(client(100, "9.9.9.0"), PEERS[5], 0.0)) is not None
    # And it does not give way.
    newcomers = [circuits.admit(client(50 + n, "7.7.7.7"), PEERS[4], 0.0) for n in range(3)]
    given_up = [n for new in newcomers if isinstance(new, Admitted) for n in new.instead_of]
    assert given_up
    assert own.number not in given_up


@pytest.mark.spec("RELAY-44")
def test_a_renewal_keeps_the_age_of_its_reservation() -> None:
    reservations = table(RelayLimits(max_reservations=4, requests_per_ip=99))
    for index in range(4):
        reservations.reserve(client(index, "9.9.9.9"), 0.0)
    assert isinstance(reservations.reserve(client(0, "9.9.9.9", connection=50), 1.0), Granted)
    reservations.reserve(client(9, "8.8.8.8"), 2.0)
    (ended,) = reservations.poll_events()
    assert ended.peer == peer_id(3)
    assert reservations.connection_of(peer_id(0), 3600.5) == 50


@pytest.mark.spec("RELAY-21")
def test_requests_are_limited_by_peer_and_by_network() -> None:
    reservations = table(RelayLimits(requests_per_peer=2, requests_per_ip=3))
    answers = [reservations.reserve(client(i, "1.1.1.1"), 0.0) for i in (1, 1, 1, 2, 3)]

    assert [status(answer) for answer in answers] == [None, None, 201, None, 201]
    assert status(reservations.reserve(client(1, "1.1.1.1"), 60.0)) is None


@pytest.mark.spec("RELAY-22")
def test_circuits_are_bounded_in_all_by_peer_and_by_network() -> None:
    circuits, _ = admission(RelayLimits(max_circuits=3, max_circuits_per_peer=2))
    first = circuits.admit(client(0), PEERS[1], 0.0)
    assert isinstance(first, Admitted)
    assert first.target_connection == 1
    assert status(circuits.admit(client(2), PEERS[1], 0.0)) is None
    assert status(circuits.admit(client(3), PEERS[1], 0.0)) == 201  # two at the target
    assert status(circuits.admit(client(1), PEERS[3], 0.0)) == 201  # the same, as source
    assert status(circuits.admit(client(3), PEERS[4], 0.0)) is None
    assert status(circuits.admit(client(0), PEERS[5], 0.0)) == 201  # three in all

    circuits.release(first)
    assert len(circuits) == 2
    assert status(circuits.admit(client(3), PEERS[1], 0.0)) is None

    circuits, _ = admission(RelayLimits(max_circuits_per_ip=1))
    assert status(circuits.admit(client(0, "9.9.9.9"), PEERS[1], 0.0)) is None
    assert status(circuits.admit(client(2, "9.9.9.9"), PEERS[3], 0.0)) == 201


@pytest.mark.spec("RELAY-22")
def test_a_circuit_needs_a_reservation_of_its_target() -> None:
    circuits, reservations = admission()
    assert status(circuits.admit(client(0), peer_id("stranger"), 0.0)) == 204
    reservations.handle_disconnected(ConnectionHandle(1))
    assert status(circuits.admit(client(0), PEERS[1], 0.0)) == 204
    assert status(circuits.admit(client(0), PEERS[2], 3600.0)) == 204


@pytest.mark.spec("RELAY-22")
def test_requests_for_circuits_are_limited_by_peer() -> None:
    circuits, _ = admission(RelayLimits(requests_per_peer=1))
    assert status(circuits.admit(client(0), peer_id("stranger"), 0.0)) == 204
    assert status(circuits.admit(client(0), PEERS[1], 0.0)) == 201


@pytest.mark.spec("RELAY-23")
@pytest.mark.parametrize(
    ("access", "allowed"),
    [
        (AccessList(), [1, 2, 3]),
        (AccessList(deny_peers=frozenset([PEERS[1]])), [2, 3]),
        (AccessList(deny_networks=("1.2.3.2/32",)), [1, 3]),
        (AccessList(allow_peers=frozenset([PEERS[1]]), allow_networks=("1.2.3.3/32",)), [1, 3]),
        (AccessList(allow_networks=("1.2.3.0/24",), deny_peers=frozenset([PEERS[3]])), [1, 2]),
    ],
)
def test_access_lists_decide_first(access: AccessList, allowed: list[int]) -> None:
    reservations = table(access=access)
    circuits, _ = admission(access=access)
    target = PEERS[5]

    granted = [i for i in (1, 2, 3) if isinstance(reservations.reserve(client(i), 0.0), Granted)]
    admitted = [i for i in (1, 2, 3) if status(circuits.admit(client(i), target, 0.0)) is None]

    assert granted == allowed
    assert admitted == allowed


@pytest.mark.spec("RELAY-24")
def test_a_draining_relay_grants_and_admits_nothing() -> None:
    circuits, reservations = admission()
    circuits.drain()
    reservations.drain()
    assert status(reservations.reserve(client(1), 1.0)) == 200
    assert status(circuits.admit(client(0), PEERS[1], 1.0)) == 201
    assert reservations.connection_of(PEERS[1], 1.0) == 1


@pytest.mark.spec("RELAY-26")
def test_no_circuit_is_admitted_when_the_months_volume_is_nearly_spent() -> None:
    circuits, _ = admission(used=900)
    assert status(circuits.admit(client(0), PEERS[1], 0.0)) == 201
