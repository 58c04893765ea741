"""Tables of ratings: what was written is read back equal, and errors name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpedit.errors import HPEditError
from hpedit.ratings.response_tables import read_response_table, write_response_table
from hpedit.ratings.responses import PHASES, VOTES, Response
from hpedit.store.csv_rows import neutralise, restore

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAME = TEXT.filter(bool)
FLAGS = st.lists(st.sampled_from(["unsafe", "impossible"]), unique=True).map(tuple)
COMMON = {
    "rater": NAME,
    "id": TEXT,
    "phase": st.sampled_from(PHASES),
    "flags": FLAGS,
    "task": TEXT,
    "case_id": TEXT,
    "source_id": TEXT,
    "ms": st.none() | st.integers(0, 10**9),
    "time": TEXT,
    "late": st.booleans(),
    "superseded_by": TEXT,
    "simulated": st.booleans(),
}
SCORE = st.floats(0, 5)
SCORES = st.builds(
    Response,
    edits=st.tuples(NAME),
    value=SCORE | st.just("skip"),
    expected=st.none() | SCORE,
    axes=st.fixed_dictionaries({"quality": st.floats(-10, 10)}),
    **COMMON,
)
VOTE_RESPONSES = st.builds(
    Response,
    edits=st.lists(NAME, min_size=2, max_size=2, unique=True).map(tuple),
    value=st.sampled_from((*VOTES, "skip")),
    expected=st.none() | st.sampled_from(VOTES),
    **COMMON,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@given(responses=st.lists(SCORES, min_size=1, max_size=4) | st.lists(VOTE_RESPONSES, min_size=1, max_size=4))
@settings(max_examples=50)
def test_every_answer_comes_back_equal(form: str, folder: Path, responses: list[Response]) -> None:
    path = folder / f"table.{form}"
    path.write_bytes(write_response_table(responses, form, everything=True).encode())
    assert read_response_table(path) == responses


@given(cell=TEXT)
def test_a_neutralised_cell_is_no_formula_and_is_restored(cell: str) -> None:
    safe = neutralise(cell)
    assert restore(safe) == cell
    assert safe[:1] not in tuple("=@\t\r＝＠") or not safe


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\r=1", " =1", "＝1"])
def test_formulas_are_written_as_text(cell: str) -> None:
    assert neutralise(cell) == f"'{cell}"


@pytest.mark.parametrize(
    ("cell", "safe"),
    [("\t=1", "'\t'=1"), ("a;=1", "a;'=1"), ("a\t@x", "a\t'@x"), ("a; =1", "a; '=1"), ("a;'=1", "a;''=1")],
)
def test_formulas_behind_a_semicolon_or_tab_are_text_where_cells_are_split_there(cell: str, safe: str) -> None:
    assert neutralise(cell) == safe
    assert restore(safe) == cell


@pytest.mark.parametrize("cell", ["-0.5", "+3", "1e-3", "49_1", ";", ":x", "<b>", "make it red", "don't", ""])
def test_numbers_and_plain_text_are_left_alone(cell: str) -> None:
    assert neutralise(cell) == cell == restore(cell)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"edit_id,rater,score\ne1,r1,3\ne2,r1\n", r"t\.csv:3: 2 cells"),
        ("t.csv", b"edit_id,rater,score\ne1,r\xff,3\n", r"t\.csv is not UTF-8"),
        ("t.csv", b"edit_id,rater,score\n\ne1,r1,6\n", r"t\.csv:3: score is 6\.0"),
        ("t.csv", b"edit_id,rater,score\ne1,r1,three\n", r"t\.csv:2: score is 'three', not a number"),
        ("t.csv", b"edit_id,rater,score\ne1,,3\n", r"t\.csv:2: rater is empty"),
        ("t.csv", b"edit,rater,score\ne1,r,3\n", r"t\.csv has no column edit_id"),
        ("t.csv", b"edit_a,edit_b,rater,vote\ne1,e1,r,A\n", r"t\.csv:2: edit 'e1' is compared with itself"),
        ("t.csv", b"edit_a,edit_b,rater,vote\ne1,e2,r,left\n", r"t\.csv:2: vote is 'left'"),
        ("t.csv", b"edit_id,rater,score,quality\ne1,r,3,7\ne2,r,3,6\ne3,r,3,1O\n", r"t\.csv:4: quality is '1O'"),
        (
            "t.jsonl",
            b'{"edit_id":"e","rater":"r","score":1}\n\n{"edit_id":"f","ra',
            r"t\.jsonl:3: .*the middle of a line",
        ),
        ("t.jsonl", b'{"edit_id":"e","rater":"\xff","score":1}\n', r"t\.jsonl:1: not UTF-8"),
        ("t.jsonl", b'{"edit_id":"e","rater":"r","score":true}\n', r"t\.jsonl:1: score is True, not a number"),
        ("t.jsonl", b'{"edit_id":"e","rater":["r"],"score":1}\n', r"t\.jsonl:1: rater is \['r'\], not a text"),
        ("t.jsonl", b"[1]\n", r"t\.jsonl:1: expected an object, found a list"),
        ("t.jsonl", b'{"edit_id":"e","rater":"r","score":NaN}\n', r"t\.jsonl:1: score is nan"),
        ("t.jsonl", b'{"edit_id":"e","rater":"r","score":1,"ms":NaN}\n', r"t\.jsonl:1: ms is nan, not a number"),
        ("t.csv", b"edit_id,rater,score,ms\ne,r,1,1e999\n", r"t\.csv:2: ms is '1e999', not a number"),
        ("t.csv", b"edit_id,rater,quality\ne,r,1e999\nf,r,3\n", r"t\.csv:2: quality is '1e999', not a number"),
    ],
)
def test_a_broken_table_is_one_error_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HPEditError, match=message):
        read_response_table(tmp_path / name)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_byte_order_mark_blank_lines_and_a_missing_last_newline_are_taken(tmp_path: Path, end: bytes) -> None:
    line = b'{"edit_id": "e", "rater": "r", "score": 2}'
    (tmp_path / "t.jsonl").write_bytes(b"\xef\xbb\xbf" + line + b"\n \n" + line.replace(b'"e"', b'"f"') + end)
    (tmp_path / "t.csv").write_bytes("\ufeffedit_id, rater, score\r\n\r\ne, r, 2\r\nf,r,2".encode() + end)
    for name in ("t.jsonl", "t.csv"):
        assert [(r.edits, r.rater, r.value) for r in read_response_table(tmp_path / name)] == [
            (("e",), "r", 2),
            (("f",), "r", 2),
        ]


def test_an_empty_score_is_not_a_rating_and_marks_are_read_by_axis(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("edit_id,rater,overall,note\ne1,r1,7,fine\ne2,r1,,\n")
    first, second = read_response_table(tmp_path / "t.csv")
    assert (first.value, first.axes, first.counts) == (None, {"overall": 7.0}, True)
    assert (second.value, second.axes, second.counts) == (None, {}, False)
