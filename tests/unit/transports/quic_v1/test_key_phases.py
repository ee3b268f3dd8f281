import pytest
from cryptography.exceptions import InvalidTag

from p2pnode.transports.quic_v1.key_phases import KeyPhases
from p2pnode.transports.quic_v1.packet import KEY_PHASE, short_header
from p2pnode.transports.quic_v1.protection import (
    LIMITS,
    CipherSuite,
    open_packet,
    seal_packet,
    unmask_header,
)

SUITE = CipherSuite.AES_128_GCM_SHA256
KEEP = 0.3


@pytest.fixture
def ends():
    secrets = bytes(32), bytes(range(32))
    return KeyPhases(SUITE, *secrets), KeyPhases(SUITE, *reversed(secrets))


def send(keys, number):
    header = short_header(b"", number, 2, keys.phase)
    keys.packets += 1
    return b"".join(seal_packet(keys.write, keys.write_mask, header, number, b"payload"))


def receive(keys, packet, now=0.0):
    """Opens a packet as a receiver does; returns its number."""
    unmasked = unmask_header(keys.read_mask, packet, 0, 1)
    bit, number = int(unmasked[0] & KEY_PHASE != 0), unmasked[1]
    key = keys.read_key(bit, number)
    if key is None:
        raise InvalidTag
    open_packet(key, packet, 0, 1, len(packet), unmasked, number)
    if key is keys.next_read:
        keys.advance(now, KEEP, number)
    elif key is keys.read:
        keys.on_read(number)
    return number


def test_an_update_is_followed_by_the_other_end(ends):
    client, server = ends
    for number in range(3):
        assert receive(server, send(client, number)) == number
    client.on_acked_in_phase()
    client.advance(0.0, KEEP, 0)
    assert receive(server, send(client, 3)) == 3
    assert (client.phase, server.phase) == (1, 1)
    assert receive(client, send(server, 0)) == 0


def test_updates_go_on_with_new_keys_each_time(ends):
    client, server = ends
    seen = set()
    for phase in range(5):
        packet = send(client, phase)
        seen.add(packet[9:])
        receive(server, packet, now=phase)
        client.handle_timeout(phase + KEEP)
        server.handle_timeout(phase + KEEP)
        client.advance(phase + KEEP, KEEP, 0)
    assert client.phase == 5
    assert server.phase == 4
    assert len(seen) == 5


def test_packets_of_the_last_phase_are_opened_until_its_key_is_discarded(ends):
    client, server = ends
    late, later = send(client, 1), send(client, 2)
    client.advance(0.0, KEEP, 0)
    receive(server, send(client, 3), now=1.0)
    assert receive(server, late) == 1
    assert server.poll_timeout().at == 1.0 + KEEP
    server.handle_timeout(1.0 + KEEP / 2)
    assert server.previous_read is not None
    server.handle_timeout(1.0 + KEEP)
    assert server.poll_timeout() is None
    with pytest.raises(InvalidTag):
        receive(server, later)


def test_a_packet_of_the_new_phase_that_was_overtaken_lowers_where_it_began(ends):
    client, server = ends
    old = send(client, 1)
    client.advance(0.0, KEEP, 0)
    overtaken = send(client, 2)
    receive(server, send(client, 3))
    assert server.read_from == 3
    assert receive(server, overtaken) == 2
    assert server.read_from == 2
    assert receive(server, old) == 1


@pytest.mark.spec("QUIC-2")
def test_an_old_key_does_not_open_what_claims_to_be_newer(ends):
    """RFC 9001 section 6.4: after an update nothing newer may come with the old keys."""
    client, server = ends
    newer = send(client, 9)
    client.advance(0.0, KEEP, 0)
    receive(server, send(client, 3))
    with pytest.raises(InvalidTag):
        receive(server, newer)
    assert server.phase == 1


@pytest.mark.spec("QUIC-2")
def test_an_update_waits_for_an_acknowledgement_and_for_the_old_key_to_go(ends):
    client, _ = ends
    client.packets = LIMITS[SUITE].packets
    assert not client.wants_update
    client.on_acked_in_phase()
    assert client.can_update
    assert client.wants_update
    client.advance(0.0, KEEP, 0)
    assert client.packets == 0
    client.packets = LIMITS[SUITE].packets
    assert not client.wants_update
    client.on_acked_in_phase()
    assert not client.can_update
    client.handle_timeout(KEEP)
    assert client.wants_update


def test_forgeries_exhaust_a_connection(ends):
    client, _ = ends
    client.forgeries = LIMITS[SUITE].forgeries - 1
    assert not client.is_exhausted
    client.forgeries += 1
    assert client.is_exhausted


def test_a_forged_packet_of_another_phase_changes_nothing(ends):
    client, server = ends
    client.advance(0.0, KEEP, 0)
    packet = bytearray(send(client, 3))
    packet[-1] ^= 1
    with pytest.raises(InvalidTag):
        receive(server, bytes(packet))
    assert server.phase == 0
