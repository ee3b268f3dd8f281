"""What a node learned survives a restart, a kill -9, a damaged file and a full disk."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from p2pnode.clock import UnixTime
from p2pnode.io.store import file as store_file
from p2pnode.io.store import memory as store_memory
from p2pnode.io.store import records as store_records
from p2pnode.io.store.file import APPLICATION_ID, MIGRATIONS, move_aside, open_file
from p2pnode.io.store.records import (
    CLOCK_SLACK,
    MAX_OFF_TIME,
    MAX_TEXT_SIZE,
    MAX_TOKEN_ROWS,
    MAX_VOLUME_ROWS,
    RELAY_LIFETIME,
    TABLE_OF,
    TABLES,
    TRIM_PART,
    WRITTEN,
    AddressRecord,
    ClockRecord,
    EvidenceRecord,
    Loaded,
    Record,
    RelayRecord,
    TokenRecord,
    VolumeRecord,
    network_fingerprint,
)
from p2pnode.io.store.store import FILE_NAME, Store
from p2pnode.protocols.autonat.reachability import EVIDENCE_LIFETIME
from p2pnode.swarm.address_book import AddressSource
from p2pnode.wire.multiaddr import parse_multiaddr
from tests.support.spec_tables import tables

NOW = UnixTime(1_800_000_000.0)
HOME = network_fingerprint(["192.168.1.10"])
CAFE = network_fingerprint(["10.7.0.3"])

ADDRESS = AddressRecord("peer", "/ip4/192.0.2.1/udp/4001/noise", 4, NOW + 3600)
RELAY = RelayRecord("relay", "192.0.0.0/16", 0.05, NOW - 60, None, NOW)
EVIDENCE = EvidenceRecord(HOME, "/ip4/192.0.2.9/udp/4001", "w", "STRANGER", "s", True, "d", NOW)
TOKEN = TokenRecord("/ip4/192.0.2.1/udp/4001/noise", b"\x02token", NOW + 3600)
VOLUME = VolumeRecord("2027-01", 1 << 40)
WRITTEN_NOW = ClockRecord(WRITTEN, NOW)
EVERYTHING = (ADDRESS, RELAY, EVIDENCE, TOKEN, VOLUME)

posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, limits and signals")


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Returns what was logged as a warning since it was last asked; each is one sentence."""

    def take() -> list[str]:
        texts = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        caplog.clear()
        assert not any("\n" in text for text in texts)
        return texts

    return take


@pytest.mark.spec("STORE-1")
def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path, *EVERYTHING)

    assert load(tmp_path) == Loaded((ADDRESS,), (RELAY,), (EVIDENCE,), (TOKEN,), (VOLUME,))


def test_a_record_replaces_the_one_with_its_key_and_counts_as_the_newest(tmp_path: Path) -> None:
    other = ADDRESS._replace(peer="other")
    renewed = ADDRESS._replace(source=1, expires_unix=NOW + 7200)

    write(tmp_path, ADDRESS, other, renewed)

    assert load(tmp_path).addresses == (other, renewed)


def test_whole_numbers_are_times_as_well(tmp_path: Path) -> None:
    write(tmp_path, RELAY._replace(rtt=1, seen_unix=int(NOW)))

    assert load(tmp_path).relays == (RELAY._replace(rtt=1.0),)


