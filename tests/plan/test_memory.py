"""The account of memory against what torch holds."""

import diffusers
import pytest
import torch
from tests.plan.test_transformer_layers import TINY_FLUX

from hpedit.config.recipe import LoraSection
from hpedit.editors.lora import add_lora
from hpedit.plan import activations
from hpedit.plan.editor_shape import editor_shape_of_folder, editor_shape_of_hub
from hpedit.plan.judge_memory import judge_shape
from hpedit.plan.layout import Layout
from hpedit.plan.memory import account_memory
from hpedit.plan.transformer_layers import QWEN, Architecture, Tokens
from hpedit.rl.parallel.processes import SingleProcess
from hpedit.rl.policy import LoraPolicy
from hpedit.store.shipped import editor_path

CPU = Layout(gpus=1, accelerator=False, dtype="float32", recomputes=False)
GPU = Layout(gpus=1, accelerator=True, dtype="bfloat16")
HUB = "Qwen/Qwen-Image-Edit-2509"


def size(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_base_lora_gradient_and_optimizer_of_the_mini_are_exact(tiny_editor, recipe, tmp_path):
    settings = recipe()
    tiny_editor.pipeline.save_pretrained(tmp_path / "model")
    tiny_editor.add_lora(settings.lora, 0)
    base = size(p for name, p in tiny_editor.pipeline.transformer.named_parameters() if ".lora_" not in name)
    policy = LoraPolicy(tiny_editor, settings.train)
    for parameter in policy.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    policy.step(1, 0.0, SingleProcess())
    shape = editor_shape_of_folder("tiny", tmp_path / "model", {"resolution": 32})
    memory = account_memory(settings, shape, shape.tokens(), CPU, None, None)
    assert memory.bytes_of("base, float32") == base
    assert memory.bytes_of("text encoders") == size(tiny_editor.pipeline.text_encoder.parameters())
    assert memory.bytes_of("VAE") == size(tiny_editor.pipeline.vae.parameters())
    learnt = policy.tensors()
    assert memory.bytes_of("LoRA and its average") == size(learnt["lora"].values()) + size(learnt["average"].values())
    assert memory.bytes_of("gradient") == size(p.grad for p in policy.parameters.values())
    assert memory.bytes_of("AdamW's state") == size(learnt["optimizer"].values())


def kept_by_torch(model, inputs):
    """Bytes of all different tensors that autograd keeps, parameters aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        model(**inputs, return_dict=False)[0].float().square().mean()
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    return sum(size for place, size in storages.items() if place not in own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["qwen", "flux"])
def test_activations_of_a_training_forward_are_within_15_percent(kind, dtype):
    rows, tokens, lora = 4, Tokens(64, 64, 20), LoraSection()
    if kind == "qwen":
        model = diffusers.QwenImageTransformer2DModel.from_pretrained(editor_path() / "transformer", torch_dtype=dtype)
        inputs = {"img_shapes": [[(1, 8, 8), (1, 8, 8)]] * rows}
        architecture = Architecture(dict(model.config) | {"_class_name": QWEN})
    else:
        config = {key: value for key, value in TINY_FLUX.items() if not key.startswith("_")}
        model = diffusers.FluxTransformer2DModel(**config).to(dtype)
        inputs = {"pooled_projections": torch.randn(rows, 48, dtype=dtype), "guidance": torch.ones(rows, dtype=dtype)}
        inputs |= {"img_ids": torch.zeros(128, 3), "txt_ids": torch.zeros(20, 3)}
        architecture = Architecture(TINY_FLUX)
    model.eval().requires_grad_(False)
    add_lora(model, lora, 0, lora.targets)
    inputs |= {
        "hidden_states": torch.randn(rows, 128, 64, dtype=dtype),
        "encoder_hidden_states": torch.randn(rows, 20, 96, dtype=dtype),
        "timestep": torch.full((rows,), 0.5, dtype=dtype),
    }
    reckoned = rows * activations.saved_activations(architecture, tokens, lora.targets, lora.rank, dtype.itemsize)
    assert 0.85 < reckoned / kept_by_torch(model, inputs) < 1.15


def test_checkpointing_keeps_a_small_part(recipe):
    shape = editor_shape_of_hub(HUB, {"resolution": 512})
    lora, tokens = recipe().lora, shape.tokens()
    whole, part = (
        activations.training_activations(shape.architecture, tokens, lora.targets, lora.rank, 2, recomputes=recomputes)
        for recomputes in (False, True)
    )
    assert part < whole / 10


def test_phases_hold_what_belongs_to_them(recipe):
    settings = recipe("qwen_image_edit_2509_nft_8x80gb")
    shape = editor_shape_of_hub(HUB, settings.resolved()["editor"])
    memory = account_memory(settings, shape, shape.tokens(), GPU, None, None)
    items = {item.name: item for item in memory.items}
    assert items["text encoders"].encode == 2 * 8_292_166_656
    assert items["text encoders"].train == 0, "they have left"
    assert items["old policy"].train == 4 * 94_371_840 * 2, "nft swaps it in by a copy"
    assert items["gradient"].encode == 0
    assert memory.peak == max(memory.totals.values())
    assert memory.fits is None


def test_what_makes_the_base_smaller():
    architecture = editor_shape_of_hub(HUB, {"resolution": 512}).architecture
    whole = GPU.base_bytes(architecture)
    assert whole == 2 * 20_430_401_088
    block = 2 * whole // 60
    assert Layout(8, True, "bfloat16", shard=True).base_bytes(architecture) == whole // 8 + block
    assert Layout(1, True, "bfloat16", shard=True).base_bytes(architecture) == whole
    assert Layout(1, True, "bfloat16", base="8bit").base_bytes(architecture) == whole // 2
    assert Layout(1, True, "bfloat16", base="offload").base_bytes(architecture) == block


def test_a_judge_in_process_by_table_and_by_folder():
    from hpedit.store.shipped import judge_path

    known = judge_shape("Qwen/Qwen3-VL-8B-Instruct", accelerator=True, folder=None)
    assert known.weights == 2 * 8_767_123_696
    assert known.running > 32_768 * 2 * 36 * 8 * 128 * 2
    mini = judge_shape("mini", accelerator=True, folder=judge_path())
    assert mini.weights == pytest.approx(2 * (judge_path() / "model.safetensors").stat().st_size, rel=0.02)
    assert judge_shape("somebody/else", accelerator=True, folder=None) is None
