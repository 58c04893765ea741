"""Learning curve: the split, the choices, and the curve of a judge that calibration can improve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpedit.errors import HPEditError
from hpedit.scorer.calibration.calibration import Calibration
from hpedit.scorer.calibration.judge_table import JudgeAnswers
from hpedit.scorer.evaluation.learning_curve import NUMBERS, SHOWN, learning_curve, split_photos
from hpedit.scorer.tables.fit_tables import RatedTable, fit_table, load_table
from hpedit.stats.bootstrap import FloatArray

RNG = np.random.default_rng(11)
N = 240
SOURCES = [f"s{row // 4}" for row in range(N)]
TASKS = ["color", "style"] * (N // 2)
TRUTH = RNG.uniform(0, 5, N)
RATINGS = np.clip(np.round(TRUTH[:, None] + RNG.normal(0, 0.6, (N, 3))), 0, 5)
# The first answer is noisy, the second good: what calibration has to find out.
FEATURES = np.column_stack([np.clip(TRUTH + RNG.normal(0, 3, N), 0, 5), np.clip(TRUTH + RNG.normal(0, 0.7, N), 0, 5)])


TABLE = RatedTable(
    tuple(f"e{row}" for row in range(N)),
    tuple(SOURCES),
    tuple(TASKS),
    RATINGS,
    (JudgeAnswers("judge", ("overall", "detail"), FEATURES),),
    {},
)


def grow(numbers: Sequence[int] = (15, 60), table: RatedTable = TABLE, **changes: Any) -> dict[str, Any]:
    return learning_curve(table, numbers, **({"draws": 2} | changes))


def test_the_curve_rises_from_the_judge_towards_people_on_photos_not_fitted_on() -> None:
    grown = grow((40,))
    (point,) = grown["points"]
    assert (point["number"], point["edits"], point["fits"], point["ok"]) == (40, 80, 2, 2)
    assert point["pearson"]["low"] > grown["raw"]["pearson"]["value"] + 0.1
    assert point["pearson"]["low"] <= point["pearson"]["mean"] <= point["pearson"]["high"]
    assert grown["human"]["pearson"]["ci95"][0] > 0.5
    assert set(point["tasks"]) == set(grown["raw"]["tasks"]) == set(grown["human"]["tasks"]) == {"color", "style"}
    assert grown["fitting"]["sources"] + grown["held_out"]["sources"] == 60
    assert grown["held_out"]["edits"] == grown["raw"]["n"] == 96
    json.dumps(grown, allow_nan=False)


class Recorder:
    """Remembers on which photos and edits it was to fit; fits once, since only that is looked at."""

    def __init__(self) -> None:
        self.fits: list[tuple[list[str], list[str], FloatArray]] = []
        self.first: Calibration | None = None

    def __call__(self, table: RatedTable) -> Calibration:
        self.fits.append((list(table.sources), list(table.tasks), table.features[:, 1]))
        self.first = self.first or fit_table(table)
        return self.first


def test_no_held_out_photo_is_fitted_on_and_choices_are_nested_and_spread_over_photos() -> None:
    recorder = Recorder()
    grow((15, 30), draws=2, fit=recorder, share=0.25)
    held = split_photos(SOURCES, 0.25, 0)
    assert len(held) == 15
    for sources, tasks, _ in recorder.fits:
        assert not held & set(sources)
        assert tasks.count("color") == tasks.count("style")
    few, other_few, many, other_many = recorder.fits
    assert set(few[2]) < set(many[2])
    assert set(other_few[2]) < set(other_many[2])
    assert set(few[2]) != set(other_few[2])
    # Fifteen edits a task of 45 photos: no photo gives a second one.
    assert len(set(zip(few[0], few[1], strict=True))) == 30


def test_equal_seeds_give_equal_curves_and_others_another_split() -> None:
    assert grow((15,), draws=1) == grow((15,), draws=1)
    assert split_photos(SOURCES, 0.4, 0) != split_photos(SOURCES, 0.4, 1)
    assert split_photos(SOURCES, 0.4, 0) == split_photos(SOURCES[::-1], 0.4, 0)


def test_too_few_to_fit_and_more_than_there_are_have_a_reason_and_no_value() -> None:
    few, many = grow((2, 5000))["points"]
    assert (few["fits"], few["failed"], few["pearson"]) == (0, 2, None)
    assert "too few" in few["reason"]
    assert (many["fits"], many["failed"], many["mae"]) == (0, 0, None)
    assert many["reason"] == "no task has that many rated edits to fit on; the most is 72"


def test_a_task_with_fewer_gives_all_it_has_and_is_named() -> None:
    tasks = ["color" if row % 8 else "style" for row in range(N)]
    (point,) = grow((60,), replace(TABLE, tasks=tuple(tasks)), draws=1)["points"]
    assert set(point["short"]) == {"style"}
    assert point["edits"] == 60 + point["short"]["style"]


def test_unrated_and_unscorable_edits_take_no_part() -> None:
    ratings, features = RATINGS[:, :1].copy(), FEATURES.copy()
    ratings[:8], features[8:16] = np.nan, np.nan
    judges = (replace(TABLE.judges[0], values=features),)
    grown = grow((30,), replace(TABLE, ratings=ratings, judges=judges), draws=1)
    assert grown["fitting"]["edits"] + grown["held_out"]["edits"] == N - 16
    assert grown["human"]["pearson"]["value"] is None


def test_a_given_split_is_kept_and_one_through_a_photo_refused() -> None:
    held = [source in {"s0", "s1", "s2"} for source in SOURCES]
    assert grow((30,), draws=1, held_out=held)["held_out"] == {
        "edits": 12,
        "sources": 3,
        "tasks": {"color": 6, "style": 6},
    }
    held[4] = False
    with pytest.raises(HPEditError, match="photo s1 is both fitted and measured on"):
        grow((30,), held_out=held)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": ()}, "must be at least 1"),
        ({"numbers": (0, 10)}, "must be at least 1"),
        ({"share": 1.0}, "share of 1"),
        ({"draws": 0}, "0 draws"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HPEditError, match=message):
        grow(**changes)


def test_one_photo_cannot_be_split() -> None:
    with pytest.raises(HPEditError, match="at least two"):
        grow(table=TABLE.rows(np.arange(4)))


def test_progress_is_told_number_by_number() -> None:
    lines: list[str] = []
    grow((15,), draws=1, progress=lines.append)
    assert lines == ["15 rated edits a task: 1 of 1 fits"]


@pytest.mark.slow
def test_ratings_of_real_people_make_gpt4o_better_than_alone(imagenhub: Path) -> None:
    tables = (imagenhub / "edits.csv", imagenhub / "ratings.csv", imagenhub / "scores.csv")
    grown = learning_curve(load_table(*tables, "gpt4o_0shot"), (10, 100), draws=2)
    few, many = grown["points"]
    assert few["fits"] == 0 or set(few) >= set(SHOWN)
    assert many["pearson"]["mean"] > grown["raw"]["pearson"]["value"]
    assert NUMBERS == (10, 25, 50, 100)


@pytest.mark.slow
def test_several_judges_are_combined_at_every_number(imagenhub: Path) -> None:
    tables = (imagenhub / "edits.csv", imagenhub / "ratings.csv", imagenhub / "scores.csv")
    grown = learning_curve(load_table(*tables, ("gpt4o_0shot", "gemini_0shot")), (100,), draws=1)
    assert grown["judge"] == "gpt4o_0shot + gemini_0shot"
    assert grown["points"][0]["pearson"]["mean"] > grown["raw"]["pearson"]["value"] - 0.05
