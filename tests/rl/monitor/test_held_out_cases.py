"""What is held out of training, of cases in memory and of lazy ones alike."""

import pytest

from hpedit.cases.folder import CasesFolder, lazy_cases
from hpedit.rl.monitor.held_out_cases import split_cases
from hpedit.store.lazy_rows import LazyRows
from hpedit.store.tables import write_cases


@pytest.fixture
def cases(make_case):
    return [make_case(f"case-{i}", f"do {i}", seed=10 * (i // 2)) for i in range(20)]


@pytest.fixture
def lazy(cases, tmp_path):
    write_cases(tmp_path / "cases.parquet", cases)
    return lazy_cases(CasesFolder(tmp_path / "cases.parquet"))


@pytest.fixture
def recipe(make_recipe):
    return make_recipe(evaluate={"every": 1, "share": 0.3, "count": 4})


def test_lazy_cases_are_split_like_others_and_stay_lazy(cases, lazy, recipe, monkeypatch):
    split = split_cases(cases, None, recipe)
    decoded = []
    fetch = LazyRows._read_row
    monkeypatch.setattr(LazyRows, "_read_row", lambda self, *place: (decoded.append(place), fetch(self, *place))[1])
    lazily = split_cases(lazy, None, recipe)
    assert isinstance(lazily.training, LazyRows)
    assert len(decoded) == len(split.held_out) == 4
    assert lazily.note == split.note
    assert [case.id for case in lazily.held_out] == [case.id for case in split.held_out]
    assert [case.id for case in lazily.training] == [case.id for case in split.training]


def test_no_photograph_is_on_both_sides(cases, recipe):
    split = split_cases(cases, None, recipe)
    assert not {case.source_id for case in split.training} & {case.source_id for case in split.held_out}
    assert 0 < len(split.training) < len(cases)
