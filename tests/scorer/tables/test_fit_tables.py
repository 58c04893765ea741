"""Fit and evaluate on tables: real judges on real people, and every way in which tables do not fit together."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpedit.errors import HPEditError
from hpedit.scorer.evaluation.human_agreement import MEASURES
from hpedit.scorer.evaluation.measure_tables import evaluate_tables
from hpedit.scorer.tables.fit_tables import fit_tables, load_calibration
from hpedit.scorer.tables.rubrics import parse_columns

Rows = list[dict[str, Any]]


def read(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def split(folder: Path, out: Path, seed: int, share: float) -> tuple[Path, Path]:
    """Two parts of edits.csv that share no photo."""
    rows = read(folder / "edits.csv")
    sources = sorted({row["source_id"] for row in rows})
    random.Random(seed).shuffle(sources)
    first = set(sources[: round(share * len(sources))])
    part = write(out / "fit.csv", [row for row in rows if row["source_id"] in first])
    rest = write(out / "rest.csv", [row for row in rows if row["source_id"] not in first])
    return part, rest


def fit_and_evaluate(folder: Path, out: Path, judge: str, seed: int, share: float) -> dict[str, Any]:
    part, rest = split(folder, out, seed, share)
    fit_tables(part, folder / "ratings.csv", folder / "scores.csv", judge, out / "scorer")
    return evaluate_tables(out / "scorer", rest, folder / "ratings.csv", folder / "scores.csv")


@pytest.mark.parametrize(("seed", "share"), [(1, 0.5), (2, 0.8), (3, 0.5)])
def test_gpt4o_agrees_better_with_people_once_calibrated_on_other_photos(
    imagenhub: Path, tmp_path: Path, seed: int, share: float
) -> None:
    report = fit_and_evaluate(imagenhub, tmp_path, "gpt4o_0shot", seed, share)
    assert report["verdict"] == "ok"
    assert report["seen_sources"] == 0
    for name in ("pearson", "pairwise_accuracy"):
        assert report[name]["value"] > report["raw"][name]["value"]
    for part in (report, report["raw"], report["human"]):
        for name in MEASURES:
            assert part[name]["ci95"][0] < part[name]["value"] < part[name]["ci95"][1]
    json.dumps(report, allow_nan=False)


def test_gemini_is_ok_and_not_made_worse(imagenhub: Path, tmp_path: Path) -> None:
    report = fit_and_evaluate(imagenhub, tmp_path, "gemini_0shot", 1, 0.5)
    assert report["verdict"] == "ok"
    for name in ("pearson", "pairwise_accuracy"):
        assert report[name]["value"] > report["raw"][name]["value"] - 0.03


@pytest.mark.parametrize(("seed", "share"), [(1, 0.5), (2, 0.8), (3, 0.3), (4, 0.5)])
def test_llava_has_no_signal_and_the_report_says_why(imagenhub: Path, tmp_path: Path, seed: int, share: float) -> None:
    report = fit_and_evaluate(imagenhub, tmp_path, "llava_0shot", seed, share)
    assert report["verdict"] == "no signal"
    assert "correlation with people" in report["reason"]


def test_missing_answers_of_real_judges_are_counted(imagenhub: Path, tmp_path: Path) -> None:
    report = fit_and_evaluate(imagenhub, tmp_path, "llava_0shot", 1, 0.5)
    edits = len(read(tmp_path / "rest.csv"))
    assert report["n"] + report["unscorable"] == edits
    assert sum(report["unscorable_reasons"].values()) >= 2 * report["unscorable"] > 0


Tables = dict[str, Rows]


def make_tables() -> Tables:
    """60 edits of 20 photos, two raters, one judge that sees them a little blurred and one that never answers."""
    rng = random.Random(0)
    tables: Tables = {"edits": [], "ratings": [], "scores": []}
    for number in range(60):
        edit, truth = f"e{number:02}", rng.uniform(0, 5)
        tables["edits"].append({"edit_id": edit, "source_id": f"s{number // 3}", "task": "color"})
        for rater in ("r1", "r2"):
            tables["ratings"].append({"edit_id": edit, "rater": rater, "score": round(truth)})
        answer = min(5.0, max(0.0, truth + rng.gauss(0, 0.5)))
        tables["scores"].append({"edit_id": edit, "judge": "good", "expected": f"{answer:.3f}", "spread": "0.5"})
        tables["scores"].append({"edit_id": edit, "judge": "mute", "expected": "", "spread": ""})
    return tables


def paths(folder: Path, tables: Tables) -> tuple[Path, Path, Path]:
    folder.mkdir(exist_ok=True)
    edits, ratings, scores = (write(folder / f"{name}.csv", rows) for name, rows in tables.items())
    return edits, ratings, scores


@pytest.fixture
def tables() -> Tables:
    return make_tables()


def test_a_scorer_is_fitted_written_and_evaluated(tables: Tables, tmp_path: Path) -> None:
    files = paths(tmp_path / "in", tables)
    summary = fit_tables(*files, "good", tmp_path / "scorer")
    assert (summary["n"], summary["unscorable"], summary["unrated"], summary["verdict"]) == (60, 0, 0, "ok")
    report = evaluate_tables(tmp_path / "scorer", *files, allow_seen=True)
    assert report["scorer"] == summary["scorer"] == load_calibration(tmp_path / "scorer").fingerprint
    assert report["seen_sources"] == 20
    assert report["human"]["raters"] == 2


def test_the_order_of_the_rows_changes_no_byte(tables: Tables, tmp_path: Path) -> None:
    fit_tables(*paths(tmp_path / "a", tables), "good", tmp_path / "one")
    shuffled = {name: random.Random(1).sample(rows, len(rows)) for name, rows in tables.items()}
    fit_tables(*paths(tmp_path / "b", shuffled), "good", tmp_path / "two")
    one, two = (tmp_path / name / "calibration.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_rows_of_other_edits_are_ignored_and_unrated_edits_counted(tables: Tables, tmp_path: Path) -> None:
    tables["edits"] = tables["edits"][:50]
    tables["ratings"] = [row for row in tables["ratings"] if row["edit_id"] not in ("e00", "e01")]
    summary = fit_tables(*paths(tmp_path / "in", tables), "good", tmp_path / "scorer")
    assert (summary["n"], summary["unrated"]) == (48, 2)


@pytest.mark.parametrize("text", ["ten", "", "n/a", "11", "-1", "nan", "5.01", "NaN", "None"])
def test_an_unreadable_answer_makes_the_edit_unscorable_and_is_counted(
    tables: Tables, tmp_path: Path, text: str
) -> None:
    fit_tables(*paths(tmp_path / "in", tables), "good", tmp_path / "scorer")
    for row in tables["scores"]:
        if row["edit_id"] in ("e00", "e07"):
            row["expected"] = row["spread"] = text
    report = evaluate_tables(tmp_path / "scorer", *paths(tmp_path / "in", tables), allow_seen=True)
    assert (report["n"], report["unscorable"]) == (58, 2)
    assert report["unscorable_scorer"] == report["unscorable_raw"] == 2
    assert sum(report["unscorable_reasons"].values()) == 4


def test_an_edit_without_a_row_of_scores_is_unscorable(tables: Tables, tmp_path: Path) -> None:
    tables["scores"] = [row for row in tables["scores"] if row["edit_id"] != "e05"]
    summary = fit_tables(*paths(tmp_path / "in", tables), "good", tmp_path / "scorer")
    assert (summary["n"], summary["unscorable"]) == (59, 1)
    assert summary["unscorable_reasons"]["expected: no row in the table of scores"] == 1


def test_a_judge_that_never_answers_is_refused(tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="judge mute has readable answers for 0 of 60 rated edits"):
        fit_tables(*paths(tmp_path / "in", tables), "mute", tmp_path / "scorer")
    assert not (tmp_path / "scorer").exists()


def set_first(table: str, column: str, value: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables[table][0][column] = value

    return change


def double(table: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables[table].append(tables[table][0])

    return change


def rename_edits(table: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        for row in tables[table]:
            row["edit_id"] = "other-" + row["edit_id"]

    return change


def ask_something_else(tables: Tables) -> None:
    tables["scores"] = [{"edit_id": row["edit_id"], "judge": row["judge"], "beauty": "3"} for row in tables["scores"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (double("edits"), r"edits\.csv:62: e00 appears twice"),
        (double("ratings"), r"ratings\.csv:122: e00, r1 appears twice"),
        (double("scores"), r"scores\.csv:122: e00 appears twice"),
        (set_first("ratings", "score", "5.5"), r"ratings\.csv:2: score '5.5' is not in 0 to 5"),
        (set_first("ratings", "score", "good"), r"ratings\.csv:2: score 'good' is not a number"),
        (set_first("edits", "source_id", ""), r"edits\.csv:2: source_id is empty"),
        (rename_edits("ratings"), "has no rating of these edits"),
        (rename_edits("scores"), "has no score by good of these edits"),
        (ask_something_else, "no answers that we know how to read"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(
    tables: Tables, tmp_path: Path, change: Callable[[Tables], None], message: str
) -> None:
    change(tables)
    with pytest.raises(HPEditError, match=message):
        fit_tables(*paths(tmp_path / "in", tables), "good", tmp_path / "scorer")


def test_several_judges_are_fitted_into_one_scorer_and_evaluated(tables: Tables, tmp_path: Path) -> None:
    rng = random.Random(1)
    good = [row for row in tables["scores"] if row["judge"] == "good"]
    tables["scores"] = good + [{**row, "judge": "blind", "expected": f"{rng.uniform(0, 5):.3f}"} for row in good]
    summary = fit_tables(*paths(tmp_path / "in", tables), ["blind", "good"], tmp_path / "scorer")
    assert (summary["judge"], summary["verdict"]) == ("blind + good", "ok")
    assert summary["judges"]["blind"] | {"reason": "", "pearson": None} == {
        "verdict": "no signal",
        "reason": "",
        "weight": 0.0,
        "pearson": None,
    }
    saved = json.loads((tmp_path / "scorer" / "calibration.json").read_text())
    assert saved["judges"]["good"]["weight"] == 1.0
    report = evaluate_tables(tmp_path / "scorer", *paths(tmp_path / "in", tables), allow_seen=True)
    assert report["pearson"]["value"] > 0.8
    assert report["raw"]["pearson"]["value"] > 0.8  # of the judge that counts, not of the first


def own_columns(tables: Tables) -> Tables:
    """Answers of the good judge as two scales of the user's own; on the second one, 1 is best."""
    good = [row for row in tables["scores"] if row["judge"] == "good"]
    tables["scores"] = [
        {
            "edit_id": row["edit_id"],
            "judge": "mine",
            "realism": 2 * float(row["expected"]),
            "flaws": round(5 - 0.8 * float(row["expected"]), 3),
        }
        for row in good
    ]
    return tables