def test_nothing_to_write_is_no_trouble(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        assert store.write([])
    assert load(tmp_path) == Loaded()


@posix_only
@pytest.mark.slow
@pytest.mark.spec("STORE-1")
@pytest.mark.parametrize("kill_after", [1, 37, 400])
def test_a_kill_loses_nothing_that_was_printed(tmp_path: Path, kill_after: int) -> None:
    """The child writes as fast as it can, so the kill falls anywhere, checkpoints included."""
    program = (
        "import sys; from pathlib import Path\n"
        "from p2pnode.io.store.store import Store\n"
        "from p2pnode.io.store.records import AddressRecord, VolumeRecord\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for number in range(1_000_000):\n"
        "    assert store.write([\n"
        "        AddressRecord(f'peer {number % 8000}', 'x' * 500, 4, float(sys.argv[2])),\n"
        "        VolumeRecord('2027-01', number),\n"
        "    ])\n"
        "    print(number, flush=True)\n"
    )
    node = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), str(NOW + 3600)], stdout=subprocess.PIPE
    )
    with node:
        assert node.stdout is not None
        for _ in range(kill_after):
            node.stdout.readline()
        node.send_signal(signal.SIGKILL)
        rest = node.stdout.read().splitlines()
        node.wait()
    last = int(rest[-1]) if rest else kill_after - 1

    loaded = load(tmp_path)

    assert loaded.volumes[0].used in (last, last + 1)  # the kill may fall between write and print
    known = {record.peer for record in loaded.addresses}
    assert known >= {f"peer {number % 8000}" for number in range(last + 1)}


@posix_only
def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        store.write(EVERYTHING)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}

    assert modes[FILE_NAME] == 0o600
    assert set(modes.values()) == {0o600}


@pytest.mark.spec("STORE-2")
def test_each_kind_expires(tmp_path: Path) -> None:
    write(tmp_path, *EVERYTHING)
    ages = {"evidence": EVIDENCE_LIFETIME, "relays": RELAY_LIFETIME, "addresses": 3600.0}

    for kind, age in sorted(ages.items(), key=lambda item: item[1]):
        assert getattr(load(tmp_path, UnixTime(NOW + age - 1)), kind) != ()
        assert getattr(load(tmp_path, UnixTime(NOW + age)), kind) == ()

    assert load(tmp_path, UnixTime(NOW + 3 * RELAY_LIFETIME)) == Loaded(volumes=(VOLUME,))
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        assert file.execute("SELECT count(*) FROM address").fetchone() == (0,)


@pytest.mark.spec("STORE-2")
def test_times_that_no_lifetime_allows_do_not_count(tmp_path: Path) -> None:
    """Such an address would never be the one that goes where there are too many."""
    ahead = ADDRESS._replace(peer="other", expires_unix=NOW + 365 * 86_400)
    write(tmp_path, *EVERYTHING, ahead)

    assert load(tmp_path).addresses == (ADDRESS,)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        assert file.execute("SELECT count(*) FROM address").fetchone() == (1,)


@pytest.mark.spec("STORE-8")
@pytest.mark.parametrize("wrong", [1000.0, NOW - 8 * 3600, NOW + 10 * 365.25 * 86_400])
def test_a_start_with_a_wrong_clock_forgets_nothing(tmp_path: Path, wrong: float) -> None:
    """A machine without a battery starts in 1970, and learns the time from the network."""
    write(tmp_path, *EVERYTHING, WRITTEN_NOW)
    with closing(Store(tmp_path)) as store:
        known = store.load(UnixTime(wrong), HOME)
        assert known == moved(wrong - NOW)
        met = ADDRESS._replace(peer="met", expires_unix=wrong + 10 + 3600)
        store.write([met, ClockRecord(WRITTEN, wrong + 10)])
        store.handle_clock_changed(NOW - wrong)
    loaded = load(tmp_path, UnixTime(NOW + 20))
    assert loaded.addresses == (ADDRESS, met._replace(expires_unix=NOW + 10 + 3600))
    assert loaded.evidence == (EVIDENCE,)
    assert loaded.tokens == (TOKEN,)


@pytest.mark.spec("STORE-8")
@pytest.mark.parametrize("wrong", [1000.0, NOW + 10 * 365.25 * 86_400])
def test_what_a_wrong_clock_wrote_counts_for_its_lifetime(tmp_path: Path, wrong: float) -> None:
    """The node was killed before it learned the time; the next run has the right one."""
    write(tmp_path, *moved_records(wrong - NOW), ClockRecord(WRITTEN, wrong))
    assert load(tmp_path, NOW) == moved(0.0)
    assert load(tmp_path, UnixTime(NOW + 3600)).addresses == ()


