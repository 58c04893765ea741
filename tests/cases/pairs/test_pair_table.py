"""Preference pairs as a file: what is written, byte by byte, and what reads it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tests.conftest import picture
from tests.rate.answered_store import answer, undo
from typer.testing import CliRunner

from hpedit.cases.pairs import pair_table
from hpedit.cases.pairs.pair_table import build_pairs, lazy_pairs, read_pairs, read_weights
from hpedit.cases.pairs.preferences import PairRules
from hpedit.cli import app
from hpedit.errors import HPEditError
from hpedit.ratings.responses import Response
from hpedit.records import Case, Edit
from hpedit.store.tables import write_cases, write_edits

CASES = [
    Case(name, task, "make it so", (picture(seed=n),) * count, f"photo-{n}", "cup", "there", "cc0")
    for n, (name, task, count) in enumerate([("one", "color", 1), ("two", "swap", 2), ("three", "style", 1)])
]
EDITS = [
    Edit(f"{case.id}-{k}", case.id, "e", k, picture(seed=10 * n + k)) for n, case in enumerate(CASES) for k in (1, 2)
]
VOTES = [
    Response((f"{case.id}-1", f"{case.id}-2"), "p", vote) for case, vote in zip(CASES, ("A", "B", "A"), strict=True)
]


def lay(folder: Path, cases=CASES, edits=EDITS) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    write_cases(folder / "cases.parquet", cases)
    write_edits(folder / "edits.parquet", edits)
    return folder / "cases.parquet", folder / "edits.parquet"


def build(folder: Path, responses=VOTES, **tables):
    cases, edits = lay(folder, **tables)
    return build_pairs(responses, [cases], [edits], folder / "pairs.parquet", PairRules()), folder / "pairs.parquet"


def test_what_is_written_is_read_back_pixel_by_pixel(tmp_path):
    report, out = build(tmp_path)
    assert report["tasks"] == {"swap": 1, "color": 1, "style": 1}
    found = {pair.case.id: pair for pair in read_pairs(out)}
    assert list(found) == ["one", "three", "two"]
    second = found["two"]
    assert (second.preference.chosen, second.preference.rejected) == ("two-2", "two-1")
    assert second.chosen.tobytes() == EDITS[3].image.tobytes()
    assert second.rejected.tobytes() == EDITS[2].image.tobytes()
    assert [image.tobytes() for image in second.case.sources] == [image.tobytes() for image in CASES[1].sources]
    assert (second.case.category, second.case.licence, second.case.source_id) == ("cup", "cc0", "photo-1")


def test_lazy_pairs_are_the_same_and_are_decoded_when_they_are_asked_for(tmp_path, monkeypatch):
    _, out = build(tmp_path)
    told = [(pair.case.id, pair.preference, pair.chosen.tobytes()) for pair in read_pairs(out)]
    pairs = lazy_pairs(out)
    decoded = []
    decode = pair_table.decode_cell
    monkeypatch.setattr(pair_table, "decode_cell", lambda cell, name: (decoded.append(name), decode(cell, name))[1])
    assert len(pairs) == 3
    assert not decoded
    assert (pairs[2].case.id, pairs[2].preference, pairs[2].chosen.tobytes()) == told[2]
    assert len(decoded) == 4, "two sources and two edits of one pair"
    with pytest.raises(HPEditError, match="lacks the columns"):
        lazy_pairs(tmp_path / "cases.parquet")


def test_hugging_face_datasets_shows_the_pictures(tmp_path):
    datasets = pytest.importorskip("datasets")
    out = build(tmp_path)[1]
    table = datasets.Dataset.from_parquet(str(out), cache_dir=str(tmp_path / "cache"))
    kinds = {name: type(kind).__name__ for name, kind in table.features.items()}
    assert {kinds[name] for name in ("source", "chosen", "rejected")} == {"Image"}
    assert table[0]["chosen"].size == (32, 32)
    assert kinds["simulated"] == "Value"


def test_two_builds_are_byte_identical_and_P6_whatever_the_order_of_every_input(tmp_path):
    first = build(tmp_path / "a")[1].read_bytes()
    assert build(tmp_path / "b")[1].read_bytes() == first
    rng = random.Random(0)
    cases, edits, votes = (rng.sample(rows, len(rows)) for rows in (CASES, EDITS, VOTES))
    assert build(tmp_path / "c", votes, cases=cases, edits=edits)[1].read_bytes() == first
    split = [lay(tmp_path / name, edits=part)[1] for name, part in (("d", EDITS[3:]), ("e", EDITS[:3]))]
    out = tmp_path / "d" / "pairs.parquet"
    build_pairs(VOTES, [tmp_path / "d" / "cases.parquet"], split, out, PairRules())
    assert out.read_bytes() == first


def test_an_empty_result_is_an_error_and_the_file_before_it_stays(tmp_path):
    out = build(tmp_path)[1]
    before = out.read_bytes()
    with pytest.raises(HPEditError, match="no pair is left"):
        build(tmp_path, [Response(("one-1", "one-2"), "p", "tie")])
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.parquet", "edits.parquet", "pairs.parquet"]


def test_a_missing_case_an_edit_twice_and_a_wrong_table_are_named(tmp_path):
    with pytest.raises(HPEditError, match="case three is missing from the cases"):
        build(tmp_path, cases=CASES[:2])
    cases, edits = lay(tmp_path)
    with pytest.raises(HPEditError, match="edit one-1 is in the edits twice"):
        build_pairs(VOTES, [cases], [edits, edits], tmp_path / "p.parquet", PairRules())
    with pytest.raises(HPEditError, match=r"cases\.parquet lacks the columns case_id, image"):
        build_pairs(VOTES, [cases], [cases], tmp_path / "p.parquet", PairRules())
    edits.write_bytes(b"PAR1 torn")
    with pytest.raises(HPEditError, match="is not a readable parquet file"):
        build_pairs(VOTES, [cases], [edits], tmp_path / "p.parquet", PairRules())


def run(*arguments: object):
    return CliRunner().invoke(app, ["ratings", "pairs", *map(str, arguments)])


def test_the_command_reads_the_rating_apps_store_and_an_undone_answer_says_nothing(tmp_path):
    lay(tmp_path)
    db, out = tmp_path / "ratings.sqlite", tmp_path / "pairs.parquet"
    answer(db, "Ann", ("one-1", "one-2"), "A", client_id="1")
    answer(db, "Ann", ("two-1", "two-2"), "B", client_id="2")
    undo(db, "2")
    result = run("--db", db, "--cases", tmp_path, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pairs"] == 1
    assert [pair.preference.chosen for pair in read_pairs(out)] == ["one-1"]


def test_the_command_takes_tables_and_weights(tmp_path):
    lay(tmp_path)
    (tmp_path / "ratings.csv").write_text("edit_id,rater,score\none-1,p,5\none-2,p,1\none-1,q,1\none-2,q,5\n")
    (tmp_path / "votes.csv").write_text("edit_a,edit_b,rater,vote\ntwo-1,two-2,p,A\n")
    (tmp_path / "weights.csv").write_text("rater,weight\nq,0.2\n")
    arguments = ("--cases", tmp_path, "--out", tmp_path / "pairs.parquet", "--ratings", tmp_path / "ratings.csv")
    assert "no pair is left (tie: 1)" in str(run(*arguments).exception)
    result = run(*arguments, "--votes", tmp_path / "votes.csv", "--rater-weights", tmp_path / "weights.csv", "--json")
    assert json.loads(result.stdout)["basis"] == {"same raters": 1, "votes": 1}


def test_weights_that_are_none_are_refused_with_their_line(tmp_path):
    (tmp_path / "weights.csv").write_text("rater,weight\np,1\nq,many\n")
    with pytest.raises(HPEditError, match=r"weights\.csv:3: the weight of q is 'many'"):
        read_weights(tmp_path / "weights.csv")


def test_the_command_wants_one_kind_of_input(tmp_path):
    result = run("--cases", tmp_path, "--out", tmp_path / "pairs.parquet")
    assert isinstance(result.exception, HPEditError)
