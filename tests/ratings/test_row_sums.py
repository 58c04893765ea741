"""A ratings database with flipped bits is refused, or read as it was."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from hpedit.errors import HPEditError
from hpedit.ratings.store import RatingStore, utc_now

INSERT = "INSERT INTO assignments (opaque, rater, item, kind, phase, edit_ids, case_id, time) VALUES (?,?,?,?,?,?,?,?)"


def answered(path: Path, answers: int = 30) -> Path:
    """A store with answers of one rater."""
    with RatingStore.hold(path) as store, store.transaction() as connection:
        connection.execute("INSERT INTO raters (key, name, time) VALUES ('ann', 'Ann', ?)", (utc_now(),))
        for number in range(answers):
            edit = f'["edit-{number}"]'
            connection.execute(INSERT, (f"o{number}", 1, f"i{number}", "score", "rate", edit, f"c{number}", utc_now()))
            connection.execute(
                "INSERT INTO changes (client_id, rater, assignment, value, time) VALUES (?, 1, ?, ?, ?)",
                (f"client-{number}", number + 1, f"{number % 6}.0", utc_now()),
            )
    return path


def test_no_flipped_bit_changes_an_answer_silently(tmp_path: Path) -> None:
    path = answered(tmp_path / "r.sqlite")
    whole, draw = path.read_bytes(), random.Random(0)
    with RatingStore.open(path) as store:
        expected = store.answers()
    assert len(expected) == 30
    refused = []
    for _ in range(300):
        altered = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            place = draw.randrange(8 * len(whole))
            altered[place // 8] ^= 1 << place % 8
        path.write_bytes(altered)
        try:
            with RatingStore.open(path) as store:
                assert store.answers() == expected
        except HPEditError as error:
            refused.append(error.message)
    assert len(refused) > 100
    assert all("r.sqlite" in message for message in refused)


def test_a_store_without_checksums_is_read_and_gets_them(tmp_path: Path) -> None:
    path = answered(tmp_path / "r.sqlite", 3)
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'sum\\_%' ESCAPE '\\'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DROP TABLE sums")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'version'")
    connection.close()
    with RatingStore.open(path) as store:
        assert len(store.answers()) == 3
    RatingStore.hold(path).close()
    with RatingStore.open(path) as store:
        assert (store.meta("version"), len(store.answers())) == ("2", 3)


def test_deleting_the_lock_file_lets_no_second_server_in(tmp_path: Path) -> None:
    path = answered(tmp_path / "r.sqlite", 1)
    with RatingStore.hold(path):
        path.with_name("r.sqlite.lock").unlink()
        with pytest.raises(HPEditError, match="in use by another rating server"):
            RatingStore.hold(path)
    RatingStore.hold(path).close()
