"""The shortcuts that building the weights takes equal the real classes' own paths, and a killed build continues."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpedit.mini.architecture import build_judge_model, build_judge_processor, build_pipeline, build_vae
from hpedit.mini.build.editor import Codec, EditorTrainer, pack, unpack
from hpedit.mini.build.export import export_editor
from hpedit.mini.build.judge import JudgeTrainer, Sample, patchify, soft_labels, synthetic
from hpedit.mini.build.loop import Metrics, fit
from hpedit.mini.build.vae import decode_raw, encode_mean, two_dimensional
from hpedit.mini.scenes import to_image
from hpedit.mini.tokenizer import SPECIAL_TOKENS, TEMPLATE, TEMPLATE_TOKENS, build_tokenizer
from hpedit.scorer.prompts import IMAGE, scoring_prompt


def on_256_levels(sample: Sample) -> Sample:
    pictures = [np.asarray(to_image(p), np.float32) / 255 for p in (sample.source, sample.target)]
    return Sample(sample.task, sample.instruction, *pictures, sample.region, sample.edit, sample.score)


def test_tokenizer_keeps_the_templates_prefix_at_64_tokens() -> None:
    tokenizer = build_tokenizer()
    assert len(tokenizer(TEMPLATE.partition("Picture 1")[0])["input_ids"]) == TEMPLATE_TOKENS
    assert all(len(tokenizer(token)["input_ids"]) == 1 for token in SPECIAL_TOKENS)
    odd = "Füge 3 rote Bälle hinzu \U0001f600"
    assert tokenizer.decode(tokenizer(odd)["input_ids"]) == odd


def test_2d_convolutions_equal_the_causal_3d_ones_for_single_pictures() -> None:
    vae, pixels = build_vae(), torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(pixels.unsqueeze(2)).latent_dist.mode()
        picture = vae.decode(latents).sample[:, :, 0]
        with two_dimensional():
            fast = encode_mean(vae, pixels)
            back = decode_raw(vae, fast).clamp(-1, 1)
    torch.testing.assert_close(fast, latents, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(back, picture, atol=1e-5, rtol=1e-4)


def test_text_conditioning_equals_the_pipelines() -> None:
    pipeline = build_pipeline(0)
    samples = [on_256_levels(sample) for sample in synthetic(0, 1, 0)]
    pictures = np.stack([sample.source for sample in samples])
    with torch.no_grad():
        ours, mask = EditorTrainer(pipeline).embed([sample.instruction for sample in samples], pictures)
        for row, sample in enumerate(samples):
            theirs, _ = pipeline.encode_prompt(sample.instruction, image=[to_image(sample.source)])
            length = theirs.shape[1]
            assert int(mask[row].sum()) == length
            torch.testing.assert_close(ours[row, :length], theirs[0], atol=1e-5, rtol=1e-4)


def test_packing_is_the_pipelines_and_can_be_undone() -> None:
    latents = torch.randn(2, 16, 1, 8, 8)
    theirs = build_pipeline(0)._pack_latents(latents, 2, 16, 8, 8)
    assert torch.equal(pack(latents), theirs)
    assert torch.equal(unpack(pack(latents)), latents)


def test_judges_shared_prefix_equals_the_plain_forward() -> None:
    tokenizer = build_tokenizer()
    trainer = JudgeTrainer(build_judge_model(tokenizer), tokenizer)
    trainer.look_at_same_place()
    processor = build_judge_processor(tokenizer)
    processor.tokenizer.padding_side = "left"
    samples = [on_256_levels(sample) for sample in synthetic(0, 2, 0)]
    pad = "<|vision_start|><|image_pad|><|vision_end|>"
    texts = [
        "<|im_start|>user\n"
        + "".join(scoring_prompt(s.task, s.instruction)).replace(IMAGE, pad)
        + "<|im_end|>\n<|im_start|>assistant\n"
        for s in samples
    ]
    pictures = [to_image(p) for s in samples for p in (s.source, s.edit)]
    inputs = processor(text=texts, images=pictures, padding=True, return_tensors="pt")
    patches = patchify(np.stack([p for s in samples for p in (s.source, s.edit)]))
    torch.testing.assert_close(patches, inputs["pixel_values"], atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        plain = trainer.model(**inputs).logits[:, -1].log_softmax(-1)[:, trainer.digits]
        shared, *_ = trainer(samples)
    torch.testing.assert_close(shared, plain, atol=1e-4, rtol=1e-4)


def test_soft_labels_have_the_score_as_their_expectation() -> None:
    scores = torch.tensor([0.0, 0.3, 2.5, 4.99, 5.0])
    labels = soft_labels(scores)
    torch.testing.assert_close(labels.sum(-1), torch.ones(5))
    torch.testing.assert_close(labels @ torch.arange(6.0), scores)


def test_export_keeps_what_was_measured(tmp_path: Path) -> None:
    pipeline = build_pipeline(1)
    export_editor(pipeline, tmp_path)
    loaded = type(pipeline).from_pretrained(tmp_path)
    for name in ("transformer", "vae", "text_encoder"):
        ours, theirs = getattr(pipeline, name).state_dict(), getattr(loaded, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert Codec(loaded.vae).mean.shape == (1, 16, 1, 1, 1)


def train(folder: Path, stop: int | None = None) -> Tensor:
    """Fit a line; the second layer never gets a gradient. With `stop` the training breaks off at that step."""
    torch.manual_seed(0)
    module = nn.ModuleDict({"unused": nn.Linear(2, 2), "line": nn.Linear(3, 1)})

    def loss_of(step: int) -> tuple[Tensor, Metrics]:
        if step == stop:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (module["line"](x) - x.sum(-1, keepdim=True)).square().mean(), {}

    fit(module, loss_of, steps=30, peak=1e-2, folder=folder, every=5)
    return module["line"].weight.detach()


def test_a_killed_build_continues_to_the_same_weights(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", stop=17)
    assert torch.equal(train(tmp_path / "killed"), whole)
