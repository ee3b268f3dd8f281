"""The file of the store: opened, checked, brought to this version's schema, or moved aside.

    absent or empty                             made
    ours, of this version or older              migrated step by step, in one transaction
    damaged, or no store at all                 -> state.db.damaged, and a new one is made
    of a newer version                          -> state.db.newer, and a new one is made

Rule: a file that is moved takes its write-ahead log with it; left behind, the log would be taken
for the new file's.
"""

import contextlib
import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2pnode.io.store.records import TABLES

APPLICATION_ID: Final = 0x70327031
"""What SQLite's header says of the owner of a file: "p2p1"."""
MAX_PAGES: Final = 16_384
"""pages of 4 KiB; chosen: thrice what full tables take with the longest addresses"""
BUSY_TIMEOUT: Final = 0.05
"""seconds to wait for another program that writes; chosen: nobody notices a node that stands so
long, and only the user's own tools do that"""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE address (peer TEXT NOT NULL, address TEXT NOT NULL, source INTEGER NOT NULL,"
        " expires_unix REAL NOT NULL, UNIQUE (peer, address))",
        "CREATE TABLE relay (peer TEXT NOT NULL UNIQUE, network TEXT NOT NULL, rtt REAL,"
        " granted_unix REAL, failed_unix REAL, seen_unix REAL NOT NULL)",
        "CREATE TABLE evidence (fingerprint TEXT NOT NULL, address TEXT NOT NULL,"
        " witness TEXT NOT NULL, prober TEXT NOT NULL, server TEXT NOT NULL,"
        " is_heard INTEGER NOT NULL, detail TEXT NOT NULL, at_unix REAL NOT NULL,"
        " UNIQUE (fingerprint, address, witness, prober))",
        "CREATE TABLE token (ip TEXT NOT NULL, port INTEGER NOT NULL, token BLOB NOT NULL,"
        " expires_unix REAL NOT NULL, UNIQUE (ip, port))",
        "CREATE TABLE volume (month TEXT NOT NULL UNIQUE, used INTEGER NOT NULL)",
    ),
    (
        "CREATE TABLE sequence (name TEXT NOT NULL UNIQUE, value INTEGER NOT NULL)",
        "CREATE TABLE clock (name TEXT NOT NULL UNIQUE, written_unix REAL NOT NULL)",
        # The newest time of writing that the rows themselves tell.
        "INSERT INTO clock SELECT 'written', max(at) FROM ("
        "SELECT max(seen_unix) AS at FROM relay UNION ALL SELECT max(at_unix) FROM evidence"
        " UNION ALL SELECT max(expires_unix) - 86400 FROM token"
        " UNION ALL SELECT max(expires_unix) - 86400 FROM address"
        ") HAVING max(at) IS NOT NULL",
    ),
    (
        "ALTER TABLE token RENAME TO token_by_port",
        "CREATE TABLE token (address TEXT NOT NULL UNIQUE, token BLOB NOT NULL,"
        " expires_unix REAL NOT NULL)",
        "INSERT INTO token SELECT '/ip' || CASE WHEN instr(ip, ':') THEN '6' ELSE '4' END || '/'"
        " || ip || '/udp/' || port || '/noise', token, expires_unix FROM token_by_port"
        " ORDER BY rowid",
        "DROP TABLE token_by_port",
    ),
)
"""Step n leads from version n to n + 1.  A step that was released is never changed."""

_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class UnusableFileError(Exception):
    """A file that is not, or not any longer, a store of this version; the text is a predicate."""

    def __init__(self, why: str, suffix: str = ".damaged") -> None:
        super().__init__(why)
        self.suffix = suffix
        """What its name gets when it is moved aside."""


def open_file(
    path: Path,
    max_pages: int = MAX_PAGES,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
) -> sqlite3.Connection:
    """Returns the file, ready for use.

    Raises UnusableFileError where it should be moved aside, and sqlite3.Error or OSError where
    nothing can be done.
    """
    with contextlib.suppress(FileExistsError):  # for its owner only; SQLite would let others read
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        _prepare(connection, max_pages, migrations)
    except sqlite3.Error as exc:
        connection.close()
        if is_damage(exc):
            raise UnusableFileError(f"is damaged ({exc})") from exc
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def move_aside(path: Path, suffix: str) -> Path:
    """Renames the file, in place of one that was moved before; returns its new name.

    Raises OSError.
    """
    aside = path.with_name(path.name + suffix)
    for side in _SIDE_FILES:
        beside = path.with_name(path.name + side)
        with contextlib.suppress(FileNotFoundError):
            os.replace(beside, aside.with_name(aside.name + side))
    os.replace(path, aside)
    return aside


def is_damage(exc: sqlite3.Error) -> bool:
    """True where the file's content is the trouble, not the disk or the rights."""
    code = getattr(exc, "sqlite_errorcode", None)  # absent where Python itself raised it
    return isinstance(code, int) and (code & 0xFF) in _DAMAGE


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None, None, None]:
    """Commits what the block does, or nothing of it.  Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def _prepare(
    connection: sqlite3.Connection, max_pages: int, migrations: Sequence[Sequence[str]]
) -> None:
    connection.text_factory = _decode_text
    is_new = _number(connection, "SELECT count(*) FROM sqlite_master") == 0
    owner = _number(connection, "PRAGMA application_id")
    if owner != APPLICATION_ID and not (is_new and owner == 0):
        raise UnusableFileError("is a database of another program")
    version = _number(connection, "PRAGMA user_version")
    if not 0 <= version <= len(migrations):
        raise UnusableFileError(f"was written by a newer p2pnode (version {version})", ".newer")
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise UnusableFileError("is damaged")
    # Where a file system cannot do WAL, SQLite stays with its rollback journal: slower, as safe.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA max_page_count = {max_pages}")
    if version < len(migrations):
        _migrate(connection, migrations, version)
    _check_columns(connection)


def _migrate(
    connection: sqlite3.Connection, migrations: Sequence[Sequence[str]], version: int
) -> None:
    with transaction(connection):
        for step in migrations[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _check_columns(connection: sqlite3.Connection) -> None:
    for table in TABLES:
        found = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
        if tuple(row[1] for row in found) != table.columns:
            raise UnusableFileError(f"is damaged (the table {table.name} is not as it should be)")


def _number(connection: sqlite3.Connection, sql: str) -> int:
    number: int = connection.execute(sql).fetchone()[0]
    return number


def _decode_text(text: bytes) -> str:
    return text.decode(errors="replace")
