"""Inter-rater agreement: known values, undefined cases, careless raters, and real ratings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from tests.rate.answered_store import answer
from tests.shared_data import shared_data
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.errors import HPEditError
from hpedit.ratings.agreement import agreement_of_file, agreement_report
from hpedit.ratings.agreement_figures import alpha_statistic, alpha_with_interval, any_pair_accuracy, score_figures
from hpedit.ratings.agreement_text import WIDTH, agreement_as_text
from hpedit.ratings.responses import VOTES, Response
from hpedit.stats.bootstrap import FloatArray

NAN = math.nan


def scores(
    table: dict[str, Callable[[int], float]], edits: int = 40, noise: float = 0.0, **more: Any
) -> list[Response]:
    """Answers of raters who score edit k by their function of its quality k % 6, some with a slip of a point."""
    rng = np.random.default_rng(0)
    given = []
    for rater, own in table.items():
        for edit in range(edits):
            slip = rng.choice([-1, 0, 1]) if rng.random() < noise else 0
            value = float(np.clip(own(edit % 6) + slip, 0, 5))
            given.append(Response((f"e{edit}",), rater, value, source_id=f"s{edit // 2}", **more))
    return given


def votes(table: dict[str, Callable[[int], str]], pairs: int = 40, **more: Any) -> list[Response]:
    """Votes on pairs (a, b); every second pair is shown as (b, a) to every rater."""
    given = []
    for rater, own in table.items():
        for pair in range(pairs):
            shown = (f"{pair}a", f"{pair}b") if pair % 2 else (f"{pair}b", f"{pair}a")
            given.append(Response(shown, rater, own(pair), source_id=f"s{pair // 2}", **more))
    return given


def first_is_best(pair: int) -> str:
    """The vote for edit a, on whichever side it is shown."""
    return "A" if pair % 2 else "B"


def honest(quality: int) -> float:
    return float(quality)


def flags(report: dict[str, Any]) -> dict[str, str]:
    return {flag["rater"]: flag["rule"] for flag in report["flagged"]}


def reliability(table: FloatArray) -> FloatArray:
    levels = np.unique(table[~np.isnan(table)])
    return (table[:, :, None] == levels).sum(axis=1).astype(float)


def test_alpha_is_that_of_the_published_example() -> None:
    """Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: ordinal alpha = 0.815."""
    observers: FloatArray = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    )
    sources = [str(edit) for edit in range(12)]
    assert alpha_with_interval(reliability(observers.T), sources, "ordinal", 0).value == pytest.approx(0.815, abs=5e-4)
    assert alpha_with_interval(reliability(observers.T), sources, "nominal", 0).value == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("level", ["ordinal", "nominal"])
def test_the_alpha_of_the_bootstrap_is_the_librarys(level: Any) -> None:
    rng = np.random.default_rng(1)
    counts = reliability(rng.integers(0, 6, (30, 1)) + rng.integers(0, 3, (30, 4)).astype(float))
    weights = rng.integers(0, 3, (5, 30)).astype(float)
    resampled = [np.repeat(counts, row.astype(int), axis=0) for row in weights]
    wanted = [krippendorff.alpha(value_counts=sample, level_of_measurement=level) for sample in resampled]
    np.testing.assert_allclose(alpha_statistic(level)(counts, weights), wanted, rtol=1e-9)


@pytest.mark.parametrize(
    "table",
    [
        [[1.0], [2.0], [3.0]],
        [[3.0, 3.0], [3.0, 3.0]],
        [[1.0, 2.0, 3.0]],
        [[1.0, NAN], [NAN, 2.0]],
        [[NAN, NAN], [NAN, 2.0]],
        [[2.0]],
        np.empty((0, 3)),
    ],
    ids=["1 rater", "all ties", "1 edit", "nothing shared", "almost empty", "1 answer", "none"],
)
def test_what_is_undefined_is_na_and_nothing_crashes(table: Any) -> None:
    ratings = np.array(table, dtype=float)
    figures = score_figures(ratings, [str(n) for n in range(len(table))], 0.0, 0)
    for name, estimate in figures.items():
        value = estimate.as_dict()["value"]
        assert value is None or (len(table) == 1 and name == "alpha" and value == pytest.approx(0.0)), name


@pytest.mark.parametrize(
    "responses",
    [
        [Response(("e",), "r", 3.0)],
        [Response(("e",), "r", 3.0), Response(("e",), "s", 3.0)],
        [Response(("e",), "r", None, axes={"quality": 1.0}), Response(("f",), "s", 3.0)],
        [Response(("e", "f"), "r", "tie")],
        [Response(("e", "f"), "r", "tie"), Response(("f", "e"), "s", "tie")],
        [Response(("e",), "r", 3.0), Response(("e", "f"), "s", "A", ms=0)],
        [Response(("e",), "r", 3.0, phase="retest")],
    ],
)
def test_every_small_set_of_answers_has_a_report_in_valid_json_and_text(responses: list[Response]) -> None:
    report = agreement_report(responses)
    json.dumps(report, allow_nan=False)
    assert "n/a" in agreement_as_text(report)


def test_no_answer_at_all_is_an_error() -> None:
    with pytest.raises(HPEditError, match="no answer counts"):
        agreement_report([Response(("e",), "r", "skip"), Response(("e",), "r", 1.0, phase="practice")])


def test_missing_cells_are_left_out_and_not_zero() -> None:
    ratings = np.array([[0, 1, NAN], [2, 2, NAN], [5, 4, NAN], [NAN, 3, 3], [NAN, 0, 1], [NAN, 5, 5], [4, NAN, NAN]])
    figures = score_figures(ratings, list("aabbccd"), 0.0, 0)
    assert figures["alpha"].value == pytest.approx(krippendorff.alpha(ratings.T, level_of_measurement="ordinal"))
    assert figures["pair_spearman"].value == 1.0
    assert figures["pair_spearman"].n == 6


def test_pairs_of_any_edits_need_the_margin_and_give_a_tie_half() -> None:
    ratings = np.array([[0.0, 0.0], [0.0, 1.0], [2.0, 1.5]])
    # By the second rater's scores the pairs differ by 1, 1.5 and 0.5; the first ties, orders, orders them.
    # By the first's: 0 (no pair), 2, 2; the second orders both.
    assert any_pair_accuracy(ratings, list("abc"), 0.0, 0).value == pytest.approx((0.5 + 1 + 1 + 1 + 1) / 5)
    assert any_pair_accuracy(ratings, list("abc"), 1.0, 0).value == pytest.approx((0.5 + 1 + 1 + 1) / 4)


def test_raters_who_agree_and_one_who_scores_at_random_order_the_figures() -> None:
    good = agreement_report(scores({"a": honest, "b": honest, "c": honest}, noise=0.3))["scores"]["score"]["all"]
    poor = agreement_report(scores({"a": honest, "b": honest, "c": lambda q: (q * 5 + 3) % 6}, noise=0.3))["scores"][
        "score"
    ]["all"]
    for name in ("alpha", "rest_spearman", "rest_pearson", "pair_spearman", "rest_pairwise_any"):
        low, high = good[name]["ci95"]
        assert low <= good[name]["value"] <= high
        assert good[name]["value"] > poor[name]["value"] + 0.1


CARELESS: dict[str, Callable[[int], float]] = {
    "constant score": lambda _: 3.0,
    "disagrees with everyone": lambda q: 5.0 - q,
}


@pytest.mark.parametrize("rule", CARELESS)
def test_a_careless_scorer_is_flagged_and_left_out_of_the_second_figures(rule: str) -> None:
    people = {"ann": honest, "ben": honest, "cay": honest}
    responses = scores({**people, "bad": CARELESS[rule]}, noise=0.3)
    if rule == "constant score":
        responses = [r for r in responses if r.rater != "bad"] + scores({"bad": CARELESS[rule]})
    report = agreement_report(responses)["scores"]["score"]
    assert flags(report) == {"bad": rule}
    assert (report["all"]["raters"], report["kept"]["raters"]) == (4, 3)
    assert report["all"]["ratings"] == 160
    assert report["kept"]["alpha"]["value"] > report["all"]["alpha"]["value"]


def test_answers_in_300_ms_and_missed_gold_are_flagged() -> None:
    responses = scores({"ann": honest, "ben": honest}, noise=0.3, ms=4000) + scores({"bot": honest}, ms=300)
    for rater, value in (("ann", 5.0), ("ben", 0.0), ("bot", 4.0)):
        responses += [Response((f"g{n}",), rater, value, phase="gold", expected=5.0, source_id="g") for n in range(4)]
    report = agreement_report(responses)["scores"]["score"]
    assert flags(report) == {"ben": "fails gold", "bot": "too fast"}
    assert [(row["gold"], row["gold_right"]) for row in report["by_rater"]] == [(4, 4), (4, 0), (4, 4)]


@pytest.mark.parametrize(
    ("rule", "own"),
    [
        ("always left", lambda _: "A"),
        ("always right", lambda _: "B"),
        ("always tie", lambda _: "tie"),
        ("always both_bad", lambda _: "both_bad"),
        ("disagrees with everyone", lambda pair: "B" if pair % 2 else "A"),
    ],
)
def test_a_careless_voter_is_flagged_and_left_out_of_the_second_figures(rule: str, own: Callable[[int], str]) -> None:
    report = agreement_report(votes({"ann": first_is_best, "ben": first_is_best, "bad": own}))["votes"]
    assert flags(report) == {"bad": rule}
    assert (report["all"]["raters"], report["kept"]["raters"]) == (3, 2)
    assert report["kept"]["equal"]["value"] == 1.0 > report["all"]["equal"]["value"]


def test_nobody_is_flagged_for_a_short_visit_or_for_honest_ties() -> None:
    short = scores({"ann": lambda _: 3.0, "ben": honest}, edits=9, ms=300)
    assert agreement_report(short)["scores"]["score"]["flagged"] == []
    all_bad = votes({"ann": lambda _: "both_bad", "ben": lambda _: "both_bad"})
    assert agreement_report(all_bad)["votes"]["flagged"] == []
    assert agreement_report(all_bad)["votes"]["kept"] is None


def test_votes_are_compared_whatever_the_sides_and_the_side_is_measured_as_shown() -> None:
    ann = [Response((f"{n}a", f"{n}b"), "ann", "A", source_id=str(n)) for n in range(20)]
    ben = [Response((f"{n}b", f"{n}a"), "ben", "B", source_id=str(n)) for n in range(20)]
    report = agreement_report(ann + ben)["votes"]["all"]
    assert report["equal"]["value"] == report["equal_decided"]["value"] == 1.0
    assert report["left"]["value"] == 0.5
    left = agreement_report(ann)["votes"]["all"]["left"]
    assert left == {"value": 1.0, "ci95": [1.0, 1.0]}


def test_a_retest_is_compared_with_the_first_answer_and_counts_only_there() -> None:
    first = scores({"ann": honest, "ben": honest}, edits=12)
    again = [Response(r.edits, "ann", 5.0, phase="retest", source_id=r.source_id) for r in first if r.rater == "ann"]
    report = agreement_report(first + again)["scores"]["score"]["all"]
    assert (report["ratings"], report["retest"]["n"]) == (24, 12)
    assert report["retest"]["equal"]["value"] == pytest.approx(2 / 12)
    assert report["retest"]["distance"]["value"] == pytest.approx(2.5)
    once = [Response(("a", "b"), "ann", "A"), Response(("b", "a"), "ann", "B", phase="retest")]
    assert agreement_report(once)["votes"]["all"]["retest"] == {"n": 1, "equal": {"value": 1.0, "ci95": [None, None]}}


def test_the_apps_store_is_reported_without_practice_and_what_was_taken_back(tmp_path: Path) -> None:
    db = tmp_path / "ratings.sqlite"
    for number, rater in enumerate(["ann", "ben"]):
        for edit in range(3):
            answer(db, rater, (f"e{edit}",), float(edit + number), client_id=f"{rater}{edit}", ms=1000 * (edit + 1))
    answer(db, "ann", ("p",), 0.0, client_id="p", phase="practice", expected=0.0)
    report = agreement_of_file(db)
    assert (report["answers"], report["left_out"], report["source_unit"]) == (6, {"practice": 1}, "source_id")
    assert report["time_ms"] == {"n": 6, "q1": 1250.0, "median": 2000.0, "q3": 2750.0}
    assert report["scores"]["score"]["all"]["pair_spearman"]["value"] == 1.0


def test_the_command_prints_eighty_columns_or_json_and_names_a_missing_axis(tmp_path: Path) -> None:
    rows = [
        f"e{r.edits[0]},{r.rater},{r.value}"
        for r in scores({"ann": honest, "ben\x1b[2J": honest, "bad": lambda _: 1.0})
    ]
    (tmp_path / "t.csv").write_text("edit_id,rater,score\n" + "\n".join(rows))
    result = CliRunner().invoke(app, ["rate", "agreement", str(tmp_path / "t.csv")])
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= WIDTH
    assert "constant score: all 40 scores are 1" in result.output
    assert "\x1b" not in result.output
    result = CliRunner().invoke(app, ["rate", "agreement", str(tmp_path / "t.csv"), "--json"])
    assert json.loads(result.output)["scores"]["score"]["kept"]["raters"] == 2
    with pytest.raises(HPEditError, match="no ratings on the axis quality") as caught:
        agreement_of_file(tmp_path / "t.csv", axes=["quality"])
    assert caught.value.hint == "axes: score"


def test_all_votes_have_a_row() -> None:
    report = agreement_report(votes({"ann": lambda pair: VOTES[pair % 4]}, pairs=8))
    assert report["votes"]["all"]["votes"] == {"A": 2, "B": 2, "tie": 2, "both_bad": 2}
    assert "2/2/2/2" in agreement_as_text(report)


# Of the whole split, as published with the data; the part here has 286 of its rated edits.
CEILINGS = {
    "alignment": (0.60, 0.66, 0.79),
    "quality": (0.51, 0.62, 0.77),
    "consistency": (0.33, 0.46, 0.70),
    "overall": (0.63, 0.71, 0.82),
}


@pytest.mark.parametrize("axis", CEILINGS)
def test_real_ratings_have_the_published_ceilings(axis: str) -> None:
    data = shared_data("magicbrush", "human_ratings.csv")
    report = agreement_of_file(data / "human_ratings.csv", data / "edits.csv", axes=[axis], margin=1.0)
    figures = report["scores"][axis]["all"]
    assert (figures["edits"], figures["ratings"], figures["raters"]) == (286, 1190, 5)
    for name, published in zip(("pair_spearman", "rest_spearman", "rest_pairwise_any"), CEILINGS[axis], strict=True):
        low, high = figures[name]["ci95"]
        assert low - 0.005 <= published <= high + 0.005, name
