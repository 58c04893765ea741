"""What must not be trained on."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpedit.cases.build import run_build
from hpedit.cases.duplicates import image_fingerprints
from hpedit.cases.exclusion import Exclusion
from hpedit.cases.folder import CasesFolder
from hpedit.cases.recipe import CasesRecipe, DuplicatesSection, InstructionsSection, SourceSection
from hpedit.errors import HPEditError
from hpedit.mini.photos import embedded_tiles
from hpedit.records import Case
from hpedit.store.atomic import read_jsonl
from hpedit.store.tables import write_cases


def photo(number: int, side: int = 128) -> Image.Image:
    tile = embedded_tiles("pretrain")[number]
    return Image.fromarray((tile.pixels * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    sources = [(photo(0),), (photo(20), photo(30)), (Image.new("RGB", (50, 50), "red"),)]
    cases = [Case(f"c{n}", "removal", "remove it", images, f"p{n}") for n, images in enumerate(sources)]
    (tmp_path / "bench").mkdir()
    write_cases(tmp_path / "bench" / "cases.parquet", cases)
    return tmp_path / "bench"


def test_the_same_id(bench: Path) -> None:
    excluded = Exclusion.of([bench])
    other = image_fingerprints(photo(60))
    assert "id c1 of case c1 of bench" in str(excluded.reason("c1", "", *other))
    assert "id p2 of case c2 of bench" in str(excluded.reason("x", "p2", *other))
    assert excluded.reason("x", "", *other) is None


def test_the_same_pixels(bench: Path) -> None:
    excluded = Exclusion.of([bench / "cases.parquet"])
    for number, name in ((0, "c0"), (20, "c1"), (30, "c1")):
        assert f"the pixels of case {name} of" in str(excluded.reason("x", "y", *image_fingerprints(photo(number))))
    assert "the pixels of case c2" in str(
        excluded.reason("x", "y", *image_fingerprints(Image.new("RGB", (50, 50), "red")))
    )


def test_near_duplicate_of_the_bench(bench: Path) -> None:
    excluded = Exclusion.of([bench])
    sha, hashed = image_fingerprints(photo(30, 90))
    assert "looks like case c1 of bench" in str(excluded.reason("x", "y", sha, hashed))
    assert Exclusion.of([bench], near=0).reason("x", "y", sha, hashed) is None
    # What has no structure looks like nothing.
    assert excluded.reason("x", "y", *image_fingerprints(Image.new("RGB", (60, 60), "blue"))) is None


def test_several_benches_and_none(bench: Path, tmp_path: Path) -> None:
    write_cases(tmp_path / "more.parquet", [Case("d0", "removal", "remove it", (photo(70),), "q0")])
    excluded = pickle.loads(pickle.dumps(Exclusion.of([bench, tmp_path / "more.parquet"])))
    assert "case d0 of more.parquet" in str(excluded.reason("x", "y", *image_fingerprints(photo(70))))
    assert "case c0 of bench" in str(excluded.reason("x", "y", *image_fingerprints(photo(0))))
    assert Exclusion.of([]).reason("c0", "p0", *image_fingerprints(photo(0))) is None
    with pytest.raises(HPEditError, match="holds no cases"):
        Exclusion.of([tmp_path / "gone"])


def test_no_further_picture_of_a_case_is_the_benchs(bench: Path, tmp_path: Path) -> None:
    seconds = {"same": photo(0), "smaller": photo(30, 90), "other": photo(90)}
    cases = [Case(n, "swap", "swap it", (photo(60), second), f"p-{n}") for n, second in seconds.items()]
    write_cases(tmp_path / "cases.parquet", cases)
    recipe = CasesRecipe(
        output="out",
        sources=(SourceSection(cases="cases.parquet"),),
        duplicates=DuplicatesSection(exclude=(bench.name,)),
        instructions=InstructionsSection(by="given"),
    )
    run_build(recipe, base=tmp_path)
    assert [case.id for case in CasesFolder(tmp_path / "out").kept()] == ["other"]
    reasons = {row["id"]: row["reason"] for row in read_jsonl(tmp_path / "out" / "dropped.jsonl")}
    assert "the pixels of case c0" in reasons["0/same"]
    assert "looks like case c1" in reasons["0/smaller"]


def test_nothing_of_a_bench_comes_into_a_build(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    pictures = {"same": photo(0), "smaller": photo(20, 90), "reference": photo(30), "id": photo(60), "other": photo(90)}
    for name, picture in pictures.items():
        picture.save(tmp_path / "photos" / f"{name}.png")
    rows = [{"id": "c2" if name == "id" else name, "image": f"{name}.png"} for name in pictures]
    lines = (json.dumps({**row, "prompt": "remove the cup"}) + "\n" for row in rows)
    (tmp_path / "photos" / "cases.jsonl").write_text("".join(lines))
    recipe = CasesRecipe(
        output="out",
        sources=(SourceSection(table="photos"),),
        duplicates=DuplicatesSection(exclude=(bench.name,)),
        instructions=InstructionsSection(by="given"),
    )
    run_build(recipe, base=tmp_path)
    assert [case.id for case in CasesFolder(tmp_path / "out").kept()] == ["other"]
    dropped = {row["id"]: row["reason"] for row in read_jsonl(tmp_path / "out" / "dropped.jsonl")}
    assert set(dropped) == {f"0/{name}.png" for name in pictures if name != "other"}
    assert all("which is excluded" in reason for reason in dropped.values())
