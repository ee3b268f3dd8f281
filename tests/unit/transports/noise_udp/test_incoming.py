from dataclasses import replace

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.resources.account import Account
from p2pnode.resources.limits import ResourceLimits
from p2pnode.resources.networks import networks_of
from p2pnode.resources.refusal import Holder, Refusal, Resource, ScopeKind
from p2pnode.transports.noise_udp.aead import Aead
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.handshake import InitiatorHandshake
from p2pnode.transports.noise_udp.incoming import (
    MAX_EARLY_PACKETS,
    MAX_EARLY_SIZE,
    MAX_EARLY_TOTAL,
    MAX_VETTED,
    MESSAGE_DIGEST_SIZE,
    RETRY_THRESHOLD,
    VETTING_WINDOW,
    Incoming,
)
from p2pnode.transports.noise_udp.packet import (
    MIN_INITIAL_SIZE,
    HandshakeType,
    decode_initial_untrusted,
    decode_message_untrusted,
    decode_retry_untrusted,
    decode_version_negotiation_untrusted,
)
from p2pnode.transports.noise_udp.token import TokenIssuer, TokenKind
from p2pnode.transports.places import NoRoom
from tests.support.noise_udp import (
    CLIENT,
    DESTINATION,
    INITIATOR,
    INITIATOR_ID,
    RESPONDER,
    SOURCE,
    credentials,
    entropy,
    parameters,
    route,
)

NOW, UNIX_NOW = 10.0, 1_700_000_000.0
ISSUER = TokenIssuer(bytes(32))


SHARES = ResourceLimits().half_open
REFUSAL = Refusal(Resource.CONNECTIONS, ScopeKind.DIRECTION, "", 7)


class Bench:
    """An `Incoming` and whoever knocks."""

    def __init__(self, **config):
        self.account = Account(ResourceLimits())
        self.incoming = Incoming(
            credentials=RESPONDER,
            config=TransportConfig(**config),
            tokens=ISSUER,
            entropy=entropy("incoming"),
            account=self.account,
        )
        self.next_id = 100

    def knock(self, *, who=INITIATOR, source=SOURCE, token=b"", remote=CLIENT, now=NOW, seed="i"):
        """Returns (the initiator, the answer) to a fresh message 1."""
        initiator = InitiatorHandshake(
            who, entropy(f"{seed}/{source}"), destination=DESTINATION, source=source, token=token
        )
        return initiator, self.repeat(initiator, remote=remote, now=now)

    def repeat(self, initiator, *, remote=CLIENT, now=NOW, size=MIN_INITIAL_SIZE, **changes):
        initial = decode_initial_untrusted(initiator.packet)._replace(**changes)
        self.next_id += 1
        unix_now = UNIX_NOW + now - NOW
        return self.incoming.on_initial_untrusted(
            initial, size, route(remote), parameters(self.next_id), now, unix_now
        )

    def fill(self, count, *, now=NOW, first=1):
        """Lets that many strangers knock, each from its own address."""
        return [
            self.knock(source=n, remote=SocketAddr(f"198.51.{n // 250}.{n % 250 + 1}", n), now=now)[
                1
            ]
            for n in range(first, first + count)
        ]

    def final(self, initiator, response, *, aead=1):
        """Returns (the half-open handshake, Noise message 3)."""
        _, message, _ = decode_message_untrusted(response)
        answer = initiator.read_response_untrusted(message)
        packet, _ = initiator.finish(answer, parameters(SOURCE, aeads=(aead,)))
        destination, message, _ = decode_message_untrusted(packet)
        return self.incoming.by_id[destination], message

    def open(self, half_open, message, now=NOW):
        return self.incoming.on_final_untrusted(half_open, message, route(), now, UNIX_NOW)


def kind(packet):
    return None if packet is None else HandshakeType(packet[0])


def test_a_stranger_is_answered_and_becomes_a_connection():
    bench = Bench()
    initiator, response = bench.knock()
    half_open, message = bench.final(initiator, response)
    opening = bench.open(half_open, message, NOW + 0.05)
    assert (opening.is_initiator, opening.peer_id) == (False, INITIATOR_ID)
    assert opening.remote == parameters(SOURCE, aeads=(1,))
    assert opening.local.connection_id == half_open.connection_id
    assert opening.rtt == pytest.approx(0.05)
    assert ISSUER.check_untrusted(opening.token, CLIENT, 0, 0, UNIX_NOW + 3600) is TokenKind.ADDRESS
    assert bench.incoming.finish(half_open) == []
    assert bench.incoming.by_id == {}


