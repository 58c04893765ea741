"""Judges' votes between two edits: symmetry, ties apart, what is missing or contradictory, and real votes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared_data import shared_data
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.errors import HPEditError
from hpedit.ratings.responses import SWAPPED_VOTE, VOTES
from hpedit.scorer.tables.ratings_import import import_genai
from hpedit.scorer.votes.evaluate_votes import evaluate_votes
from hpedit.scorer.votes.judge_selection import fit_combination, folds_by_source
from hpedit.scorer.votes.vote_model import MISSING, fit_votes, most_probable_vote, swap_votes
from hpedit.scorer.votes.vote_table import count_cycles, load_votes

Rows = list[tuple[str, str, str, str]]


def write(folder: Path, people: Rows, judges: Rows, sources: int = 20) -> tuple[Path, Path, Path]:
    """Write the tables; edit "7a" belongs to source 7 % sources."""
    folder.mkdir(exist_ok=True)
    names = sorted({edit for row in (*people, *judges) for edit in row[:2]})
    edits = "\n".join(f"{edit},s{int(edit[:-1]) % sources}" for edit in names)
    (folder / "edits.csv").write_text(f"edit_id,source_id\n{edits}\n")
    for name, voter, rows in (("votes", "rater", people), ("judge_votes", "judge", judges)):
        lines = "\n".join(",".join(row) for row in rows)
        (folder / f"{name}.csv").write_text(f"edit_a,edit_b,{voter},vote\n{lines}\n")
    return folder / "edits.csv", folder / "votes.csv", folder / "judge_votes.csv"


def world(pairs: int = 120, seed: int = 0) -> tuple[Rows, Rows]:
    """People and four judges: two that see people's opinion in 7 of 10 cases, one that always says A, one at random."""
    rng = random.Random(seed)
    people: Rows = []
    judges: Rows = []
    for pair in range(pairs):
        edits = (f"{pair}a", f"{pair}b")
        truth = rng.choices(VOTES, (4, 4, 1, 4))[0]
        people.append((*edits, "p", truth))
        for judge in ("good", "fair"):
            judges.append((*edits, judge, truth if rng.random() < 0.7 else rng.choice(VOTES)))
        judges.append((*edits, "left", "A"))
        judges.append((*edits, "dice", rng.choice(VOTES)))
    return people, judges


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return evaluate_votes(*write(tmp_path_factory.mktemp("world"), *world()))


VOTE_ARRAYS = st.lists(st.lists(st.integers(-1, 3), min_size=2, max_size=2), min_size=6, max_size=12)


