"""`hpedit plan` as a process."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.plan.conftest import RECIPES

HUB = str(RECIPES / "qwen_image_edit_2509_1x80gb.yaml")
MINI = str(RECIPES / "mini.yaml")


def hpedit(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "hpedit", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_data_on_stdout_all_errors_on_stderr_and_exit_code_2():
    done = hpedit("plan", HUB, "--gpu", "H100", "--set", "rollout.cfg=2.0", NO_COLOR="1", COLUMNS="80")
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 3
    assert "error: rollout.cfg is not 1\nhint: guidance" in done.stderr
    assert "fits:" in done.stdout
    assert "rollout.cfg" not in done.stdout
    assert "3 errors: it would not run." in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_json_is_the_whole_plan(tmp_path, cases_file, scorer_folder):
    settings = (f"cases={cases_file(12)}", f"scorer={scorer_folder()}", f"output={tmp_path / 'run'}")
    done = hpedit("plan", MINI, "--json", *(part for setting in settings for part in ("--set", setting)))
    assert (done.returncode, done.stderr) == (0, "")
    plan = json.loads(done.stdout)
    assert plan["errors"] == []
    assert plan["forwards"]["per_iteration"] == 144 * (8 + 2 * 3)


def test_mistakes_of_the_schema_come_together():
    done = hpedit("plan", MINI, "--set", "sede=1", "--set", "train.kl=-1")
    assert done.returncode == 2
    assert "2 mistakes" in done.stderr


def test_an_unknown_gpu_is_named_with_those_there_are():
    done = hpedit("plan", MINI, "--gpu", "Voodoo2")
    assert done.returncode == 2
    assert "'Voodoo2' is not in the table" in done.stderr
    assert "H100" in done.stderr


def test_no_torch_is_imported():
    code = (
        "import sys\nfrom hpedit.config.recipe import load_recipe\nfrom hpedit.plan.estimate import plan_run\n"
        f"plan_run(load_recipe({HUB!r}), 'x', gpu='H100')\nplan_run(load_recipe({MINI!r}), 'x')\n"
        "assert not {'torch', 'diffusers', 'transformers', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_hub_recipe_is_planned_in_two_seconds_of_work():
    """Processor time: a loaded machine delays the clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert hpedit("plan", HUB, "--gpu", "H100").returncode == 2
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 2.0


@pytest.mark.parametrize("name", ["plan.md"])
def test_the_documents_output_is_what_is_printed(name):
    """The block in the documentation that begins with the recipe's name is the command's own output."""
    text = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    shown = text.partition("```text\n")[2].partition("\n```")[0]
    assert "in all" in shown
    command = ["plan", "recipes/qwen_image_edit_2509_1x80gb.yaml", "--gpu", "H100"]
    done = subprocess.run(
        [sys.executable, "-m", "hpedit", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    # Between them are the bytes that this disk has free, after them what the network says.
    for begin, end in (("", "Disk"), ("Forwards", "Note")):
        printed, documented = (text[text.index(begin) : text.index(end)].strip() for text in (done.stdout, shown))
        assert printed == documented


def test_the_page_of_plan_tables_is_what_its_command_prints():
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "benchmarks/plan_tables.py"], capture_output=True, text=True, check=True, cwd=root, timeout=60
    )
    assert done.stdout == (root / "docs" / "plan_tables.md").read_text(encoding="utf-8")
    assert done.stdout.count(" fits, ") == len(list(RECIPES.glob("*gb.yaml")))
    assert "DOES NOT FIT" not in done.stdout
