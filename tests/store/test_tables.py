"""Records come back as they were, and Hugging Face datasets sees the images."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hpedit.errors import HPEditError
from hpedit.records import Case, Edit, OracleKey, Rating, Score
from hpedit.store import tables


def picture(seed: int, mode: str = "RGB") -> Image.Image:
    shape = (6, 8, 3) if mode == "RGB" else (6, 8)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def some_cases(count: int = 3) -> list[Case]:
    return [
        Case(
            id=f"case-{number}",
            task="color",
            instruction='make it "red",\nplease 🙂 {answer}',
            sources=tuple(picture(10 * number + k) for k in range(1 + number % 3)),
            source_id=f"photo-{number // 2}",
            category="boat" if number % 2 else "",
            origin="a test",
            licence="CC0",
            oracle=OracleKey(picture(number + 500), picture(number + 600, "L")) if number % 2 else None,
        )
        for number in range(count)
    ]


def assert_same(one: Case, other: Case) -> None:
    for name in ("id", "task", "instruction", "source_id", "category", "origin", "licence", "group_key"):
        assert getattr(one, name) == getattr(other, name)
    assert [image.tobytes() for image in one.sources] == [image.tobytes() for image in other.sources]
    assert (one.oracle is None) == (other.oracle is None)
    if one.oracle and other.oracle:
        assert one.oracle.target.tobytes() == other.oracle.target.tobytes()
        assert one.oracle.region.tobytes() == other.oracle.region.tobytes()
        assert other.oracle.region.mode == "L"


def test_cases_come_back(tmp_path: Path) -> None:
    written = some_cases()
    assert tables.write_cases(tmp_path / "c.parquet", written) == 3
    for one, other in zip(written, tables.read_cases(tmp_path / "c.parquet"), strict=True):
        assert_same(one, other)


def test_more_than_one_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 4)
    tables.write_cases(tmp_path / "c.parquet", some_cases(10))
    assert pq.ParquetFile(tmp_path / "c.parquet").num_row_groups == 3
    first = next(tables.iter_cases(tmp_path / "c.parquet"))
    assert first.id == "case-0"
    assert [case.id for case in tables.read_cases(tmp_path / "c.parquet")] == [f"case-{n}" for n in range(10)]


def test_edits_and_scores_come_back(tmp_path: Path) -> None:
    edit = Edit("e", "c", "mini+lora", 2**62, picture(1))
    tables.write_edits(tmp_path / "e.parquet", [edit])
    [read] = tables.iter_edits(tmp_path / "e.parquet")
    assert (read.id, read.case_id, read.editor, read.seed) == ("e", "c", "mini+lora", 2**62)
    assert read.image.tobytes() == edit.image.tobytes()
    scores = [
        Score("e", "judge", 1 / 3, std=0.1, raw={"q1": 0.1, "q0": 2.0}),
        Score("f", "judge", None, reason="no answer"),
    ]
    tables.write_scores(tmp_path / "s.parquet", scores)
    assert tables.read_scores(tmp_path / "s.parquet") == scores


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_ratings_come_back(tmp_path: Path, name: str) -> None:
    ratings = [
        Rating("e,1", 'anna "a"', 3.5, ("blurred", "odd light"), "2026-01-02T03:04:05+00:00"),
        Rating("e2", "rater-1", 0.0, simulated=True),
    ]
    assert tables.write_ratings(tmp_path / name, ratings) == 2
    assert tables.read_ratings(tmp_path / name) == ratings


@pytest.mark.parametrize(
    ("row", "said"),
    [("e,anna,9", "r.csv:3: rating of edit e"), ("e,anna,good", "'good' is not a number"), ("e,,3", "no rater")],
)
def test_a_bad_rating_is_named_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    (tmp_path / "r.csv").write_bytes(b"\xef\xbb\xbfedit_id,rater,score\r\ne,anna,3\r\n" + row.encode() + b"\r\n")
    with pytest.raises(HPEditError) as caught:
        tables.read_ratings(tmp_path / "r.csv")
    assert said in caught.value.message


def test_ratings_of_another_kind_of_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.xlsx").write_bytes(b"x")
    with pytest.raises(HPEditError, match=r"neither \.jsonl nor \.csv"):
        tables.read_ratings(tmp_path / "r.xlsx")
    with pytest.raises(HPEditError, match="does not exist"):
        tables.read_ratings(tmp_path / "nothing.csv")


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    tables.write_cases(tmp_path / "a.parquet", some_cases())
    tables.write_cases(tmp_path / "b.parquet", some_cases())
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_repeated_id_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "c.parquet"
    tables.write_cases(file, some_cases(2))
    with pytest.raises(HPEditError, match="case-1 appears twice"):
        tables.write_cases(file, [*some_cases(3), some_cases(2)[1]])
    assert len(tables.read_cases(file)) == 2
    assert os.listdir(tmp_path) == ["c.parquet"]


def test_a_source_that_fails_midway_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "c.parquet"
    tables.write_cases(file, some_cases(2))

    def broken() -> Iterator[Case]:
        yield from some_cases(2)
        raise RuntimeError("the disk with the photos is gone")

    with pytest.raises(RuntimeError):
        tables.write_cases(file, broken())
    assert len(tables.read_cases(file)) == 2
    assert os.listdir(tmp_path) == ["c.parquet"]


def test_nothing_is_a_table_too(tmp_path: Path) -> None:
    assert tables.write_cases(tmp_path / "c.parquet", []) == 0
    assert tables.read_cases(tmp_path / "c.parquet") == []


def test_a_file_that_is_no_such_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="does not exist"):
        tables.read_cases(tmp_path / "nothing.parquet")
    (tmp_path / "c.parquet").write_bytes(b"not parquet")
    with pytest.raises(HPEditError, match=r"c\.parquet is not a readable parquet file"):
        tables.read_cases(tmp_path / "c.parquet")
    tables.write_scores(tmp_path / "s.parquet", [])
    with pytest.raises(HPEditError, match="lacks the columns category, id"):
        tables.read_cases(tmp_path / "s.parquet")


def test_an_image_that_is_only_a_path_is_named(tmp_path: Path) -> None:
    tables.write_edits(tmp_path / "e.parquet", [Edit("e", "c", "base", 0, picture(0))])
    table = pq.read_table(tmp_path / "e.parquet")
    emptied = pa.array([{"bytes": None, "path": "gone.png"}], type=table.schema.field("image").type)
    pq.write_table(table.set_column(table.schema.get_field_index("image"), "image", emptied), tmp_path / "e.parquet")
    with pytest.raises(HPEditError, match="edit e has no image bytes"):
        list(tables.iter_edits(tmp_path / "e.parquet"))


@pytest.mark.slow
def test_hugging_face_datasets_sees_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    written = some_cases()
    tables.write_cases(tmp_path / "c.parquet", written)
    tables.write_edits(tmp_path / "e.parquet", [Edit("e", "case-1", "base", 7, picture(3))])
    tables.write_scores(tmp_path / "s.parquet", [Score("e", "judge", 2.5)])

    def load(name: str) -> object:
        files = str(tmp_path / name)
        return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))

    cases = load("c.parquet")
    for column in ("source", "source_2", "source_3", "target", "region"):
        assert isinstance(cases.features[column], datasets.Image)
    for row, case in zip(cases, written, strict=True):
        shown = [row["source"], row["source_2"], row["source_3"]]
        for image, source in itertools.zip_longest(shown, case.sources):
            assert (image is None) == (source is None)
            assert image is None or image.tobytes() == source.tobytes()
        assert (row["target"] is None) == (case.oracle is None)
    [edit] = load("e.parquet")
    assert edit["image"].tobytes() == picture(3).tobytes()
    assert edit["seed"] == 7
    [score] = load("s.parquet")
    assert score["value"] == 2.5
