"""Who is no stranger."""

import pytest

from p2pnode.protocols.autonat.contact_log import (
    ARRIVAL_MEMORY,
    CONTACT_MEMORY,
    MAX_CONTACTS,
    ContactLog,
)


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


@pytest.mark.spec("AUTONAT-42")
def test_who_comes_before_it_was_written_to_came_by_itself_for_a_while() -> None:
    log = ContactLog()
    log.heard("1.1.1.1", 0.0)
    log.note("1.1.1.1", 0.0)
    log.heard("1.1.1.1", 1.0)
    log.note("2.2.2.2", 0.0)
    log.heard("2.2.2.2", 1.0)

    assert log.came_by_itself("1.1.1.1", ARRIVAL_MEMORY - 0.1)
    assert not log.came_by_itself("1.1.1.1", ARRIVAL_MEMORY)
    assert not log.came_by_itself("2.2.2.2", 1.0)
    assert not log.came_by_itself("3.3.3.3", 1.0)


@pytest.mark.spec("AUTONAT-42")
def test_after_a_restart_nobody_came_by_itself_until_filters_have_forgotten() -> None:
    log = ContactLog(began_at=0.0)
    log.heard("1.1.1.1", CONTACT_MEMORY - 1)
    assert not log.came_by_itself("1.1.1.1", CONTACT_MEMORY - 1)
    log.heard("1.1.1.1", CONTACT_MEMORY)
    assert log.came_by_itself("1.1.1.1", CONTACT_MEMORY)

    first_run = ContactLog(began_at=0.0)
    first_run.has_no_past()
    first_run.heard("1.1.1.1", 1.0)
    assert first_run.came_by_itself("1.1.1.1", 1.0)


@pytest.mark.spec("AUTONAT-42")
def test_nobody_came_by_itself_while_the_log_has_forgotten_too_early() -> None:
    log = ContactLog()
    for number in range(MAX_CONTACTS + 1):
        log.note(f"1.1.{number >> 8}.{number & 255}", 1.0)
    log.heard("1.1.0.0", 2.0)
    assert not log.came_by_itself("1.1.0.0", 2.0)
