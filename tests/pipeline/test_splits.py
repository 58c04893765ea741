"""Which cases of a run are rated, trained on and held out."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hpedit.errors import HPEditError
from hpedit.pipeline.splits import BENCH, RATED, TRAIN, Wanted, read_splits, split_cases, split_of
from hpedit.records import Case
from hpedit.store.tables import read_cases

WANTED = Wanted(3, None, 2, 0.2, 0.2)
TASKS = ("removal", "style")


def cases(photographs: int) -> list[Case]:
    picture = Image.new("RGB", (8, 8))
    return [
        Case(f"{task}-{number}-{turn}", task, "do it", (picture,), source_id=f"photo-{number}")
        for number in range(photographs)
        for task in TASKS
        for turn in range(2)
    ]


def test_no_photograph_is_in_two_splits_and_tasks_are_capped() -> None:
    found = split_cases(cases(60), 0, WANTED)
    photographs = {name: {case.source_id for case in kept} for name, kept in found.items()}
    assert not photographs[RATED] & photographs[TRAIN]
    assert not photographs[BENCH] & (photographs[TRAIN] | photographs[RATED])
    for name, most in ((RATED, 3), (BENCH, 2)):
        counts = [sum(case.task == task for case in found[name]) for task in TASKS]
        assert counts == [most, most]
        assert len(photographs[name]) > 1, "photographs take turns"
    assert len(found[TRAIN]) == 4 * len(photographs[TRAIN])


def test_a_further_photograph_moves_no_other() -> None:
    names = [f"photo-{number}" for number in range(500)]
    shares = [split_of(name, 0, WANTED) for name in names]
    assert 0.14 < shares.count(BENCH) / 500 < 0.26
    assert 0.14 < shares.count(RATED) / 500 < 0.26
    before = {case.id for case in split_cases(cases(60), 0, WANTED)[TRAIN]}
    assert before <= {case.id for case in split_cases(cases(80), 0, WANTED)[TRAIN]}
    assert shares != [split_of(name, 1, WANTED) for name in names], "another seed splits otherwise"


def test_too_few_photographs_are_an_error() -> None:
    with pytest.raises(HPEditError, match=r"no case is left for the .* split of 1 source photographs"):
        split_cases(cases(1), 0, WANTED)


def test_splits_are_made_once(tmp_path: Path) -> None:
    paths = read_splits(tmp_path / "splits", lambda: cases(60), 0, WANTED)

    def again() -> list[Case]:
        raise AssertionError("they are there already")

    assert read_splits(tmp_path / "splits", again, 0, WANTED) == paths
    assert {case.id for case in read_cases(paths[BENCH])} == {
        case.id for case in split_cases(cases(60), 0, WANTED)[BENCH]
    }
