"""LoRA files: they load elsewhere with equal pixels, go back and forth unchanged, and what is wrong is refused."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.editors.comfyui_reader import merged_updates
from tests.editors.families import FAMILIES, KONTEXT, PLUS, pixel_difference
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.config.editor import EditorSection
from hpedit.editors.comfyui import from_comfyui, to_comfyui
from hpedit.editors.fingerprint import weights_fingerprint
from hpedit.editors.load import open_editor, wrap_pipeline
from hpedit.editors.lora import WEIGHTS_NAME
from hpedit.editors.lora_files import COMFYUI_NAME, export_lora, read_lora
from hpedit.editors.sampling import edit_cases
from hpedit.errors import HPEditError
from hpedit.mini.kontext import build_kontext, make_mini_kontext

ids = {"ids": lambda family: family.name}


def settings(rank=4, alpha=16.0, targets=None):
    return SimpleNamespace(rank=rank, alpha=alpha, targets=targets)


def trained(family, **lora):
    """A fresh editor with a LoRA that changes its edits."""
    editor = family.editor()
    editor.add_lora(settings(**lora), seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in editor.lora_parameters().values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return editor


ROUNDING = 1
"""Of 255: a LoRA in training sums in another order (`hpedit.editors.lora_forward`) than a loaded one, peft's own."""


def edit(editor, case):
    return edit_cases(editor, [case], [5], 2)[0]


@pytest.mark.parametrize("family", FAMILIES, **ids)
def test_the_saved_lora_gives_equal_pixels_through_diffusers_own_loader(family, make_case, tmp_path):
    editor = trained(family, rank=4, alpha=16.0)
    ours = edit(editor, make_case())
    editor.save_lora(tmp_path)
    pipeline = family.build()
    base = edit(wrap_pipeline(pipeline, family.areas, fingerprint=family.name), make_case())
    pipeline.load_lora_weights(tmp_path)
    (config,) = pipeline.transformer.peft_config.values()
    assert (config.r, config.lora_alpha) == (4, 16.0)
    theirs = edit(wrap_pipeline(pipeline, family.areas, fingerprint=family.name), make_case())
    assert pixel_difference(ours, theirs) <= ROUNDING
    assert pixel_difference(ours, base) > 10
    editor.load_lora(tmp_path)
    assert pixel_difference(edit(editor, make_case()), theirs) == 0


@pytest.mark.parametrize("family", FAMILIES, **ids)
def test_what_is_loaded_again_is_what_was_saved(family, make_case, tmp_path):
    editor = trained(family)
    ours, name = edit(editor, make_case()), editor.fingerprint
    editor.save_lora(tmp_path / "a")
    editor.add_lora(settings(rank=2), seed=0)
    editor.load_lora(tmp_path / "a")
    assert editor.fingerprint == name
    loaded = edit(editor, make_case())
    assert pixel_difference(loaded, ours) <= ROUNDING
    editor.load_lora(tmp_path / "a")
    assert pixel_difference(edit(editor, make_case()), loaded) == 0
    editor.save_lora(tmp_path / "b")
    first, second = (load_file(tmp_path / folder / WEIGHTS_NAME) for folder in "ab")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("family", FAMILIES, **ids)
def test_comfyui_finds_every_layer_and_adds_the_same(family, tmp_path):
    editor = trained(family, rank=4, alpha=16.0)
    editor.save_lora(tmp_path, comfyui=True)
    tensors = load_file(tmp_path / COMFYUI_NAME)
    alphas = [tensor for name, tensor in tensors.items() if name.endswith(".alpha")]
    assert len(alphas) == len(tensors) // 3 > 0
    assert all(float(alpha) == 4.0 for alpha in alphas), "alpha = rank"
    assert {t.shape[0] for name, t in tensors.items() if "lora_A" in name} == {4}, "one rank"
    merged = merged_updates(tensors, "flux" if family is KONTEXT else "qwen")
    for layer, module in editor.pipeline.transformer.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        expected = 4.0 * module.lora_B["default"].weight @ module.lora_A["default"].weight
        torch.testing.assert_close(_part(merged, layer, expected), expected.detach(), rtol=1e-6, atol=1e-6)


