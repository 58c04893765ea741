"""`compare` gives the planted gains from the same cases, and refuses to compare what differs."""

import dataclasses
import json

import numpy as np
import pytest

from hpedit.bench.before_after import before_after_summary
from hpedit.bench.bench_folder import ROWS, SCORES, STAGE, BenchFolder, BenchRow, Instrument, scores_file
from hpedit.bench.pixel_measures import MEASURES
from hpedit.errors import HPEditError
from hpedit.report.report_data import ReportData
from hpedit.report.report_page import render_report
from hpedit.store.run_folder import RunFolder
from hpedit.tasks import TASK_IDS

SETTINGS = {"seed": 0, "steps": 4, "batch": 8, "editor": "e"}


def rows(label, count, shift, *, unscorable=(), exact=True, per_source=2):
    rng = np.random.default_rng(0)
    result = []
    for index in range(count):
        base = 1.5 + 2 * rng.random()
        levels = dict.fromkeys(MEASURES, 0.2 + 0.01 * rng.random())
        value = base + shift
        result.append(
            BenchRow(
                case_id=f"case-{index}",
                edit_id=f"{label}:case-{index}",
                task=TASK_IDS[index % 8],
                source_id=f"photo-{index // per_source}",
                seed=index,
                score=None if index in unscorable else value + 0.2,
                reason="the judge gave no digit" if index in unscorable else None,
                oracle=value if exact else None,
                copy_oracle=0.1 if exact else None,
                alarms={name: level + (0.1 * shift if name == "grid_energy" else 0) for name, level in levels.items()},
                source_alarms=levels,
            )
        )
    return result


def folder(path, label, table, scorer="s", **changes):
    with RunFolder.open(path, STAGE, {**SETTINGS, "label": label, **changes}) as run:
        (path / ROWS).write_text("".join(json.dumps(row.as_dict()) + "\n" for row in table))
        instrument = Instrument(scorer, "scorer", "scorer")
        (path / SCORES).mkdir()
        (path / SCORES / f"{instrument.stem}.json").write_text(json.dumps(instrument.as_dict()))
        lines = [{name: getattr(row, name) for name in ("edit_id", "score", "std", "reason")} for row in table]
        scores_file(path, instrument).write_text("".join(json.dumps(line) + "\n" for line in lines))
        run.metrics({"stage": "edit", "count": len(table), "seconds": 2.0})
        run.metrics({"stage": "scorer", "count": len(table), "seconds": 1.0})
        run.finish({"n": len(table)})
    return BenchFolder.open(path)


@pytest.fixture
def three(tmp_path):
    return {
        "base": folder(tmp_path / "base", "base", rows("base", 80, 0.0)),
        "post": folder(tmp_path / "post", "post", rows("post", 80, 0.5, unscorable=(3, 4))),
        "control": folder(tmp_path / "control", "control", rows("control", 80, 0.05, unscorable=(5,))),
    }


def test_the_summary_holds_the_planted_gains(three):
    summary = before_after_summary(three)
    for name in ("oracle", "scorer"):
        block = summary[name]
        assert block["gain"]["mean"] == pytest.approx(0.5)
        assert block["gain"]["ci95"] == pytest.approx([0.5, 0.5])
        assert block["post"]["mean"] - block["base"]["mean"] == pytest.approx(0.5)
        assert block["control"]["gain"]["mean"] == pytest.approx(0.05)
        assert block["control"]["post_minus_control"]["mean"] == pytest.approx(0.45)
        assert block["low_share"]["post"] < block["low_share"]["control"] <= block["low_share"]["base"]
        assert summary["control"][name]["gain"]["mean"] == pytest.approx(0.05)
    assert summary["oracle"]["copy"]["mean"] == pytest.approx(0.1)
    assert summary["oracle"]["win_tie_loss"] == {"win": 80, "tie": 0, "loss": 0}
    assert list(summary["tasks"]) == sorted(TASK_IDS)
    assert summary["tasks"]["bokeh"]["oracle"]["n"] == 10
    assert (summary["n"], summary["sources"]) == (80, 40)
    assert summary["seconds"] == {"bench, base": 3.0, "bench, post": 3.0, "bench, control": 3.0}
    json.dumps(summary, allow_nan=False)