def test_columns_of_the_users_own_are_read_with_their_scales(tables: Tables, tmp_path: Path) -> None:
    files = paths(tmp_path / "in", own_columns(tables))
    columns = parse_columns("realism:0:10, flaws:5:1")
    assert columns == {"realism": (0.0, 10.0), "flaws": (5.0, 1.0)}
    summary = fit_tables(*files, "mine", tmp_path / "scorer", columns)
    assert summary["verdict"] == "ok"
    scorer = load_calibration(tmp_path / "scorer")
    assert scorer.feature_names == ("overall", "flaws", "realism")
    mean, _ = scorer.predict(np.array([[4.0, 0.8, 0.8], [1.0, 0.2, 0.2]]), ["color"] * 2)
    assert mean[0] > mean[1] + 1
    assert evaluate_tables(tmp_path / "scorer", *files, allow_seen=True)["pearson"]["value"] > 0.8
    with pytest.raises(HPEditError, match="no column beauty"):
        fit_tables(*files, "mine", tmp_path / "other", {"beauty": (0.0, 1.0)})
    with pytest.raises(HPEditError, match="no answers that we know how to read") as caught:
        fit_tables(*files, "mine", tmp_path / "other")
    assert "--columns name:worst:best" in caught.value.hint


@pytest.mark.parametrize("text", ["realism", "realism:0", "realism:0:0", "a:0:1,a:0:1", ":0:1", "a:x:1", "q:x:0:1", ""])
def test_columns_that_cannot_be_meant_are_refused(text: str) -> None:
    with pytest.raises(HPEditError, match="--columns"):
        parse_columns(text)


