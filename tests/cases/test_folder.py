"""Reading cases wherever they are kept, by everything that reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cases.build_world import Brightness, photographs, recipe

from hpedit.cases.build import run_build
from hpedit.cases.folder import CasesFolder, load_cases
from hpedit.errors import HPEditError
from hpedit.rate.image_cache import ImageCache
from hpedit.rate.items import count_edits, load_rated_images
from hpedit.scorer.fitting import read_edited, read_pictures
from hpedit.store.atomic import atomic_write, dump_json, read_json
from hpedit.store.run_folder import hash_path
from hpedit.store.tables import read_cases, write_cases


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build of 16 scenes, edited twice each, without the styles and the unscorable."""
    from hpedit.editors.load import wrap_pipeline
    from hpedit.editors.sizes import ImageAreas
    from hpedit.mini.architecture import build_pipeline

    out = tmp_path_factory.mktemp("cases") / "out"
    sections = {
        "edits": {"editor": "mini", "steps": 2, "per_case": 2},
        "filter": {"by": "drop-solved", "scorer": "given"},
    }
    editor = wrap_pipeline(build_pipeline(0), ImageAreas(32, 32 * 32, 32 * 32), fingerprint="tiny")
    run_build(recipe(out, [{"mini": "train", "count": 16}], **sections), editor=editor, scorer=Brightness())
    return out


@pytest.mark.slow
def test_training_and_benchmark_take_the_kept(build: Path) -> None:
    cases = load_cases(build)
    assert 0 < len(cases) < 16
    assert "style" not in {case.task for case in cases}
    # The dataset alone, as it was handed on, gives the same.
    assert [case.id for case in load_cases(build / "dataset")] == [case.id for case in cases]
    (shard,) = (build / "dataset" / "data").glob("*.parquet")
    assert [case.id for case in read_cases(shard)] == [case.id for case in cases]


@pytest.mark.slow
def test_rating_and_fitting_take_all_that_were_edited(build: Path, tmp_path: Path) -> None:
    shelf = ImageCache(tmp_path / "shelf")
    exhibits = load_rated_images(build, shelf)
    assert len(exhibits) == count_edits(build) == 32
    assert {exhibit.task for exhibit in exhibits} >= {"style", "removal"}
    # So does one file of edits within the build.
    (file,) = (build / "6-edits").glob("*.parquet")
    assert len(load_rated_images(file, shelf)) == 32
    cases, edits = read_edited(CasesFolder(build), None)
    assert len(cases) == 16
    names = [edit.id for edit in edits]
    assert len(names) == 32
    atomic_write(tmp_path / "ratings.csv", "edit_id,rater,score\n" + "".join(f"{n},ada,3\n" for n in names[:5]))
    assert [edit.id for edit in read_pictures(CasesFolder(build), None, tmp_path / "ratings.csv").edits] == sorted(
        names[:5]
    )


@pytest.mark.slow
def test_what_training_hashes_follows_the_cases_and_not_the_log(build: Path) -> None:
    before = CasesFolder(build).fingerprint()
    (build / "log.txt").write_text("again")
    assert CasesFolder(build).fingerprint() == before


def test_a_build_that_is_not_finished_is_not_read(tmp_path: Path) -> None:
    run_build(recipe(tmp_path / "out", [{"folder": str(photographs(tmp_path / "photos", 3))}]))
    with pytest.raises(HPEditError, match="was built without edits"):
        CasesFolder(tmp_path / "out").edits().__next__()
    record = tmp_path / "out" / "7-filter" / "stage.json"
    atomic_write(record, dump_json({name: value for name, value in read_json(record).items() if name != "counts"}))
    with pytest.raises(HPEditError, match="is not finished: 7-filter is missing"):
        load_cases(tmp_path / "out")


def test_a_table_and_a_folder_with_one_are_read_as_they_are(tmp_path: Path, make_case) -> None:  # type: ignore[no-untyped-def]
    write_cases(tmp_path / "cases.parquet", [make_case("a"), make_case("b", seed=1)])
    for path in (tmp_path, tmp_path / "cases.parquet"):
        assert [case.id for case in CasesFolder(path).kept()] == ["a", "b"]
        assert [case.id for case in CasesFolder(path).candidates()] == ["a", "b"]
        assert CasesFolder(path).fingerprint() == hash_path(path)
    with pytest.raises(HPEditError, match="no edits"):
        CasesFolder(tmp_path).edits().__next__()
    with pytest.raises(HPEditError, match="does not exist"):
        CasesFolder(tmp_path / "no")
