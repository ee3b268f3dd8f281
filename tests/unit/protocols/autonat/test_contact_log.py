"""Who is no stranger."""

import pytest

from p2pnode.protocols.autonat.contact_log import CONTACT_MEMORY, MAX_CONTACTS, ContactLog


@pytest.mark.spec("AUTONAT-14")
def test_a_contact_is_remembered_from_its_last_packet() -> None:
    log = ContactLog()
    log.note("1.1.1.1", 0.0)
    log.note("1.1.1.1", 100.0)

    assert log.has_contacted("1.1.1.1", 99.0 + CONTACT_MEMORY)
    assert not log.has_contacted("1.1.1.1", 100.0 + CONTACT_MEMORY)
    assert not log.has_contacted("1.1.1.2", 100.0)


def test_while_the_log_has_forgotten_too_early_everybody_counts_as_contacted() -> None:
    log = ContactLog()
    for number in range(MAX_CONTACTS + 1):
        log.note(f"1.1.{number >> 8}.{number & 255}", 1.0)

    assert log.has_contacted("8.8.8.8", 2.0)
    assert not log.has_contacted("8.8.8.8", 1.0 + CONTACT_MEMORY)


def test_a_full_log_of_old_contacts_forgets_them_without_harm() -> None:
    log = ContactLog()
    for number in range(MAX_CONTACTS):
        log.note(f"1.1.{number >> 8}.{number & 255}", 1.0)
    log.note("2.2.2.2", 1.0 + CONTACT_MEMORY)

    assert not log.has_contacted("8.8.8.8", 2.0 + CONTACT_MEMORY)
