"""The model card of a LoRA: it tells what its run knows, loads as it says, and is pushed with the weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cases.dataset.hub import TOKEN, Hub, connected
from tests.rl.redness import RednessScorer
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.config.recipe import Recipe
from hpedit.editors.load import wrap_pipeline
from hpedit.editors.sizes import ImageAreas
from hpedit.errors import HPEditError
from hpedit.mini.architecture import build_pipeline
from hpedit.report.lora_card import FinishedLora, render_lora_card, write_card
from hpedit.report.lora_push import push_lora
from hpedit.rl.monitor.evaluations import ALARMS
from hpedit.rl.trainer import train
from hpedit.store.atomic import append_jsonl

REPO, BASE = "someone/my-lora", "Someone/An-Editor"
MakeRun = Callable[..., Path]


@pytest.fixture
def trained(tmp_path: Path, make_case: Any) -> MakeRun:
    """A training run of two iterations on a base that is on the hub, by its fingerprint, or on the mini editor."""

    def run(name: str = "run", model: str = BASE, held_out: bool = True) -> Path:
        recipe = Recipe.model_validate(
            {
                "output": str(tmp_path / name), "cases": "passed in", "scorer": "passed in",
                "editor": {"model": model},
                "rollout": {"steps": 3, "window": 1, "window_start": (0, 1), "group_size": 4, "groups": 2},
                "train": {"iterations": 2, "micro_batch": 8},
                "lora": {"rank": 4, "alpha": 8.0, "comfyui": True},
                "log": {"tensorboard": False, "grid_every": 0, "groups_every": 0},
                "evaluate": {"every": int(held_out)},
            }
        )  # fmt: skip
        fingerprint = f"{BASE}@0123abc" if model == BASE else None
        pipeline = build_pipeline(0)
        editor = wrap_pipeline(pipeline, ImageAreas(32, 32 * 32, 32 * 32), fingerprint=fingerprint)
        cases = [make_case(f"case-{i}", "make it red", seed=10 * i) for i in range(3)]
        held = [make_case(f"held-{i}", "make it red", seed=500 + i) for i in range(3)]
        train(recipe, editor=editor, cases=cases, scorer=RednessScorer(), held_out=held if held_out else None)
        return tmp_path / name

    return run


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with connected(monkeypatch) as found:
        yield found


def header(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_a_training_run_is_described(trained: MakeRun, tmp_path: Path) -> None:
    folder = trained()
    card = write_card(folder, licence="apache-2.0").read_text()
    assert header(card) == {
        "base_model": BASE, "base_model_relation": "adapter", "license": "apache-2.0", "library_name": "diffusers",
        "pipeline_tag": "image-to-image", "tags": ["lora", "image-editing", "hp-edit", "flow-grpo"],
    }  # fmt: skip
    assert f'from_pretrained("{BASE}", revision="0123abc"' in card
    assert re.search(r"\| Scorer \| gives the reward \| \d\.\d\d \| \d\.\d\d \| [+-]?\d\.\d\d \[.*\] \|", card)
    assert "On 3 held-out cases of 3 source photographs, during training." in card
    assert "rank 4, alpha 8" in card
    assert "No alarm at 2 evaluations" in card
    assert str(tmp_path) not in card
    with pytest.raises(HPEditError, match="perhaps with your own words"):
        write_card(folder)
    assert "license" not in header(write_card(folder, overwrite=True).read_text())


def test_alarms_and_what_was_not_measured_are_said(trained: MakeRun) -> None:
    folder = trained(held_out=False)
    assert "Nothing was held out" in render_lora_card(FinishedLora.open(folder))
    append_jsonl(folder / ALARMS, {"kind": "blur", "step": 2, "text": "sharpness fell <b>by half</b>"})
    assert "- sharpness fell &lt;b&gt;by half&lt;/b&gt; (iteration 2)" in render_lora_card(FinishedLora.open(folder))


def test_a_run_of_all_stages_tells_more(trained: MakeRun, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    trained("whole/train")
    gain = {"mean": 0.31, "ci95": [0.2, 0.42]}
    block = {"base": {"mean": 3.0, "ci95": [2.8, 3.2]}, "post": {"mean": 3.31, "ci95": [3.1, 3.5]}, "gain": gain}
    agreement = {"pearson": {"value": 0.7, "ci95": [0.6, 0.8]}, "n": 90}
    alarms = {"sharpness": {"alarm": True, "meaning": "fell by 20%"}, "closeness": {"alarm": False, "meaning": "-"}}
    summary = {"oracle": None, "scorer": block, "n": 80, "sources": 60, "agreement": agreement, "alarms": alarms}
    recipe = {"ratings": {"by": "app"}, "judge": "http://10.0.0.7:8000/v1#Some/Judge", "bench": {"steps": 40}}
    built = {"kept": 50, "photos": 70, "candidates": 100, "tasks": {"swap": {"kept": 50}}}
    for name, value in (
        ("summary.json", summary), ("recipe.json", {"stage": "run", "recipe": recipe}), ("cases/result.json", built),
        ("scorer/probe.json", {"passed": False}),
    ):  # fmt: skip
        (whole / name).parent.mkdir(parents=True, exist_ok=True)
        (whole / name).write_text(json.dumps(value))
    card = render_lora_card(FinishedLora.open(whole))
    assert "| Scorer | gives the reward | 3.00 [2.80, 3.20] | 3.31 [3.10, 3.50] | +0.31 [+0.20, +0.42] |" in card
    assert "Oracle" not in card
    assert "80 held-out cases of 60 source photographs" in card
    assert "correlation with people is 0.70 [0.60, 0.80]" in card
    assert "**It failed its probe" in card
    assert "- sharpness in the benchmark: fell by 20%" in card
    assert "50 training cases of 70 photographs, chosen from 100 candidates: swap 50." in card
    assert "`Some/Judge`" in card
    assert "10.0.0.7" not in card
    assert "Measured with 40 sampling steps." in card


def test_the_code_of_the_card_loads_the_lora(trained: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained(model="mini")
    card = render_lora_card(FinishedLora.open(folder))
    assert "base_model" not in header(card)
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(code.replace("path/of/this/folder", "lora"), names)
    (config,) = names["pipe"].transformer.peft_config.values()
    assert (config.r, config.lora_alpha) == (4, 8.0)


def test_card_and_lora_are_pushed_in_one_commit_and_not_again(hub: Hub, trained: MakeRun) -> None:
    folder = trained()
    words = ["lora", "push", str(folder), REPO, "--license", "mit", "--private", "--json"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    done = json.loads(result.stdout)
    assert (done["url"], done["changed"]) == (f"{hub.url}/{REPO}", True)
    assert (hub.kinds, hub.private, len(hub.commits)) == ({REPO: "model"}, {REPO: True}, 1)
    files = hub.files[REPO]
    for name in ("pytorch_lora_weights.safetensors", "comfyui/lora.safetensors"):
        assert files[name] == (folder / "lora" / name).read_bytes()
    card = files["README.md"].decode()
    assert header(card)["license"] == "mit"
    assert f'pipe.load_lora_weights("{REPO}")' in card
    assert TOKEN not in result.output
    hub.files[REPO]["notes.md"] = b"mine"
    assert push_lora(folder, REPO, licence="mit")["changed"] is False
    assert hub.files[REPO]["notes.md"] == b"mine"


def test_an_edited_card_is_pushed_as_it_is(hub: Hub, trained: MakeRun) -> None:
    folder = trained()
    write_card(folder).write_text("my words")
    push_lora(folder, REPO)
    assert hub.files[REPO]["README.md"] == b"my words"
    with pytest.raises(HPEditError, match="states the licence already"):
        push_lora(folder, REPO, licence="mit")


def test_what_cannot_be_pushed_is_one_clear_error(
    hub: Hub, trained: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HPEditError, match="not the folder of a training run"):
        push_lora(tmp_path, REPO)
    folder = trained()
    with pytest.raises(HPEditError, match="invalid model name"):
        push_lora(folder, "mine")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HPEditError, match="401"):
        push_lora(folder, REPO)
    assert hub.files == {}
    (folder / "result.json").unlink()
    with pytest.raises(HPEditError, match="no finished LoRA yet"):
        push_lora(folder, REPO)
