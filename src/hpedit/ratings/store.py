"""The SQLite file of the ratings: what was shown to whom, and every answer, append-only.

`RatingStore.open` reads, also while a server writes (WAL). `RatingStore.hold` writes and takes the file's lock, so that
a second server on one file refuses. Every change has a number that only grows (`change`); `answers(as_of=n)` gives the
answers as they stood at number n, so an export can name the state that it holds, and an answer that is taken back
later is superseded by a change with a higher number.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from hpedit.errors import HPEditError
from hpedit.ratings.schema import ANSWERS, SCHEMA, VERSION
from hpedit.store.atomic import fsync_path

Kind = Literal["score", "compare", "check"]
Phase = Literal["practice", "gold", "rate", "retest"]
Value = float | str
"""0 to 5, whole or half; one of CHOICES; or, of a check, one of CHECKS or MEND with the mended instruction."""

CHOICES = ("A", "B", "tie", "both_bad")
"""Answers to a comparison; A is the edit shown first."""
CHECKS = ("keep", "drop")
"""Answers to the check of a case."""
MEND = "mend:"
"""What an answer to a check begins with that puts another instruction in place; the rest is that instruction."""
SKIP = "skip"
"""The rater left the item out; it is recorded, and counts as no rating."""
BUSY_MS = 10_000
"""How long a writer waits for another program that locks the file, a backup say."""


class StoreFault(Exception):
    """The disk did not take an answer: nothing of it is stored, and the client keeps and repeats it."""

    def __init__(self, message: str, hint: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.full = message, hint, full


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one rater, as agreement and export read it."""

    id: int
    """The number of the change that stored it."""
    client_id: str
    rater: str
    kind: Kind
    phase: Phase
    edit_ids: tuple[str, ...]
    """One edit, or two in the order in which they were shown: A, B; of a check the id of the case."""
    case_id: str
    task: str | None
    value: Value
    """0-5; or "A", "B", "tie", "both_bad"; or "keep", "drop", "mend:..."; or "skip"."""
    flags: tuple[str, ...]
    ms: int
    """Milliseconds that the rater took, as the browser measured them."""
    time: str
    """When it was stored: ISO 8601, UTC. The order is that of `id`; clocks go backwards."""
    late: bool
    """It came after its lease had expired, and counts as overlap."""
    superseded_by: int | None
    """Number of the undo that took it back."""
    expected: Value | None
    """The known answer of gold and practice items; for a comparison in the order shown."""
    item: str = ""
    """What was shown, whatever the sides: the unit of a retest."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A row of the table of assignments: what a rater was given, and in which order."""

    id: int
    opaque: str
    rater: int
    item: str
    kind: Kind
    phase: Phase
    edit_ids: tuple[str, ...]
    expected: Value | None


class RatingStore:
    """An open store; see the module's text. One thread uses it at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: IO[bytes] | None) -> None:
        self.path = path
        self.connection = connection
        self._lock = lock
        self._inode = path.stat().st_ino

    @classmethod
    def open(cls, path: Path | str) -> RatingStore:
        """Open for reading; HPEditError where there is no store of ratings."""
        path = Path(path)
        if not path.is_file():
            raise HPEditError(f"{path} does not exist", hint="`hpedit rate serve EDITS --db` makes it")
        with _clear_errors(path):
            connection = _connect(f"{path.resolve().as_uri()}?mode=ro")
            _check(connection, path)
        return cls(path, connection, None)

    @classmethod
    def hold(cls, path: Path | str) -> RatingStore:
        """Open for writing, making it where it is missing; HPEditError if another process holds it."""
        # One file has one lock, whatever links lead to it.
        path = Path(path).resolve()
        lock = _take_lock(path)
        try:
            with _clear_errors(path):
                connection = _connect(f"{path.as_uri()}?mode=rwc")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                _create(connection, path)
                fsync_path(path.parent)
        except BaseException:
            lock.close()
            raise
        return cls(path, connection, lock)

    def close(self) -> None:
        """Close the file and give up the lock."""
        self.connection.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> RatingStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def change(self) -> int:
        """The number of the last change; 0 in an empty store. It only grows."""
        return int(self.connection.execute("SELECT coalesce(max(id), 0) FROM changes").fetchone()[0])

    def answers(self, include_superseded: bool = False, as_of: int | None = None) -> list[Answer]:
        """All answers in the order in which they were stored, practice among them.

        Args:
            include_superseded: Also those that were taken back.
            as_of: A change number: the answers as they stood then, instead of now.
        """
        asked = {"change": self.change if as_of is None else as_of, "all": include_superseded}
        return [_answer_of(row) for row in self.connection.execute(ANSWERS, asked)]

    def raters(self) -> list[str]:
        """The names of all raters, the oldest first."""
        return [str(row["name"]) for row in self.connection.execute("SELECT name FROM raters ORDER BY id")]

    def meta(self, key: str) -> str | None:
        """A setting of the store, or None."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    def items(self) -> list[dict[str, Any]]:
        """What is rated here: id, kind, edit_ids, case_id, source_id, task, instruction, editors of each item."""
        rows = self.connection.execute("SELECT id, kind, description FROM items ORDER BY id")
        return [{"id": row["id"], "kind": row["kind"], **json.loads(row["description"])} for row in rows]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One fsynced transaction: all of the block or nothing. StoreFault where the disk refuses."""
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            # SQLite would go on writing into a file that nobody can open any more.
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
            raise _fault(error) from error


def utc_now() -> str:
    """The time as ISO 8601 in UTC, whatever the zone and its summer time."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def dump_value(value: Value | None) -> str | None:
    """An answer as the store keeps it."""
    return None if value is None else json.dumps(value, allow_nan=False)