@given(votes=VOTE_ARRAYS, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_exchanging_the_edits_exchanges_a_and_b_and_nothing_else_whatever_was_fitted(
    votes: list[list[int]], seed: int
) -> None:
    given_votes = np.array(votes)
    human = np.random.default_rng(seed).integers(0, 4, len(votes))
    model = fit_votes(given_votes, human, ("x", "y"), 1.0)
    straight, exchanged = model.predict(given_votes), model.predict(swap_votes(given_votes))
    np.testing.assert_array_equal(exchanged, straight[:, [1, 0, 2, 3]])
    np.testing.assert_array_equal(most_probable_vote(exchanged), swap_votes(most_probable_vote(straight)))
    np.testing.assert_allclose(straight.sum(axis=1), 1.0)


def test_a_fit_on_exchanged_pairs_is_the_same_fit() -> None:
    rng = np.random.default_rng(0)
    votes, human = rng.integers(-1, 4, (60, 3)), rng.integers(0, 4, 60)
    turned = rng.random(60) < 0.5
    first = fit_votes(votes, human, ("a", "b", "c"), 3.0)
    other = fit_votes(
        np.where(turned[:, None], swap_votes(votes), votes),
        np.where(turned, swap_votes(human), human),
        ("a", "b", "c"),
        3.0,
    )
    np.testing.assert_allclose(other.predict(votes), first.predict(votes), atol=1e-4)


def test_no_vote_moves_nothing_and_is_never_guessed() -> None:
    rng = np.random.default_rng(0)
    human = rng.integers(0, 4, 80)
    votes = np.column_stack([human, np.full(80, MISSING)])
    model = fit_votes(votes, human, ("good", "absent"), 1.0)
    silent = np.full((1, 2), MISSING)
    shares = [(human <= 1).mean() / 2, (human <= 1).mean() / 2, (human == 2).mean(), (human == 3).mean()]
    np.testing.assert_allclose(fit_votes(votes[:, :0], human, (), 1.0).predict(silent[:, :0])[0], shares, atol=1e-2)
    for vote in range(4):
        np.testing.assert_array_equal(model.predict(np.array([[1, vote]])), model.predict(np.array([[1, MISSING]])))
    assert model.predict(silent)[0, 0] == model.predict(silent)[0, 1]


def test_equal_probabilities_of_a_and_b_decide_for_neither() -> None:
    level = np.array([[0.4, 0.4, 0.15, 0.05], [0.4, 0.4, 0.05, 0.15], [0.2, 0.2, 0.0, 0.6], [0.5, 0.4, 0.1, 0.0]])
    assert most_probable_vote(level).tolist() == [2, 3, 3, 0]


def test_judges_combine_to_more_than_either_and_those_without_signal_are_named(report: dict[str, Any]) -> None:
    judges = report["judges"]
    assert {name: judge["verdict"] for name, judge in judges.items()} == {
        "dice": "no signal",
        "fair": "ok",
        "good": "ok",
        "left": "no signal",
    }
    assert judges["left"]["weight"] == judges["dice"]["weight"] == 0.0
    assert judges["good"]["weight"] + judges["fair"]["weight"] == pytest.approx(1.0)
    assert judges["left"]["reason"] == "all its 120 votes are the same"
    assert judges["left"]["first_shown"] == 1.0
    assert report["best_single"]["gain"]["value"] >= 0
    assert report["chosen_by_fold"] == [["fair", "good"]] * 5


def test_ties_are_reported_apart_and_not_as_wrong_choices(report: dict[str, Any]) -> None:
    people = report["people"]
    parts = report["by_answer"]
    assert [parts[name]["n"] for name in ("decided", "tie", "both_bad")] == [
        people["A"] + people["B"],
        people["tie"],
        people["both_bad"],
    ]
    assert report["direction"]["n"] == people["A"] + people["B"]
    assert {given: sum(row.values()) for given, row in report["confusion"].items()} == people
    right = sum(report["confusion"][vote][vote] for vote in VOTES)
    assert right / report["pairs"] == pytest.approx(report["accuracy"]["value"])


def test_order_of_rows_sides_and_repeats_change_nothing(report: dict[str, Any], tmp_path: Path) -> None:
    people, judges = world()
    rng = random.Random(1)

    def disturb(rows: Rows) -> Rows:
        turned = [
            (b, a, who, SWAPPED_VOTE[vote]) if rng.random() < 0.5 else (a, b, who, vote) for a, b, who, vote in rows
        ]
        again = [(b, a, who, SWAPPED_VOTE[vote]) for a, b, who, vote in rng.sample(turned, 20)]
        return rng.sample(turned + again, len(turned) + 20)

    other = evaluate_votes(*write(tmp_path / "x", disturb(people), disturb(judges)))
    assert other["left_out"].pop("repeated_votes") == 40
    for result in (other, dict(report)):
        result["judges"] = {name: {**judge, "first_shown": None} for name, judge in result["judges"].items()}
        result["left_out"] = {**result["left_out"], "repeated_votes": 0}
    assert other == {**report, "judges": {n: {**j, "first_shown": None} for n, j in report["judges"].items()}}


def test_contradictory_votes_are_none_and_are_counted(tmp_path: Path) -> None:
    people = [("1a", "1b", "p", "A"), ("1b", "1a", "p", "A"), ("2a", "2b", "p", "A"), ("2a", "2b", "q", "B")]
    people += [("3a", "3b", "p", "tie"), ("3a", "3b", "q", "A"), ("3b", "3a", "r", "B")]
    judges = [("1a", "1b", "j", "A"), ("2a", "2b", "j", "A"), ("2b", "2a", "j", "A"), ("3a", "3b", "j", "")]
    judges += [("3a", "3b", "k", "unreadable")]
    table = load_votes(*write(tmp_path, [*people, ("4a", "4b", "p", "A")], [*judges, ("4a", "4b", "k", "B")]))
    assert table.pairs == (("1a", "1b"), ("2a", "2b"), ("3a", "3b"), ("4a", "4b"))
    assert table.human.tolist() == [MISSING, MISSING, 0, 0]
    assert table.votes.tolist() == [[0, MISSING], [MISSING, MISSING], [MISSING, MISSING], [MISSING, 1]]
    assert (table.undecided, dict(table.people.contradictory), dict(table.machines.contradictory)) == (
        1,
        {"p": 1},
        {"j": 1},
    )
    assert table.machines.missing == 2


def test_preferences_in_a_circle_are_counted() -> None:
    circle = {("a", "b"): "A", ("b", "c"): "A", ("a", "c"): "B", ("c", "d"): "A", ("a", "d"): "tie"}
    assert count_cycles(circle) == 1
    assert count_cycles({**circle, ("a", "c"): "A"}) == 0


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ([("1a", "1a", "p", "A")], r"votes\.csv:2: edit '1a' is compared with itself"),
        ([("1a", "1b", "p", "left")], r"votes\.csv:2: vote is 'left'"),
        ([("1a", "2b", "p", "A")], r"votes\.csv:2: the two edits are of different sources"),
        ([("1a", "1b", "", "A")], r"votes\.csv:2: rater is empty"),
        ([("8a", "8b", "p", "A")], "have no pair in common"),
        ([("1a", "1b", "p", "")], "have no pair in common"),
    ],
)
def test_self_pairs_and_other_impossible_votes_are_refused(tmp_path: Path, people: Rows, message: str) -> None:
    with pytest.raises(HPEditError, match=message):
        load_votes(*write(tmp_path, people, [("1a", "1b", "j", "A")]))


