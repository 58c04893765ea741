"""Configurations of the miniature models: the classes of Qwen-Image-Edit-2509 and Qwen2.5-VL at 32 px.

The editor's transformer has 6 double-stream layers of 4 heads of 32 (3.7 M parameters); a picture of 32 x 32 px becomes
8 x 8 latents of 16 channels, packed into 16 tokens. The judge sees a picture as 16 tokens of 8 x 8 px.
"""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from transformers import (
    PaddleOCRVLProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
)

from hpedit.mini.drawing import SIZE
from hpedit.mini.tokenizer import CHAT_TEMPLATE, build_tokenizer, check_template

LATENT_CHANNELS = 16
JOINT_DIM = 96
"""Width of the editor's text encoder, and so of the text that its transformer sees."""
EDITOR_PATCH = 8
"""Side in pixels of a patch of the editor's text encoder; 2 x 2 patches become one token."""
JUDGE_PATCH = 4
"""The same of the judge."""
JUDGE_MERGE = 2
"""JUDGE_MERGE x JUDGE_MERGE patches of the judge become one token."""
JUDGE_DIM = 128
"""Width of the judge."""
JUDGE_VISION, JUDGE_LOOKS = 64, 1
"""Width and depth of its vision tower."""
JUDGE_THETA = 2.0
"""Base of the rotary frequencies. Qwen2.5-VL gives the width axis the lowest third of them; with a base of 1000
neighbouring columns of a picture would differ by 0.01 rad, and no head could find the patch that it should
compare."""
INITIAL_STD = 0.08
"""About 1 / sqrt(width). The 0.02 of models thirty times as wide leaves the layers of one this narrow nearly silent."""


def build_vae() -> AutoencoderKLQwenImage:
    """An AutoencoderKLQwenImage that halves twice: 32 px become 8 x 8 latents of 16 channels."""
    return AutoencoderKLQwenImage(
        base_dim=16,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        attn_scales=[],
        temperal_downsample=[False, False],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )


def build_transformer() -> QwenImageTransformer2DModel:
    """The flow transformer; its head width equals the sum of the rotary axes."""
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=4 * LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=6,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=JOINT_DIM,
        axes_dims_rope=(8, 12, 12),
    )


def _vlm(
    tokenizer: Qwen2Tokenizer,
    *,
    hidden: int,
    layers: int,
    inner: int,
    patch: int,
    merge: int,
    vision: int,
    depth: int,
    theta: float,
) -> Qwen2_5_VLConfig:
    """A Qwen2.5-VL of 4 heads.

    Args:
        hidden, inner, layers: Width, MLP width and depth of the language model.
        patch, vision, depth: Patch side in pixels, width and depth of the vision tower.
        merge: merge x merge patches become one token.
        theta: Base of the rotary frequencies.
    """
    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("image_pad", "video_pad", "vision_start", "vision_end")
    }
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": theta, "mrope_section": _sections(hidden // 4)},
            "tie_word_embeddings": True,
            "initializer_range": INITIAL_STD,
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
        },
        vision_config={
            "depth": depth,
            "hidden_size": vision,
            "intermediate_size": 2 * vision,
            "num_heads": 2,
            "out_hidden_size": hidden,
            "patch_size": patch,
            "spatial_merge_size": merge,
            "temporal_patch_size": 2,
            "window_size": SIZE,
            "fullatt_block_indexes": list(range(depth)),
            "initializer_range": INITIAL_STD,
        },
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=True,
    )


def _sections(head: int) -> list[int]:
    """Share of a head's rotary pairs that turn with time, height and width."""
    pairs = head // 2
    spatial = 3 * pairs // 8
    return [pairs - 2 * spatial, spatial, spatial]


def build_text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """The editor's text encoder: it sees the source as 4 tokens."""
    return Qwen2_5_VLForConditionalGeneration(
        _vlm(
            tokenizer,
            hidden=JOINT_DIM,
            layers=2,
            inner=192,
            patch=EDITOR_PATCH,
            merge=2,
            vision=32,
            depth=1,
            theta=1000.0,
        )
    )


def build_judge_model(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """The judge: 5 layers of width 128."""
    return Qwen2_5_VLForConditionalGeneration(
        _vlm(
            tokenizer,
            hidden=JUDGE_DIM,
            layers=5,
            inner=320,
            patch=JUDGE_PATCH,
            merge=JUDGE_MERGE,
            vision=JUDGE_VISION,
            depth=JUDGE_LOOKS,
            theta=JUDGE_THETA,
        )
    )


def _image_processor(patch: int, merge: int) -> Qwen2VLImageProcessorPil:
    """Cuts pictures, scaled to SIZE x SIZE px and values in [-1, 1], into patches of side `patch`."""
    return Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=merge,
        temporal_patch_size=2,
        size={"shortest_edge": SIZE * SIZE, "longest_edge": SIZE * SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def _processor(patch: int, merge: int, tokenizer: Qwen2Tokenizer) -> PaddleOCRVLProcessor:
    """Pictures and text for a Qwen2.5-VL.

    Qwen's own processor classes insist on a video processor, which needs torchvision. This class of transformers
    expands image tokens in the same way and takes pictures and text alone, so that the weights load where torchvision
    is absent.
    """
    return PaddleOCRVLProcessor(_image_processor(patch, merge), tokenizer, chat_template=CHAT_TEMPLATE)


def build_editor_processor(tokenizer: Qwen2Tokenizer) -> PaddleOCRVLProcessor:
    """The processor of the editor's text encoder."""
    return _processor(EDITOR_PATCH, 2, tokenizer)


def build_judge_processor(tokenizer: Qwen2Tokenizer) -> PaddleOCRVLProcessor:
    """The processor of the judge."""
    return _processor(JUDGE_PATCH, JUDGE_MERGE, tokenizer)


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The flow scheduler of Qwen-Image with its dynamic exponential shift."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=0.9,
        base_image_seq_len=256,
        max_image_seq_len=8192,
        shift_terminal=0.02,
        time_shift_type="exponential",
    )


def build_pipeline(seed: int = 0) -> QwenImageEditPlusPipeline:
    """The miniature pipeline with random weights (the output layer is not zero, so that edits differ)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = build_tokenizer()
        pipeline = QwenImageEditPlusPipeline(
            scheduler=build_scheduler(),
            vae=build_vae(),
            text_encoder=build_text_encoder(tokenizer),
            tokenizer=tokenizer,
            processor=build_editor_processor(tokenizer),
            transformer=build_transformer(),
        )
    check_template(pipeline)
    for module in (pipeline.vae, pipeline.text_encoder, pipeline.transformer):
        module.eval().requires_grad_(False)
    return pipeline
