"""What a node learned survives a restart: `state.db` in its data folder (specs/store.md).

Rules: whatever `write` returned True for is there after a kill -9; the node writes before it
reports.  The store never raises and never ends a node: trouble is one sentence in the log, and the
node goes on without it.  What is loaded was true once, for peers said much of it: it is parsed as
if it came from the network, and is history, never proof.  A wall clock that jumps ages nothing: all
times that are stored move along with it.

A write takes tens of microseconds and is made where the facts arise, without a thread.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from p2pnode.clock import UnixTime
from p2pnode.io.store.file import (
    MAX_PAGES,
    UnusableFileError,
    is_damage,
    move_aside,
    open_file,
    transaction,
)
from p2pnode.io.store.records import (
    CLOCK_SLACK,
    MAX_OFF_TIME,
    TABLE_OF,
    TABLES,
    TRIM_PART,
    WRITTEN,
    ClockRecord,
    Loaded,
    Record,
    Table,
    decode_row,
    is_storable,
)

FILE_NAME: Final = "state.db"

_log = logging.getLogger(__name__)


class Store:
    """The store of one data folder, whose lock the caller holds.  For one thread."""

    def __init__(self, folder: Path, *, max_pages: int = MAX_PAGES) -> None:
        """Opens the file, or makes it.  Blocks for a disk's time."""
        self.path = folder / FILE_NAME
        self.is_new = not self.path.exists()
        """Whether no node has run in this folder before."""
        self._max_pages = max_pages
        self._is_failing = False
        self._has_begun_anew = False
        self._rows: dict[str, int] = {}  # at most so many, by table
        self._owed_step = 0.0  # by which the times stored are to be moved yet
        self._connection: sqlite3.Connection | None = None
        self._connection = self._open()

    @property
    def is_storing(self) -> bool:
        """False while nothing can be written."""
        return self._connection is not None and not self._is_failing

    def load(self, now_unix: UnixTime, fingerprint: str) -> Loaded:
        """Returns what still counts, and of what holds in one network only that of this one.

        What is too old for every network is removed, and what no clock of ours has written.
        """
        if self._connection is None:
            return Loaded()
        loaded = Loaded()
        try:
            step = self._seconds_off_line(now_unix)
            then = UnixTime(now_unix - step)
            kinds = [table for table in TABLES if table.record is not ClockRecord]
            loaded = Loaded(*(self._read(table, then, fingerprint, step) for table in kinds))
            self._owed_step += step
            self._commit(self._connection, [ClockRecord(WRITTEN, now_unix)])
            self._remove_expired(self._connection, now_unix)
        except sqlite3.Error as exc:
            self._on_failure(exc)
        return loaded

    def write(self, batch: Sequence[Record]) -> bool:
        """Takes the records, in order, all of them or none; True once nothing can undo that.

        Records that are out of bounds are left out.  A record takes the place of the one with the
        same key.
        """
        if self._connection is None or not batch:
            return self.is_storing
        try:
            self._commit(self._connection, batch)
        except sqlite3.Error as exc:
            return self._on_failure(exc) and self._write_again(batch)
        if self._is_failing:
            self._is_failing = False
            _log.info("%s can be written again", self.path)
        return True

    def handle_clock_changed(self, step: float) -> None:
        """The wall clock was set forward by so many seconds, or back: so are the times stored."""
        self._owed_step += step
        if self._connection is None or abs(self._owed_step) < CLOCK_SLACK:
            return
        try:
            self._commit(self._connection, [])
        except sqlite3.Error as exc:
            self._on_failure(exc)

    def close(self) -> None:
        """Stores nothing any more.  More than once does no harm."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    # reading and writing

    def _read(
        self, table: Table, now_unix: UnixTime, fingerprint: str, step: float
    ) -> tuple[Any, ...]:
        """Returns what counts at `now_unix` of the file's time line, on one `step` ahead of it."""
        assert self._connection is not None
        where = "1"
        values: list[object] = []
        if table.time is not None:
            where = f"{table.time} > ? AND {table.time} <= ?"
            values += [table.oldest(now_unix), now_unix + table.lies_ahead + CLOCK_SLACK]
        if table.is_of_network:
            where += " AND fingerprint = ?"
            values.append(fingerprint)
        columns = ", ".join(table.columns)
        sql = f"SELECT {columns} FROM {table.name} WHERE {where} ORDER BY rowid"  # noqa: S608
        rows = self._connection.execute(sql, values).fetchall()
        decoded = (decode_row(table, row) for row in rows)
        return tuple(_later(record, table, step) for record in decoded if record is not None)

    def _seconds_off_line(self, now_unix: UnixTime) -> float:
        """Returns how far ahead of the stored time line the clock of now is, for want of a cause.

        0 where the time between may have passed while the node was off.  Else one of two clocks is
        wrong, and nobody knows how long that was.
        """
        assert self._connection is not None
        row = self._connection.execute("SELECT written_unix FROM clock").fetchone()
        passed = 0.0 if row is None else now_unix - row[0]
        return 0.0 if -CLOCK_SLACK <= passed <= MAX_OFF_TIME else passed

    def _remove_expired(self, connection: sqlite3.Connection, now_unix: UnixTime) -> None:
        with transaction(connection):
            for table in TABLES:
                if table.time is not None:
                    sql = f"DELETE FROM {table.name} WHERE {table.time} <= ? OR {table.time} > ?"  # noqa: S608
                    latest = now_unix + table.lies_ahead + CLOCK_SLACK
                    connection.execute(sql, (table.oldest(now_unix), latest))

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[Record]) -> None:
        rows = dict(self._rows)
        with transaction(connection):
            if abs(self._owed_step) >= CLOCK_SLACK:
                _move(connection, self._owed_step)
            for record in batch:
                if is_storable(record):
                    _insert(connection, record)
                    rows[TABLE_OF[type(record)].name] += 1
                else:
                    _log.debug("not stored, because it is out of bounds: %r", record)
            for table in TABLES:
                if rows[table.name] > table.max_rows + table.max_rows // TRIM_PART:
                    rows[table.name] = _trim(connection, table)
        self._rows = rows
        if abs(self._owed_step) >= CLOCK_SLACK:
            self._owed_step = 0.0

    def _write_again(self, batch: Sequence[Record]) -> bool:
        """Into the file that took the place of a damaged one."""
        assert self._connection is not None
        try:
            self._commit(self._connection, batch)
        except sqlite3.Error as exc:
            self._give_up(str(exc))
            return False
        return True

    # trouble

    def _open(self) -> sqlite3.Connection | None:
        try:
            try:
                connection = open_file(self.path, self._max_pages)
            except UnusableFileError as exc:
                aside = move_aside(self.path, exc.suffix)
                connection = open_file(self.path, self._max_pages)
                _log.warning(
                    "%s %s; it is %s now, and this node begins to learn anew",
                    self.path,
                    exc,
                    aside.name,
                )
            self._rows = {table.name: _count(connection, table) for table in TABLES}
        except (UnusableFileError, sqlite3.Error, OSError) as exc:
            self._give_up(str(exc))
            return None
        return connection

    def _on_failure(self, exc: sqlite3.Error) -> bool:
        """Returns True where a new file stands ready in place of a damaged one."""
        assert self._connection is not None
        if is_damage(exc):
            self.close()
            if self._has_begun_anew:  # it is the disk: each new file would be damaged, too
                self._give_up(str(exc))
                return False
            self._has_begun_anew = True
            self._connection = self._open_anew(exc)
            return self._connection is not None
        if not self._is_failing:
            self._is_failing = True
            _log.warning(
                "%s cannot be used (%s); what this node learns is not stored until it can",
                self.path,
                exc,
            )
        return False

    def _open_anew(self, damage: sqlite3.Error) -> sqlite3.Connection | None:
        """Like `_open`, for a file whose damage its check at the start does not find."""
        try:
            move_aside(self.path, UnusableFileError("").suffix)
        except OSError as exc:
            self._give_up(str(exc))
            return None
        _log.warning("%s is damaged (%s); this node begins to learn anew", self.path, damage)
        return self._open()

    def _give_up(self, why: str) -> None:
        self.close()
        _log.warning(
            "%s cannot be used (%s); what this node learns will be forgotten at its end",
            self.path,
            why,
        )


