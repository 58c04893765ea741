"""Encoders that leave and come back, and compiled blocks: what a CPU can show of them."""

import pytest
import torch
from tests.editors.families import FAMILIES, KONTEXT, pixel_difference
from torch import nn

from hpedit.editors.load import wrap_pipeline
from hpedit.editors.placement import (
    Encoders,
    compile_blocks,
    is_compiled,
    is_group_offloaded,
    place_pipeline,
    quantization,
)
from hpedit.editors.sampling import edit_cases
from hpedit.errors import HPEditError


class Settings:
    rank, alpha, targets = 2, 4.0, None


def devices(module):
    return {parameter.device.type for parameter in module.parameters()}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_encoders_leave_the_device_and_what_decodes_stays(family):
    editor = family.editor()
    pipeline = editor.pipeline
    # The meta device stands for an accelerator.
    encoders = Encoders(pipeline, editor.adapter.ENCODERS, torch.device("meta"))
    moved = []
    encoders._move_encoders = lambda device: moved.append(
        (device.type, [type(part).__name__ for part in encoders._parts])
    )
    encoders.bring_back()
    encoders.send_away()
    encoders.send_away()
    encoders.bring_back()
    assert [device for device, _ in moved] == ["cpu", "meta"], "asking again moves nothing"
    names = moved[0][1]
    assert type(pipeline.text_encoder).__name__ in names
    assert type(pipeline.vae.encoder).__name__ in names
    assert type(pipeline.vae.decoder).__name__ not in names
    assert type(pipeline.transformer).__name__ not in names


def test_moving_moves_the_parts():
    class Vae:
        encoder, quant_conv = nn.Linear(2, 2), None

    class Pipeline:
        vae, text_encoder = Vae, nn.Linear(2, 2)

    encoders = Encoders(Pipeline, ["text_encoder"], torch.device("meta"))
    encoders._move_encoders(torch.device("meta"))
    assert devices(Vae.encoder) == devices(Pipeline.text_encoder) == {"meta"}


def test_a_case_in_the_cache_needs_no_encoder_and_a_new_one_brings_them_back(make_case):
    editor = KONTEXT.editor()
    back = []
    editor._encoders.bring_back = lambda: back.append(1)
    first = editor.encode([make_case()])
    editor.offload_encoders()
    assert torch.equal(editor.encode([make_case()]).prompt.embeds, first.prompt.embeds)
    assert len(back) == 1
    editor.encode([make_case(seed=3)])
    assert len(back) == 2


def test_editing_after_the_encoders_left_gives_the_same_pixels(make_case):
    editor = KONTEXT.editor()
    before = edit_cases(editor, [make_case()], [1], 2)[0]
    editor.offload_encoders()
    assert pixel_difference(before, edit_cases(editor, [make_case()], [1], 2)[0]) == 0


@pytest.fixture
def compiled():
    """With dynamo's eager backend: traced and guarded as with inductor, without a compiler's minute."""
    editor = KONTEXT.editor()
    editor.add_lora(Settings, seed=0)
    compile_blocks(editor.pipeline.transformer, backend="aot_eager")
    yield editor
    torch.compiler.reset()


@pytest.mark.slow
def test_compiled_blocks_give_the_same_numbers_with_and_without_gradients(compiled, make_case):
    assert is_compiled(compiled.pipeline.transformer)
    plain = KONTEXT.editor()
    assert not is_compiled(plain.pipeline.transformer)
    batch = plain.encode([make_case()])
    noise, s = plain.initial_noise(batch, [3]), torch.tensor(0.7)
    with torch.no_grad():
        expected = plain.velocity(noise, s, batch)
        rollout = compiled.velocity(noise, s, batch)
    assert not rollout.requires_grad
    replay = compiled.velocity(noise, s, batch)
    assert torch.equal(rollout, replay)
    torch.testing.assert_close(rollout, expected, rtol=1e-4, atol=1e-4)
    replay.square().mean().backward()
    gradients = [p.grad for name, p in compiled.lora_parameters().items() if "lora_B" in name]
    assert gradients
    assert all(gradient is not None for gradient in gradients)


def test_an_offloaded_base_edits_the_same_and_is_not_trained(make_case):
    """With the CPU as the device that the blocks come to; on a GPU the same hooks copy them there."""
    pipeline = place_pipeline(KONTEXT.build(), "blocks", "cpu")
    editor = wrap_pipeline(pipeline, KONTEXT.areas, fingerprint="offloaded")
    assert is_group_offloaded(pipeline.transformer)
    expected = edit_cases(KONTEXT.editor(), [make_case()], [1], 2)[0]
    assert pixel_difference(edit_cases(editor, [make_case()], [1], 2)[0], expected) == 0
    with pytest.raises(HPEditError, match="can't be trained"):
        editor.add_lora(Settings, seed=0)


@pytest.mark.parametrize("base", ["8bit", "4bit"])
def test_a_quantised_base_asks_diffusers_to_quantise_the_transformer_alone(base):
    (config,) = quantization(base).values()
    assert config.components_to_quantize == ["transformer"]
    assert config.quant_backend == f"bitsandbytes_{base}"
    assert config.quant_kwargs[f"load_in_{base}"] is True
    assert quantization("full") == {}
