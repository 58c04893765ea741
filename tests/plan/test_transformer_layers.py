"""Sizes of transformers without torch equal those of the real classes."""

import diffusers
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hpedit.editors.lora import add_lora, lora_parameters
from hpedit.errors import HPEditError
from hpedit.plan.editor_shape import editor_shape_of_folder
from hpedit.plan.hub_models import EDITORS
from hpedit.plan.memory import lora_parameter_count
from hpedit.plan.model_folders import read_model_config, safetensors_parameters
from hpedit.plan.transformer_layers import FLUX, QWEN, Architecture, Tokens
from hpedit.store.shipped import editor_path

TINY_FLUX = {
    "_class_name": FLUX,
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": 96,
    "pooled_projection_dim": 48,
    "guidance_embeds": True,
    "axes_dims_rope": [8, 12, 12],
}


def build(config):
    """The real class, without memory for its weights."""
    with torch.device("meta"):
        return getattr(diffusers, config["_class_name"])(**{k: v for k, v in config.items() if not k.startswith("_")})


def linears(model):
    return {n: (m.in_features, m.out_features) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}


CONFIGS = {name: editor.transformer for name, editor in EDITORS.items()} | {"tiny flux": TINY_FLUX}
CONFIGS["with a second condition"] = EDITORS["Qwen/Qwen-Image-Edit"].transformer | {"use_additional_t_cond": True}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_known_transformer_has_the_layers_and_parameters_of_diffusers(name):
    architecture, model = Architecture(CONFIGS[name]), build(CONFIGS[name])
    assert architecture.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert {layer.name: (layer.inputs, layer.outputs) for layer in architecture.linears} == linears(model)


def test_a_pipelines_folder_is_counted_exactly(tiny_editor, tmp_path):
    pipeline = tiny_editor.pipeline
    pipeline.save_pretrained(tmp_path)
    shape = editor_shape_of_folder("tiny", tmp_path, {"resolution": 32})
    for counted, part in (
        (shape.architecture.parameters, pipeline.transformer),
        (shape.encoders, pipeline.text_encoder),
        (shape.vae, pipeline.vae),
    ):
        assert counted == sum(parameter.numel() for parameter in part.parameters())


def test_tokens_are_those_of_an_encoded_case(tiny_editor, make_case):
    encoded = tiny_editor.encode([make_case()])
    tokens = editor_shape_of_folder("mini", editor_path(), {"resolution": 32}).tokens()
    height, width = encoded.grids[0]
    assert (tokens.target, tokens.source) == (height * width, encoded.source_latents.shape[1])
    assert abs(tokens.text - encoded.prompt.embeds.shape[1]) < 8


def test_tokens_of_2509_at_512_px():
    from hpedit.plan.editor_shape import editor_shape_of_hub

    tokens = editor_shape_of_hub("Qwen/Qwen-Image-Edit-2509", {"resolution": 512}).tokens(2)
    assert (tokens.target, tokens.source) == (1024, 2048)
    assert tokens.text == 2 * 196 + 48
    assert editor_shape_of_hub("black-forest-labs/FLUX.1-Kontext-dev", {"resolution": 512}).tokens().text == 512


@pytest.mark.parametrize("kind", [QWEN, FLUX])
def test_flops_are_those_that_torch_counts(kind):
    config = read_model_config(editor_path() / "transformer") if kind == QWEN else TINY_FLUX
    model = getattr(diffusers, kind)(**{k: v for k, v in config.items() if not k.startswith("_")}).eval()
    tokens = Tokens(16, 16, 20)
    inputs = {
        "hidden_states": torch.randn(1, 32, 64),
        "encoder_hidden_states": torch.randn(1, 20, 96),
        "timestep": torch.full((1,), 0.5),
    }
    if kind == QWEN:
        inputs["img_shapes"] = [[(1, 4, 4), (1, 4, 4)]]
    else:
        inputs |= {"pooled_projections": torch.randn(1, 48), "guidance": torch.ones(1)}
        inputs |= {"img_ids": torch.zeros(32, 3), "txt_ids": torch.zeros(20, 3)}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs, return_dict=False)
    architecture = Architecture(config)
    # The CPU's fused attention is not among the operators that torch counts.
    attention = architecture.blocks * 4 * tokens.all**2 * architecture.width
    assert architecture.flops(tokens) - attention == counter.get_total_flops()


def test_the_shipped_mini_is_known_whole():
    shape = editor_shape_of_folder("mini", editor_path(), {"resolution": 32})
    assert shape.architecture.parameters == 3_674_272
    assert (shape.download, shape.most_sources, shape.token) == (0, 3, 8)


def test_targets_are_those_of_the_real_lora(tiny_editor, recipe):
    settings = recipe().lora
    add_lora(tiny_editor.pipeline.transformer, settings, 0, settings.targets)
    parameters = lora_parameters(tiny_editor.pipeline.transformer)
    layers = Architecture(read_model_config(editor_path() / "transformer")).adapted(settings.targets)
    assert 2 * len(layers) == len(parameters)
    assert lora_parameter_count(layers, settings.rank) == sum(parameter.numel() for parameter in parameters.values())


def test_what_is_not_known_is_named(tmp_path):
    with pytest.raises(HPEditError, match="SD3Transformer2DModel is not a supported transformer"):
        Architecture({"_class_name": "SD3Transformer2DModel"})
    with pytest.raises(HPEditError, match="missing or invalid entry: 'num_layers'"):
        Architecture({"_class_name": QWEN, "num_attention_heads": 2, "attention_head_dim": 8})
    with pytest.raises(HPEditError, match="holds no safetensors"):
        safetensors_parameters(tmp_path)


def test_a_cut_weights_file_is_named(tmp_path):
    file = editor_path() / "transformer" / "diffusion_pytorch_model.safetensors"
    (tmp_path / "x.safetensors").write_bytes(file.read_bytes()[:-100])
    with pytest.raises(HPEditError, match="is cut short"):
        safetensors_parameters(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(HPEditError, match="not a whole safetensors file"):
        safetensors_parameters(tmp_path)


@pytest.mark.parametrize(
    "header", [b"[]", b"null", b'{"a": 5}', b'{"a": {}}', b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}']
)
def test_a_garbled_header_of_weights_is_an_error(tmp_path, header):
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(HPEditError, match=r"x\.safetensors is not a whole safetensors file"):
        safetensors_parameters(tmp_path)
