"""What commands print of their counts: text by default, JSON when asked, and never JSON unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cases.build_world import photographs
from tests.scorer.rated_tables import write_tables
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.cli.figures import WIDEST, figures_text
from hpedit.stats.intervals import interval_text

TABLES = (
    "plan", "status", "recipes", "rate agreement", "ratings import", "ratings export", "ratings pairs", "scorer fit",
    "scorer eval", "scorer probe", "scorer votes", "cases build", "cases push", "bench run", "bench score",
    "bench compare", "bench build", "bench seeds", "bench published", "lora push",
)  # fmt: skip
"""Commands that print figures; all others print a path, an address, a recipe or the lines of a run."""
OTHERS = (
    "run", "init", "demo", "edit", "train", "report", "mini build", "mini editor", "rate serve", "scorer serve",
    "bench report", "bench check", "bench ablate", "lora export", "lora card",
)  # fmt: skip


def commands(group: Any, before: str = "") -> dict[str, Any]:
    found = {}
    for name, one in group.commands.items():
        found |= commands(one, f"{before}{name} ") if isinstance(one, TyperGroup) else {f"{before}{name}": one}
    return found


def test_every_command_that_prints_figures_has_json() -> None:
    known = commands(get_command(app))
    assert set(known) == {*TABLES, *OTHERS}, "a new command prints figures or it doesn't: say so here"
    for name in TABLES:
        assert "--json" in [option for parameter in known[name].params for option in parameter.opts], name


def test_counts_estimates_and_tables_read_as_lines() -> None:
    text = figures_text(
        {
            "kept": 3, "share": 1 / 3, "checked": None, "empty": {}, "hidden": {"a": 1}, "judges": ["a_b", "c"],
            "pearson": {"value": 0.5, "ci95": [0.4, 0.6]}, "left_out": {"tie": 1, "circle": 2},
            "tasks": {"swap": {"there": 10, "kept": 2}, "removal": {"there": 5}},
            "reason": "a long reason " * 10,
        },
        leave_out=["hidden"],
    )  # fmt: skip
    lines = text.splitlines()
    assert lines[:4] == ["kept      3", "share     0.3333", "checked   n/a", "judges    a_b, c"]
    assert "pearson   0.50 [0.40, 0.60]" in lines
    assert "left_out  tie 1, circle 2" in lines
    assert lines[lines.index("tasks") + 1 :][:3] == ["           there  kept", "  swap     10     2", "  removal  5"]
    assert "hidden" not in text
    assert "empty" not in text
    assert max(map(len, lines)) <= WIDEST


def invoke(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_cases_and_a_benchmark_of_them_are_counted(tmp_path: Path, as_json: bool) -> None:
    recipe, asked = tmp_path / "r.yaml", ["--json"] * as_json
    recipe.write_text(f"output: {tmp_path}/cases\nsources:\n  - folder: {photographs(tmp_path / 'photos', 8)}\n")
    built = invoke("cases", "build", recipe, *asked)
    benched = invoke("bench", "build", tmp_path / "cases", "--per-task", 1, "--out", tmp_path / "bench", *asked)
    if as_json:
        assert json.loads(built)["photos"] == 8
        assert json.loads(benched)["tasks"]
    else:
        assert "\nphotos      8\n" in built
        assert "stages" not in built
        assert "proposed" in benched
        assert "{" not in built + benched


def test_a_fit_says_how_far_it_agrees_with_people(tmp_path: Path) -> None:
    edits, ratings, scores = write_tables(tmp_path / "tables", 0, 40)
    tables = ("--edits", edits, "--ratings", ratings, "--scores", scores, "--judge", "good")
    text = invoke("scorer", "fit", *tables, "--out", tmp_path / "scorer")
    found = json.loads(invoke("scorer", "fit", *tables, "--out", tmp_path / "again", "--json"))
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    assert ["verdict", found["verdict"]] in lines
    assert ["pearson", interval_text(found["pearson"])] in lines
    assert "{" not in text