def load_value(text: str | None) -> Value | None:
    """The answer back from what `dump_value` gave."""
    if text is None:
        return None
    value: Value = json.loads(text)
    return value if isinstance(value, str) else float(value)


def shown_of(row: Mapping[str, Any] | sqlite3.Row) -> Shown:
    """A row of the table of assignments."""
    return Shown(
        id=row["id"],
        opaque=row["opaque"],
        rater=row["rater"],
        item=row["item"],
        kind=row["kind"],
        phase=row["phase"],
        edit_ids=tuple(json.loads(row["edit_ids"])),
        expected=load_value(row["expected"]),
    )


def _answer_of(row: sqlite3.Row) -> Answer:
    value = load_value(row["value"])
    assert value is not None
    plain = {name: row[name] for name in ("id", "client_id", "rater", "kind", "phase", "case_id", "task", "ms", "time")}
    return Answer(
        **plain,
        edit_ids=tuple(json.loads(row["edit_ids"])),
        value=value,
        flags=tuple(json.loads(row["flags"])),
        late=bool(row["late"]),
        superseded_by=row["superseded_by"],
        expected=load_value(row["expected"]),
        item=row["item"],
    )


def _connect(uri: str) -> sqlite3.Connection:
    # Transactions are begun by hand, and the writer's thread is not the one that opens the file.
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    connection.row_factory = sqlite3.Row
    return connection


def _take_lock(path: Path) -> IO[bytes]:
    """The lock of the store at `path`: a file beside it, since SQLite's own locks come and go with its transactions."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("ab")
    except OSError as error:
        raise HPEditError(f"{path} cannot be written: {error.strerror}", hint="choose another --db") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise HPEditError(
            f"{path} is in use by another rating server", hint="stop it, or choose another --db"
        ) from error
    return lock


def _create(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file; check those of any other."""
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        _check(connection, path)
        if not os.access(path, os.W_OK):
            raise HPEditError(f"{path} is read-only", hint="give write permission, or choose another --db")
        return
    connection.execute("BEGIN IMMEDIATE")
    for statement in _statements(SCHEMA):
        connection.execute(statement)
    settings = {"version": str(VERSION), "secret": secrets.token_hex(32), "created": utc_now()}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", settings.items())
    connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, so that they can run in one transaction, which executescript would end."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """HPEditError unless the file is a store of this version."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"meta", "changes", "assignments"} <= tables:
        raise HPEditError(f"{path} is not a store of ratings", hint="choose another --db")
    version = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    if version is None or version[0] != str(VERSION):
        raise HPEditError(f"{path} was made by another version of this program", hint="use that version to read it")


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """SQLite's errors while a file is opened, as an HPEditError that names it."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise HPEditError(
            f"{path} cannot be used as a store of ratings: {error}", hint="choose another --db, or restore a backup"
        ) from error


def _fault(error: sqlite3.DatabaseError) -> StoreFault:
    """What went wrong in words that help a rater, who keeps the answer in the browser meanwhile."""
    # The low byte is the primary code; the rest says where in SQLite it arose.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFault("the disk of the server is full", "free some space; the answer is sent again", full=True)
    if code == sqlite3.SQLITE_READONLY:
        return StoreFault(
            "the store of ratings is read-only", "give the server write permission; then it is sent again"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreFault("another program holds the store of ratings", "close it; the answer is sent again")
    return StoreFault(f"the answer could not be written ({error})", "see to the server's disk; it is sent again")