@pytest.mark.spec("STORE-8")
@pytest.mark.parametrize("step", [8 * 3600.0, -8 * 3600.0, 10 * 365.25 * 86_400, -NOW + 5])
def test_a_jump_of_the_clock_ages_nothing(tmp_path: Path, step: float) -> None:
    write(tmp_path, *EVERYTHING, WRITTEN_NOW)
    with closing(Store(tmp_path)) as store:
        store.load(NOW, HOME)
        store.handle_clock_changed(step)
    assert load(tmp_path, UnixTime(NOW + step)) == moved(step)
    assert load(tmp_path, UnixTime(NOW + step + 3599)).addresses != ()
    assert load(tmp_path, UnixTime(NOW + step + 3600)).addresses == ()


@pytest.mark.spec("STORE-8")
def test_the_slewing_of_a_clock_moves_nothing(tmp_path: Path) -> None:
    write(tmp_path, *EVERYTHING, WRITTEN_NOW)
    with closing(Store(tmp_path)) as store:
        store.handle_clock_changed(CLOCK_SLACK - 1)
        assert store.load(UnixTime(NOW + CLOCK_SLACK - 1), HOME).addresses == (ADDRESS,)


@pytest.mark.spec("STORE-8")
def test_a_node_that_was_off_for_long_has_aged(tmp_path: Path) -> None:
    write(tmp_path, *EVERYTHING, WRITTEN_NOW)
    assert load(tmp_path, UnixTime(NOW + MAX_OFF_TIME - 1)) == Loaded(volumes=(VOLUME,))


