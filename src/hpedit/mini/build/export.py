"""Writing the built weights as the package ships them: half precision on disk, float32 when loaded."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import QwenImageEditPlusPipeline
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from hpedit.mini.architecture import build_judge_processor
from hpedit.mini.drawing import SIZE

SETTINGS = {"resolution": SIZE, "condition_area": SIZE * SIZE, "source_area": SIZE * SIZE}
"""The mini editor's hpedit.json: its image sizes in px and px^2."""


@torch.no_grad()
def to_half(module: nn.Module) -> None:
    """Round the weights to half precision and keep them as float32, so that what is measured is what ships."""
    for parameter in module.parameters():
        parameter.copy_(parameter.half().float())


def _shrink(folder: Path) -> None:
    """Store every safetensors file below `folder` in half precision."""
    for file in sorted(folder.rglob("*.safetensors")):
        tensors = {
            name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(file).items()
        }
        save_file(tensors, file, metadata={"format": "pt"})


def export_editor(pipeline: QwenImageEditPlusPipeline, out: Path) -> None:
    """Write the editor's folder."""
    for module in (pipeline.transformer, pipeline.vae, pipeline.text_encoder):
        to_half(module)
    pipeline.save_pretrained(out)
    (out / "hpedit.json").write_text(json.dumps(SETTINGS, indent=2) + "\n")
    for file in sorted(out.rglob("config.json")):
        # Where a part was loaded from is this machine's business.
        config = json.loads(file.read_text())
        config.pop("_name_or_path", None)
        file.write_text(json.dumps(config, indent=2) + "\n")
    _shrink(out)


def export_judge(model: Qwen2_5_VLForConditionalGeneration, tokenizer: Qwen2Tokenizer, out: Path) -> None:
    """Write the judge's folder."""
    to_half(model)
    model.save_pretrained(out)
    build_judge_processor(tokenizer).save_pretrained(out)
    _shrink(out)
