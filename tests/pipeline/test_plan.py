"""`hpedit plan` on a recipe of `hpedit run`, and the plan that `hpedit run` makes before it starts."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import picture

from hpedit.errors import HPEditError
from hpedit.pipeline import new, plan, ratings
from hpedit.pipeline.plan import plan_stages, refuse_mistakes
from hpedit.pipeline.recipe import DEMO, load_run_recipe
from hpedit.records import Case
from hpedit.store.tables import write_cases

SERVED = "http://judge.example:8000/v1#Qwen/Qwen3-VL-32B-Instruct"


@pytest.fixture(autouse=True)
def hermetic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub, and no GPU of this machine."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("hpedit.plan.machine.nvidia_gpus", list)


def recipe_file(tmp_path: Path, editor: str = "mini", judge: str = "mini", photos: int = 24) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(photos):
        picture(32, 32, number).save(folder / f"{number}.png")
    return new.write_recipe(tmp_path / "new", photos=str(folder), editor=editor, judge=judge, ratings="file")


def planned(file: Path, *settings: str, **options: Any) -> dict[str, Any]:
    return plan_stages(load_run_recipe(file, [f"output={file.parent / 'run'}", *settings]), "recipe.yaml", **options)


@pytest.mark.parametrize("gpus", [1, 8])
def test_the_recipe_of_init_fits_on_80_gb(tmp_path: Path, gpus: int) -> None:
    found = planned(recipe_file(tmp_path, "Qwen/Qwen-Image-Edit-2509", SERVED), gpu="H100", gpus=gpus)
    assert found["errors"] == []
    assert found["memory"]["fits"]
    assert {key: one["fits"] for key, one in found["editing"].items()} == {
        "cases.edits.batch": True,
        "bench.batch": True,
    }
    stages = {one["name"]: one for one in found["stages"]}
    assert list(stages) == ["edits", "scorer", "hard cases", "train", "bench"]
    assert stages["edits"]["edits"] == 2 * found["cases"]["rated"]
    # The model is used with 40 steps at CFG 4, which takes two forwards a step.
    assert stages["bench"]["forwards"] == 80 * stages["bench"]["edits"] == 160 * found["cases"]["bench"]
    assert stages["bench"]["seconds"] == pytest.approx(stages["bench"]["forwards"] * found["time"]["forward"])
    assert stages["train"]["seconds"] == found["time"]["run"]
    assert stages["scorer"]["questions"] > stages["edits"]["edits"]


def test_a_judge_in_the_same_process_and_a_batch_that_is_too_large_do_not_fit(tmp_path: Path) -> None:
    file = recipe_file(tmp_path, "Qwen/Qwen-Image-Edit-2509", "Qwen/Qwen3-VL-32B-Instruct")
    messages = [one["message"] for one in planned(file, gpu="H100")["errors"]]
    assert any("beside the judge in the same process" in message for message in messages)
    served = planned(file, f"judge={SERVED}", "cases.edits.batch=48", gpu="H100")
    (error,) = served["errors"]
    assert "to edit 48 cases at once" in error["message"] or "to edit 43 cases at once" in error["message"]
    assert error["hint"].startswith("set cases.edits.batch to ")
    fits = planned(file, f"judge={SERVED}", f"cases.edits.batch={error['hint'].split()[-1]}", gpu="H100")
    assert fits["errors"] == []


def test_every_mistake_comes_at_once(tmp_path: Path) -> None:
    file = recipe_file(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = planned(
            file, "cases.sources=[{folder: nowhere}]", "rollout.cfg=2.0", "lora.targets=[to_z]",
            "bench.second_judge=mini", "cases.duplicates.exclude=[gone.parquet]", "ratings.by=app",
            "ratings.file=null", f"ratings.port={port}",
        )  # fmt: skip
    messages = " | ".join(one["message"] for one in found["errors"])
    for part in ("nowhere is not a folder", "rollout.cfg", "to_z", "own judge", "gone.parquet", f"{port} is in use"):
        assert part in messages
    with pytest.raises(HPEditError, match=r"^\d mistakes\n") as refused:
        refuse_mistakes(found)
    assert "--no-plan" in str(refused.value.hint)
    assert "cases" not in messages.replace("cases.duplicates.exclude", ""), "they are not there yet, and need not be"


def test_another_run_and_a_scorer_that_are_not_there_are_named(tmp_path: Path) -> None:
    rewards = "rewards=[{name: looks, scorer: missing/scorer}]"
    found = planned(recipe_file(tmp_path), "ratings.by=run", "ratings.run=gone", "ratings.file=null", rewards)
    messages = " | ".join(one["message"] for one in found["errors"])
    assert "gone/ratings has no cases.parquet" in messages
    assert "missing/scorer does not exist" in messages


def test_a_run_under_way_is_planned_with_the_cases_that_it_has(tmp_path: Path) -> None:
    file = recipe_file(tmp_path)
    splits = file.parent / "run" / "splits"
    splits.mkdir(parents=True)
    (file.parent / "run" / "recipe.json").write_text(
        json.dumps({"stage": "run", "recipe": load_run_recipe(file).shaping(), "inputs": {}})
    )
    for name, count in (("rated", 3), ("train", 5), ("bench", 2)):
        cases = [Case(f"{name}-{n}", "style", "x", (picture(8, 8, n),), source_id=f"{name}{n}") for n in range(count)]
        write_cases(splits / f"{name}.parquet", cases)
    found = planned(file)
    assert found["cases"] == {"rated": 3, "train": 5, "bench": 2, "sources": 1, "known": True}
    assert "5 training cases are too few for 12 groups" in found["errors"][0]["message"]


def test_what_is_copied_from_modules_that_need_torch_is_the_same() -> None:
    assert plan.RATINGS == ratings.FOLDER
    assert plan.RATED_FILES == (ratings.CASES, ratings.EDITS, ratings.FILE)


def hpedit(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpedit", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_demo_is_planned_in_a_second_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom hpedit.pipeline.plan import plan_stages\nfrom hpedit.pipeline.recipe import load_run_recipe\n"
        f"found = plan_stages(load_run_recipe({str(DEMO)!r}, ['output={tmp_path / 'run'}']), 'demo')\n"
        "assert not found['errors'], found['errors']\nassert not {'torch', 'diffusers'} & sys.modules.keys()"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, with the start of Python: a loaded machine delays the clock.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 2.0
    assert not (tmp_path / "run").exists()


def test_the_table_has_80_columns_and_json_is_the_whole_plan(tmp_path: Path) -> None:
    file = str(recipe_file(tmp_path, "Qwen/Qwen-Image-Edit-2509", SERVED))
    done = hpedit("plan", file, "--gpu", "H100", "--gpus", "8")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:1] == ["bench"] for line in lines)
    assert "in all" in done.stdout
    found = json.loads(hpedit("plan", file, "--gpu", "H100", "--json").stdout)
    assert [one["name"] for one in found["stages"]][-1] == "bench"


def test_a_mistake_stops_a_run_before_its_first_stage(tmp_path: Path) -> None:
    file = recipe_file(tmp_path)
    words = ["run", str(file), "--set", f"output={tmp_path / 'run'}", "--set", "lora.targets=[to_z]"]
    done = hpedit(*words)
    assert done.returncode == 2
    assert "error: lora.targets match no linear layer: to_z" in done.stderr
    assert not (tmp_path / "run").exists()
    begun = hpedit(*words, "--no-plan", "--set", "cases.bench_share=0.0001")
    assert "no case is left for the bench split" in begun.stderr, "it has begun"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "RUN"], "hpedit run"), (["train", "CASES"], "hpedit cases build"),
        (["run", "TRAIN"], "hpedit train"), (["run", "CASES"], "hpedit cases build"),
        (["cases", "build", "RUN"], "hpedit run"), (["cases", "build", "TRAIN"], "hpedit train"),
        (["plan", "CASES"], "hpedit cases build"),
    ],
)  # fmt: skip
def test_a_recipe_of_another_command_is_named_as_such(words: list[str], says: str) -> None:
    shipped = Path(__file__).parents[2] / "recipes"
    files = {"RUN": str(DEMO), "TRAIN": str(shipped / "mini.yaml"), "CASES": str(shipped / "cases_mini.yaml")}
    done = hpedit(*(files.get(word, word) for word in words))
    assert done.returncode == 2
    error, hint = done.stderr.strip().splitlines()
    assert error == f"error: {files[words[-1]]}: this is a recipe of `{says}`"
    assert hint == f"hint: give it to that command: {says} {files[words[-1]]}"


def test_a_key_too_many_does_not_make_it_another_commands(tmp_path: Path) -> None:
    data = yaml.safe_load(DEMO.read_text(encoding="utf-8")) | {"sources": [1]}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(HPEditError, match="sources: unknown key"):
        load_run_recipe(file)