def test_answers_to_questions_stand_beside_those_of_any_rubric(tables: Tables, tmp_path: Path) -> None:
    for row in tables["scores"]:
        row["q:seams"] = "0.5" if row["edit_id"] < "e30" else ""
    fit_tables(*paths(tmp_path / "in", tables), "good", tmp_path / "scorer")
    assert load_calibration(tmp_path / "scorer").feature_names == ("expected", "spread", "q:seams")
    report = evaluate_tables(tmp_path / "scorer", *paths(tmp_path / "in", tables), allow_seen=True)
    assert report["unscorable_reasons"] == {}


def test_an_unknown_judge_is_refused_with_the_list_of_judges(tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="no judge 'gpt4'") as caught:
        fit_tables(*paths(tmp_path / "in", tables), "gpt4", tmp_path / "scorer")
    assert caught.value.hint == "its judges are: good, mute"


def test_a_scorer_is_not_used_on_other_answers_than_it_was_fitted_on(tables: Tables, tmp_path: Path) -> None:
    fit_tables(*paths(tmp_path / "in", tables), "good", tmp_path / "scorer")
    for row in tables["scores"]:
        del row["spread"]
    with pytest.raises(HPEditError, match="was fitted on the answers expected, spread"):
        evaluate_tables(tmp_path / "scorer", *paths(tmp_path / "in", tables), allow_seen=True)


def test_a_folder_that_is_not_a_scorers_is_left_alone(tables: Tables, tmp_path: Path) -> None:
    files = paths(tmp_path / "in", tables)
    with pytest.raises(HPEditError, match="is not a scorer's folder"):
        fit_tables(*files, "good", tmp_path / "in")
    with pytest.raises(HPEditError, match="does not exist"):
        evaluate_tables(tmp_path / "in", *files, allow_seen=True)


def test_a_damaged_scorer_is_named(tables: Tables, tmp_path: Path) -> None:
    files = paths(tmp_path / "in", tables)
    fit_tables(*files, "good", tmp_path / "scorer")
    file = tmp_path / "scorer" / "calibration.json"
    file.write_text(file.read_text()[:100])
    with pytest.raises(HPEditError, match=r"calibration\.json is not valid JSON"):
        evaluate_tables(tmp_path / "scorer", *files, allow_seen=True)
