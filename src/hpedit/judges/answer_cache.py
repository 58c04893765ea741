"""On-disk cache of a judge's answers (SQLite): a judge is asked the same question once.

    judge = CachedJudge(judge, Path("answers.sqlite"))
    answers = judge.ask(questions)           # judge.hits of them from the file

The key is a hash of prompt, choices, pixels and the judge's fingerprint (model, revision, decoding): when one of them
changes, the question is asked again. Failures are never stored, so the next run retries them. When the file can't be
read or written, the run continues without it, and the log says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from hpedit.judges.limits import UnscorableLimit
from hpedit.judges.picture_encoding import picture_digest
from hpedit.judges.protocol import Answer, Judge, Question
from hpedit.store.json_text import decode_json

logger = logging.getLogger(__name__)

CHUNK = 256
"""About how many questions are asked before their answers are stored: a killed run loses no more."""
WAIT = 30.0
"""Seconds to wait for another process that holds the lock."""
PAUSE = 0.01
"""Seconds between two tries."""
SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL, digest TEXT NOT NULL)"


class CachedJudge:
    """A judge with a cache of its answers. Safe for several processes and threads on one file.

    Args:
        judge: Answers what the file does not hold.
        path: The SQLite file; created if missing.
        limit: Also counts cached answers: a rerun asks little but what failed before, and must not be stopped by the
            share of failures among that.
    """

    def __init__(self, judge: Judge, path: Path, limit: UnscorableLimit | None = None) -> None:
        self.judge = judge
        self.path = Path(path)
        self.limit = limit
        self.hits = 0
        self.misses = 0
        self.damaged = 0
        self._ready = False

    @property
    def fingerprint(self) -> str:
        """The wrapped judge's fingerprint."""
        return self.judge.fingerprint

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer per question, in order, from the cache or else from the judge."""
        keys = question_keys(questions, self.fingerprint)
        known = self._read(set(keys), dict(zip(keys, questions, strict=True)))
        self.hits += sum(key in known for key in keys)
        if self.limit:
            self.limit.count(known[key] for key in keys if key in known)
        todo = [
            (key, question) for key, question in dict(zip(keys, questions, strict=True)).items() if key not in known
        ]
        self.misses += len(todo)
        logger.info("%s: %d of %d answers are known", self.path, len(questions) - len(todo), len(questions))
        for chunk in _chunks(todo):
            answers = dict(zip((key for key, _ in chunk), self.judge.ask([q for _, q in chunk]), strict=True))
            self._write(answers)
            known |= answers
        return [known[key] for key in keys]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A new connection for each use: threads, and processes after a fork, must not share one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=WAIT)) as connection:
            if not self._ready:
                _prepare(connection)
                self._ready = True
            with connection:
                yield connection

    def _read(self, keys: set[str], questions: dict[str, Question]) -> dict[str, Answer]:
        """Read cached answers; a damaged one is left out."""
        found: dict[str, Answer] = {}
        try:
            with self._open() as connection:
                for key in keys:
                    row = connection.execute("SELECT value, digest FROM answers WHERE key = ?", (key,)).fetchone()
                    answer = _load(row, len(questions[key].choices)) if row else None
                    if answer:
                        found[key] = answer
                    elif row:
                        self.damaged += 1
                        logger.warning("%s: the answer %s is damaged and is asked again", self.path, key)
        except (sqlite3.Error, OSError) as error:
            logger.warning("%s can't be read, the judge is asked instead: %s", self.path, error)
        return found

    def _write(self, answers: dict[str, Answer]) -> None:
        """Store the answers that have probabilities."""
        rows = [(key, *_dump(answer)) for key, answer in answers.items() if answer.probabilities is not None]
        if not rows:
            return
        try:
            with self._open() as connection:
                connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            logger.warning("%s: %d answers can't be stored: %s", self.path, len(rows), error)


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the table and turn on the write-ahead log.

    With it, readers and a writer do not block each other, and a kill leaves the last commit. If several processes turn
    it on at once, SQLite refuses all but one, whatever the connection's timeout, so that they retry.
    """
    end = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(SCHEMA)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(PAUSE)


def question_keys(questions: Sequence[Question], fingerprint: str) -> list[str]:
    """Cache key of each question: a hash of prompt, choices, pixels and the judge's fingerprint."""
    digests: dict[int, str] = {}
    keys = []
    for question in questions:
        for image in question.images:
            if id(image) not in digests:
                digests[id(image)] = picture_digest(image)
        parts = {
            "stem": question.stem,
            "tail": question.tail,
            "choices": question.choices,
            "images": [digests[id(image)] for image in question.images],
            "judge": fingerprint,
        }
        keys.append(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())
    return keys


def _chunks(todo: Sequence[tuple[str, Question]]) -> Iterator[list[tuple[str, Question]]]:
    """Chunks cut where the stem changes, so that questions about one edit stay together."""
    chunk: list[tuple[str, Question]] = []
    for item in todo:
        if len(chunk) >= CHUNK and item[1].stem != chunk[-1][1].stem:
            yield chunk
            chunk = []
        chunk.append(item)
    if chunk:
        yield chunk


def _dump(answer: Answer) -> tuple[str, str]:
    value = json.dumps({"probabilities": answer.probabilities, "missing": answer.missing}, allow_nan=False)
    return value, hashlib.sha256(value.encode()).hexdigest()


def _load(row: tuple[object, object], choices: int) -> Answer | None:
    """The answer in a row; None if it is damaged."""
    value, digest = row
    if not isinstance(value, str) or hashlib.sha256(value.encode()).hexdigest() != digest:
        return None
    stored = decode_json(value)
    if len(stored["probabilities"]) != choices:
        return None
    return Answer(tuple(stored["probabilities"]), missing=tuple(stored["missing"]))