@pytest.mark.spec("STORE-8", "STORE-6")
def test_a_file_of_the_first_version_tells_when_it_was_written(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as old:
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        for record in (ADDRESS._replace(expires_unix=NOW + 86_400), RELAY, EVIDENCE):
            marks = ", ".join("?" * len(record))
            old.execute(f"INSERT INTO {TABLE_OF[type(record)].name} VALUES ({marks})", record)
    loaded = load(tmp_path, UnixTime(1000.0))
    assert [record.expires_unix for record in loaded.addresses] == [1000.0 + 86_400]
    assert loaded.relays != ()


@posix_only
@pytest.mark.spec("STORE-7", "STORE-8")
def test_a_step_of_the_clock_on_a_full_disk_is_made_up_for_at_the_next_start(
    tmp_path: Path, warnings: Callable[[], list[str]], no_room_in_files: Callable[[bool], None]
) -> None:
    write(tmp_path, *EVERYTHING, WRITTEN_NOW)
    with closing(Store(tmp_path)) as store:
        store.load(NOW, HOME)
        no_room_in_files(True)
        store.handle_clock_changed(-8 * 3600.0)
        no_room_in_files(False)
    assert len(warnings()) == 1
    assert load(tmp_path, UnixTime(NOW - 8 * 3600)) == moved(-8 * 3600.0)


@pytest.mark.spec("STORE-3")
def test_evidence_counts_only_in_its_own_network(tmp_path: Path) -> None:
    write(tmp_path, *EVERYTHING)

    away = load(tmp_path, fingerprint=CAFE)

    assert away.evidence == ()
    assert away.addresses == (ADDRESS,)
    assert load(tmp_path).evidence == (EVIDENCE,)


@pytest.mark.spec("STORE-3")
@pytest.mark.parametrize(
    ("ips", "is_same"),
    [
        (["2001:db8:1:2:aaaa::1", "192.168.1.10"], True),
        (["192.168.1.10", "127.0.0.1", "::1", "2001:db8:1:2:bbbb::9"], True),
        (["192.168.1.11", "2001:db8:1:2:aaaa::1"], False),
        (["192.168.1.10", "2001:db8:1:3:aaaa::1"], False),
        (["192.168.1.10"], False),
        ([], False),
    ],
)
def test_a_network_is_known_by_its_addresses(ips: list[str], *, is_same: bool) -> None:
    known = network_fingerprint(["192.168.1.10", "2001:db8:1:2:aaaa::1", "127.0.0.1"])

    assert (network_fingerprint(ips) == known) is is_same


@pytest.mark.spec("STORE-4")
def test_a_table_keeps_its_newest_rows(tmp_path: Path) -> None:
    room = MAX_TOKEN_ROWS + MAX_TOKEN_ROWS // TRIM_PART
    first = [TOKEN._replace(address=f"/ip4/192.0.2.1/udp/{n}/noise") for n in range(1, room + 1)]
    write(tmp_path, *first)
    assert load(tmp_path).tokens == tuple(first)

    write(tmp_path, first[0], TOKEN)

    kept = load(tmp_path).tokens
    assert len(kept) == MAX_TOKEN_ROWS
    assert kept[-2:] == (first[0], TOKEN)


@pytest.mark.spec("STORE-4")
def test_hearsay_does_not_crowd_out_what_worked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pnode.io.store.store.TABLES", small_tables := limited(8))
    monkeypatch.setattr("p2pnode.io.store.store.TABLE_OF", {t.record: t for t in small_tables})
    friend = ADDRESS._replace(source=int(AddressSource.CONNECTED), expires_unix=NOW + 24 * 3600)
    crowd = [ADDRESS._replace(peer=f"{n}", source=1) for n in range(100)]

    write(tmp_path, friend, *crowd[:50])
    write(tmp_path, *crowd[50:])

    known = load(tmp_path).addresses
    assert len(known) == 8
    assert friend in known


@pytest.mark.spec("STORE-4")
def test_the_bound_holds_over_restarts(tmp_path: Path) -> None:
    for month in range(100):
        write(tmp_path, VolumeRecord(f"{month:04}", month))

    months = [volume.used for volume in load(tmp_path).volumes]
    assert len(months) <= MAX_VOLUME_ROWS + MAX_VOLUME_ROWS // TRIM_PART
    assert months[-MAX_VOLUME_ROWS:] == list(range(100 - MAX_VOLUME_ROWS, 100))


@pytest.mark.spec("STORE-4")
@pytest.mark.parametrize(
    "record",
    [
        EVIDENCE._replace(detail="x" * (MAX_TEXT_SIZE + 1)),
        EVIDENCE._replace(detail="\N{GRINNING FACE}" * (MAX_TEXT_SIZE // 3)),
        EVIDENCE._replace(detail="\udcff"),
        TOKEN._replace(token=bytes(129)),
        ADDRESS._replace(expires_unix=float("nan")),
        RELAY._replace(rtt=float("inf")),
        VOLUME._replace(used=1 << 63),
    ],
)
def test_what_is_out_of_bounds_is_left_out_alone(tmp_path: Path, record: Record) -> None:
    write(tmp_path, record, EVIDENCE)

    assert load(tmp_path) == Loaded(evidence=(EVIDENCE,))


@pytest.mark.spec("STORE-5")
@pytest.mark.parametrize(
    "content",
    [b"not a database" * 100, Random(1).randbytes(8192), b"SQLite format 3\0" + bytes(4096)],
    ids=["text", "noise", "zeros"],
)
def test_a_damaged_file_is_moved_aside(
    tmp_path: Path, content: bytes, warnings: Callable[[], list[str]]
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    write(tmp_path, *EVERYTHING)

    assert (tmp_path / "state.db.damaged").read_bytes() == content
    (warning,) = warnings()
    assert "state.db.damaged" in warning
    assert load(tmp_path).addresses == (ADDRESS,)
    assert warnings() == []


@pytest.mark.spec("STORE-5")
def test_pages_that_were_overwritten_are_noticed_at_the_start(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    write(tmp_path, *(ADDRESS._replace(peer=f"peer {n}") for n in range(2000)))
    with (tmp_path / FILE_NAME).open("r+b") as file:
        file.seek(4096)
        file.write(Random(2).randbytes(100_000))

    assert load(tmp_path) == Loaded()
    assert len(warnings()) == 1


@pytest.mark.spec("STORE-5")
def test_damage_that_shows_later_costs_what_was_learned_but_not_the_batch(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    """The file is larger than what SQLite keeps in memory."""
    many = [ADDRESS._replace(peer=f"peer {n}", address="x" * 500) for n in range(8000)]
    write(tmp_path, *many)
    with closing(Store(tmp_path)) as store:
        size = (tmp_path / FILE_NAME).stat().st_size
        with (tmp_path / FILE_NAME).open("r+b") as file:
            file.write(bytes(size))
        assert store.write([RELAY, *many[:500]])
        assert store.is_storing
    assert len(warnings()) == 1
    assert load(tmp_path) == Loaded(addresses=tuple(many[:500]), relays=(RELAY,))


@pytest.mark.spec("STORE-5")
def test_a_disk_that_damages_every_file_ends_the_store_and_not_the_node(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    many = [ADDRESS._replace(peer=f"peer {n}", address="x" * 500) for n in range(8000)]
    with closing(Store(tmp_path)) as store:
        for is_stored in (True, False):
            assert store.write(many)
            with closing(sqlite3.connect(tmp_path / FILE_NAME)) as tool:
                tool.execute("PRAGMA wal_checkpoint(PASSIVE)")
            size = (tmp_path / FILE_NAME).stat().st_size
            with (tmp_path / FILE_NAME).open("r+b") as file:
                file.write(bytes(size))
            assert store.write(many[:500]) is is_stored
            assert store.is_storing is is_stored
        assert len(warnings()) == 2
        assert not store.write([RELAY])
    assert warnings() == []


@pytest.mark.spec("STORE-5")
def test_the_log_of_a_damaged_file_goes_with_it(tmp_path: Path) -> None:
    """A log that stayed behind would be taken for the new file's."""
    write(tmp_path, ADDRESS)
    with closing(Store(tmp_path)) as store:
        store.write([RELAY])
        log = (tmp_path / f"{FILE_NAME}-wal").read_bytes()  # it goes when the store is closed
    (tmp_path / f"{FILE_NAME}-wal").write_bytes(log)
    (tmp_path / FILE_NAME).write_bytes(b"damaged" * 1000)

    assert load(tmp_path) == Loaded()
    write(tmp_path, TOKEN)
    assert load(tmp_path) == Loaded(tokens=(TOKEN,))


@pytest.mark.spec("STORE-5")
def test_a_file_and_its_log_are_renamed_together(tmp_path: Path) -> None:
    for name in ("state.db", "state.db-wal", "state.db.damaged"):
        (tmp_path / name).write_text(name)

    move_aside(tmp_path / FILE_NAME, ".damaged")

    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"state.db.damaged": "state.db", "state.db.damaged-wal": "state.db-wal"}


@pytest.mark.spec("STORE-5")
def test_a_database_of_another_program_is_moved_aside_whole(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        file.execute("CREATE TABLE song (title TEXT)")
        file.execute("INSERT INTO song VALUES ('Yesterday')")
        file.commit()

    write(tmp_path, ADDRESS)

    with closing(sqlite3.connect(tmp_path / "state.db.damaged")) as file:
        assert file.execute("SELECT * FROM song").fetchall() == [("Yesterday",)]


@pytest.mark.spec("STORE-5")
def test_a_missing_table_is_damage(tmp_path: Path, warnings: Callable[[], list[str]]) -> None:
    write(tmp_path, ADDRESS)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        file.execute("DROP TABLE token")

    write(tmp_path, TOKEN)

    assert len(warnings()) == 1
    assert load(tmp_path) == Loaded(tokens=(TOKEN,))


@pytest.mark.spec("STORE-5")
def test_rows_that_somebody_else_wrote_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, *EVERYTHING)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        file.execute("INSERT INTO volume VALUES ('2027-02', 'a lot')")
        file.execute("INSERT INTO relay VALUES (x'ff', '', 'near', 0.0, 0.0, ?)", (NOW,))
        file.execute("UPDATE evidence SET is_heard = 2")
        file.execute("UPDATE address SET source = 4.5, peer = CAST(x'ff' AS TEXT)")
        file.commit()

    assert load(tmp_path) == Loaded((), (RELAY,), (), (TOKEN,), (VOLUME,))


@pytest.mark.spec("STORE-6")
@pytest.mark.parametrize(
    ("ip", "address"),
    [("192.0.2.1", "/ip4/192.0.2.1/udp/4001/noise"), ("2a00::1", "/ip6/2a00::1/udp/4001/noise")],
)
def test_a_token_of_a_port_becomes_one_of_an_address(tmp_path: Path, ip: str, address: str) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as old:
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 2")
        for statement in (*MIGRATIONS[0], *MIGRATIONS[1]):
            old.execute(statement)
        for port, token in ((4001, b"first"), (4002, b"second"), (4001, b"third")):
            row = (ip, port, token, NOW + 3600)
            old.execute("INSERT OR REPLACE INTO token VALUES (?, ?, ?, ?)", row)
        old.execute("INSERT INTO address VALUES (?, ?, ?, ?)", ADDRESS)

    loaded = load(tmp_path)
    assert loaded.addresses == (ADDRESS,)
    assert loaded.tokens == (
        TokenRecord(address.replace("4001", "4002"), b"second", NOW + 3600),
        TokenRecord(address, b"third", NOW + 3600),
    )
    assert str(parse_multiaddr(address)) == address, "as it is written today"


@pytest.mark.spec("STORE-6")
def test_a_file_of_an_older_version_is_migrated(tmp_path: Path) -> None:
    write(tmp_path, *EVERYTHING)
    later = (*MIGRATIONS, ("CREATE TABLE mood (mood TEXT)", "INSERT INTO mood VALUES ('good')"))

    with closing(open_file(tmp_path / FILE_NAME, migrations=later)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert file.execute("SELECT * FROM mood").fetchall() == [("good",)]
        assert file.execute("SELECT peer FROM address").fetchall() == [("peer",)]


@pytest.mark.spec("STORE-6")
def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, *EVERYTHING)
    broken = (*MIGRATIONS, ("DROP TABLE address", "no SQL"))

    with pytest.raises(sqlite3.OperationalError):
        open_file(tmp_path / FILE_NAME, migrations=broken)

    assert load(tmp_path).addresses == (ADDRESS,)


@pytest.mark.spec("STORE-6")
def test_a_file_of_a_newer_version_is_kept_for_it(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    write(tmp_path, *EVERYTHING)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        file.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    assert load(tmp_path) == Loaded()

    (warning,) = warnings()
    assert "newer p2pnode" in warning
    with closing(sqlite3.connect(tmp_path / "state.db.newer")) as file:
        assert file.execute("SELECT peer FROM address").fetchall() == [("peer",)]


@pytest.mark.spec("STORE-7")
def test_a_full_file_is_said_once_and_ends_nothing(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    with closing(Store(tmp_path, max_pages=24)) as store:
        assert store.write(EVERYTHING)
        many = [ADDRESS._replace(peer=f"peer {n}") for n in range(2000)]
        assert not store.write(many)
        assert not store.is_storing
        assert not store.write(many)
        (warning,) = warnings()
        assert "full" in warning
        assert store.write([VOLUME._replace(used=7)])
        assert store.is_storing
        assert store.load(NOW, HOME).addresses == (ADDRESS,)
    assert load(tmp_path).volumes == (VOLUME._replace(used=7),)


@posix_only
@pytest.mark.spec("STORE-7")
def test_a_full_disk_is_said_once_and_ends_nothing(
    tmp_path: Path, warnings: Callable[[], list[str]], no_room_in_files: Callable[[bool], None]
) -> None:
    with closing(Store(tmp_path)) as store:
        assert store.write([ADDRESS])
        no_room_in_files(True)
        assert not store.write([RELAY])
        assert not store.write([RELAY])
        assert store.load(NOW, HOME).addresses == (ADDRESS,)
        no_room_in_files(False)
        assert len(warnings()) == 1
        assert store.write([TOKEN])
    assert load(tmp_path) == Loaded(addresses=(ADDRESS,), tokens=(TOKEN,))


@posix_only
@pytest.mark.spec("STORE-7")
def test_a_disk_that_is_full_from_the_start_ends_nothing(
    tmp_path: Path, warnings: Callable[[], list[str]], no_room_in_files: Callable[[bool], None]
) -> None:
    no_room_in_files(True)
    with closing(Store(tmp_path)) as store:
        assert not store.write([ADDRESS])
        assert store.load(NOW, HOME) == Loaded()
    assert len(warnings()) == 1


@pytest.mark.spec("STORE-7")
def test_a_folder_that_is_not_there_ends_nothing(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with closing(Store(tmp_path / "file")) as store:
        assert not store.write(EVERYTHING)
        assert not store.is_storing
        assert store.load(NOW, HOME) == Loaded()
    assert len(warnings()) == 1


@pytest.mark.spec("STORE-7")
def test_another_programs_lock_costs_a_batch_and_not_the_node(
    tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    with (
        closing(Store(tmp_path)) as store,
        closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as tool,
    ):
        tool.execute("BEGIN IMMEDIATE")
        assert not store.write([ADDRESS])
        tool.execute("ROLLBACK")
        assert store.write([RELAY])
    assert len(warnings()) == 1
    assert load(tmp_path) == Loaded(relays=(RELAY,))


def test_a_store_that_was_closed_stores_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.close()
    store.close()

    assert not store.write(EVERYTHING)
    assert store.load(NOW, HOME) == Loaded()


def test_the_limits_are_those_of_the_spec() -> None:
    names = {
        "MAX_NOTED",
        "MAX_OFF_TIME",
        "MAX_TEXT_SIZE",
        "CLOCK_SLACK",
        "TRIM_PART",
        "FINGERPRINT_SIZE",
        "IPV6_LINK_PREFIX",
    }
    for name, value, _source in tables("store.md", "Limits and timers")[0]:
        constant = name.strip("`")
        modules = (store_records, store_file, store_memory)
        module = next(module for module in modules if hasattr(module, constant))
        number = float(value.split()[0].replace(",", ""))
        unit = {"days": 86400, "h": 3600, "ms": 0.001}.get(value.split()[-1], 1)
        assert getattr(module, constant) == pytest.approx(number * unit), constant
        names.discard(constant)
    assert names == set()


def test_the_tables_are_those_of_the_spec() -> None:
    written = [[cell.replace("`", "") for cell in row] for row in tables("store.md", "Records")[0]]
    keys = {row[0]: tuple(row[2].split(", ")) for row in written}

    assert keys == {table.record.__name__: table.key for table in TABLES}
    assert APPLICATION_ID.to_bytes(4, "big") == b"p2p1"


@pytest.fixture
def no_room_in_files() -> Iterator[Callable[[bool], None]]:
    """Makes every write to a file fail, as on a full disk, and lets it work again."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def set_full(is_full: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if is_full else soft, hard))

    yield set_full
    set_full(False)


def write(folder: Path, *batch: Record) -> None:
    with closing(Store(folder)) as store:
        assert store.write(batch)


def load(folder: Path, now: UnixTime = NOW, fingerprint: str = HOME) -> Loaded:
    with closing(Store(folder)) as store:
        return store.load(now, fingerprint)


def moved_records(step: float) -> list[Record]:
    """Returns everything as if it had been written so many seconds later."""
    found: list[Record] = []
    for record in EVERYTHING:
        at = {n: v + step for n, v in record._asdict().items() if n.endswith("_unix") and v}
        found.append(record._replace(**at))
    return found


def moved(step: float) -> Loaded:
    """Returns what is loaded of it."""
    return Loaded(*((record,) for record in moved_records(step)))


def limited(max_rows: int) -> tuple[store_records.Table, ...]:
    return tuple(replace(table, max_rows=max_rows) for table in TABLES)
