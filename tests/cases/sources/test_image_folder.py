"""Hugging Face image folders."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cases.sources.opening import photos, put, read, skipped


def test_rows_speak_of_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png", "c.png"):
        put(tmp_path / name)
    (tmp_path / "metadata.csv").write_text(
        "file_name,license,url,label,prompt\n"
        "a.png,CC0,https://example.org/a,cat,remove the cat\n"
        "a.png,,,,make it sepia\n"
        "sub/b.png,CC BY 2.0,,dog,dance\n"
        "gone.png,CC0,,,\n"
        "../x.png,CC0,,,\n"
        ",CC0,,,\n"
    )
    items = read(tmp_path, image_folder=".", licence="unknown", origin="LSDIR")
    found = photos(items)
    assert set(found) == {"0/a.png", "0/sub/b.png"}
    a, b = found["0/a.png"], found["0/sub/b.png"]
    assert (a.licence, a.origin, a.labels) == ("CC0", "https://example.org/a", ("cat",))
    assert [(candidate.task, candidate.instruction) for candidate in a.candidates] == [
        ("removal", "remove the cat"),
        ("style", "make it sepia"),
    ]
    assert (b.licence, b.origin, b.candidates) == ("CC BY 2.0", "LSDIR/sub/b.png", ())
    reasons = skipped(items)
    assert "none of the eight" in reasons["0/sub/b.png#instruction"]
    assert "no row" in reasons["0/c.png"]
    assert "does not exist" in reasons["0/metadata.csv:5"]
    assert "leads out" in reasons["0/metadata.csv:6"]
    assert "no file_name" in reasons["0/metadata.csv:7"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_other_tables_and_tables_further_down(tmp_path: Path, kind: str) -> None:
    put(tmp_path / "train" / "a.png")
    row = {"file_name": "a.png", "license": "CC0"}
    table = tmp_path / "train" / f"metadata.{kind}"
    if kind == "jsonl":
        table.write_text(json.dumps(row) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist([row]), table)
    items = read(tmp_path, image_folder=".")
    assert photos(items)["0/train/a.png"].licence == "CC0"
    assert not skipped(items)


def test_folders_are_labels_where_there_is_no_table(tmp_path: Path) -> None:
    for name in ("cat/a.png", "dog/b.png"):
        put(tmp_path / name)
    found = photos(read(tmp_path, image_folder="."))
    assert [photo.labels for photo in found.values()] == [("cat",), ("dog",)]
    put(tmp_path / "c.png")
    assert {photo.labels for photo in photos(read(tmp_path, image_folder=".")).values()} == {()}


@pytest.mark.slow
def test_it_is_read_as_hugging_face_datasets_reads_it(tmp_path: Path) -> None:
    from datasets import load_dataset

    for number, name in enumerate(("cat/a.png", "dog/b.png", "dog/c.png")):
        put(tmp_path / "labels" / name, number)
        put(tmp_path / "rows" / name, number)
    rows = [{"file_name": name, "label": label} for name, label in (("cat/a.png", "x"), ("dog/b.png", "y"))]
    (tmp_path / "rows" / "cat").joinpath("..", "dog", "c.png").unlink()
    (tmp_path / "rows" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for folder in ("labels", "rows"):
        theirs = load_dataset("imagefolder", data_dir=str(tmp_path / folder), cache_dir=str(tmp_path / "cache"))[
            "train"
        ]
        label = theirs.features["label"]
        expected = sorted(
            (row["image"].convert("RGB").tobytes(), label.int2str(row["label"]) if folder == "labels" else row["label"])
            for row in theirs
        )
        ours = photos(read(tmp_path, image_folder=folder)).values()
        assert sorted((photo.image.tobytes(), photo.labels[0]) for photo in ours) == expected
