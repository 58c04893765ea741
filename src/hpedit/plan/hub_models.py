"""Table of known hub editors and judges: parameter counts and configurations, for planning without a network.

Parameters were counted by building diffusers' and transformers' classes from each model's configuration on the meta
device; they agree with what the models' cards say (20 B, 8.3 B, 12 B). All of these models are published in bfloat16,
so that a download has twice as many bytes; tokenizers and configurations add some 20 MB. Where the hub answers, its
own numbers are used instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hpedit.plan.transformer_layers import FLUX, QWEN

SMALL_FILES = 20_000_000
"""Bytes of tokenizers and configurations of one model."""
STORED = 2
"""Bytes per parameter in a published checkpoint."""


@dataclass(frozen=True, slots=True)
class HubEditor:
    """Sizes of an editor on the hub."""

    pipeline: str
    """The class in its model_index.json."""
    transformer: Mapping[str, Any]
    """Its config.json."""
    encoders: int
    """Parameters of the text encoders."""
    vae: int
    most_sources: int = 1
    condition_area: int | None = None
    """px^2 of a source as the text encoder sees it; None = as the VAE sees it, 0 = not at all."""


@dataclass(frozen=True, slots=True)
class HubJudge:
    """Sizes of a vision-language judge on the hub."""

    parameters: int
    layers: int
    kv_heads: int
    width: int
    head: int = 128

    @property
    def kv_token(self) -> int:
        """Size of the KV cache per token, in numbers: keys and values of all layers."""
        return 2 * self.layers * self.kv_heads * self.head


_HEADS: Final = {"attention_head_dim": 128, "num_attention_heads": 24, "axes_dims_rope": [16, 56, 56]}
_QWEN_IMAGE: dict[str, Any] = {"_class_name": QWEN, "patch_size": 2, "in_channels": 64, "out_channels": 16}
_QWEN_IMAGE |= _HEADS | {"num_layers": 60, "joint_attention_dim": 3584}
_FLUX_KONTEXT: dict[str, Any] = {"_class_name": FLUX, "patch_size": 1, "in_channels": 64, "out_channels": None}
_FLUX_KONTEXT |= _HEADS | {"num_layers": 19, "num_single_layers": 38, "joint_attention_dim": 4096}
_FLUX_KONTEXT |= {"pooled_projection_dim": 768, "guidance_embeds": True}
_QWEN_VL_7B: Final = 8_292_166_656
_T5_XXL_AND_CLIP: Final = 4_762_310_656 + 123_060_480
_QWEN_VAE: Final = 126_892_531
_PLUS: Final = HubEditor("QwenImageEditPlusPipeline", _QWEN_IMAGE, _QWEN_VL_7B, _QWEN_VAE, 3, 384 * 384)

EDITORS: Final[Mapping[str, HubEditor]] = {
    "Qwen/Qwen-Image-Edit": HubEditor("QwenImageEditPipeline", _QWEN_IMAGE, _QWEN_VL_7B, _QWEN_VAE),
    "Qwen/Qwen-Image-Edit-2509": _PLUS,
    # 2511 gives the sources a noise level of their own, with the same weights.
    "Qwen/Qwen-Image-Edit-2511": HubEditor(
        _PLUS.pipeline, _QWEN_IMAGE | {"zero_cond_t": True}, _QWEN_VL_7B, _QWEN_VAE, 3, 384 * 384
    ),
    "black-forest-labs/FLUX.1-Kontext-dev": HubEditor(
        "FluxKontextPipeline", _FLUX_KONTEXT, _T5_XXL_AND_CLIP, 83_819_683, condition_area=0
    ),
}

JUDGES: Final[Mapping[str, HubJudge]] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": HubJudge(3_754_622_976, 36, 2, 2048),
    "Qwen/Qwen2.5-VL-7B-Instruct": HubJudge(8_292_166_656, 28, 4, 3584),
    "Qwen/Qwen2.5-VL-32B-Instruct": HubJudge(33_452_718_336, 64, 8, 5120),
    "Qwen/Qwen2.5-VL-72B-Instruct": HubJudge(73_410_777_344, 80, 8, 8192),
    "Qwen/Qwen3-VL-2B-Instruct": HubJudge(2_127_532_032, 28, 8, 2048),
    "Qwen/Qwen3-VL-4B-Instruct": HubJudge(4_437_815_808, 36, 8, 2560),
    "Qwen/Qwen3-VL-8B-Instruct": HubJudge(8_767_123_696, 36, 8, 4096),
    "Qwen/Qwen3-VL-32B-Instruct": HubJudge(33_357_390_064, 64, 8, 5120),
}
