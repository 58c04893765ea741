"""A batch whose update is no number is kept."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.rl import several

from hpedit.errors import HPEditError
from hpedit.rl.trainer import train
from hpedit.store.checkpoint import load_latest


def break_gradients(editor, monkeypatch, at):
    """From the backward number `at` on a gradient is infinite."""
    from hpedit.editors import lora

    add, calls = lora.add_lora, [0]

    def hook(gradient):
        calls[0] += 1
        return gradient * float("inf") if calls[0] >= at else gradient

    def add_and_break(transformer, *args):
        add(transformer, *args)
        next(iter(lora.lora_parameters(transformer).values())).register_hook(hook)

    monkeypatch.setattr(lora, "add_lora", add_and_break)
    return editor


def test_the_batch_of_a_step_that_is_no_number_is_kept(
    make_recipe, tiny_editor, training_cases, redness_scorer, monkeypatch, tmp_path
):
    recipe = make_recipe(train={"iterations": 3})
    editor = break_gradients(tiny_editor, monkeypatch, at=2)
    with pytest.raises(HPEditError, match="not finite") as caught:
        train(recipe, editor=editor, cases=training_cases, scorer=redness_scorer())
    kept = tmp_path / "run" / "faulty" / "iteration_000002"
    assert str(kept) in caught.value.message
    assert load_latest(tmp_path / "run" / "checkpoints").step == 1
    numbers = json.loads((kept / "numbers.json").read_text())
    assert numbers["iteration"] == 2
    assert "not finite" in numbers["error"]
    assert len(numbers["edits"]) == 8
    assert {one["case"] for one in numbers["edits"]} <= {case.id for case in training_cases}
    assert all(0 <= one["scores"]["scorer"] <= 5 for one in numbers["edits"])
    assert any(one["advantage"] for one in numbers["edits"])
    tensors = load_file(kept / "batch_0.safetensors")
    assert tensors["path"].shape[:2] == (8, 2)
    assert torch.isfinite(tensors["log_prob"]).all()
    assert numbers["not_finite"] == {"batch_0": {}}, "here the batch itself was sound"
    assert Image.open(kept / numbers["edits"][7]["edit"]).size == (32, 32)


def test_pairs_are_named_where_no_edits_are_made(make_recipe, tiny_editor, monkeypatch, tmp_path):
    pairs = several.write_pairs(tmp_path)
    recipe = make_recipe(train={"algorithm": "offline_dpo"}, dpo={"pairs": str(pairs)})
    with pytest.raises(HPEditError, match="the batch is kept in"):
        train(recipe, editor=break_gradients(tiny_editor, monkeypatch, at=1))
    numbers = json.loads((tmp_path / "run" / "faulty" / "iteration_000001" / "numbers.json").read_text())
    assert len(numbers["pairs"]) == 2
