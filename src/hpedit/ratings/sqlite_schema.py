"""SQL schema of the ratings database. Triggers keep `changes` append-only: an undo adds a row, never deletes one."""

from __future__ import annotations

VERSION = 2
READABLE = (1, 2)
"""Version 1 has no checksums of rows; a server adds them."""

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE raters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    time TEXT NOT NULL
) STRICT;
CREATE TABLE sessions (
    digest TEXT PRIMARY KEY,
    rater INTEGER NOT NULL REFERENCES raters (id),
    time TEXT NOT NULL
) STRICT;
CREATE TABLE items (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    description TEXT NOT NULL
) STRICT;
CREATE TABLE assignments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    opaque TEXT NOT NULL UNIQUE,
    rater INTEGER NOT NULL REFERENCES raters (id),
    item TEXT NOT NULL,
    kind TEXT NOT NULL,
    phase TEXT NOT NULL,
    edit_ids TEXT NOT NULL,
    case_id TEXT NOT NULL,
    task TEXT,
    expected TEXT,
    time TEXT NOT NULL
) STRICT;
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client_id TEXT NOT NULL UNIQUE,
    rater INTEGER NOT NULL REFERENCES raters (id),
    assignment INTEGER NOT NULL REFERENCES assignments (id),
    supersedes INTEGER UNIQUE REFERENCES changes (id),
    value TEXT,
    flags TEXT NOT NULL DEFAULT '[]',
    ms INTEGER NOT NULL DEFAULT 0,
    client_time TEXT NOT NULL DEFAULT '',
    time TEXT NOT NULL,
    late INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX changes_of_assignment ON changes (assignment);
CREATE TRIGGER changes_are_not_updated BEFORE UPDATE ON changes
BEGIN SELECT RAISE(ABORT, 'answers are append-only'); END;
CREATE TRIGGER changes_are_not_deleted BEFORE DELETE ON changes
BEGIN SELECT RAISE(ABORT, 'answers are append-only'); END;
"""
"""A change with a value is an answer; one without is the undo of the answer that it supersedes."""

ANSWERS = """
SELECT answer.id, answer.client_id, raters.name AS rater, shown.kind, shown.phase, shown.edit_ids, shown.case_id,
       shown.task, answer.value, answer.flags, answer.ms, answer.time, answer.late, undo.id AS superseded_by,
       shown.expected, shown.item
FROM changes AS answer
JOIN assignments AS shown ON shown.id = answer.assignment
JOIN raters ON raters.id = answer.rater
LEFT JOIN changes AS undo ON undo.supersedes = answer.id AND undo.id <= :change
WHERE answer.value IS NOT NULL AND answer.id <= :change AND (:all OR undo.id IS NULL)
ORDER BY answer.id
"""
"""The answers as they stood at change number :change, including undone ones if :all."""
