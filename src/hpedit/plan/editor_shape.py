"""Sizes of a recipe's editor (parameters, tokens, resolution), from its folder or the table of hub models. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpedit.errors import HPEditError
from hpedit.plan.hub_models import EDITORS, SMALL_FILES, STORED, HubEditor
from hpedit.plan.model_folders import read_model_config, safetensors_parameters
from hpedit.plan.transformer_layers import FLUX, Architecture, Tokens
from hpedit.store.atomic import read_json

PROMPT_TOKENS: Final = 48
"""Tokens of an instruction of one or two sentences in its prompt template."""
MINI_TOKENS: Final = 16
"""The same in the mini world, where sentences are short and words are whole tokens."""
T5_TOKENS: Final = 512
"""FLUX pads its text to this length."""
QWEN_CONDITION: Final = 384 * 384
"""px^2 of a source as the text encoder of the Edit-Plus pipeline sees it (diffusers' CONDITION_IMAGE_SIZE)."""
ENCODERS: Final = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True, slots=True)
class EditorShape:
    """Sizes of an editor at the recipe's settings."""

    model: str
    pipeline: str
    architecture: Architecture
    encoders: int
    """Parameters of the text encoders."""
    vae: int
    """Parameters."""
    vae_width: int
    """Approximate channels of the VAE at full resolution."""
    most_sources: int
    resolution: int
    """px."""
    token: int
    """Side of a token in px."""
    source_area: int
    """px^2."""
    condition_area: int
    """px^2."""
    seen: int
    """Side of a token of the text encoder in px."""
    download: int
    """Bytes on the hub; 0 for a folder."""
    folder: Path | None
    """None = known only from the table."""

    def tokens(self, sources: int = 1) -> Tokens:
        """Tokens of one row, for square images."""
        target, source = _token_count(self.resolution**2, self.token), _token_count(self.source_area, self.token)
        return Tokens(target, sources * source, self.text(sources))

    def text(self, sources: int) -> int:
        """Tokens of the encoded instruction, sources included."""
        if self.architecture.kind == FLUX:
            return T5_TOKENS
        prompt = MINI_TOKENS if self.model == "mini" else PROMPT_TOKENS
        return prompt + (sources * _token_count(self.condition_area, self.seen) if self.condition_area else 0)

    def conditioning(self, tokens: Tokens, element: int) -> int:
        """Bytes of one encoded case (its conditioning)."""
        config = self.architecture.config
        return element * (tokens.text * int(config["joint_attention_dim"]) + tokens.source * int(config["in_channels"]))


def _token_count(area: int, side: int) -> int:
    return max(1, round(math.sqrt(area) / side)) ** 2


def editor_shape_of_hub(model: str, settings: Mapping[str, Any]) -> EditorShape:
    """Sizes of a hub editor from the table; HPEditError if not in it. `settings`: the recipe's `editor` section."""
    if model not in EDITORS:
        raise HPEditError(
            f"{model} is not a folder, and not among the models that plan knows: {', '.join(EDITORS)}",
            hint="check the name; any other model can be planned once it is in the hub's cache",
        )
    known: HubEditor = EDITORS[model]
    resolution = int(settings["resolution"])
    source_area = int(settings.get("source_area") or resolution**2)
    condition = source_area if known.condition_area is None else known.condition_area
    architecture = Architecture(known.transformer)
    return EditorShape(
        model=model,
        pipeline=known.pipeline,
        architecture=architecture,
        encoders=known.encoders,
        vae=known.vae,
        vae_width=256 if architecture.kind == FLUX else 192,
        most_sources=known.most_sources,
        resolution=resolution,
        token=16,
        source_area=source_area,
        condition_area=int(settings.get("condition_area") or condition),
        seen=28,
        download=STORED * (architecture.parameters + known.encoders + known.vae) + SMALL_FILES,
        folder=None,
    )


def editor_shape_of_folder(model: str, folder: Path, settings: Mapping[str, Any]) -> EditorShape:
    """Sizes of an editor from its files; HPEditError unless the folder is a complete pipeline of a known kind."""
    pipeline = _pipeline_class(folder)
    architecture = Architecture(read_model_config(folder / "transformer"))
    counted = safetensors_parameters(folder / "transformer")
    if counted != architecture.parameters:
        raise HPEditError(
            f"{folder / 'transformer'} holds {counted:,} parameters, its config.json describes "
            f"{architecture.parameters:,}",
            hint="weights and configuration belong to different models, or a file is missing",
        )
    vae = read_model_config(folder / "vae")
    halvings = len(vae.get("temperal_downsample") or vae.get("block_out_channels", [0])[1:])
    own = read_model_config(folder, "hpedit.json") if (folder / "hpedit.json").is_file() else {}
    resolution = int(settings["resolution"])
    as_built = resolution == own.get("resolution") and "source_area" in own
    source_area = int(settings.get("source_area") or (own["source_area"] if as_built else resolution**2))
    usual = {"QwenImageEditPipeline": source_area, "FluxKontextPipeline": 0}.get(pipeline, QWEN_CONDITION)
    return EditorShape(
        model=model,
        pipeline=pipeline,
        architecture=architecture,
        encoders=sum(safetensors_parameters(folder / name) for name in ENCODERS if (folder / name).is_dir()),
        vae=safetensors_parameters(folder / "vae"),
        vae_width=int(2 * vae["base_dim"]) if "base_dim" in vae else int(vae.get("block_out_channels", [0, 256])[1]),
        most_sources=3 if pipeline == "QwenImageEditPlusPipeline" else 1,
        resolution=resolution,
        token=2 * 2**halvings,
        source_area=source_area,
        condition_area=int(settings.get("condition_area") or own.get("condition_area", usual)),
        seen=_vision_token_side(folder),
        download=0,
        folder=folder,
    )


def _pipeline_class(folder: Path) -> str:
    index = folder / "model_index.json"
    known = sorted({editor.pipeline for editor in EDITORS.values()})
    if not index.is_file():
        hint = "give the folder or hub id of a complete diffusers pipeline"
        raise HPEditError(f"{folder} is not a pipeline: there is no {index.name}", hint)
    found = read_json(index)
    name = found.get("_class_name") if isinstance(found, dict) else None
    if name not in known:
        raise HPEditError(f"{folder} is a {name}, which is not supported", hint=f"supported: {', '.join(known)}")
    return str(name)


def _vision_token_side(folder: Path) -> int:
    vision = read_model_config(folder / "text_encoder").get("vision_config") or {}
    return int(vision.get("patch_size", 14)) * int(vision.get("spatial_merge_size", 2))
