"""Parquet with a column of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cases.sources.opening import encoded, fingerprint, photos, picture, put, read, skipped

from hpedit.cases.recipe import SourceSection
from hpedit.cases.sources import open_source
from hpedit.errors import HPEditError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, rows: list[dict[str, Any]], group: int = 1000, metadata: dict[str, Any] | None = None) -> None:
    schema = pa.Table.from_pylist(rows).schema
    if "image" in rows[0]:
        schema = schema.set(schema.get_field_index("image"), pa.field("image", IMAGE))
    if metadata:
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": metadata}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group)


def cell(seed: int, path: str | None = None) -> dict[str, Any]:
    return {"bytes": encoded(seed), "path": path}


def test_every_row_comes_once_whatever_the_row_groups(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-0.parquet", [{"image": cell(n, f"{n}.png")} for n in range(11)], group=4)
    write(tmp_path / "data" / "train-1.parquet", [{"image": cell(n)} for n in range(11, 13)])
    for size in (1, 3, 100):
        found = photos(read(tmp_path, parquet="data", size=size))
        assert list(found) == [f"0/train-0.parquet:{n:06d}" for n in range(11)] + [
            f"0/train-1.parquet:{n:06d}" for n in range(2)
        ]
        for number, photo in enumerate(found.values()):
            assert photo.image.tobytes() == picture(number).tobytes()
    assert next(iter(found.values())).origin == "train-0.parquet/0.png"
    assert len(photos(read(tmp_path, parquet="data", size=3, count=6))) == 6
    assert len(photos(read(tmp_path, parquet="data/*-1.parquet"))) == 2


def test_a_large_row_group_is_not_read_from_its_start_for_every_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"image": cell(0)}] * 200)
    chunks = list(open_source(SourceSection(parquet="a.parquet"), 0, tmp_path).chunks(2))
    assert len(chunks) == 16
    assert len(photos(read(tmp_path, parquet="a.parquet", size=2))) == 200


def test_rows_say_licence_origin_label_and_instruction(tmp_path: Path) -> None:
    rows = [
        {"image": cell(0), "license": "CC0", "url": "https://example.org", "label": 1, "prompt": "remove the cup"},
        {"image": cell(1), "license": None, "url": None, "label": -1, "prompt": "dance"},
    ]
    names = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    write(tmp_path / "a.parquet", rows, metadata=names)
    items = read(tmp_path, parquet="a.parquet", licence="CC BY 4.0", origin="DIV2K")
    one, two = photos(items).values()
    assert (one.licence, one.origin, one.labels) == ("CC0", "https://example.org", ("dog",))
    assert [candidate.task for candidate in one.candidates] == ["removal"]
    assert (two.licence, two.origin, two.labels) == ("CC BY 4.0", "DIV2K/a.parquet:000001", ())
    assert "none of the eight" in skipped(items)["0/a.parquet:000001#instruction"]


def test_rows_without_a_usable_picture_are_named(tmp_path: Path) -> None:
    put(tmp_path / "root" / "beside.png", 5)
    put(tmp_path / "secret.png")
    rows = [
        {"image": {"bytes": None, "path": "beside.png"}},
        {"image": {"bytes": None, "path": "../secret.png"}},
        {"image": {"bytes": None, "path": None}},
        {"image": None},
        {"image": {"bytes": b"<html>", "path": "a.png"}},
        {"image": {"bytes": encoded(1)[:-30], "path": "a.png"}},
        {"image": cell(2, "/home/somebody/private/a.png")},
    ]
    write(tmp_path / "root" / "a.parquet", rows)
    items = read(tmp_path, parquet="root/a.parquet")
    found = photos(items)
    assert list(found) == ["0/a.parquet:000000", "0/a.parquet:000006"]
    assert found["0/a.parquet:000000"].image.tobytes() == picture(5).tobytes()
    assert "private" not in found["0/a.parquet:000006"].origin
    assert [len(reason) > 5 for reason in skipped(items).values()] == [True] * 5
    assert "leads out" in skipped(items)["0/a.parquet:000001"]


def test_which_column_holds_the_pictures(tmp_path: Path) -> None:
    rows = [{"source": cell(0), "target": cell(1), "name": "x"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "two.parquet")
    with pytest.raises(HPEditError, match="several image columns: source, target"):
        read(tmp_path, parquet="two.parquet")
    (photo,) = photos(read(tmp_path, parquet="two.parquet", image_column="target")).values()
    assert photo.image.tobytes() == picture(1).tobytes()
    with pytest.raises(HPEditError, match="no column 'image'"):
        read(tmp_path, parquet="two.parquet", image_column="image")
    pq.write_table(pa.Table.from_pylist([{"jpg": encoded(3)}]), tmp_path / "bytes.parquet")
    assert next(iter(photos(read(tmp_path, parquet="bytes.parquet")).values())).image.tobytes() == picture(3).tobytes()
    pq.write_table(pa.Table.from_pylist([{"name": "x"}]), tmp_path / "none.parquet")
    with pytest.raises(HPEditError, match="no image column"):
        read(tmp_path, parquet="none.parquet")


def test_damaged_files_are_one_clear_error_or_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no parquet at all")
    with pytest.raises(HPEditError, match="not a readable parquet file"):
        read(tmp_path, parquet="a.parquet")
    with pytest.raises(HPEditError, match="holds no parquet file"):
        read(tmp_path, parquet="b.parquet")
    write(tmp_path / "c.parquet", [{"image": cell(n)} for n in range(4)], group=2)
    content = bytearray((tmp_path / "c.parquet").read_bytes())
    content[4:200] = bytes(196)
    (tmp_path / "c.parquet").write_bytes(content)
    items = read(tmp_path, parquet="c.parquet", size=2)
    assert list(photos(items)) == ["0/c.parquet:000002", "0/c.parquet:000003"]
    assert "damaged" in skipped(items)["0/c.parquet:000000-000001"]


def test_the_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"image": cell(0)}])
    before = fingerprint(tmp_path, parquet="a.parquet")
    write(tmp_path / "a.parquet", [{"image": cell(1)}])
    assert fingerprint(tmp_path, parquet="a.parquet") != before


@pytest.mark.slow
def test_what_hugging_face_datasets_writes_is_read(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Image, Value

    features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"]), "license": Value("string")})
    rows = {"image": [picture(0), picture(1)], "label": [1, 0], "license": ["CC0", None]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    one, two = photos(read(tmp_path, parquet="a.parquet")).values()
    assert (one.labels, one.licence, two.labels) == (("dog",), "CC0", ("cat",))
    assert [photo.image.tobytes() for photo in (one, two)] == [picture(0).tobytes(), picture(1).tobytes()]