@pytest.mark.spec("TRANSPORT-7")
def test_a_duplicate_of_message_1_gets_the_same_message_2():
    bench = Bench()
    initiator, response = bench.knock()
    for _ in range(5):
        assert bench.repeat(initiator) == response
    assert len(bench.incoming.by_id) == 1


@pytest.mark.spec("TRANSPORT-7")
def test_what_differs_in_address_id_or_message_is_no_duplicate():
    bench = Bench()
    initiator, response = bench.knock()
    others = [
        bench.repeat(initiator, remote=CLIENT._replace(port=9)),
        bench.repeat(initiator, source=SOURCE + 1),
        bench.knock(seed="another key")[1],
    ]
    assert len({response, *others}) == 4
    assert len(bench.incoming.by_id) == 4


@pytest.mark.spec("TRANSPORT-7")
def test_a_duplicate_after_the_handshake_starts_nothing():
    bench = Bench()
    initiator, response = bench.knock()
    half_open, message = bench.final(initiator, response)
    bench.open(half_open, message)
    bench.incoming.finish(half_open)
    assert bench.repeat(initiator) is None
    assert bench.incoming.by_id == {}


@pytest.mark.spec("TRANSPORT-12")
def test_an_unproven_address_gets_at_most_three_times_what_it_sent():
    bench = Bench()
    initiator, response = bench.knock()
    received, sent, answers = MIN_INITIAL_SIZE, len(response), []
    for _ in range(50):
        received += 50
        answers.append(bench.repeat(initiator, size=50))
        sent += len(answers[-1] or b"")
        assert sent <= 3 * received
    assert answers[0] == response
    assert None in answers


def test_the_rtt_is_not_taken_where_message_2_was_sent_twice():
    bench = Bench()
    initiator, response = bench.knock()
    bench.repeat(initiator)
    half_open, message = bench.final(initiator, response)
    assert bench.open(half_open, message, NOW + 1).rtt is None


@pytest.mark.spec("TRANSPORT-13")
def test_under_load_strangers_without_a_token_get_a_short_retry_and_nothing_is_kept():
    bench = Bench()
    assert {kind(a) for a in bench.fill(RETRY_THRESHOLD)} == {HandshakeType.RESPONSE}
    before = len(bench.incoming.by_id)
    _, packet = bench.knock()
    assert kind(packet) is HandshakeType.RETRY
    assert len(packet) <= MIN_INITIAL_SIZE // 3
    assert len(bench.incoming.by_id) == before

    retry = decode_retry_untrusted(packet)
    assert retry.destination == SOURCE
    assert kind(bench.knock(token=retry.token)[1]) is HandshakeType.RESPONSE


@pytest.mark.spec("TRANSPORT-13")
@pytest.mark.parametrize("where", [{"remote": CLIENT._replace(port=5)}, {"now": NOW + 16}])
def test_a_retry_token_from_elsewhere_or_too_late_gets_another_retry(where):
    bench = Bench(handshake_timeout=100.0)
    bench.fill(RETRY_THRESHOLD)
    token = decode_retry_untrusted(bench.knock()[1]).token
    assert kind(bench.knock(token=token, **where)[1]) is HandshakeType.RETRY


def test_under_load_the_token_of_an_earlier_connection_is_enough():
    bench = Bench()
    bench.fill(RETRY_THRESHOLD)
    token = ISSUER.address_token(CLIENT, UNIX_NOW - 3600)
    _, packet = bench.knock(token=token, remote=CLIENT._replace(port=9))
    assert kind(packet) is HandshakeType.RESPONSE


@pytest.mark.spec("TRANSPORT-5")
def test_without_load_an_unknown_token_is_ignored():
    bench = Bench()
    assert kind(bench.knock(token=b"of another server")[1]) is HandshakeType.RESPONSE


def test_handshakes_that_are_over_are_no_load():
    bench = Bench()
    bench.fill(RETRY_THRESHOLD - 1)
    initiator, response = bench.knock()
    half_open, message = bench.final(initiator, response)
    bench.open(half_open, message)
    bench.incoming.finish(half_open)
    assert kind(bench.knock(seed="next")[1]) is HandshakeType.RESPONSE


