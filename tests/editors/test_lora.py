"""The LoRA: targets, the switch, and that diffusers loads what we save."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.editors.families import KONTEXT

from hpedit.editors.lora import WEIGHTS_NAME
from hpedit.editors.sampling import edit_cases
from hpedit.errors import HPEditError

TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


def settings(rank=4, alpha=16.0, targets=TARGETS):
    return SimpleNamespace(rank=rank, alpha=alpha, targets=targets)


def disturb(editor):
    generator = torch.Generator().manual_seed(1)
    for parameter in editor.lora_parameters().values():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)


def pixels(editor, case):
    return np.asarray(edit_cases(editor, [case], [5], 2)[0])


def test_targets_that_match_nothing_are_listed(tiny_editor):
    with pytest.raises(HPEditError) as caught:
        tiny_editor.add_lora(settings(targets=("to_q", "to_qq", "nonsense")), seed=0)
    assert "to_qq, nonsense" in caught.value.message
    assert "did you mean to_q?" in caught.value.hint
    assert "to_out.0" in caught.value.hint
    assert not tiny_editor.lora_parameters()


@pytest.mark.parametrize("targets", [(), ("transformer_blocks",), ("q",)])
def test_no_target_or_none_that_is_a_linear_layer(tiny_editor, targets):
    with pytest.raises(HPEditError, match=r"lora\.targets"):
        tiny_editor.add_lora(settings(targets=targets), seed=0)


@pytest.mark.parametrize(
    ("target", "missed"),
    [("transformer_blocks.0.attn.to_q", "transformer_blocks 1, 2, 3"), ("2.attn.to_k", "transformer_blocks 0, 1, 3")],
)
def test_targets_that_match_in_some_blocks_only_are_listed(tiny_editor, target, missed):
    with pytest.raises(HPEditError, match="match in some blocks only") as caught:
        tiny_editor.add_lora(settings(targets=("to_v", target)), seed=0)
    assert f"{target} misses {missed}" in caught.value.message
    assert "to_v" not in caught.value.message
    assert not tiny_editor.lora_parameters()


def test_a_kind_of_block_may_be_left_out_whole_but_not_in_part():
    editor = KONTEXT.editor()
    editor.add_lora(settings(targets=("to_out.0", "proj_mlp")), seed=0)
    adapted = {name.split(".lora_")[0] for name in editor.lora_parameters()}
    assert adapted == {
        *(f"transformer_blocks.{i}.attn.to_out.0" for i in range(2)),
        *(f"single_transformer_blocks.{i}.proj_mlp" for i in range(2)),
    }
    with pytest.raises(HPEditError, match="misses single_transformer_blocks 0"):
        editor.add_lora(settings(targets=("single_transformer_blocks.1.attn.to_q",)), seed=0)


def test_without_targets_each_family_has_its_own():
    editor = KONTEXT.editor()
    editor.add_lora(settings(targets=None), seed=0)
    layers = {name.split(".lora_")[0] for name in editor.lora_parameters()}
    assert len(layers) == 2 * 8 + 2 * 3, "all projections of both kinds of blocks"


def test_every_target_of_every_block_is_adapted(tiny_editor):
    tiny_editor.add_lora(settings(), seed=0)
    blocks = len(tiny_editor.pipeline.transformer.transformer_blocks)
    parameters = tiny_editor.lora_parameters()
    assert len(parameters) == 2 * blocks * len(TARGETS)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in parameters.values())
    trained = [n for n, p in tiny_editor.pipeline.transformer.named_parameters() if p.requires_grad]
    assert trained == list(parameters)


def test_a_fresh_lora_changes_nothing_and_depends_on_its_seed_alone(tiny_editor, make_case):
    before = pixels(tiny_editor, make_case())
    tiny_editor.add_lora(settings(), seed=3)
    assert (pixels(tiny_editor, make_case()) == before).all()
    first = {name: p.detach().clone() for name, p in tiny_editor.lora_parameters().items()}
    torch.randn(5)
    tiny_editor.add_lora(settings(), seed=3)
    assert all(torch.equal(p, first[name]) for name, p in tiny_editor.lora_parameters().items())
    tiny_editor.add_lora(settings(), seed=4)
    assert any(not torch.equal(p, first[name]) for name, p in tiny_editor.lora_parameters().items())


def test_switched_off_it_is_the_base_and_has_the_bases_fingerprint(tiny_editor, make_case):
    base, name = pixels(tiny_editor, make_case()), tiny_editor.fingerprint
    tiny_editor.add_lora(settings(), seed=0)
    disturb(tiny_editor)
    assert (pixels(tiny_editor, make_case()) != base).any()
    assert tiny_editor.fingerprint != name
    with tiny_editor.lora_disabled():
        assert (pixels(tiny_editor, make_case()) == base).all()
        assert tiny_editor.fingerprint == name
    assert (pixels(tiny_editor, make_case()) != base).any()


def test_saving_twice_gives_the_same_bytes(tiny_editor, tmp_path):
    tiny_editor.add_lora(settings(), seed=0)
    tiny_editor.save_lora(tmp_path / "a")
    tiny_editor.add_lora(settings(targets=TARGETS[::-1]), seed=0)
    tiny_editor.add_lora(settings(), seed=0)
    tiny_editor.save_lora(tmp_path / "b")
    assert (tmp_path / "a" / WEIGHTS_NAME).read_bytes() == (tmp_path / "b" / WEIGHTS_NAME).read_bytes()


def test_saving_without_a_lora_is_an_error(tiny_editor, tmp_path):
    with pytest.raises(HPEditError, match="no LoRA"):
        tiny_editor.save_lora(tmp_path)
