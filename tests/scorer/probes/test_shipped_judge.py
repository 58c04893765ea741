"""The shipped judge, probed by the command, and what training makes of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from PIL import Image
from typer.testing import CliRunner

from hpedit.cli.scorer import scorer as command
from hpedit.editors.load import load_editor
from hpedit.editors.sampling import edit_cases
from hpedit.errors import HPEditError
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.raters import simulate_ratings
from hpedit.mini.scenes import make_cases
from hpedit.records import Case, Edit, Rating
from hpedit.scorer.fitting import fit_judged, load_judges, rated_pictures
from hpedit.scorer.probes.gate import PROBE, SHEET
from hpedit.scorer.probes.kinds import KINDS
from hpedit.store.atomic import atomic_write, dump_json, read_json
from hpedit.store.tables import write_cases, write_edits, write_ratings

pytestmark = pytest.mark.slow


def edited(split: str, per_task: int) -> tuple[list[Case], list[Edit], list[Rating]]:
    """What the base editor makes of cases of a split, and what the simulated raters say of it."""
    cases = make_cases(embedded_tiles(split), per_task, 0, split)
    images = edit_cases(load_editor("mini"), cases, list(range(len(cases))), 8, batch_size=48)
    edits = [Edit(f"{case.id}-e", case.id, "base", 0, image) for case, image in zip(cases, images, strict=True)]
    return cases, edits, simulate_ratings(cases, edits, 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> SimpleNamespace:
    """A scorer fitted on the base editor's edits of calibration photos, probed by the command on edits of others."""
    folder = tmp_path_factory.mktemp("probe")
    cases, edits, ratings = edited("calibration", 16)
    fit_judged(
        rated_pictures({case.id: case for case in cases}, edits, ratings), load_judges(["mini"]), folder / "scorer"
    )
    cases, edits, ratings = edited("bench", 20)
    write_cases(folder / "cases.parquet", cases)
    write_edits(folder / "edits.parquet", edits)
    write_ratings(folder / "ratings.csv", ratings)
    asked = ["--scorer", "scorer", "--cases", "cases.parquet", "--edits", "edits.parquet", "--ratings", "ratings.csv"]
    asked = [value if value.startswith("--") else str(folder / value) for value in asked]
    result = CliRunner().invoke(command, ["probe", *asked])
    assert result.exit_code in (0, 1), result.output
    return SimpleNamespace(folder=folder, scorer=folder / "scorer", asked=asked, result=result)


@pytest.fixture(scope="module")
def found(files) -> dict:
    return read_json(files.scorer / PROBE)


def share(found: dict, *kinds: str) -> float:
    """Share of the kinds' versions that do not score below."""
    rows = [found["kinds"][kind] for kind in kinds]
    return sum(row["share"]["value"] * row["n"] for row in rows) / sum(row["n"] for row in rows)


def test_the_command_prints_tables_and_leaves_the_probe_in_the_scorers_folder(files, found) -> None:
    from hpedit.scorer.hp_scorer import HPScorer

    text = files.result.stdout.splitlines()
    assert max(map(len, text)) <= 80
    assert all(any(line.startswith(kind.words) for line in text) for kind in KINDS)
    assert found["scorer"] == HPScorer.load(files.scorer).fingerprint
    assert found["rated_by"] == "simulated raters"
    assert files.result.exit_code == (0 if found["passed"] else 1)
    with Image.open(files.scorer / SHEET) as sheet:
        assert sheet.height > len(KINDS) * 128


def test_the_command_can_write_elsewhere_and_print_json(files, tmp_path) -> None:
    bounds = ["--max-share", "1", "--max-kind-share", "1", "--limit", "8", "--json", "--out", str(tmp_path)]
    result = CliRunner().invoke(command, ["probe", *files.asked, *bounds])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed == read_json(tmp_path / PROBE)
    assert printed["passed"]
    assert printed["edits"] == 8


def test_a_folder_without_a_judge_cannot_be_probed(files, tmp_path) -> None:
    asked = ["--scorer", str(tmp_path), *files.asked[2:]]
    with pytest.raises(HPEditError, match="not a scorer with a judge"):
        CliRunner().invoke(command, ["probe", *asked], catch_exceptions=False)


ORDERS = ("says_5", "says_10", "braces", "chat_marks")


def test_the_shipped_judge_is_not_pleased_by_degenerate_edits(found) -> None:
    pixels = [kind for kind in found["kinds"] if kind not in ORDERS and found["kinds"][kind]["n"]]
    assert max(share(found, kind) for kind in pixels) <= 0.2
    assert share(found, "copy", "static", "other_edit") <= 0.02


def test_black_image_does_not_score_as_a_real_edit(found) -> None:
    assert share(found, "black") <= 0.02
    assert share(found, "flat") <= 0.15
    assert found["kinds"]["black"]["drop"]["value"] > 2


@pytest.mark.xfail(strict=True, reason="since it ranks within a case, orders move it: docs/mini.md has by how much")
def test_words_in_the_instruction_do_not_raise_the_shipped_judges_score(found) -> None:
    assert found["passed"], found["reasons"]
    assert share(found, *ORDERS) <= 0.05
    assert max(found["kinds"][kind]["rise"]["value"] for kind in ORDERS) < 0.1


def test_the_order_of_the_pictures_hardly_moves_the_shipped_judge(found) -> None:
    assert found["order_swap"]["within"]
    assert found["order_swap"]["difference"]["value"] < 0.5


def test_flips_are_measured_on_the_shipped_judge(found) -> None:
    swap = found["order_swap"]
    assert swap["defined"]
    assert swap["pairs"] > 20
    assert 0 <= swap["flip_rate"]["value"] <= 1


def leave(files, found: dict, **changed) -> None:
    atomic_write(files.scorer / PROBE, dump_json(found | changed))


def test_training_refuses_a_scorer_that_failed_unless_forced(files, found, tiny_editor, make_case, tmp_path) -> None:
    from hpedit.config.recipe import Recipe
    from hpedit.rl.trainer import train

    values = {
        "output": str(tmp_path / "run"),
        "cases": "passed in",
        "scorer": str(files.scorer),
        "rollout": {"steps": 3, "window": 1, "window_start": (0, 1), "group_size": 4, "groups": 2},
        "train": {"iterations": 1, "micro_batch": 8},
        "log": {"tensorboard": False, "grid_every": 0},
    }
    cases = [make_case(f"case-{i}", "make it red", seed=10 * i) for i in range(2)]

    def run(**more):
        return train(Recipe.model_validate(values | more), editor=tiny_editor, cases=cases)

    leave(files, found, passed=False, reasons=["more than 20% of a kind do not score below: grid 40%"])
    with pytest.raises(HPEditError, match=r"refused as a reward.*grid 40%"):
        run()
    done = run(scorer_force=True)
    assert done.iterations == 1
    # Neither the probe nor the force makes another run of it.
    leave(files, found, passed=True, reasons=[])
    assert run() == done
