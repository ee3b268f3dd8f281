"""Counts by peer and direction, and the month's volume."""

from datetime import UTC, datetime

import pytest

from p2pnode.clock import UnixTime
from p2pnode.protocols.relay import accounting
from p2pnode.protocols.relay.accounting import Ledger, MonthlyVolume, PeerUsage, Traffic
from tests.support.identities import peer_id


def unix(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> UnixTime:
    return UnixTime(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp())


def test_sums_by_peer() -> None:
    ledger = Ledger()
    ledger.add(peer_id("a"), PeerUsage(Traffic(2, 200, 1, 100), Traffic()))
    ledger.add(peer_id("a"), PeerUsage(Traffic(1, 50, 1, 50), Traffic(3, 30, 3, 30)))

    usage = ledger.usage()[peer_id("a")]
    assert usage == PeerUsage(Traffic(3, 250, 2, 150), Traffic(3, 30, 3, 30))


@pytest.mark.spec("RELAY-25")
def test_the_ledger_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "MAX_LEDGER_PEERS", 2)
    ledger = Ledger()
    for name in "abca":
        ledger.add(peer_id(name), PeerUsage(Traffic(1, 1, 1, 1), Traffic()))

    assert list(ledger.usage()) == [peer_id("c"), peer_id("a")]
    assert ledger.others.sent.forwarded_packets == 2


@pytest.mark.spec("RELAY-26")
def test_a_month_is_a_calendar_month_and_survives_a_restart() -> None:
    volume = MonthlyVolume(1000, now=50.0, unix_now=unix(2026, 12, 31, 23, 0))
    volume.add(950, 60.0)
    assert volume.month == "2026-12"
    assert volume.is_nearly_spent
    assert not volume.is_spent

    restarted = MonthlyVolume(
        1000, now=0.0, unix_now=unix(2026, 12, 31, 23, 30), used=volume.months
    )
    restarted.add(50, 1.0)
    assert restarted.is_spent
    assert not restarted.roll(1799.0)
    assert restarted.roll(1800.0)
    assert (restarted.month, restarted.used) == ("2027-01", 0)

    later = MonthlyVolume(1000, now=0.0, unix_now=unix(2027, 1, 1), used={"2026-12": 950})
    assert later.used == 0


@pytest.mark.spec("RELAY-39")
def test_no_step_of_the_clock_forgives_volume() -> None:
    now = unix(2026, 11, 30, 20)
    volume = MonthlyVolume(1000, now=0.0, unix_now=now, used={"2026-11": 600, "2026-10": 70})
    volume.add(300, 1.0)
    # Eight hours ahead it is December already, as after a sleep: that begins anew.
    volume.handle_clock_changed(UnixTime(now + 8 * 3600), 1.0)
    assert (volume.month, volume.used) == ("2026-12", 0)
    volume.add(20, 2.0)
    # It was no sleep.  What was counted as December's is November's.
    volume.handle_clock_changed(UnixTime(now + 3), 3.0)
    assert volume.months == {"2026-10": 70, "2026-11": 920}
    assert volume.is_nearly_spent
    assert volume.roll(4 * 3600.0)
    assert volume.months == {"2026-10": 70, "2026-11": 920, "2026-12": 0}


@pytest.mark.spec("RELAY-39")
@pytest.mark.parametrize("wrong", [0.0, unix(2036, 11, 5), unix(3026, 1, 1), 1e13, -1e9])
def test_what_was_counted_under_a_wrong_date_counts_under_the_right_one(wrong: float) -> None:
    volume = MonthlyVolume(1000, now=0.0, unix_now=UnixTime(wrong), used={"2026-11": 600})
    volume.add(300, 1.0)
    volume.handle_clock_changed(unix(2026, 11, 30), 2.0)
    assert (volume.month, volume.used) == ("2026-11", 900)
    volume.handle_clock_changed(UnixTime(wrong), 3.0)
    volume.handle_clock_changed(unix(2026, 11, 30), 4.0)
    assert volume.used == 900


def test_so_many_months_are_remembered() -> None:
    volume = MonthlyVolume(0, now=0.0, unix_now=unix(2026, 1, 1))
    for year in range(40):
        volume.handle_clock_changed(unix(2030 + year, 1, 1), 0.0)
        volume.add(1, 0.0)
    assert len(volume.months) <= accounting.MAX_MONTHS


def test_without_a_cap_nothing_is_ever_spent() -> None:
    volume = MonthlyVolume(0, now=0.0, unix_now=unix(2026, 2, 1))
    volume.add(1 << 60, 1.0)
    assert not volume.is_spent
    assert not volume.is_nearly_spent