def test_one_address_cannot_take_all_the_room_even_with_tokens():
    bench = Bench()
    token = ISSUER.address_token(CLIENT, UNIX_NOW)
    answers = [bench.knock(source=n, token=token)[1] for n in range(1, SHARES.network + 2)]
    assert [kind(a) for a in answers[:-1]] == [HandshakeType.RESPONSE] * SHARES.network
    assert answers[-1] is None
    other = SocketAddr("192.0.2.77", 1)
    token = ISSUER.address_token(other, UNIX_NOW)
    assert kind(bench.knock(token=token, remote=other)[1]) is HandshakeType.RESPONSE


@pytest.mark.slow
def test_the_room_for_half_open_handshakes_is_bounded():
    bench = Bench()
    for n in range(SHARES.total):
        remote = SocketAddr(f"198.51.{n // 250}.{n % 250 + 1}", 1)
        token = ISSUER.address_token(remote, UNIX_NOW)
        bench.knock(source=n + 1, token=token, remote=remote)
    assert len(bench.incoming.by_id) == SHARES.total
    token = ISSUER.address_token(CLIENT, UNIX_NOW)
    assert kind(bench.knock(token=token)[1]) is HandshakeType.RESPONSE
    assert len(bench.incoming.by_id) == SHARES.total


def fill_from(bench, ips, *, each=SHARES.network):
    """Lets proven handshakes of few networks take what they can; returns their number."""
    answered = 0
    for ip in ips:
        for n in range(each):
            remote = SocketAddr(ip, n + 1)
            token = ISSUER.address_token(remote, UNIX_NOW)
            answered += bench.knock(source=n + 1, token=token, remote=remote)[1] is not None
    return answered


@pytest.mark.slow
@pytest.mark.spec("TRANSPORT-47")
def test_few_networks_that_take_all_the_room_keep_nobody_else_out():
    bench = Bench()
    initiator, first = bench.knock()
    ips = [f"198.51.100.{n}" for n in range(1, 10)]
    fill_from(bench, ips)
    assert len(bench.incoming.by_id) == SHARES.total

    retry = bench.knock(source=7, remote=SocketAddr("203.0.113.9", 7))[1]
    assert kind(retry) is HandshakeType.RETRY
    for n in range(100):
        remote = SocketAddr(f"203.0.113.{n + 1}", 7)
        token = ISSUER.address_token(remote, UNIX_NOW)
        answer = bench.knock(source=7, token=token, remote=remote)[1]
        assert kind(answer) is HandshakeType.RESPONSE
    assert bench.repeat(initiator) == first, "who was alone at its address has lost nothing"
    crowd = bench.incoming._ledger
    full = next(
        SocketAddr(ip, 999) for ip in ips if crowd.of_network(networks_of(ip)[0]) == crowd.most
    )
    token = ISSUER.address_token(full, UNIX_NOW)
    assert bench.knock(source=7, token=token, remote=full)[1] is None
    assert len(bench.incoming.by_id) == SHARES.total


@pytest.mark.slow
@pytest.mark.spec("TRANSPORT-47")
def test_an_ipv6_site_has_a_share_however_many_links_it_uses():
    bench = Bench()
    links = [f"2a00:1:1:{n:x}::1" for n in range(8)]
    assert fill_from(bench, links, each=64) == SHARES.net56
    households = [f"2a00:2:1:{n:x}00::1" for n in range(8)]
    assert fill_from(bench, households, each=128) == SHARES.net48


def test_a_full_node_answers_no_stranger_but_duplicates():
    bench = Bench()
    initiator, response = bench.knock()
    bench.incoming.no_room = NoRoom(REFUSAL)
    assert bench.knock(seed="other")[1] is None
    assert bench.repeat(initiator) == response


@pytest.mark.spec("TRANSPORT-57")
def test_a_full_node_hears_few_of_a_network_whose_peer_it_may_want():
    bench = Bench()
    bench.incoming.no_room = NoRoom(REFUSAL, but_for_protected=True)
    assert kind(bench.knock()[1]) is HandshakeType.RETRY, "it proves its address first"

    def heard(remote, now, first):
        token = ISSUER.address_token(remote, UNIX_NOW)
        knocks = [
            bench.knock(source=first + n, token=token, remote=remote, now=now) for n in range(9)
        ]
        return [kind(answer) for _, answer in knocks].count(HandshakeType.RESPONSE)

    assert heard(CLIENT, NOW, 100) == MAX_VETTED
    assert heard(CLIENT._replace(port=7), NOW, 200) == 0
    assert heard(SocketAddr("203.0.113.5", 1), NOW, 300) == MAX_VETTED
    assert heard(CLIENT, NOW + VETTING_WINDOW, 400) == MAX_VETTED
    counts = bench.incoming._ledger.refusals.counts
    assert counts == {(Resource.CONNECTIONS, ScopeKind.DIRECTION): 4 * 9 - 3 * MAX_VETTED}


