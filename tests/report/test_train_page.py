"""The pages of a training run: offline, without script, for any run, with odd names escaped."""

import json
import re

import pytest
from tests.rl.redness import RednessScorer
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.config.recipe import Recipe
from hpedit.errors import HPEditError
from hpedit.report.train_page import alarm_note, write_train_page
from hpedit.rl.trainer import train
from hpedit.store.atomic import append_jsonl

ODD = 'make <script>alert(1)</script> "red" & \u202egeler\x07 日本語'


@pytest.fixture
def trained(tmp_path, tiny_editor, make_case):
    def run(name="run <b>&", *, iterations=2, groups=2, evaluate=None, groups_every=1, held_out=None):
        recipe = Recipe.model_validate(
            {
                "output": str(tmp_path / name),
                "cases": "passed in",
                "scorer": "passed in",
                "rollout": {"steps": 3, "window": 1, "window_start": (0, 1), "group_size": 4, "groups": groups},
                "train": {"iterations": iterations, "micro_batch": 8},
                "lora": {"rank": 4, "alpha": 8.0},
                "log": {"tensorboard": False, "grid_every": 1, "groups_every": groups_every},
                "evaluate": evaluate or {"every": 1},
            }
        )
        cases = [make_case(f"case-{i}", ODD, seed=10 * i) for i in range(3)]
        scorer = RednessScorer(lambda number, value: None if number == 0 else value)
        return train(recipe, editor=tiny_editor, cases=cases, scorer=scorer, held_out=held_out).folder

    return run


def texts(page):
    return [path.read_text(encoding="utf-8") for path in sorted(page.parent.glob("*.html"))]


def test_everything_is_inside_escaped_and_without_script_or_network(trained, make_case):
    folder = trained(held_out=[make_case(f"held-{i}", ODD, seed=500 + i) for i in range(3)])
    page = write_train_page(folder, command="hpedit report <x>")
    pages = texts(page)
    assert [path.name for path in sorted(page.parent.glob("*.html"))] == [
        "groups_000001.html", "groups_000002.html", "report.html",
    ]  # fmt: skip
    for text in pages:
        assert "<script" not in text
        assert "\x07" not in text
        assert not re.findall(r'(?:src|href)="(?!data:|groups_\d+\.html|report\.html)', text)
        assert "default-src 'none'" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages[0]
    assert pages[0].count("<section") == 2
    assert "unscorable" in pages[0]
    assert "no answer" in pages[0], "the reason stands in the judge's table"
    assert "run &lt;b&gt;&amp;" in pages[-1]
    twin = json.loads((page.parent / "report.json").read_text())
    assert [look["step"] for look in twin["looks"]] == [1, 2]
    assert "No alarm at 2 evaluations, but none could be raised: of the 8 photos that it needs 3 are held" in pages[-1]


def test_alarms_stand_on_top_and_those_that_have_passed_say_so(trained, make_case):
    folder = trained(held_out=[make_case(f"held-{i}", seed=500 + i) for i in range(3)])
    for step, kind in ((1, "second"), (1, "grid_energy"), (2, "grid_energy")):
        append_jsonl(
            folder / "alarms.jsonl", {"step": step, "kind": kind, "text": f"the reward rises while {kind} <i>"}
        )
    text = write_train_page(folder).read_text()
    assert text.index("active") < text.index("resolved") < text.index("Held-out cases")
    assert "The reward rises while grid_energy &lt;i&gt;." in text
    assert "At 2 evaluations from iteration 1 to 2" in text
    assert alarm_note(folder).startswith("Training raised 2 alarms")


def test_a_run_of_one_group_without_looks_or_records(trained):
    folder = trained(iterations=1, groups=1, evaluate={"every": 0}, groups_every=0)
    text = write_train_page(folder).read_text()
    assert "Nothing was held out, so no alarm could be raised" in text
    assert "No groups were recorded" in text


def test_a_run_that_has_just_begun_has_a_page_too(trained):
    folder = trained()
    for name in ("metrics.jsonl", "result.json"):
        (folder / name).unlink()
    assert "Not finished: 0 of 2 iterations are done" in write_train_page(folder).read_text()


def test_pages_of_records_that_have_gone_go_too(trained):
    folder = trained()
    page = write_train_page(folder)
    (folder / "groups" / "iteration_000002.parquet").unlink()
    write_train_page(folder)
    assert not (page.parent / "groups_000002.html").exists()


def test_the_command_writes_them_and_refuses_what_is_no_run(trained, tmp_path):
    result = CliRunner().invoke(app, ["report", str(trained())])
    assert result.exit_code == 0
    assert result.stdout.strip().endswith("report.html")
    with pytest.raises(HPEditError, match="is not the folder of a training run"):
        write_train_page(tmp_path)
