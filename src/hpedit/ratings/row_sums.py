"""A checksum for every row of the ratings database, kept by triggers and checked when the file is opened.

SQLite's own check finds broken pages. A bit that flips inside a score, a name or a time leaves a valid database with
another answer in it, which only a checksum of the row can tell.
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

from hpedit.errors import HPEditError

_KEYS = {
    "meta": "key", "raters": "id", "sessions": "digest", "items": "id", "assignments": "id", "changes": "id",
}  # fmt: skip
"""Primary key of each table."""
_SCHEMA = "sqlite_master"
_TABLE = "CREATE TABLE IF NOT EXISTS sums (name TEXT, row TEXT, sum INTEGER, PRIMARY KEY (name, row)) STRICT"


def add_sum_function(connection: sqlite3.Connection) -> None:
    """Register the SQL function of the triggers; every connection that writes needs it."""
    connection.create_function("row_sum", -1, _row_sum, deterministic=True)


def create_sums(connection: sqlite3.Connection) -> None:
    """Create the table of checksums and its triggers, and fill it with the rows that are there."""
    connection.execute(_TABLE)
    for name, key in _KEYS.items():
        columns = _columns(connection, name)
        new = ", ".join(f"new.{column}" for column in columns)
        keep = f"INSERT OR REPLACE INTO sums VALUES ('{name}', CAST(new.{key} AS TEXT), row_sum({new}));"
        drop = f"DELETE FROM sums WHERE name = '{name}' AND row = CAST(old.{key} AS TEXT);"
        for event, body in (("INSERT", keep), ("UPDATE", drop + keep), ("DELETE", drop)):
            connection.execute(f"CREATE TRIGGER sum_{event}_{name} AFTER {event} ON {name} BEGIN {body} END")
        connection.execute(
            f"INSERT INTO sums SELECT '{name}', CAST({key} AS TEXT), row_sum({', '.join(columns)}) FROM {name}"
        )
    connection.execute(f"INSERT INTO sums SELECT '{_SCHEMA}', name, row_sum(sql) FROM {_SCHEMA} WHERE sql NOT NULL")


def has_sums(connection: sqlite3.Connection) -> bool:
    """Whether the database keeps checksums; older ones do not."""
    found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sums' AND type = 'table'").fetchone()
    return bool(found[0])


def check_rows(connection: sqlite3.Connection, path: Path) -> None:
    """HPEditError unless pages and indices are sound and every row is there with the checksum that it was stored with.

    sqlite3.DatabaseError passes: some damage ends the reading.
    """
    said = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
    if said != ["ok"]:
        raise _altered(path, said[0])
    if not has_sums(connection):
        return
    kept = {(row[0], row[1]): row[2] for row in connection.execute("SELECT name, row, sum FROM sums")}
    for name, sql in connection.execute(f"SELECT name, sql FROM {_SCHEMA} WHERE sql NOT NULL"):
        if kept.pop((_SCHEMA, name), None) != _row_sum(sql):
            raise _altered(path, f"the definition of {name} does not match its checksum")
    for name, key in _KEYS.items():
        for row in connection.execute(
            f"SELECT CAST({key} AS TEXT), {', '.join(_columns(connection, name))} FROM {name}"
        ):
            if kept.pop((name, row[0]), None) != _row_sum(*row[1:]):
                raise _altered(path, f"row {row[0]} of {name} does not match its checksum")
    if kept:
        raise _altered(path, f"{len(kept)} rows are missing")


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """Names of a table's columns, in order."""
    return [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]


def _row_sum(*values: object) -> int:
    """CRC-32 of the values of a row, with their types."""
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass"))


def _altered(path: Path, what: str) -> HPEditError:
    """The error of a damaged ratings database."""
    return HPEditError(f"{path} is damaged: {what}", hint="restore a backup, or choose another --db")
