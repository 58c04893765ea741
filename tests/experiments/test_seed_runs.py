"""Several seeds of one recipe against base and control."""

import dataclasses
import json

import pytest
from tests.bench.made import SCORER, SECOND, planted, rows
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.errors import HPEditError
from hpedit.experiments.seed_runs import aggregate_seeds, seed_gains_text
from hpedit.rl.monitor.evaluations import BASE, EVALUATIONS, FOLDER, Evaluation, HeldOutTable


@pytest.fixture
def seed(tmp_path):
    """Base, post and control of one seed, with planted gains."""

    def make(name, post, control=None, **settings):
        folder = tmp_path / name / "bench"
        shifts = {"base": 0.0, "post": post} | ({} if control is None else {"control": control})
        for label, shift in shifts.items():
            made = {"editor": f"{label}-{name}", **settings}
            planted(folder / label, label, rows(label, 24, shift), ((SCORER, 0.2), (SECOND, 0.0)), **made)
        return tmp_path / name

    return make


def test_gains_over_base_and_control_with_each_seeds_own(seed):
    result = aggregate_seeds([seed("s0", 0.5, 0.1), seed("s1", 0.6, 0.2), seed("s2", 0.7, 0.0)])
    found = {(row["instrument"], row["of"], row["over"]): row for row in result["rows"]}
    assert {name for name, _, _ in found} == {"oracle", "scorer", "second"}
    gain, control = found["oracle", "post", "base"], found["oracle", "control", "base"]
    assert gain["mean"] == pytest.approx(0.6)
    assert gain["per_seed"] == pytest.approx([0.5, 0.6, 0.7])
    assert (gain["seeds"], gain["sources"], gain["n"]) == (3, 12, 72)
    half = 4.303 * 0.1 / 3**0.5  # All photos gain the same, so t has the seeds' two degrees of freedom.
    assert gain["ci95"] == pytest.approx([0.6 - half, 0.6 + half], abs=1e-3)
    assert control["mean"] == pytest.approx(0.1)
    assert found["oracle", "post", "control"]["mean"] == pytest.approx(0.5)
    assert result["notes"] == []
    assert "post - control" in seed_gains_text(result)


def test_a_verdict_needs_interval_corrected_p_and_three_seeds(seed):
    steady = [seed(f"s{i}", 0.5 + i / 50, 0.1 - i / 50) for i in range(5)]
    result = aggregate_seeds(steady)
    assert all(row["clear"] and row["p"] <= row["p_holm"] < 0.05 for row in result["rows"] if row["of"] == "post")
    text = "Better edits: the oracle and the second judge see it, and HP-Scorer agrees."
    assert result["verdicts"]["post - base"] == result["verdicts"]["post - control"] == {"text": text, "tone": "good"}
    assert f"post - control: {text}" in seed_gains_text(result)
    fewer = aggregate_seeds(steady[:2])
    assert not any(row["clear"] for row in fewer["rows"])
    assert fewer["verdicts"]["post - base"]["text"].startswith("Not enough seeds (2; a verdict needs 3)")


def test_a_gain_that_only_some_seeds_have_is_not_clear(seed):
    result = aggregate_seeds([seed("s0", 0.8, 0.0), seed("s1", 0.1, 0.0), seed("s2", 0.0, 0.0)])
    assert result["verdicts"]["post - base"]["text"] == "No clear change by the oracle and the second judge."


def test_what_is_missing_for_a_claim_is_said(seed):
    result = aggregate_seeds([seed("s0", 0.5), seed("s1", 0.4)])
    assert any("a claim needs at least 3" in note for note in result["notes"])
    assert any("no control" in note for note in result["notes"])
    assert all(row["over"] == "base" for row in result["rows"])


def test_the_same_model_twice_is_refused(seed):
    folder = seed("s0", 0.5)
    with pytest.raises(HPEditError, match="hold the same model"):
        aggregate_seeds([folder, folder])


def test_training_runs_count_by_their_last_look(tmp_path):
    cases = [{"id": f"c{i}", "task": "color", "source_id": f"p{i // 2}"} for i in range(8)]
    for number, gain in enumerate((0.2, 0.3, 0.4)):
        folder = tmp_path / f"run{number}" / FOLDER
        folder.mkdir(parents=True)
        base = Evaluation(0, {"scorer": [2.0] * 8, "oracle": [2.0] * 7 + [None]}, {})
        (folder / BASE).write_text(json.dumps(HeldOutTable(cases, {}, base).base_json()))
        gains = {5: 3 * gain, 10: gain}
        looks = [Evaluation(step, {name: [2.0 + one] * 8 for name in base.scores}, {}) for step, one in gains.items()]
        (folder / EVALUATIONS).write_text("".join(json.dumps(dataclasses.asdict(look)) + "\n" for look in looks))
    result = CliRunner().invoke(app, ["bench", "seeds", *(str(tmp_path / f"run{i}") for i in range(3)), "--json"])
    assert result.exit_code == 0, result.output
    found = {row["instrument"]: row for row in json.loads(result.stdout)["rows"]}
    assert found["scorer"]["per_seed"] == pytest.approx([0.2, 0.3, 0.4])
    assert found["oracle"]["n"] == 21
    assert "no control" in result.stdout


def test_a_folder_that_is_no_seed_is_refused(tmp_path):
    with pytest.raises(HPEditError, match="is neither a benchmark"):
        aggregate_seeds([tmp_path])