def test_a_half_open_handshake_is_forgotten_after_10_seconds():
    bench = Bench()
    initiator, response = bench.knock()
    bench.knock(seed="later", now=NOW + 1)
    assert bench.incoming.poll_timeout() == (NOW + 10, "half-open handshake")
    bench.incoming.handle_timeout(NOW + 9.9)
    assert len(bench.incoming.by_id) == 2
    bench.incoming.handle_timeout(NOW + 10)
    assert len(bench.incoming.by_id) == 1
    assert bench.incoming.poll_timeout().at == NOW + 11
    bench.incoming.handle_timeout(NOW + 11)
    assert bench.incoming.poll_timeout() is None
    assert bench.repeat(initiator) != response


def test_the_load_is_over_when_its_handshakes_are_forgotten():
    bench = Bench()
    bench.fill(RETRY_THRESHOLD)
    bench.incoming.handle_timeout(NOW + 10)
    assert kind(bench.knock(now=NOW + 10)[1]) is HandshakeType.RESPONSE


@pytest.mark.spec("TRANSPORT-15")
def test_an_initial_of_an_unknown_version_is_answered_with_ours():
    bench = Bench()
    initiator, _ = bench.knock()
    packet = bench.repeat(initiator, version=9)
    assert decode_version_negotiation_untrusted(packet) == (SOURCE, (1,))
    assert len(packet) < MIN_INITIAL_SIZE


@pytest.mark.spec("TRANSPORT-5")
def test_an_initial_of_an_unknown_pattern_is_ignored():
    bench = Bench()
    initiator, _ = bench.knock()
    assert bench.repeat(initiator, pattern=2, source=SOURCE + 1) is None


def test_an_initial_that_is_no_noise_message_is_ignored():
    bench = Bench()
    initiator, _ = bench.knock()
    for message in (b"", bytes(31), bytes(32)):
        assert bench.repeat(initiator, message=message) is None
    assert len(bench.incoming.by_id) == 1


@pytest.mark.spec("TRANSPORT-8")
def test_a_final_that_is_not_valid_changes_nothing():
    bench = Bench()
    initiator, response = bench.knock()
    half_open, message = bench.final(initiator, response)
    for forged in (b"", bytes(100), message[:-1], b"\0" + message[1:]):
        assert bench.open(half_open, forged) is None
    assert bench.open(half_open, message) is not None


@pytest.mark.spec("TRANSPORT-17")
def test_a_final_that_selects_what_was_not_offered_is_refused():
    bench = Bench(aeads=(Aead.CHACHA20_POLY1305,))
    initiator, response = bench.knock()
    half_open, message = bench.final(initiator, response, aead=2)
    assert bench.open(half_open, message) is None


def test_we_do_not_connect_to_ourselves():
    bench = Bench()
    initiator, response = bench.knock(who=RESPONDER)
    half_open, message = bench.final(initiator, response)
    assert bench.open(half_open, message) is None


@pytest.mark.spec("TRANSPORT-6")
def test_a_final_with_somebody_elses_identity_is_refused():
    bench = Bench()
    thief = replace(credentials("thief"), payload=INITIATOR.payload, peer_id=INITIATOR_ID)
    initiator, response = bench.knock(who=thief)
    half_open, message = bench.final(initiator, response)
    assert bench.open(half_open, message) is None


@pytest.mark.spec("TRANSPORT-11")
def test_ten_data_packets_that_overtake_message_3_are_kept():
    bench = Bench()
    initiator, response = bench.knock(token=ISSUER.address_token(CLIENT, UNIX_NOW))
    half_open, message = bench.final(initiator, response)
    packets = [bytes([n]) * 50 for n in range(MAX_EARLY_PACKETS + 2)]
    bench.incoming.keep_early(half_open, b"from elsewhere", route(CLIENT._replace(port=9)))
    for packet in packets:
        bench.incoming.keep_early(half_open, packet, route())
    bench.open(half_open, message)
    assert MAX_EARLY_PACKETS == 10
    assert bench.incoming.finish(half_open) == packets[:10]