def test_every_figure_of_an_instrument_is_from_the_same_cases(three):
    summary = before_after_summary(three)
    assert summary["unscorable"] == {"base": 0, "post": 2, "control": 1}
    assert summary["scorer"]["n"] == 77, "a case unscorable for one model is left out for all, and never 0"
    assert summary["oracle"]["n"] == 80


def test_the_grid_alarm_fires_and_the_others_are_quiet(three):
    alarms = before_after_summary(three)["alarms"]
    assert alarms["grid_energy"]["alarm"]
    assert "away from the sources" in alarms["grid_energy"]["meaning"]
    assert not alarms["sharpness"]["alarm"]
    assert alarms["saturation"]["meaning"] == "no clear change"


def test_a_move_toward_the_sources_is_no_alarm(tmp_path):
    blurred = [
        dataclasses.replace(row, alarms={name: 0.5 * level for name, level in row.alarms.items()})
        for row in rows("base", 40, 0.0)
    ]
    summary = before_after_summary(
        {"base": folder(tmp_path / "a", "base", blurred), "post": folder(tmp_path / "b", "post", rows("post", 40, 0.0))}
    )
    assert not summary["alarms"]["sharpness"]["alarm"]
    assert "toward the sources" in summary["alarms"]["sharpness"]["meaning"]


def test_without_control_oracle_or_scorer(tmp_path):
    real = {
        name: folder(tmp_path / name, name, rows(name, 16, shift, exact=False))
        for name, shift in (("base", 0.0), ("post", 0.3))
    }
    summary = before_after_summary({**real, "control": None})
    assert summary["oracle"] is None
    assert summary["control"] is None
    assert summary["scorer"]["gain"]["mean"] == pytest.approx(0.3)
    nothing = rows("x", 16, 0.0, exact=False, unscorable=range(16))
    empty = before_after_summary({name: folder(tmp_path / f"{name}2", name, nothing) for name in ("base", "post")})
    assert empty["oracle"] is None
    assert empty["scorer"] is None
    render_report(ReportData(summary=empty))


@pytest.mark.parametrize("count", [1, 2])
def test_one_photo_allows_no_interval(tmp_path, count):
    pair = {
        name: folder(tmp_path / name, name, rows(name, count, shift)) for name, shift in (("base", 0.0), ("post", 0.3))
    }
    summary = before_after_summary(pair)
    assert summary["oracle"]["gain"]["mean"] == pytest.approx(0.3)
    assert summary["oracle"]["gain"]["ci95"] == [None, None]
    assert "no interval" in render_report(ReportData(summary=summary))


def test_rows_are_paired_by_case_not_by_order(tmp_path, three):
    table = rows("post", 80, 0.5)
    shuffled = [table[index] for index in np.random.default_rng(0).permutation(80)]
    post = folder(tmp_path / "shuffled", "post", shuffled)
    found = before_after_summary({"base": three["base"], "post": post})
    assert found["oracle"]["gain"]["ci95"] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("changes", "word"), [({"seed": 1}, "seeds"), ({"steps": 8}, "steps"), ({"scorer": "other"}, "no scorer in common")]
)
def test_folders_made_otherwise_are_refused(tmp_path, three, changes, word):
    other = folder(tmp_path / "other", "post", rows("post", 80, 0.5), **changes)
    with pytest.raises(HPEditError, match=word):
        before_after_summary({"base": three["base"], "post": other})


def test_other_cases_or_a_missing_model_are_refused(tmp_path, three):
    fewer = folder(tmp_path / "fewer", "post", rows("post", 79, 0.5))
    with pytest.raises(HPEditError, match="different cases: 1 are in only one"):
        before_after_summary({"base": three["base"], "post": fewer})
    with pytest.raises(HPEditError, match="no benchmark of the post model"):
        before_after_summary({"base": three["base"], "post": None})


def test_only_a_finished_benchmark_opens(tmp_path):
    with RunFolder.open(tmp_path / "train", "train", {}):
        pass
    with pytest.raises(HPEditError, match="not of a benchmark"):
        BenchFolder.open(tmp_path / "train")
    with RunFolder.open(tmp_path / "half", STAGE, {**SETTINGS, "label": "base"}):
        pass
    with pytest.raises(HPEditError, match="not finished"):
        BenchFolder.open(tmp_path / "half")
