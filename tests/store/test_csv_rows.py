"""CSV tables: spreadsheets' habits are taken, what is broken is named with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpedit.errors import HPEditError
from hpedit.store.csv_rows import csv_text, index_csv_rows, read_csv_rows


def read(tmp_path: Path, content: bytes) -> list[dict[str, str]]:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    return [row.cells for row in read_csv_rows(path, ("a", "b"))]


def test_byte_order_mark_crlf_blank_lines_quotes_and_spaces_are_taken(tmp_path: Path) -> None:
    content = '\ufeffa, b,c\r\n1, 2 ,"x, ""y"""\r\n\r\n3,,\u00e9\r\n'.encode()
    assert read(tmp_path, content) == [{"a": "1", "b": "2", "c": 'x, "y"'}, {"a": "3", "b": "", "c": "é"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv is empty"),
        (b"a,c\n1,2\n", "t.csv has no column b"),
        (b"a,b,a\n", "more than one column a"),
        (b"a,b\n1,2\n3\n", "t.csv:3: 1 cells, but the header has 2"),
        (b'a,b\n"1\n2",3\n4,5,6\n', "t.csv:4: 3 cells"),
        (b'a,b\n1,"2\n', "t.csv:2: unexpected end of data"),
        (b"a,b\n\xff,2\n", "t.csv is not UTF-8"),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(HPEditError, match=message):
        read(tmp_path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match=r"nowhere\.csv is not a file"):
        read_csv_rows(tmp_path / "nowhere.csv", ())


def test_a_key_that_is_there_twice_or_empty_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,x\n2,x\n1,y\n")
    with pytest.raises(HPEditError, match=r"t\.csv:4: 1 appears twice \(first: .*t\.csv:2\)"):
        index_csv_rows(read_csv_rows(path, ("a",)), ("a",))
    path.write_text("a,b\n,x\n")
    with pytest.raises(HPEditError, match=r"t\.csv:2: a is empty"):
        index_csv_rows(read_csv_rows(path, ("a",)), ("a",))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = [("1", 'say "hi", you'), ("2", "two\nlines")]
    path = tmp_path / "t.csv"
    path.write_text(csv_text(("a", "b"), rows))
    assert [tuple(row.cells.values()) for row in read_csv_rows(path, ("a", "b"))] == rows
