"""Which cases are hard: k edits, their scores, and the two filters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hpedit.cases.hardness import (
    DROPPED,
    KEPT,
    MEANING,
    FilterDecision,
    count_decisions,
    decide_hardness,
    edit_candidates,
    score_edits,
)
from hpedit.cases.recipe import FilterSection
from hpedit.editors.sampling import edit_cases
from hpedit.errors import HPEditError
from hpedit.records import Case, Score
from hpedit.seeds import edit_seed

SOLVED_OUT = FilterSection(by="drop-solved", scorer="scorer")
INFORMATIVE = FilterSection(by="informative", scorer="scorer", low=0.5, high=4.5, min_std=0.2)


class Brightness:
    """Scores the mean brightness of an edit; one named base1 can't be scored. Remembers the sizes of its batches."""

    fingerprint = "brightness"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        self.batches.append(len(cases))
        return [
            Score(name, "brightness", None, reason="odd")
            if name.startswith("base1:")
            else Score(name, "brightness", float(np.asarray(image).mean() / 51))
            for name, image in zip(edit_ids or (), images, strict=True)
        ]


def reason(scores: list[float | None], section: FilterSection) -> str:
    decision = decide_hardness({"case": scores}, section)["case"]
    assert decision.kept == (decision.reason in KEPT)
    return decision.reason


def test_each_case_gets_k_edits_by_seeds_of_its_own(tiny_editor, make_case) -> None:  # type: ignore[no-untyped-def]
    cases = [make_case("a"), make_case("b", sizes=((64, 32),)), make_case("c", seed=3)]
    edits = edit_candidates(cases, tiny_editor, k=3, seed=5, steps=2, batch=4)
    assert [[edit.id for edit in row] for row in edits] == [[f"base{i}:{name}" for i in range(3)] for name in "abc"]
    assert [edit.seed for edit in edits[1]] == [edit_seed("b", 5 + i) for i in range(3)]
    assert {edit.editor for row in edits for edit in row} == {f"{tiny_editor.fingerprint}/2 steps"}
    assert len({edit.image.tobytes() for row in edits for edit in row}) == 9
    # What an edit looks like does not depend on the cases beside it.
    alone = edit_cases(tiny_editor, [cases[2]], [edit_seed("c", 6)], 2)[0]
    difference = np.asarray(alone, dtype=int) - np.asarray(edits[2][1].image, dtype=int)
    assert np.abs(difference).max() <= 1


def test_scores_come_in_the_shape_of_the_edits(tiny_editor, make_case) -> None:  # type: ignore[no-untyped-def]
    cases = [make_case("a"), make_case("b", seed=1)]
    edits = edit_candidates(cases, tiny_editor, k=3, seed=0, steps=2, batch=8)
    scorer = Brightness()
    scores = score_edits(cases, edits, scorer, batch=4)
    assert [[score.edit_id for score in row] for row in scores] == [[edit.id for edit in row] for row in edits]
    assert [row[1].value for row in scores] == [None, None]
    assert scorer.batches == [4, 2]


def test_a_scorer_that_loses_a_score_is_refused(tiny_editor, make_case) -> None:  # type: ignore[no-untyped-def]
    class Loses(Brightness):
        def score(self, *given):  # type: ignore[no-untyped-def]
            return super().score(*given)[:-1]

    edits = edit_candidates([make_case("a")], tiny_editor, k=2, seed=0, steps=2, batch=8)
    with pytest.raises(HPEditError, match="1 scores for 2 edits"):
        score_edits([make_case("a")], edits, Loses(), batch=8)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0], "hard"),
        ([4.49], "hard"),
        ([4.5], "solved"),
        ([5.0], "solved"),
        ([5.0, 3.0], "hard"),
        ([5.0, 4.0], "solved"),
        ([None], "unscorable"),
        ([None, 5.0], "solved"),
        ([], "unscorable"),
    ],
)
def test_drop_solved_drops_a_rounded_five_of_the_mean(scores: list[float | None], expected: str) -> None:
    assert reason(scores, SOLVED_OUT) == expected


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([4.9, 4.8, 4.9, 5.0], "solved"),
        ([0.1, 0.0, 0.2, 0.1], "impossible"),
        ([2.0, 2.1, 2.0, 2.1], "between"),
        ([4.5, 4.5], "between"),
        ([0.5, 0.5], "between"),
        ([5.0, 5.0, 5.0, 4.0], "spread"),
        ([0.0, 0.0, 0.0, 1.0], "spread"),
        # 0.2 and no less, a population's deviation: that of a sample would be 0.28 for the second, too.
        ([4.6, 5.0], "spread"),
        ([4.65, 5.0], "solved"),
        ([None, 3.0], "unscorable"),
        ([None, 3.0, 1.0], "spread"),
        ([None, None], "unscorable"),
    ],
)
def test_informative_keeps_spread_or_a_mean_between_bounds(scores: list[float | None], expected: str) -> None:
    assert reason(scores, INFORMATIVE) == expected


def test_without_a_filter_all_are_kept_and_the_figures_told() -> None:
    assert decide_hardness({"a": [], "b": [1.0, 3.0, None]}, FilterSection()) == {
        "a": FilterDecision(True, "unfiltered"),
        "b": FilterDecision(True, "unfiltered", 2.0, 1.0, 1),
    }


@given(st.lists(st.one_of(st.none(), st.floats(0.0, 5.0)), max_size=6), st.randoms())
def test_a_fate_does_not_depend_on_the_order_of_scores(scores: list[float | None], shuffler) -> None:  # type: ignore[no-untyped-def]
    other = list(scores)
    shuffler.shuffle(other)
    assert decide_hardness({"x": scores}, INFORMATIVE) == decide_hardness({"x": other}, INFORMATIVE)


def test_counts_per_task_add_up() -> None:
    values: dict[str, list[float | None]] = {"a": [5.0], "b": [1.0], "c": [5.0], "d": [None]}
    tasks = {"a": "style", "b": "addition", "c": "style", "d": "style"}
    counts = count_decisions(decide_hardness(values, SOLVED_OUT), tasks)
    assert counts == {"addition": {"hard": 1}, "style": {"solved": 2, "unscorable": 1}}
    assert list(counts) == ["addition", "style"]


def test_every_reason_is_explained() -> None:
    assert set(MEANING) == {*KEPT, *DROPPED}
