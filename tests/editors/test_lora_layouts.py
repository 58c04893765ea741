"""LoRAs of other programs: the same pixels as by diffusers' own loader, or refused by the name of the layout."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.editors.families import PLUS, pixel_difference
from tests.editors.test_lora_files import ROUNDING, edit, trained

from hpedit.editors.load import wrap_pipeline
from hpedit.editors.lora_files import export_lora, read_lora
from hpedit.errors import HPEditError

LAYER = "transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A LoRA's tensors by layer: A and B of rank 4."""
    folder = tmp_path_factory.mktemp("plain")
    trained(PLUS, rank=4, alpha=4.0).save_lora(folder)
    tensors = load_file(folder / "pytorch_lora_weights.safetensors")
    return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}


def musubi(tensors, alpha=8.0):
    """The names of musubi: flat, with down, up and alpha."""
    found = {}
    for name, tensor in tensors.items():
        layer, _, side = name.removesuffix(".weight").rpartition(".lora_")
        flat = f"lora_unet_{layer.replace('.', '_')}"
        found[f"{flat}.lora_{'down' if side == 'A' else 'up'}.weight"] = tensor
        found[f"{flat}.alpha"] = torch.tensor(alpha)
    return found


LAYOUTS = {
    "musubi": musubi,
    "DiffSynth": lambda t: {n.replace(".weight", ".default.weight"): v for n, v in t.items()},
    "ComfyUI": lambda t: {f"diffusion_model.{n}": v for n, v in t.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_gives_the_pixels_of_diffusers_own_loader(layout, plain, make_case, tmp_path):
    file = tmp_path / "lora.safetensors"
    save_file(LAYOUTS[layout](plain), file)
    editor = PLUS.editor()
    base = edit(editor, make_case())
    editor.load_lora(file)
    pipeline = PLUS.build()
    pipeline.load_lora_weights(file)
    theirs = edit(wrap_pipeline(pipeline, PLUS.areas, fingerprint="p"), make_case())
    ours = edit(editor, make_case())
    assert pixel_difference(ours, theirs) == 0
    assert pixel_difference(ours, base) > 5


def test_export_of_a_musubi_file_has_only_names_of_layers_and_the_same_update_in_float32(plain, tmp_path):
    half = {name: tensor.to(torch.bfloat16) for name, tensor in musubi(plain).items()}
    save_file(half, tmp_path / "lora.safetensors")
    for form, prefix in (("diffusers", "transformer."), ("comfyui", "diffusion_model.")):
        export_lora(tmp_path / "lora.safetensors", tmp_path / f"{form}.safetensors", form, "QwenImageEditPlusPipeline")
        written = load_file(tmp_path / f"{form}.safetensors")
        assert {tensor.dtype for tensor in written.values()} == {torch.float32}
        assert f"{prefix}{LAYER}.lora_A.weight" in written
        down, up, scale = read_lora(tmp_path / f"{form}.safetensors").updates()[LAYER]
        flat = f"lora_unet_{LAYER.replace('.', '_')}"
        expected = 2.0 * half[f"{flat}.lora_up.weight"].float() @ half[f"{flat}.lora_down.weight"].float()
        torch.testing.assert_close(scale * up @ down, expected, rtol=1e-5, atol=1e-6)


def test_a_peft_folder_is_read_with_the_alpha_of_its_configuration(plain, make_case, tmp_path):
    peft = tmp_path / "peft"
    peft.mkdir()
    save_file({f"base_model.model.{n}": v for n, v in plain.items()}, peft / "adapter_model.safetensors")
    with pytest.raises(HPEditError, match=r"adapter_config\.json"):
        read_lora(peft)
    (peft / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 16}))
    for path in (peft, peft / "adapter_model.safetensors"):
        assert read_lora(path).updates()[LAYER][2] == 4.0
    editor = trained(PLUS, rank=4, alpha=16.0)
    expected = edit(editor, make_case())
    editor.load_lora(peft)
    assert pixel_difference(edit(editor, make_case()), expected) <= ROUNDING


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((f"transformer.{LAYER}.lora_magnitude_vector",), "DoRA"),
        ((f"lora_unet_{LAYER.replace('.', '_')}.dora_scale",), "DoRA"),
        ((f"{LAYER}.lokr_w1", f"{LAYER}.lokr_w2"), "LoKr"),
        ((f"diffusion_model.{LAYER}.hada_w1_a",), "LoHa"),
        (("base_model.model.double_blocks.0.img_attn.qkv.lora_A.weight",), "fal's Kontext"),
        (("lora_unet_down_blocks_0_attn.lora_down.weight",), "kohya"),
        (("transformer.blocks.0.self_attn.q.lora_A.weight",), "blocks.0.self_attn.q"),
        (("transformer.transformer_blocks.0.attn.to_x.lora_A.weight",), "to_x"),
    ],
)
def test_what_no_editor_can_use_is_refused_by_its_name(names, said, tmp_path):
    save_file({name: torch.zeros(4, 4) for name in names}, tmp_path / "lora.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 4}')
    with pytest.raises(HPEditError) as refused:
        read_lora(tmp_path / "lora.safetensors")
    assert said in f"{refused.value} {refused.value.hint}"
