"""Judges with random weights."""

from __future__ import annotations

import torch

from hpedit.judges.transformers_judge import TransformersJudge


def random_qwen2_5() -> TransformersJudge:
    """The mini judge's architecture, untrained."""
    from hpedit.mini.architecture import build_judge_model, build_judge_processor
    from hpedit.mini.tokenizer import build_tokenizer

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    return TransformersJudge(build_judge_model(tokenizer), build_judge_processor(tokenizer), "random 2.5")


def random_qwen3() -> TransformersJudge:
    """A Qwen3-VL of two layers with deepstack features, untrained."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    from hpedit.mini.architecture import build_judge_processor
    from hpedit.mini.tokenizer import build_tokenizer

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [4, 2, 2]},
            "initializer_range": 0.2,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
            "initializer_range": 0.2,
        },
        **ids,
    )
    return TransformersJudge(Qwen3VLForConditionalGeneration(config), build_judge_processor(tokenizer), "random 3")
