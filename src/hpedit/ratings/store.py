"""The ratings database (SQLite): what was shown to which rater, and every answer, append-only.

`RatingStore.open` reads, also while a server writes (WAL). `RatingStore.hold` writes and takes the file's lock, so that
a second server on the same file is refused. Every change has an increasing number (`change`); `answers(as_of=n)` gives
the answers as they stood at number n, so an export can name its version, and an answer that is undone later is
superseded by a change with a higher number.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpedit.errors import HPEditError
from hpedit.ratings.row_sums import add_sum_function, check_rows, create_sums, has_sums
from hpedit.ratings.sqlite_schema import ANSWERS, READABLE, SCHEMA, VERSION
from hpedit.store.atomic import fsync_path
from hpedit.store.json_text import decode_json

RatingKind = Literal["score", "compare", "check"]
RatingPhase = Literal["practice", "gold", "rate", "retest"]
Value = float | str
"""0 to 5, whole or half; one of VOTES; of a check one of CHECKS, or REWORDED with the new instruction; or SKIP."""

CHECKS = ("keep", "drop")
"""Answers to the check of a case."""
REWORDED = "mend:"
"""Prefix of an answer to a check that replaces the instruction; the rest is the new instruction."""
BUSY_MS = 10_000
"""How long a writer waits for another program that locks the file, a backup for example."""


class StoreFault(Exception):
    """The disk did not take an answer: nothing of it is stored, and the client keeps it and sends it again."""

    def __init__(self, message: str, hint: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.full = message, hint, full


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One rater's answer as read from the database, for agreement and export."""

    id: int
    """The number of the change that stored it."""
    client_id: str
    rater: str
    kind: RatingKind
    phase: RatingPhase
    edit_ids: tuple[str, ...]
    """One edit, or two in the order shown: A, B; for a check the case id."""
    case_id: str
    task: str | None
    value: Value
    flags: tuple[str, ...]
    ms: int
    """Milliseconds that the rater took, as the browser measured them."""
    time: str
    """When it was stored: ISO 8601, UTC. Order answers by `id` instead: clocks can go backwards."""
    late: bool
    """It came after its lease had expired, and counts as overlap."""
    superseded_by: int | None
    """Number of the undo that took it back."""
    expected: Value | None
    """The known answer of gold and practice items; for a comparison in the order shown."""
    item: str = ""
    """What was shown, whatever the sides: the unit of a retest."""


@dataclass(frozen=True, slots=True)
class AssignmentRow:
    """A row of the assignments table: what a rater was shown, and in which order."""

    id: int
    opaque: str
    rater: int
    item: str
    kind: RatingKind
    phase: RatingPhase
    edit_ids: tuple[str, ...]
    expected: Value | None


class RatingStore:
    """An open ratings database; see the module's text. One thread uses it at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: ExitStack | None) -> None:
        self.path = path
        self.connection = connection
        self._lock = lock
        self._inode = path.stat().st_ino

    @classmethod
    def open(cls, path: Path | str) -> RatingStore:
        """Open for reading; HPEditError if it is not a ratings database."""
        path = Path(path)
        if not path.is_file():
            raise HPEditError(f"{path} does not exist", hint="`hpedit rate serve EDITS --db` creates it")
        with _sqlite_errors(path):
            connection = _connect(f"{path.resolve().as_uri()}?mode=ro")
            _check_version(connection, path)
            check_rows(connection, path)
        return cls(path, connection, None)

    @classmethod
    def hold(cls, path: Path | str) -> RatingStore:
        """Open for writing, creating the file if needed; HPEditError if another process holds it."""
        # Resolved: one file has one lock, whatever links lead to it.
        path = Path(path).resolve()
        lock = _take_lock(path)
        try:
            with _sqlite_errors(path):
                connection = _connect(f"{path.as_uri()}?mode=rwc")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                _create_tables(connection, path)
                fsync_path(path.parent)
        except BaseException:
            lock.close()
            raise
        return cls(path, connection, lock)

    def close(self) -> None:
        """Close the database and release the lock."""
        self.connection.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> RatingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def change(self) -> int:
        """The number of the last change, the version of the ratings; 0 in an empty store. It never decreases."""
        return int(self.connection.execute("SELECT coalesce(max(id), 0) FROM changes").fetchone()[0])

    def answers(self, include_superseded: bool = False, as_of: int | None = None) -> list[StoredAnswer]:
        """All answers in the order in which they were stored, practice included.

        Args:
            include_superseded: also those that were undone.
            as_of: a change number: the answers as they stood then instead of now.
        """
        asked = {"change": self.change if as_of is None else as_of, "all": include_superseded}
        return [_stored_answer(row) for row in self.connection.execute(ANSWERS, asked)]

    def raters(self) -> list[str]:
        """The names of all raters, in the order of their first sign-in."""
        return [str(row["name"]) for row in self.connection.execute("SELECT name FROM raters ORDER BY id")]

    def meta(self, key: str) -> str | None:
        """A setting of the store (kind, seed, secret, version), or None."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    def items(self) -> list[dict[str, Any]]:
        """All items to rate: id, kind, edit_ids, case_id, source_id, task, instruction, editors of each."""
        rows = self.connection.execute("SELECT id, kind, description FROM items ORDER BY id")
        return [{"id": row["id"], "kind": row["kind"], **decode_json(row["description"])} for row in rows]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One fsynced transaction: all of the block or nothing. StoreFault if it cannot be written."""
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            # SQLite would go on writing into a file that cannot be opened any more.
            raise StoreFault(f"{self.path.name} was moved or deleted", "restart the server on the right file")
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise _store_fault(error) from error


def utc_now() -> str:
    """The current time as ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def dump_value(value: Value | None) -> str | None:
    """An answer's value as JSON, the form the store keeps."""
    return None if value is None else json.dumps(value, allow_nan=False)