def _part(merged, layer, like):
    """The update of diffusers' layer among ComfyUI's."""
    if layer in merged:
        return merged[layer]
    block, _, end = layer.partition(".attn.")
    number = block.rsplit(".", 1)[1]
    if end in ("to_out.0", "to_add_out"):
        return merged[f"double_blocks.{number}.{'img' if end == 'to_out.0' else 'txt'}_attn.proj"]
    stream = "img_attn" if end.startswith("to_") else "txt_attn"
    single = block.startswith("single_")
    whole = merged[f"single_blocks.{number}.linear1" if single else f"double_blocks.{number}.{stream}.qkv"]
    row = "qkv".index(end.removeprefix("to_").removeprefix("add_")[0]) * len(like)
    return whole[row : row + len(like)]


@pytest.mark.parametrize("family", FAMILIES, **ids)
def test_a_comfyui_file_comes_back_with_the_same_updates_and_edits(family, make_case, tmp_path):
    editor = trained(family)
    ours = edit(editor, make_case())
    editor.save_lora(tmp_path, comfyui=True)
    before, after = read_lora(tmp_path).updates(), read_lora(tmp_path / COMFYUI_NAME).updates()
    assert before.keys() == after.keys()
    for layer, (down, up, scale) in before.items():
        down_after, up_after, scale_after = after[layer]
        torch.testing.assert_close(scale_after * up_after @ down_after, scale * up @ down, rtol=1e-6, atol=1e-7)
    editor.load_lora(tmp_path / COMFYUI_NAME)
    assert pixel_difference(edit(editor, make_case()), ours) <= 1


@pytest.mark.parametrize("family", FAMILIES, **ids)
def test_diffusers_reads_the_comfyui_file_too(family, make_case, tmp_path):
    editor = trained(family)
    ours = edit(editor, make_case())
    editor.save_lora(tmp_path, comfyui=True)
    pipeline = family.build()
    pipeline.load_lora_weights(tmp_path / COMFYUI_NAME)
    theirs = edit(wrap_pipeline(pipeline, family.areas, fingerprint=family.name), make_case())
    assert pixel_difference(ours, theirs) <= 1


def test_layers_of_different_ranks_are_brought_to_one():
    generator = torch.Generator().manual_seed(0)
    layers = {
        name: (torch.randn(r, 6, generator=generator), torch.randn(5, r, generator=generator), scale)
        for name, r, scale in (("transformer_blocks.0.a", 2, 3.0), ("transformer_blocks.0.b", 4, 0.5))
    }
    tensors = to_comfyui(layers, "QwenImageEditPipeline")
    assert {t.shape[0] for name, t in tensors.items() if "lora_A" in name} == {4}
    back = from_comfyui(tensors)
    for name, (down, up, scale) in layers.items():
        found = back[f"transformer.{name}.lora_B.weight"] @ back[f"transformer.{name}.lora_A.weight"]
        torch.testing.assert_close(found, scale * up @ down)


def test_kohyas_ends_of_names_and_alphas_are_read():
    down, up = torch.randn(2, 6), torch.randn(5, 2)
    tensors = {"transformer_blocks.0.x.lora_down.weight": down, "transformer_blocks.0.x.lora_up.weight": up}
    back = from_comfyui({**tensors, "transformer_blocks.0.x.alpha": torch.tensor(1.0)})
    assert back.keys() == {f"transformer.transformer_blocks.0.x.lora_{side}.weight" for side in "AB"}
    torch.testing.assert_close(back["transformer.transformer_blocks.0.x.lora_B.weight"], up / 2)


