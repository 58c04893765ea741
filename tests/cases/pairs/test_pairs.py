"""Which edits make a pair: ties, circles, contradictions, weights, and real ratings."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared_data import shared_data

from hpedit.cases.pairs.cycles import break_cycles
from hpedit.cases.pairs.preferences import PairRules, decide_pairs
from hpedit.errors import HPEditError
from hpedit.ratings.response_tables import read_response_table
from hpedit.ratings.responses import VOTES, Response
from hpedit.scorer.tables.ratings_import import import_genai, import_imagenhub
from hpedit.store.csv_rows import read_csv_rows

CASES = {name: "case" for name in "abcdef"} | {name: "other" for name in "xyz"}
PICTURES = {name: name for name in CASES}
RULES = PairRules()


def vote(first: str, second: str, answer: str, rater: str = "p", **more) -> Response:
    return Response((first, second), rater, answer, **more)


def score(edit: str, value: float, rater: str = "p", **more) -> Response:
    return Response((edit,), rater, value, **more)


def pairs(*responses: Response, rules: PairRules = RULES, pictures=PICTURES):
    """(chosen, rejected) of each pair, and the report."""
    found, report = decide_pairs(responses, CASES, pictures, rules)
    return [(one.chosen, one.rejected) for one in found], report


SURE = vote("x", "y", "A", "sure")
"""A pair of another case, so that the rest may be none."""


def test_the_better_edit_is_chosen_by_votes_and_by_scores():
    assert pairs(vote("a", "b", "B"))[0] == [("b", "a")]
    assert pairs(vote("b", "a", "A"))[0] == [("b", "a")]
    found, report = decide_pairs([score("a", 2), score("b", 4.5)], CASES, PICTURES, RULES)
    assert (found[0].chosen, found[0].rejected, found[0].margin, found[0].weight) == ("b", "a", 2.5, 1.0)
    assert report["basis"] == {"same raters": 1}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([vote("a", "b", "tie")], "tie"),
        ([vote("a", "b", "both_bad")], "both bad"),
        ([vote("a", "b", "A"), vote("a", "b", "both_bad", "q"), vote("a", "b", "both_bad", "r")], "both bad"),
        ([score("a", 3), score("b", 3)], "tie"),
        ([score("a", 3), score("b", 3.5)], "below the margin"),
        ([score("a", 0), score("b", 2)], "both bad"),
    ],
)
def test_a_tie_both_bad_or_below_the_margin_is_no_pair(answers, reason):
    found, report = pairs(*answers, SURE)
    assert found == [("x", "y")]
    assert report["left_out"] == {reason: 1}


def test_the_bounds_themselves():
    assert pairs(score("a", 3), score("b", 4))[0] == [("b", "a")]
    third = [
        score(edit, value, rater)
        for edit, values in (("a", (3, 3, 4)), ("b", (4, 4, 5)))
        for rater, value in zip("pqr", values, strict=True)
    ]
    assert pairs(*third)[0] == [("b", "a")], "a mean of thirds is not below 1 by rounding"
    assert pairs(score("a", 0), score("b", 2), SURE, rules=PairRules(floor=1.5))[0] == [("b", "a"), ("x", "y")]
    one_of_three = [vote("a", "b", "A"), vote("a", "b", "A", "q"), vote("a", "b", "B", "r")]
    assert pairs(*one_of_three, SURE, rules=PairRules(lead=1 / 3))[0] == [("a", "b"), ("x", "y")]
    assert pairs(*one_of_three, SURE, rules=PairRules(lead=0.4))[1]["left_out"] == {"below the lead": 1}


def test_skips_practice_retests_and_what_was_taken_back_say_nothing():
    nothing = [
        vote("a", "b", "A", phase="practice"),
        vote("a", "b", "A", phase="retest"),
        vote("a", "b", "A", superseded_by="change 7"),
        Response(("a", "b"), "p", "skip"),
        Response(("a", "b"), "p", None),
    ]
    assert pairs(*nothing, SURE)[0] == [("x", "y")]


def test_equal_pictures_are_no_pair():
    found, report = pairs(vote("a", "b", "A"), SURE, pictures=PICTURES | {"b": "a"})
    assert found == [("x", "y")]
    assert report["left_out"] == {"same picture": 1}


CIRCLE = (vote("a", "b", "A"), vote("b", "c", "A"), vote("c", "a", "A"))


def test_a_circle_is_named_and_dropped_whole():
    found, report = pairs(*CIRCLE, vote("a", "d", "A"), SURE)
    assert found == [("a", "d"), ("x", "y")]
    assert report["circles"] == {"count": 1, "pairs": 3, "examples": ["case case: a > b > c > a"]}
    assert report["left_out"] == {"in a circle": 3}


def test_a_circle_loses_its_weakest_preference_alone():
    doubted = [vote("c", "a", "tie", "q")]
    found, report = pairs(*CIRCLE, *doubted, vote("c", "a", "A", "r"), rules=PairRules(circles="weakest"))
    assert found == [("a", "b"), ("b", "c")]
    assert report["circles"]["count"] == 1
    with pytest.raises(HPEditError, match=r"in a circle: 3"):
        pairs(*CIRCLE, rules=PairRules(circles="weakest"))


EDGES = st.dictionaries(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")).filter(lambda edge: edge[0] < edge[1]),
    st.tuples(st.booleans(), st.integers(1, 3)),
)


@given(table=EDGES, weakest=st.booleans(), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_no_circle_is_left_and_the_order_of_preferences_has_no_effect(table, weakest, seed):
    edges = {(edge if forward else edge[::-1]): float(w) for edge, (forward, w) in table.items()}
    left, circles = break_cycles(edges, weakest=weakest)
    shuffled = list(edges.items())
    random.Random(seed).shuffle(shuffled)
    assert break_cycles(dict(shuffled), weakest=weakest) == (left, circles)
    for circle in circles:
        assert circle[0] == circle[-1]
        assert set(itertools.pairwise(circle)) <= set(edges)
    remaining = set(left)
    while free := {edge for edge in remaining if edge[1] not in {better for better, _ in remaining}}:
        remaining -= free
    assert remaining == set(), "what is left can be ordered"
    assert bool(circles) == (left != set(edges))


def test_raters_who_contradict_each_other_make_no_pair():
    found, report = pairs(vote("a", "b", "A"), vote("a", "b", "B", "q"), SURE)
    assert (found, report["left_out"]) == ([("x", "y")], {"no plurality": 1})
    split = [score("a", 5), score("b", 0), score("a", 3, "q"), score("b", 3.5, "q")]
    found, report = pairs(*split, SURE)
    assert report["left_out"] == {"raters contradict each other": 1}, "the mean says a by 2.25, the raters say 1 : 1"
    against = [score("a", 5), score("b", 2), vote("a", "b", "B", "q")]
    assert pairs(*against, SURE)[1]["left_out"] == {"votes against scores": 1}


def test_a_rater_of_two_minds_has_no_vote_on_that_pair():
    torn = [vote("a", "b", "A"), vote("b", "a", "A")]
    found, report = pairs(*torn, vote("a", "b", "B", "q"))
    assert found == [("b", "a")]
    assert report["contradictory"] == {"p": 1}
    found, report = pairs(score("a", 5), score("a", 0), score("b", 2), score("a", 4, "q"), score("b", 1, "q"))
    assert (found, report["contradictory"]) == ([("a", "b")], {"p": 1})


def test_weights_of_raters_decide_and_0_is_not_heard():
    said = [vote("a", "b", "A"), vote("a", "b", "B", "q"), vote("a", "b", "B", "r")]
    assert pairs(*said)[0] == [("b", "a")]
    assert pairs(*said, rules=PairRules(rater_weights={"p": 3.0}))[0] == [("a", "b")]
    assert pairs(*said, rules=PairRules(rater_weights={"q": 0.0, "r": 0.0}))[0] == [("a", "b")]
    found, _ = decide_pairs(said, CASES, PICTURES, PairRules(rater_weights={"p": 3.0}))
    assert found[0].weight == pytest.approx((3 - 2) / 5)


def test_a_raters_own_scale_cancels_where_somebody_scored_both():
    strict = [score("a", 1.5, "strict"), score("b", 0.5, "strict")]
    found, report = pairs(*strict, score("b", 5, "kind"))
    assert found == [("a", "b")]
    assert report["basis"] == {"same raters": 1}
    assert pairs(score("a", 4, "p"), score("b", 2, "q"))[1]["basis"] == {"different raters": 1}


def test_repeated_and_swapped_answers_count_once():
    others = [vote("a", "b", "tie", "q"), vote("b", "a", "B", "r")]
    once, _ = decide_pairs([vote("a", "b", "A"), *others], CASES, PICTURES, RULES)
    again = [vote("a", "b", "A"), vote("a", "b", "A"), vote("b", "a", "B"), *others]
    twice, report = decide_pairs(again, CASES, PICTURES, RULES)
    assert once == twice
    assert once[0].weight == pytest.approx(2 / 3), "three votes by one rater would be 4 / 5"
    assert report["repeated"] == 2
    same = [score("a", 4), score("a", 4), score("b", 1)]
    assert decide_pairs(same, CASES, PICTURES, RULES)[1]["repeated"] == 1


def test_an_edit_is_not_compared_with_itself(tmp_path):
    with pytest.raises(HPEditError, match="compared with itself"):
        vote("a", "a", "A")
    (tmp_path / "votes.csv").write_text("edit_a,edit_b,rater,vote\na,b,p,A\nc,c,p,A\n")
    with pytest.raises(HPEditError, match=r"votes\.csv:3: edit 'c' is compared with itself"):
        read_response_table(tmp_path / "votes.csv")


def test_edits_of_two_cases_are_not_compared():
    with pytest.raises(HPEditError, match="edits a and x belong to the cases case and other"):
        pairs(vote("a", "x", "A"))


def test_answers_about_unknown_edits_are_counted_and_named():
    report = pairs(score("nowhere", 3), SURE)[1]
    assert report["unknown_edits"] == {"count": 1, "examples": ["nowhere"]}


@pytest.mark.parametrize("answers", [[], [vote("a", "b", "tie")], [score("a", 5)], [vote("n", "m", "A")]])
def test_nothing_left_is_an_error_that_says_why(answers):
    with pytest.raises(HPEditError, match="no pair is left") as error:
        pairs(*answers)
    assert error.value.hint


ANSWERS = st.lists(
    st.one_of(
        st.builds(
            lambda pair, answer, rater: vote(*pair, answer, rater),
            st.permutations("abcd").map(lambda names: names[:2]),
            st.sampled_from(VOTES),
            st.sampled_from("pqr"),
        ),
        st.builds(score, st.sampled_from("abcd"), st.sampled_from([0, 1.5, 3, 4, 5]), st.sampled_from("pqrs")),
    ),
    max_size=30,
)


@given(answers=ANSWERS, seed=st.integers(0, 99), circles=st.sampled_from(["drop", "weakest"]))
@settings(max_examples=80, deadline=None)
def test_the_order_of_answers_has_no_effect(answers, seed, circles):
    rules = PairRules(circles=circles, rater_weights={"q": 0.3, "r": 0.1})
    shuffled = random.Random(seed).sample(answers, len(answers))
    outcomes = []
    for given_answers in (answers, shuffled):
        try:
            outcomes.append(decide_pairs(given_answers, CASES, PICTURES, rules))
        except HPEditError as error:
            outcomes.append(error.message)
    assert outcomes[0] == outcomes[1]


def test_simulated_raters_are_marked():
    found, report = decide_pairs([score("a", 5, simulated=True), score("b", 1)], CASES, PICTURES, RULES)
    assert found[0].simulated
    assert report["simulated"] == 1


@pytest.mark.parametrize(
    "wrong", [{"margin": 0.0}, {"margin": 6.0}, {"floor": 5.0}, {"lead": 2.0}, {"rater_weights": {"p": -1.0}}]
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(HPEditError):
        PairRules(**wrong)


def published(importer, name: str, marker: str, out: Path):
    importer(shared_data(name, marker), out)
    return {row["edit_id"]: row for row in read_csv_rows(out / "edits.csv", ("edit_id", "source_id"))}


def test_pairs_of_imagenhub(tmp_path):
    """784 edits by several models, three raters each: what a real study gives."""
    edits = published(import_imagenhub, "imagenhub_tie", "edits.csv", tmp_path)
    case_of = {edit: f"{row['source_id']}:{row['instruction']}" for edit, row in edits.items()}
    found, report = decide_pairs(read_response_table(tmp_path / "ratings.csv"), case_of, {e: e for e in edits}, RULES)
    assert 400 < report["pairs"] == len(found) < 2000
    assert report["left_out"]["both bad"] > report["left_out"]["below the margin"] > 0
    assert all(one.margin >= 1.0 - 1e-9 and 0.0 < one.weight <= 1.0 for one in found)


def test_pairs_of_genai_bench(tmp_path):
    """506 pairs with one person's vote: 271 decided, the rest ties and both bad."""
    edits = published(import_genai, "genai_bench_edit", "votes.csv", tmp_path)
    case_of = {edit: edit.rsplit("-", 1)[0] for edit in edits}
    found, report = decide_pairs(read_response_table(tmp_path / "votes.csv"), case_of, {e: e for e in edits}, RULES)
    assert (len(found), report["left_out"]) == (271, {"both bad": 221, "tie": 14})