def load_value(text: str | None) -> Value | None:
    """An answer's value from the JSON of `dump_value`."""
    if text is None:
        return None
    value: Value = decode_json(text)
    return value if isinstance(value, str) else float(value)


def assignment_from_row(row: Mapping[str, Any] | sqlite3.Row) -> AssignmentRow:
    """Parse a row of the assignments table."""
    plain = {name: row[name] for name in ("id", "opaque", "rater", "item", "kind", "phase")}
    return AssignmentRow(**plain, edit_ids=tuple(decode_json(row["edit_ids"])), expected=load_value(row["expected"]))


def _stored_answer(row: sqlite3.Row) -> StoredAnswer:
    parsed: dict[str, Any] = {
        "edit_ids": tuple(decode_json(row["edit_ids"])),
        "value": load_value(row["value"]),
        "flags": tuple(decode_json(row["flags"])),
        "late": bool(row["late"]),
        "expected": load_value(row["expected"]),
    }
    return StoredAnswer(**{**dict(row), **parsed})


def _connect(uri: str) -> sqlite3.Connection:
    # Autocommit, since `transaction` begins its own; and the writer's thread is not the one that opens the file.
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    connection.row_factory = sqlite3.Row
    add_sum_function(connection)
    return connection


def _take_lock(path: Path) -> ExitStack:
    """Lock the store by a file beside it, since SQLite's own locks last only for a transaction.

    The database itself is locked, too: whoever deletes the lock's file does not let a second server in.
    """
    held = ExitStack()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = held.enter_context(path.with_name(path.name + ".lock").open("ab")).fileno()
        itself = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
        held.callback(os.close, itself)
        for descriptor in (beside, itself):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        raise HPEditError(
            f"{path} is in use by another rating server", hint="stop it, or choose another --db"
        ) from error
    except OSError as error:
        held.close()
        raise HPEditError(f"{path} cannot be written: {error.strerror}", hint="choose another --db") from error
    return held


def _create_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in an empty file; check the version of any other."""
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        _check_version(connection, path)
        if not os.access(path, os.W_OK):
            raise HPEditError(f"{path} is read-only", hint="grant write permission, or choose another --db")
        check_rows(connection, path)
        if not has_sums(connection):
            connection.execute("BEGIN IMMEDIATE")
            create_sums(connection)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", (str(VERSION),))
            connection.execute("COMMIT")
        return
    connection.execute("BEGIN IMMEDIATE")
    # Not executescript, which would end the transaction.
    for statement in SCHEMA.split(";\n"):
        connection.execute(statement)
    settings = {"version": str(VERSION), "secret": secrets.token_hex(32), "created": utc_now()}
    create_sums(connection)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", settings.items())
    connection.execute("COMMIT")


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise HPEditError unless the file is a ratings database of this version."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"meta", "changes", "assignments"} <= tables:
        raise HPEditError(f"{path} is not a ratings database", hint="choose another --db")
    version = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    if version is None or version[0] not in map(str, READABLE):
        raise HPEditError(f"{path} was created by another version of hpedit", hint="use that version to read it")
    if version[0] != "1" and not has_sums(connection):
        raise HPEditError(f"{path} is damaged: it lacks its checksums", hint="restore a backup, or choose another --db")


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors on opening a file into an HPEditError that names it."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise HPEditError(
            f"{path} cannot be used as a ratings database: {error}", hint="choose another --db, or restore a backup"
        ) from error


_HELD = ("another program holds the ratings database", "close it; the answer is sent again")
_FAULTS = {
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_FULL: ("the server's disk is full", "free some space; the answer is sent again"),
    sqlite3.SQLITE_READONLY: (
        "the ratings database is read-only",
        "give the server write permission; the answer is sent again",
    ),
}


def _store_fault(error: sqlite3.DatabaseError) -> StoreFault:
    """Explain a failed database write to the rater, whose browser keeps the answer meanwhile."""
    # The low byte is the primary code; the rest says where in SQLite it arose.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    unknown = (f"the answer could not be written ({error})", "check the server's disk; the answer is sent again")
    return StoreFault(*_FAULTS.get(code, unknown), full=code == sqlite3.SQLITE_FULL)
