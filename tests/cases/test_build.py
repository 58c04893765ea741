"""The cases stage: candidates, the base's edit of each, the hard filter, and what it leaves on the disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from hpedit.bench.run import BenchRow
from hpedit.cases.build import build_hard, candidates, is_hard
from hpedit.errors import HPEditError
from hpedit.records import Case, Score
from hpedit.store.tables import read_cases
from hpedit.tasks import TASK_IDS


class Brightness:
    """Scores the mean brightness of an edit, 0 to 5; a case named "odd" can't be scored."""

    fingerprint = "brightness"

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        ids = edit_ids or [case.id for case in cases]
        return [
            Score(name, "brightness", None, reason="odd")
            if case.id.endswith("0001")
            else Score(name, "brightness", 5.0 if case.task == "style" else float(np.asarray(image).mean() / 255 * 4))
            for name, case, image in zip(ids, cases, images, strict=True)
        ]


def row(score: float | None) -> BenchRow:
    return BenchRow("c", "e", "style", "s", 0, score=score, reason=None if score is not None else "none")


@pytest.mark.parametrize(("score", "hard"), [(0.0, True), (4.49, True), (4.5, False), (5.0, False), (None, False)])
def test_a_rounded_five_is_dropped_and_so_is_what_has_no_score(score: float | None, hard: bool) -> None:
    assert is_hard(row(score)) is hard


def test_mini_candidates_are_spread_over_the_tasks() -> None:
    cases = candidates("mini", None, 20, 0).cases
    assert len(cases) == 20
    counts = [sum(case.task == task for case in cases) for task in TASK_IDS]
    assert max(counts) - min(counts) <= 1


def test_photos_give_cases_and_bad_files_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(8):
        Image.fromarray(rng.integers(0, 256, (260, 300, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    (tmp_path / "bad.jpg").write_bytes(b"")
    given = candidates("photos", tmp_path, 16, 0)
    assert len(given.cases) == 16
    assert all(case.oracle for case in given.cases)
    assert [Path(row["id"]).name for row in given.skipped] == ["bad.jpg"]


def test_a_source_without_src_is_refused() -> None:
    with pytest.raises(HPEditError, match="--src"):
        candidates("photos", None, 8, 0)


def test_build_keeps_the_hard_and_continues_to_the_same(tmp_path: Path, tiny_editor) -> None:  # type: ignore[no-untyped-def]
    given = candidates("mini", None, 16, 0)
    kept = build_hard(tmp_path / "out", given, tiny_editor, Brightness(), seed=0, steps=2)
    names = {case.id for case in kept}
    assert names == {case.id for case in given.cases if case.task != "style" and not case.id.endswith("0001")}
    assert {case.id for case in read_cases(tmp_path / "out" / "cases.parquet")} == names
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["candidates"] == 16
    assert result["kept"] == len(kept)
    assert result["tasks"]["style"] == {"kept": 0, "solved": 1, "unscorable": 1}
    again = build_hard(tmp_path / "out", given, tiny_editor, Brightness(), seed=0, steps=2)
    assert [case.id for case in again] == [case.id for case in kept]
    table = datasets.Dataset.from_parquet(str(tmp_path / "out" / "cases.parquet"), cache_dir=str(tmp_path / "cache"))
    assert any("Image" in str(feature) for feature in table.features.values())


def test_nothing_hard_is_an_error(tmp_path: Path, tiny_editor) -> None:  # type: ignore[no-untyped-def]
    given = candidates("mini", None, 16, 0)
    only_style = type(given)([case for case in given.cases if case.task == "style"], [], [])
    with pytest.raises(HPEditError, match="nothing is left"):
        build_hard(tmp_path / "out", only_style, tiny_editor, Brightness(), seed=0, steps=2)