def test_the_command_exports_without_the_base(tmp_path):
    editor = trained(KONTEXT)
    editor.save_lora(tmp_path / "lora", comfyui=True)
    out = tmp_path / "out" / "mine.safetensors"
    done = CliRunner().invoke(app, ["lora", "export", str(tmp_path / "lora"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == (tmp_path / "lora" / COMFYUI_NAME).read_bytes()
    export_lora(tmp_path / "lora", tmp_path / "again.safetensors", "diffusers")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "lora" / WEIGHTS_NAME).read_bytes()


def test_what_cannot_be_exported_is_one_clear_error(tmp_path):
    trained(PLUS).save_lora(tmp_path / "lora")
    with pytest.raises(HPEditError, match="does not end in"):
        export_lora(tmp_path / "lora", tmp_path / "out.bin", "comfyui")
    with pytest.raises(HPEditError, match="unknown form"):
        export_lora(tmp_path / "lora", tmp_path / "out.safetensors", "kohya")
    with pytest.raises(HPEditError, match="layer names for FluxPipeline are unknown"):
        export_lora(tmp_path / "lora", tmp_path / "out.safetensors", "comfyui", "FluxPipeline")
    save_file(load_file(tmp_path / "lora" / WEIGHTS_NAME), tmp_path / "anonymous.safetensors")
    with pytest.raises(HPEditError, match="does not name its base model"):
        export_lora(tmp_path / "anonymous.safetensors", tmp_path / "out.safetensors", "comfyui")
    export_lora(
        tmp_path / "anonymous.safetensors", tmp_path / "out.safetensors", "comfyui", "QwenImageEditPlusPipeline"
    )
    assert (tmp_path / "out.safetensors").is_file()


class TestWrongBase:
    def test_other_weights_of_the_same_shapes_are_refused_naming_both(self, make_case, tmp_path):
        editor = trained(KONTEXT)
        editor.save_lora(tmp_path)
        other = wrap_pipeline(build_kontext(seed=1), KONTEXT.areas, fingerprint="black-forest-labs/other@abc")
        base = edit(other, make_case())
        with pytest.raises(HPEditError, match="was trained on a local model") as caught:
            other.load_lora(tmp_path)
        assert editor._base.weights in caught.value.message
        assert "black-forest-labs/other@abc" in caught.value.message
        assert not other.lora_parameters()
        assert pixel_difference(edit(other, make_case()), base) == 0

    def test_the_same_base_is_known_in_another_dtype_and_with_a_lora_on(self, tmp_path):
        trained(KONTEXT).save_lora(tmp_path)
        half = wrap_pipeline(build_kontext().to(torch.bfloat16), KONTEXT.areas, fingerprint="x")
        half.load_lora(tmp_path)
        assert half.lora_parameters()
        again = wrap_pipeline(half.pipeline, KONTEXT.areas, fingerprint="x")
        assert again._base.weights == KONTEXT.editor()._base.weights

    def test_another_family_is_refused_though_the_file_does_not_name_its_base(self, tmp_path):
        trained(PLUS).save_lora(tmp_path)
        save_file(load_file(tmp_path / WEIGHTS_NAME), tmp_path / "anonymous.safetensors")
        editor = KONTEXT.editor()
        before = editor.pipeline.transformer.x_embedder.weight.shape
        with pytest.raises(HPEditError, match=r"does not fit|has the layer") as caught:
            editor.load_lora(tmp_path / "anonymous.safetensors")
        assert "FluxKontextPipeline" in caught.value.message
        assert not editor.lora_parameters()
        assert editor.pipeline.transformer.x_embedder.weight.shape == before

    def test_a_lora_of_somebody_else_loads_where_it_fits_with_alpha_as_rank(self, tmp_path):
        editor = trained(KONTEXT, rank=4, alpha=4.0)
        editor.save_lora(tmp_path)
        save_file(load_file(tmp_path / WEIGHTS_NAME), tmp_path / "anonymous.safetensors")
        before = {name: p.detach().clone() for name, p in editor.lora_parameters().items()}
        editor.load_lora(tmp_path / "anonymous.safetensors")
        assert all(torch.equal(p, before[name]) for name, p in editor.lora_parameters().items())


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["pytorch_lora_weights.bin", "lora.pt", "lora.ckpt", WEIGHTS_NAME])
def test_a_pickle_is_refused_and_not_run(tmp_path, name):
    editor, folder = KONTEXT.editor(), tmp_path / "lora"
    folder.mkdir()
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    for given in (folder, folder / name):
        with pytest.raises(HPEditError, match=r"a pickle|cannot be read"):
            editor.load_lora(given)
    assert not (tmp_path / "ran").exists()
    pickle.loads((folder / name).read_bytes())
    assert (tmp_path / "ran").exists(), "the bomb works where it is let in"


def header(text, length=None):
    data = text.encode()
    return (len(data) if length is None else length).to_bytes(8, "little") + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        header("{}", 2**62),
        header("not json"),
        header('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
        header('{"a":{"dtype":"F32","shape":[4],"data_offsets":[-1,16]}}') + b"\0" * 16,
        header('{"__metadata__":{"lora_adapter_metadata":"{"}}'),
    ],
    ids=["empty", "short", "huge header", "no json", "no data", "bad offsets", "bad metadata"],
)
def test_a_bad_safetensors_header_is_one_clear_error(tmp_path, content):
    (tmp_path / WEIGHTS_NAME).write_bytes(content)
    with pytest.raises(HPEditError, match="cannot be read"):
        read_lora(tmp_path)