def test_too_few_pairs_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="people voted on 10 pairs of 10 sources") as caught:
        evaluate_votes(*write(tmp_path, *world(10)))
    assert "at least 40 pairs of 10 sources" in caught.value.hint


def test_only_judges_without_signal_give_peoples_shares_and_no_weight(tmp_path: Path) -> None:
    people, judges = world()
    report = evaluate_votes(*write(tmp_path, people, [row for row in judges if row[2] in ("left", "dice")]))
    assert {judge["weight"] for judge in report["judges"].values()} == {0.0}
    assert report["confusion"]["A"]["A"] == report["confusion"]["B"]["B"] == 0


def test_a_judge_with_exchanged_sides_is_named_and_not_turned_round(tmp_path: Path) -> None:
    people, judges = world()
    liar = [(*row[:2], "liar", SWAPPED_VOTE[row[3]]) for row in judges if row[2] == "good"]
    report = evaluate_votes(*write(tmp_path, people, [*judges, *liar]))
    assert report["judges"]["liar"]["verdict"] == "no signal"
    assert "exchanged" in report["judges"]["liar"]["reason"]


def test_all_pairs_of_a_source_are_in_one_fold() -> None:
    sources = [f"s{pair % 12}" for pair in range(100)]
    folds = folds_by_source(sources, 0)
    assert len({(source, fold) for source, fold in zip(sources, folds.tolist(), strict=True)}) == 12
    assert set(folds.tolist()) == set(range(5))


def test_pairs_that_only_judges_voted_on_are_predicted_and_the_output_is_twice_the_same(tmp_path: Path) -> None:
    people, judges = world()
    tables = write(tmp_path / "in", people[:100], judges)
    for name in ("x", "y"):
        assert evaluate_votes(*tables, tmp_path / name)["left_out"]["pairs_without_people"] == 20
    lines = (tmp_path / "x" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 121
    assert sum(line.endswith(",") for line in lines) == 20
    for name in ("predictions.csv", "combination.json"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_the_command_prints_eighty_columns_or_json(tmp_path: Path) -> None:
    edits, votes, judge_votes = write(tmp_path, *world())
    command = ["scorer", "votes", "--edits", str(edits), "--votes", str(votes), "--judge-votes", str(judge_votes)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "no signal: all its 120 votes are the same; 100% of its choices" in " ".join(result.output.split())
    assert json.loads(CliRunner().invoke(app, [*command, "--json"]).output)["pairs"] == 120


@pytest.fixture(scope="module")
def genai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("genai")
    counts = import_genai(shared_data("genai_bench_edit", "votes.csv"), out)
    assert (counts["pairs"], counts["sources"], len(counts["judges"])) == (506, 101, 17)
    return out


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_real_votes_combine_to_at_least_the_best_single_judge(genai: Path, seed: int) -> None:
    report = evaluate_votes(genai / "edits.csv", genai / "votes.csv", genai / "judge_votes.csv", seed=seed)
    assert report["accuracy"]["value"] >= report["best_single"]["accuracy"]["value"]
    assert report["accuracy"]["value"] >= report["best_in_hindsight"]["accuracy"]["value"]
    assert report["judges"]["gpt4o"]["gain"]["value"] > 0
    assert report["judges"]["gpt4o"]["accuracy"]["value"] == pytest.approx(0.557, abs=5e-4)
    assert report["chosen_by_fold"] == [["gemini-1.5-pro", "gpt4o"]] * 5
    silent = {name for name, judge in report["judges"].items() if judge["verdict"] == "no signal"}
    assert silent == set(report["judges"]) - {"gemini-1.5-pro", "gpt4o"}
    assert len(silent) == 15
    assert all(report["judges"][name]["weight"] == 0 for name in silent)


def test_real_judges_keep_missing_votes_missing(genai: Path) -> None:
    table = load_votes(genai / "edits.csv", genai / "votes.csv", genai / "judge_votes.csv")
    there = (table.votes != MISSING).sum(axis=0)
    count = dict(zip(table.judges, there.tolist(), strict=True))
    assert (count["gpt4o"], count["idefics1"], count["kosmos2"], count["cogvlm"]) == (506, 133, 0, 0)


def test_selection_is_made_from_the_given_pairs_alone() -> None:
    rng = np.random.default_rng(0)
    human = rng.integers(0, 2, 100)
    votes = np.column_stack([human, rng.integers(0, 2, 100)])
    model, signals = fit_combination(votes, human, [str(n) for n in range(100)], ("knows", "dice"), 0)
    assert model.judges == ("knows",)
    assert signals["dice"].reason