@pytest.mark.spec("TRANSPORT-11")
def test_early_packets_are_kept_of_proven_addresses_only():
    bench = Bench()
    half_open, _ = bench.final(*bench.knock())
    bench.incoming.keep_early(half_open, b"early", route())
    assert bench.incoming.finish(half_open) == []


@pytest.mark.spec("TRANSPORT-11")
def test_early_bytes_are_bounded_for_one_and_for_all():
    bench = Bench()
    kept = 0
    for n in range(2 * MAX_EARLY_TOTAL // MAX_EARLY_SIZE):
        remote = SocketAddr(f"198.51.100.{n + 1}", n + 1)
        token = ISSUER.address_token(remote, UNIX_NOW)
        bench.knock(source=n + 1, token=token, remote=remote)
        half_open = list(bench.incoming.by_id.values())[-1]
        bench.incoming.keep_early(half_open, bytes(MAX_EARLY_SIZE + 1), route(remote))
        assert half_open.early == []
        for _ in range(3):
            bench.incoming.keep_early(half_open, bytes(MAX_EARLY_SIZE // 2), route(remote))
        assert len(half_open.early) <= 2
        kept += sum(map(len, half_open.early))
    assert kept == MAX_EARLY_TOTAL == bench.account.memory.used
    drops = bench.account.early_drops
    count = 2 * MAX_EARLY_TOTAL // MAX_EARLY_SIZE
    assert drops.packets == 4 * count - 2 * (count // 2)
    assert drops.size == count * (MAX_EARLY_SIZE + 1) + 3 * count * MAX_EARLY_SIZE // 2 - kept

    bench.incoming.handle_timeout(NOW + 10)
    bench.knock(token=ISSUER.address_token(CLIENT, UNIX_NOW), now=NOW + 10)
    half_open = list(bench.incoming.by_id.values())[-1]
    bench.incoming.keep_early(half_open, bytes(MAX_EARLY_SIZE), route())
    assert half_open.early, "what is forgotten gives its share back"
    assert bench.account.memory.used == MAX_EARLY_SIZE
    bench.incoming.finish(half_open)
    assert bench.account.memory.used == 0


@pytest.mark.spec("RESOURCES-24")
def test_no_early_packet_is_kept_where_no_memory_is_left():
    bench = Bench()
    memory = bench.account.memory
    memory.put(1, Holder(), memory.process.limit - 9)
    half_open, _ = bench.final(*bench.knock(token=ISSUER.address_token(CLIENT, UNIX_NOW)))
    bench.incoming.keep_early(half_open, bytes(10), route())
    bench.incoming.keep_early(half_open, bytes(9), route())
    assert half_open.early == [bytes(9)]
    assert (bench.account.early_drops.packets, bench.account.early_drops.size) == (1, 10)


def test_a_long_message_1_is_not_kept():
    bench = Bench()
    initiator, _ = bench.knock()
    bench.repeat(
        initiator,
        message=decode_initial_untrusted(initiator.packet).message + bytes(60_000),
        source=9,
    )
    keys = list(bench.incoming._by_key)
    assert all(len(key.digest) == MESSAGE_DIGEST_SIZE for key in keys)


def test_a_finished_handshake_takes_no_room_and_its_duplicates_start_nothing():
    bench = Bench()
    initiator, response = bench.knock()
    half_open, message = bench.final(initiator, response)
    bench.open(half_open, message)
    bench.incoming.finish(half_open)
    assert not bench.incoming.by_id
    assert bench.incoming.poll_timeout() is None
    _, response = bench.knock()
    assert response is None


def test_a_handshake_makes_room_for_those_of_other_transports_and_they_for_it():
    bench = Bench()
    bench.fill(3)
    assert bench.account.end_newest_half_open()
    assert bench.account.half_open.used == len(bench.incoming.by_id) == 2

    others = [f"network {n} has {m}" for n in range(8) for m in range(SHARES.network)]
    for name in others[: SHARES.total - 2]:
        network = networks_of(f"203.0.113.{name.split()[1]}")
        bench.account.half_open.put(name, Holder(network))
    token = ISSUER.retry_token(CLIENT, DESTINATION, SOURCE, UNIX_NOW)
    assert bench.knock(token=token)[1] is None, "nobody can end those"
    bench.account.let_half_open_end(lambda name: not bench.account.half_open.give_back(name))
    assert bench.knock(token=token)[1] is not None
    assert bench.account.half_open.used == SHARES.total
