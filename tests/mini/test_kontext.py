"""The miniature Kontext: made in a moment, the same each time, and a plain diffusers pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, FluxKontextPipeline, FluxTransformer2DModel
from transformers import CLIPTextModel, T5EncoderModel
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.editors.fingerprint import folder_fingerprint
from hpedit.mini.kontext import make_mini_kontext


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kontext") / "kontext"
    make_mini_kontext(out)
    return out


def test_it_loads_with_plain_diffusers_as_the_real_classes(folder: Path) -> None:
    pipeline = FluxKontextPipeline.from_pretrained(folder, local_files_only=True)
    assert type(pipeline.transformer) is FluxTransformer2DModel
    assert type(pipeline.vae) is AutoencoderKL
    assert type(pipeline.text_encoder) is CLIPTextModel
    assert type(pipeline.text_encoder_2) is T5EncoderModel
    assert pipeline.transformer.config.guidance_embeds
    assert len(pipeline.transformer.single_transformer_blocks) == 2


def test_words_are_told_apart_and_long_ones_read_by_letters(folder: Path) -> None:
    pipeline = FluxKontextPipeline.from_pretrained(folder, local_files_only=True)
    red, blue, odd = (pipeline.tokenizer_2(text).input_ids for text in ("red", "blue", "zebra"))
    assert red != blue
    assert len(red) == len(blue) == 2
    assert len(odd) > 5
    assert pipeline.tokenizer_2.unk_token_id not in odd
    first, second = (pipeline.encode_prompt(text, device="cpu")[1] for text in ("red", "blue"))
    assert (first - second).abs().max() > 0.01


def test_it_is_small_and_the_same_each_time_whatever_was_drawn_before(folder: Path, tmp_path: Path) -> None:
    torch.randn(3)
    done = CliRunner().invoke(app, ["mini", "editor", "flux-kontext", "--out", str(tmp_path / "again")])
    assert done.exit_code == 0, done.output
    assert folder_fingerprint(tmp_path / "again") == folder_fingerprint(folder)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 10**6
