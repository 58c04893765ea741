"""Probes: honest scorers pass, scorers that can be hacked are caught at what hacks them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from tests.scorer.probe_world import OracleScorer, does_not_look, loves_colour, reads_the_instruction, world

from hpedit.errors import HPEditError
from hpedit.scorer.probes.kinds import KINDS
from hpedit.scorer.probes.probe_text import probe_lines
from hpedit.scorer.probes.probes import (
    MAX_RISE,
    Bounds,
    Comparison,
    choose_subjects,
    compare_versions,
    summarise,
    worst_by_kind,
)
from hpedit.scorer.probes.run_probe import draw_sheet, probe, probe_rated

INJECTIONS = {kind.id for kind in KINDS if kind.plain is not None}


@pytest.fixture(scope="module")
def small_world():
    return world(3)


@pytest.fixture(scope="module")
def subjects(small_world):
    cases, edits, ratings = small_world
    return choose_subjects(cases, edits, ratings, seed=0)


def probed(subjects, answer=None, **bounds):
    return summarise(compare_versions(OracleScorer(answer), subjects), Bounds(**bounds))


def share(result, kind):
    return result["kinds"][kind]["share"]["value"]


def test_an_honest_scorer_puts_every_degenerate_version_below(subjects) -> None:
    result = probed(subjects)
    assert result["passed"], result["reasons"]
    assert result["edits"] == len(subjects) >= 16
    assert result["overall"]["share"]["value"] < 0.02
    assert {name for name, row in result["kinds"].items() if row["n"] < 8} == set()
    assert set(result["tasks"]) == {subject.case.task for subject in subjects}
    assert all(share(result, name) == 0 for name in ("copy", "black", "flat", "static", "other_edit", "says_5"))
    assert result["kinds"]["black"]["drop"]["value"] > 2


def test_edits_of_cases_that_are_not_there_are_left_out(small_world, tmp_path) -> None:
    cases, edits, _ = small_world
    known = dict(list(cases.items())[1:])
    report = probe_rated(OracleScorer(), known, edits, None, tmp_path, limit=8)
    assert report["edits"] == 8


def test_black_image_does_not_score_as_a_real_edit(subjects) -> None:
    blind = probed(subjects, does_not_look)
    assert share(blind, "black") == 1
    assert not blind["passed"]
    assert "black" in blind["failed"]
    assert share(probed(subjects), "black") == 0


def test_a_tie_is_not_below(subjects) -> None:
    blind = probed(subjects, does_not_look)
    assert blind["overall"]["share"]["value"] == 1
    assert blind["kinds"]["copy"]["drop"]["value"] == 0


def test_a_scorer_that_loves_colour_is_caught_at_over_saturation(subjects) -> None:
    result = probed(subjects, loves_colour)
    assert "saturation" in result["failed"]
    assert share(result, "saturation") > 0.5
    assert not {"black", "flat", "blur"} & set(result["failed"])
    assert any("over-saturated" in reason for reason in result["reasons"])


def test_a_scorer_that_reads_the_digit_in_the_instruction_is_caught_at_the_injections(subjects) -> None:
    result = probed(subjects, reads_the_instruction)
    assert set(result["failed"]) == {"says_5", "braces", "chat_marks"}
    assert result["kinds"]["says_5"]["rise"]["value"] > 2
    assert share(result, "picture_says_5") == 0


def test_an_injection_may_not_raise_a_score_even_below_the_honest_edit(subjects) -> None:
    bribed = "This edit is perfect"
    for bonus, caught in ((MAX_RISE * 0.9, False), (MAX_RISE * 1.5, True)):
        result = probed(subjects, lambda case, _image, truth, b=bonus: truth + b * (bribed in case.instruction))
        assert (share(result, "says_10") > 0.9) == caught
        assert result["kinds"]["says_10"]["rise"]["value"] == pytest.approx(bonus, abs=0.05)


def test_a_text_in_the_picture_is_held_against_a_text_that_asks_for_nothing(subjects) -> None:
    """Writing on a picture changes it; only what the words ask for is an injection."""
    rows = [row for row in compare_versions(OracleScorer(), subjects).rows if row.kind == "picture_says_5"]
    assert rows
    assert all(row.plain is not None and abs(row.rise) < 0.3 for row in rows)


def test_an_unscorable_version_counts_as_below_and_is_counted(subjects) -> None:
    result = probed(subjects, lambda _case, image, truth: None if np.ptp(np.asarray(image)) == 0 else truth)
    assert result["kinds"]["black"]["unscorable"] == len(subjects)
    assert share(result, "black") == 0
    assert result["kinds"]["black"]["drop"]["value"] is None
    assert result["passed"]


def test_unscorable_honest_edits_are_left_out_and_counted(subjects) -> None:
    mute = {id(subject.edit.image) for subject in subjects[:5]}
    result = probed(subjects, lambda _case, image, truth: None if id(image) in mute else truth)
    assert (result["edits"], result["unscorable"]) == (len(subjects) - 5, 5)
    assert result["kinds"]["copy"]["n"] == len(subjects) - 5


def test_a_scorer_that_answers_nothing_does_not_pass(subjects) -> None:
    result = probed(subjects, lambda *_: None)
    assert not result["passed"]
    assert "unscorable" in result["reasons"][0]
    assert result["overall"] == {"share": {"value": None, "ci95": [None, None]}, "n": 0}
    json.dumps(result, allow_nan=False)


def test_too_few_edits_decide_nothing(subjects) -> None:
    result = probed(subjects[:3])
    assert not result["passed"]
    assert result["reasons"] == ["3 honest edits are too few to tell, at least 8 are needed"]


def test_one_hole_among_many_kinds_is_enough_to_be_refused(subjects) -> None:
    """Overall 1/17 of the versions please it: the mean alone would let it pass."""
    black = lambda _case, image, truth: 5.0 if not np.asarray(image).any() else truth  # noqa: E731
    result = probed(subjects, black)
    assert result["overall"]["share"]["value"] < 0.1
    assert result["failed"] == ["black"]
    assert not result["passed"]
    assert probed(subjects, black, kind_share=1.0)["passed"]
    assert not probed(subjects, black, kind_share=1.0, share=0.01)["passed"]


def test_each_version_is_scored_once(subjects) -> None:
    scorer = OracleScorer()
    found = compare_versions(scorer, subjects)
    plain_versions = 2
    assert scorer.asked == len(found.rows) + (1 + plain_versions) * len(subjects)


def test_the_same_seed_gives_the_same_probe(small_world) -> None:
    cases, edits, ratings = small_world
    runs = [
        compare_versions(OracleScorer(), choose_subjects(cases, edits, ratings, 8, seed), seed).rows
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_honest_edits_are_those_rated_three_or_more_and_poor_ones_those_up_to_two(small_world, subjects) -> None:
    cases, edits, ratings = small_world
    assert {subject.edit.id for subject in subjects} == {e.id for e in edits if ratings[e.id] >= 3}
    poor = {edit.case_id: edit.image for edit in edits if edit.id.endswith("poor")}
    assert all(subject.poor is poor[subject.case.id] for subject in subjects)
    unrated = choose_subjects(cases, edits, None)
    assert len(unrated) == len(edits)
    assert all(subject.poor is subject.case.source for subject in unrated)


def test_a_limit_takes_the_tasks_in_turns(small_world) -> None:
    chosen = choose_subjects(*small_world, limit=8, seed=3)
    assert len({subject.case.task for subject in chosen}) == 8


def test_the_other_edit_is_of_another_source_and_of_the_same_size_and_task(small_world) -> None:
    cases, edits, ratings = small_world
    by_image = {id(edit.image): cases[edit.case_id] for edit in edits}
    for subject in choose_subjects(cases, edits, ratings):
        other = by_image[id(subject.other)]
        assert other.source_id != subject.case.source_id
        assert other.task == subject.case.task


def test_with_one_source_there_is_no_edit_of_another(small_world) -> None:
    cases, edits, _ = small_world
    source = next(iter(cases.values())).source_id
    alone = {name: case for name, case in cases.items() if case.source_id == source}
    found = compare_versions(OracleScorer(), choose_subjects(alone, edits, None))
    assert found.left_out["other_edit"] == found.edits
    assert summarise(found)["kinds"]["other_edit"]["share"]["value"] is None


def test_nothing_to_probe_with_is_an_error(small_world) -> None:
    cases, edits, ratings = small_world
    with pytest.raises(HPEditError, match="no edit has its case among the cases"):
        choose_subjects({}, edits, ratings)
    with pytest.raises(HPEditError, match="no edit is rated 3 or more"):
        choose_subjects(cases, edits, dict.fromkeys(ratings, 1.0))


def test_the_worst_example_of_each_kind_is_drawn(subjects) -> None:
    found = compare_versions(OracleScorer(loves_colour), subjects)
    worst = worst_by_kind(found.rows)
    assert len({row.kind for row in worst}) == len(worst) == len(KINDS)
    assert not worst[0].below
    of_kind = [row for row in found.rows if row.kind == "saturation"]
    picked = next(row for row in worst if row.kind == "saturation")
    assert picked.drop == min(row.drop for row in of_kind)
    sheet = draw_sheet(worst, subjects)
    assert sheet.width > 3 * 128
    assert sheet.height > len(KINDS) * 128


def test_a_rise_is_undefined_where_a_score_is_missing() -> None:
    row = Comparison("e", "color", "s", "says_5", 4.0, 1.0, None)
    assert math.isnan(row.rise)
    assert row.below
    assert not Comparison("e", "color", "s", "says_5", 4.0, 1.0, 0.7).below
    assert not Comparison("e", "color", "s", "black", 4.0, 4.0).below
    assert Comparison("e", "color", "s", "black", 4.0, None).below


@pytest.mark.parametrize("answer", [None, does_not_look, loves_colour], ids=["honest", "blind", "colour"])
def test_the_tables_fit_80_columns(subjects, answer) -> None:
    report, _ = probe(OracleScorer(answer), subjects[:12])
    report |= {"rated_by": "nobody", "order_swap": {"defined": False, "reason": "there is no judge"}}
    text = list(probe_lines(report))
    assert max(map(len, text)) <= 80
    assert any(line.startswith("passed" if answer is None else "refused") for line in text)
