"""The leaner LoRA forward is peft's function, with its gradients, and keeps float32 where it matters."""

import pytest
import torch
from tests.editors.test_lora import disturb, settings

from hpedit.editors.load import wrap_pipeline


def velocity(editor, case):
    conditioning = editor.encode([case]).select([0, 0])
    noise = editor.initial_noise(conditioning, [1, 2])
    return editor.velocity(noise, torch.tensor([0.9, 0.4]), conditioning)


def with_peft_forward(editor):
    for module in editor.pipeline.transformer.modules():
        module.__dict__.pop("forward", None)


def gradients(editor, case):
    v = velocity(editor, case)
    weight = torch.linspace(-1, 1, v.numel()).view_as(v)
    names, parameters = zip(*editor.lora_parameters().items(), strict=True)
    return v, dict(zip(names, torch.autograd.grad((v * weight).sum(), parameters, allow_unused=True), strict=True))


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 0.04)])
def test_it_is_pefts_function_with_its_gradients(tiny_editor, make_case, dtype, close):
    editor = wrap_pipeline(tiny_editor.pipeline.to(dtype), tiny_editor.areas, fingerprint="tiny")
    editor.add_lora(settings(), seed=0)
    disturb(editor)
    ours, our_gradients = gradients(editor, make_case())
    with_peft_forward(editor)
    theirs, their_gradients = gradients(editor, make_case())
    scale = float(theirs.detach().abs().max())
    assert (ours - theirs).abs().max() < close * scale
    for name, gradient in their_gradients.items():
        assert (our_gradients[name] is None) == (gradient is None)
        if gradient is not None:
            assert our_gradients[name].dtype == torch.float32
            assert (our_gradients[name] - gradient).norm() < 2 * close * gradient.norm() + 1e-6, name


def test_switched_off_it_is_the_base_to_the_last_bit(tiny_editor, make_case):
    base = velocity(tiny_editor, make_case())
    tiny_editor.add_lora(settings(), seed=0)
    disturb(tiny_editor)
    with torch.no_grad(), tiny_editor.lora_disabled():
        assert torch.equal(velocity(tiny_editor, make_case()), base)
    assert not torch.equal(velocity(tiny_editor, make_case()), base)


def test_without_the_lora_the_layers_are_plain_again(tiny_editor, make_case):
    base = velocity(tiny_editor, make_case())
    tiny_editor.add_lora(settings(), seed=0)
    disturb(tiny_editor)
    tiny_editor.remove_lora()
    assert torch.equal(velocity(tiny_editor, make_case()), base)
    assert all("forward" not in module.__dict__ for module in tiny_editor.pipeline.transformer.modules())


def test_a_bf16_model_keeps_changes_that_its_weights_could_not_hold(tiny_editor, make_case):
    editor = wrap_pipeline(tiny_editor.pipeline.to(torch.bfloat16), tiny_editor.areas, fingerprint="tiny")
    editor.add_lora(settings(), seed=0)
    before = velocity(editor, make_case()).detach()
    for name, parameter in editor.lora_parameters().items():
        if "lora_B" in name:
            parameter.data += 3e-4
    layer = editor.pipeline.transformer.transformer_blocks[0].attn.to_q
    delta = layer.get_delta_weight("default")
    weight = layer.base_layer.weight
    lost = ((weight + delta.to(weight.dtype)) == weight).float().mean()
    assert lost > 0.1, "a sum of weights would lose much of this LoRA"
    assert not torch.equal(velocity(editor, make_case()), before)
