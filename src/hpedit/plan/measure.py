"""Time a training step (forward, and forward with backward) of a recipe's transformer on this machine.

A local transformer is loaded and timed whole. For any other, a few blocks with random weights of the same shapes are
timed, which needs no download: the time of a block is the slope between two depths.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import diffusers
import torch
from torch import Tensor

from hpedit.config.recipe import Recipe
from hpedit.editors.lora import add_lora
from hpedit.plan.editor_shape import EditorShape
from hpedit.plan.layout import Layout
from hpedit.plan.timing import Speed
from hpedit.plan.transformer_layers import FLUX, Tokens
from hpedit.progress import quiet_loading

DEPTHS: Final = (1, 3)
"""Blocks (of each kind) of the two shallow models."""
REPEATS: Final = 3
"""Number of tries; the shortest counts."""
DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def measure_step(recipe: Recipe, shape: EditorShape, tokens: Tokens, layout: Layout, rows: int) -> Speed:
    """Measure seconds per row, the best of a few tries, in forwards of `rows` rows with the recipe's dtype and LoRA."""
    device = _torch_device(recipe.editor.device)
    if shape.folder is not None:
        kind = getattr(diffusers, shape.architecture.kind)
        dtype = DTYPES[recipe.editor.dtype]
        with quiet_loading():
            model = kind.from_pretrained(shape.folder / "transformer", torch_dtype=dtype, local_files_only=True)
        forward, trained = _step_times(model.to(device), recipe, shape, tokens, layout, rows)
        how = f"measured on {_device_name(device)}: a step of the whole transformer"
    else:
        models = (_shallow_model(shape, depth, recipe, device) for depth in DEPTHS)
        low, high = (_step_times(model, recipe, shape, tokens, layout, rows) for model in models)
        forward, trained = (_seconds_at_full_depth(shape, one, other) for one, other in zip(low, high, strict=True))
        how = f"measured on {_device_name(device)}: blocks with random weights"
    return Speed(forward / rows, trained / rows, how)


def _torch_device(device: str) -> torch.device:
    if device != "auto":
        return torch.device(device)
    found = torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _shallow_model(shape: EditorShape, depth: int, recipe: Recipe, device: torch.device) -> Any:
    """A transformer of `depth` blocks of each kind, random."""
    config = {key: value for key, value in shape.architecture.config.items() if not key.startswith("_")}
    config |= {"num_layers": depth} | ({"num_single_layers": depth} if shape.architecture.kind == FLUX else {})
    with device, quiet_loading():
        return getattr(diffusers, shape.architecture.kind)(**config).to(DTYPES[recipe.editor.dtype])


def _seconds_at_full_depth(shape: EditorShape, low: float, high: float) -> float:
    """Seconds at full depth, assuming that double and single blocks cost about the same per parameter."""
    slope = max(0.0, high - low) / (DEPTHS[1] - DEPTHS[0])
    if shape.architecture.single:
        # The slope is that of one block of each kind; a double block has 24 d^2 weights a token pair, a single 12 d^2.
        double, single = slope * 24 / 36, shape.architecture.single * slope * 12 / 36
        return low - DEPTHS[0] * slope + shape.architecture.double * double + single
    return low + (shape.architecture.double - DEPTHS[0]) * slope


def _step_times(
    model: Any, recipe: Recipe, shape: EditorShape, tokens: Tokens, layout: Layout, rows: int
) -> tuple[float, float]:
    """Seconds of (a forward, a forward with its backward) of `rows` rows."""
    model.eval().requires_grad_(False)
    add_lora(model, recipe.lora, seed=0, usual=recipe.lora.targets)
    if layout.recomputes:
        model.enable_gradient_checkpointing()
    inputs = _random_inputs(model, shape, tokens, rows)

    def forward() -> Tensor:
        output: Tensor = model(**inputs, return_dict=False)[0]
        return output

    def train() -> None:
        forward().float().square().mean().backward()  # type: ignore[no-untyped-call]

    with torch.no_grad():
        first = _shortest_time(forward, model.device)
    return first, _shortest_time(train, model.device)


def _shortest_time(call: Callable[[], object], device: torch.device) -> float:
    """The shortest of a few tries after a warm-up."""
    seconds = []
    for number in range(REPEATS + 1):
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number:
            seconds.append(time.perf_counter() - began)
    return min(seconds)


def _random_inputs(model: Any, shape: EditorShape, tokens: Tokens, rows: int) -> dict[str, Any]:
    """Random inputs of a forward of these sizes."""
    config = model.config
    made = {"device": model.device, "dtype": model.dtype}
    inputs: dict[str, Any] = {
        "hidden_states": torch.randn(rows, tokens.image, config.in_channels, **made),
        "encoder_hidden_states": torch.randn(rows, tokens.text, config.joint_attention_dim, **made),
        "timestep": torch.full((rows,), 0.5, **made),
    }
    if shape.architecture.kind == FLUX:
        inputs |= {
            "pooled_projections": torch.randn(rows, config.pooled_projection_dim, **made),
            "guidance": torch.full((rows,), 2.5, **made) if config.guidance_embeds else None,
            "img_ids": torch.zeros(tokens.image, 3, **made),
            "txt_ids": torch.zeros(tokens.text, 3, **made),
        }
        return inputs
    side = round(tokens.target**0.5)
    shapes = [(1, side, side)]
    left = tokens.source
    while left > 0:
        one = min(left, round((shape.source_area**0.5) / shape.token) ** 2)
        shapes.append((1, round(one**0.5), one // round(one**0.5)))
        left -= one
    return inputs | {"img_shapes": [shapes] * rows}