def _insert(connection: sqlite3.Connection, record: Record) -> None:
    name = TABLE_OF[type(record)].name
    marks = ", ".join("?" * len(record))
    connection.execute(f"INSERT OR REPLACE INTO {name} VALUES ({marks})", record)  # noqa: S608


def _later(record: Record, table: Table, step: float) -> Record:
    """Returns the record with its times moved."""
    if not step:
        return record
    values: list[Any] = list(record)
    for index, column in enumerate(table.columns):
        if column in table.times and values[index] is not None:
            values[index] += step
    make: Any = table.record
    moved: Record = make(*values)
    return moved


def _move(connection: sqlite3.Connection, step: float) -> None:
    for table in TABLES:
        if table.times:
            moved = ", ".join(f"{column} = {column} + ?" for column in table.times)
            connection.execute(f"UPDATE {table.name} SET {moved}", [step] * len(table.times))  # noqa: S608


def _trim(connection: sqlite3.Connection, table: Table) -> int:
    """Returns how many rows are left."""
    excess = _count(connection, table) - table.max_rows
    if excess > 0:
        connection.execute(
            f"DELETE FROM {table.name} WHERE rowid IN"  # noqa: S608
            f" (SELECT rowid FROM {table.name} ORDER BY {table.least_first} LIMIT ?)",
            (excess,),
        )
    return table.max_rows + min(excess, 0)


def _count(connection: sqlite3.Connection, table: Table) -> int:
    count: int = connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]  # noqa: S608
    return count
