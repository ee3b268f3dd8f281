import pytest

from p2pnode.transports.noise_udp.aead import LIMITS, Aead, next_secret
from p2pnode.transports.noise_udp.key_schedule import KeySchedule

OURS, THEIRS = b"\x01" * 32, b"\x02" * 32
NONCE, HEADER = bytes(12), b"header"


def schedules(aead=Aead.CHACHA20_POLY1305):
    return KeySchedule(aead, OURS, THEIRS), KeySchedule(aead, THEIRS, OURS)


@pytest.mark.parametrize("aead", list(Aead))
def test_what_one_side_seals_the_other_opens_in_every_phase(aead):
    ours, theirs = schedules(aead)
    for phase in range(4):
        for sender, receiver in ((ours, theirs), (theirs, ours)):
            sealed = sender.write.seal(NONCE, b"payload", HEADER)
            assert receiver.read.open(NONCE, sealed, HEADER) == b"payload"
        assert ours.phase == theirs.phase == phase
        assert ours.aead is aead
        ours.advance(1.0, 0.1)
        theirs.advance(1.0, 0.1)


def test_the_next_read_key_opens_what_the_peer_seals_after_its_update():
    ours, theirs = schedules()
    theirs.advance(1.0, 0.1)
    sealed = theirs.write.seal(NONCE, b"payload", HEADER)
    key = ours.next_read_key()
    assert key.open(NONCE, sealed, HEADER) == b"payload"
    assert ours.next_read_key() is key
    ours.advance(1.0, 0.1)
    assert ours.read is key


def test_the_old_key_is_forgotten_when_its_time_is_up():
    ours, _ = schedules()
    old = ours.read
    assert ours.poll_timeout() is None
    ours.advance(5.0, 0.3)
    assert ours.previous_read is old
    assert ours.poll_timeout().at == 5.3
    ours.handle_timeout(5.29)
    assert ours.previous_read is old
    ours.handle_timeout(5.3)
    assert ours.previous_read is None
    assert ours.poll_timeout() is None


@pytest.mark.spec("TRANSPORT-20")
@pytest.mark.parametrize("aead", list(Aead))
@pytest.mark.parametrize("by", ["packets", "octets"])
def test_an_update_waits_for_the_limit_and_for_an_acknowledgement_in_this_phase(aead, by):
    ours, _ = schedules(aead)
    limit = getattr(LIMITS[aead], by)
    ours.on_acked_in_phase()
    ours.on_sealed(**({"packets": 0, "octets": 0} | {by: limit - 1}))
    assert not ours.wants_update
    ours.on_sealed(**({"packets": 0, "octets": 0} | {by: 1}))
    assert ours.wants_update

    ours.advance(1.0, 0.1)
    ours.handle_timeout(2.0)
    ours.on_sealed(limit, limit)
    assert not ours.wants_update
    assert not ours.can_update
    ours.on_acked_in_phase()
    assert ours.wants_update


@pytest.mark.spec("TRANSPORT-20")
def test_no_update_is_begun_while_the_last_phases_key_is_kept():
    ours, _ = schedules()
    ours.advance(1.0, 0.1)
    ours.on_acked_in_phase()
    assert not ours.can_update
    ours.handle_timeout(1.1)
    assert ours.can_update


@pytest.mark.spec("TRANSPORT-18")
@pytest.mark.parametrize(("aead", "limit"), [(1, 1 << 36), (2, 1 << 52)])
def test_a_key_is_exhausted_at_the_integrity_limit(aead, limit):
    ours, _ = schedules(Aead(aead))
    ours.forgeries = limit - 1
    assert not ours.is_exhausted
    ours.forgeries += 1
    assert ours.is_exhausted


def test_both_directions_change_together():
    ours, _ = schedules()
    reference = KeySchedule(Aead.CHACHA20_POLY1305, next_secret(OURS), next_secret(THEIRS))
    ours.advance(1.0, 0.1)
    sealed = reference.write.seal(NONCE, b"x", HEADER)
    assert ours.write.seal(NONCE, b"x", HEADER) == sealed
    assert (ours.write.iv, ours.read.iv) == (reference.write.iv, reference.read.iv)
