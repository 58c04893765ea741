"""A miniature FLUX.1-Kontext with random weights: the classes of the real one at 32 px.

It edits nothing sensible. It is what every promise about Kontext is tested on, in a second and without a download.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxKontextPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from hpedit.mini.drawing import COLORS, SHAPES, SIZE
from hpedit.progress import quiet_loading

TEXT_DIM = 32
POOLED_DIM = 16
LATENT_CHANNELS = 16
SETTINGS = {"resolution": SIZE, "source_area": SIZE * SIZE}
"""Its hpedit.json."""


def _words() -> list[str]:
    """A few words of the mini world; others are read letter by letter."""
    return sorted({word for name in (*COLORS, *SHAPES, "add remove make it the a to of") for word in name.split()})


def _t5_tokenizer() -> T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    pieces += [(f"▁{word}", -2.0) for word in _words()]
    pieces += [(sign, -6.0) for sign in string.printable if not sign.isspace()]
    return T5Tokenizer(vocab=pieces, extra_ids=0, additional_special_tokens=[])


def _clip_tokenizer() -> CLIPTokenizer:
    signs = [sign for sign in string.printable if not sign.isspace() and not sign.isupper()]
    pieces = [*signs, *(f"{sign}</w>" for sign in signs), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def _text_encoders(t5: T5Tokenizer, clip: CLIPTokenizer) -> tuple[CLIPTextModel, T5EncoderModel]:
    pooling = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip),
            hidden_size=POOLED_DIM,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=clip.bos_token_id,
            eos_token_id=clip.eos_token_id,
            pad_token_id=clip.pad_token_id,
        )
    )
    reading = T5EncoderModel(
        T5Config(
            vocab_size=len(t5),
            d_model=TEXT_DIM,
            d_kv=16,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
    )
    return pooling, reading


def _vae() -> AutoencoderKL:
    """Halves twice, as the mini Qwen VAE does."""
    blocks = 3
    return AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def build_kontext(seed: int = 0, *, distilled: bool = True) -> FluxKontextPipeline:
    """The miniature pipeline with random weights.

    Args:
        seed: Of the weights.
        distilled: Whether the transformer is told a guidance scale, as FLUX.1-Kontext-dev is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        t5, clip = _t5_tokenizer(), _clip_tokenizer()
        text_encoder, text_encoder_2 = _text_encoders(t5, clip)
        transformer = FluxTransformer2DModel(
            in_channels=4 * LATENT_CHANNELS,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=TEXT_DIM,
            pooled_projection_dim=POOLED_DIM,
            guidance_embeds=distilled,
            axes_dims_rope=(4, 6, 6),
        )
        pipeline = FluxKontextPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True,
                shift=3.0,
                base_shift=0.5,
                max_shift=1.15,
                base_image_seq_len=256,
                max_image_seq_len=4096,
            ),
            vae=_vae(),
            text_encoder=text_encoder,
            tokenizer=clip,
            text_encoder_2=text_encoder_2,
            tokenizer_2=t5,
            transformer=transformer,
        )
    _sharpen(pipeline)
    for module in (pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.transformer):
        module.eval().requires_grad_(False)
    return pipeline


@torch.no_grad()
def _sharpen(pipeline: FluxKontextPipeline) -> None:
    """Widen the random weights: as they come, an edit hardly depends on its source, and a test would see nothing."""
    pipeline.vae.encoder.conv_out.weight.mul_(8)
    for name, parameter in pipeline.transformer.named_parameters():
        if ".norm_q." in name or ".norm_k." in name:
            parameter.mul_(3)
        elif "transformer_blocks." in name and parameter.ndim == 2:
            parameter.mul_(2)


def make_mini_kontext(folder: Path, seed: int = 0) -> None:
    """Write the miniature Kontext to `folder`, under 1 MB, so that `load_editor(folder)` loads it."""
    with quiet_loading():
        build_kontext(seed).save_pretrained(folder)
    (folder / "hpedit.json").write_text(json.dumps(SETTINGS, indent=2) + "\n")