@pytest.mark.parametrize(
    "tensors", [{}, {"text_encoder.x.lora_A.weight": torch.zeros(2, 2)}, {"transformer.x.weight": torch.zeros(2, 2)}]
)
def test_a_file_that_holds_something_else_is_one_clear_error(tmp_path, tensors):
    save_file(tensors, tmp_path / WEIGHTS_NAME)
    with pytest.raises(HPEditError, match="is not a LoRA of a transformer"):
        read_lora(tmp_path)


def test_half_a_layer_is_one_clear_error(tmp_path):
    trained(KONTEXT).save_lora(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS_NAME)
    tensors.pop(next(name for name in tensors if "lora_B" in name))
    save_file(tensors, tmp_path / WEIGHTS_NAME)
    with pytest.raises(HPEditError, match="half of the layer"):
        KONTEXT.editor().load_lora(tmp_path)


def test_a_missing_lora_is_one_clear_error(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "nowhere.safetensors"):
        with pytest.raises(HPEditError, match="does not exist"):
            read_lora(path)


def test_the_file_names_its_base_in_metadata_that_diffusers_passes_over(tmp_path):
    trained(KONTEXT).save_lora(tmp_path)
    with safe_open(tmp_path / WEIGHTS_NAME, "np") as opened:
        told = json.loads(opened.metadata()["lora_adapter_metadata"])
    assert told["hpedit.base"]["pipeline"] == "FluxKontextPipeline"
    assert told["transformer.lora_alpha"] == 16.0
    assert np.isclose(read_lora(tmp_path).updates()["transformer_blocks.0.attn.to_q"][2], 4.0)


@pytest.fixture
def kontext_folder(tmp_path):
    """A miniature Kontext as a user has it, and a LoRA of it."""
    make_mini_kontext(tmp_path / "model")
    trained(KONTEXT).save_lora(tmp_path / "fast")
    return tmp_path / "model", tmp_path / "fast"


def test_a_frozen_lora_is_part_of_the_base_and_what_is_trained_over_it_needs_it(kontext_folder, make_case, tmp_path):
    model, fast = map(str, kontext_folder)
    plain, merged = (EditorSection(model=model, device="cpu", frozen_loras=loras) for loras in ((), (fast,)))
    base, editor = open_editor(plain), open_editor(merged)
    expected = edit(open_editor(plain, lora=fast), make_case())
    assert pixel_difference(edit(editor, make_case()), expected) <= 1, "the same up to float rounding"
    assert pixel_difference(edit(base, make_case()), expected) > 10
    assert not editor.lora_parameters()
    assert editor.fingerprint != base.fingerprint
    assert editor.fingerprint == open_editor(merged).fingerprint
    editor.add_lora(settings(), seed=0)
    editor.save_lora(tmp_path / "over")
    open_editor(merged, lora=tmp_path / "over")
    with pytest.raises(HPEditError, match="was trained on"):
        open_editor(plain, lora=tmp_path / "over")
    with pytest.raises(HPEditError, match="does not exist"):
        open_editor(EditorSection(model=model, device="cpu", frozen_loras=(str(tmp_path / "none"),)))


def test_a_frozen_lora_of_another_base_is_refused(kontext_folder):
    _, fast = map(str, kontext_folder)
    with pytest.raises(HPEditError, match="was trained on"):
        open_editor(EditorSection(device="cpu", frozen_loras=(fast,)))


def test_packed_four_bit_weights_name_the_same_base():
    model = torch.nn.Linear(8, 4)
    expected = weights_fingerprint(model)
    packed = torch.nn.Parameter(torch.zeros(16, 1, dtype=torch.uint8), requires_grad=False)
    packed.quant_state = SimpleNamespace(shape=model.weight.shape)
    model.weight = packed
    assert weights_fingerprint(model) == expected
