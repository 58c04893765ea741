"""A parquet file's checksum covers every byte of it."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpedit.errors import HPEditError
from hpedit.store.parquet import KEY, check_parquet, open_parquet, writing_parquet

SCHEMA = pa.schema([("id", pa.string()), ("value", pa.float64())])


def written(path: Path, rows: int = 40) -> Path:
    """A small table of two row groups."""
    with writing_parquet(path, SCHEMA) as writer:
        for _ in range(2):
            table = {"id": [f"edit-{n}" for n in range(rows)], "value": [n / 7 for n in range(rows)]}
            writer.write_table(pa.table(table, schema=SCHEMA))
    return path


def test_the_same_rows_give_the_same_bytes_and_other_readers_read_them(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.parquet"), written(tmp_path / "b.parquet")
    assert first.read_bytes() == second.read_bytes()
    assert pq.read_table(first).num_rows == 80
    assert KEY in pq.read_metadata(first).metadata


def test_no_flipped_bit_is_read_silently(tmp_path: Path) -> None:
    whole = written(tmp_path / "t.parquet").read_bytes()
    expected = pq.read_table(tmp_path / "t.parquet").to_pylist()
    key = whole.rindex(KEY)
    draw, silent = random.Random(0), []
    for number in range(600):
        place = draw.randrange(8 * len(whole))
        altered = bytearray(whole)
        altered[place // 8] ^= 1 << place % 8
        path = tmp_path / f"{number}.parquet"
        path.write_bytes(altered)
        try:
            with open_parquet(path) as file:
                found = file.read().to_pylist()
        except (HPEditError, pa.ArrowException, OSError, UnicodeDecodeError):
            continue
        # Without the key's own name there is no checksum, and no other bit differs.
        if found != expected or not key <= place // 8 < key + len(KEY):
            silent.append(place)
    assert silent == []


def test_an_altered_file_is_found_after_it_was_read_once(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet")
    check_parquet(path)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(HPEditError, match="was altered"):
        check_parquet(path)


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "t.parquet")
    with open_parquet(tmp_path / "t.parquet") as file:
        assert file.read().to_pylist() == [{"id": "a"}]
