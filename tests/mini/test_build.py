"""The shortcuts that building the weights takes equal the real classes' own paths, and a killed build continues."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpedit.judges.protocol import DIGITS, Question
from hpedit.judges.transformers_judge import TransformersJudge
from hpedit.mini.architecture import build_judge_model, build_judge_processor, build_pipeline, build_vae
from hpedit.mini.build.answers import TRUTHS, truth
from hpedit.mini.build.editor import (
    GROUNDING,
    Codec,
    EditorTrainer,
    flow_loss,
    pack,
    prepare_pairs,
    token_shares,
    unpack,
)
from hpedit.mini.build.export import export_editor
from hpedit.mini.build.judge import JudgeTrainer, agreement, loss_on, soft_labels
from hpedit.mini.build.loop import Metrics, fit
from hpedit.mini.build.samples import Sample, patchify, synthetic, to_sample
from hpedit.mini.build.vae import decode_raw, encode_mean, two_dimensional
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_scene, to_case, to_image
from hpedit.mini.tokenizer import SPECIAL_TOKENS, TEMPLATE, TEMPLATE_TOKENS, build_tokenizer
from hpedit.scorer.prompts import LIBRARY, Order, Reasoning, reasoning_question, score_question


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


def test_asking_where_to_change_leaves_the_velocity_as_it_is() -> None:
    trainer, draw = EditorTrainer(build_pipeline(0)), torch.Generator().manual_seed(0)
    noisy, source = (torch.randn(2, 16, 64, generator=draw) for _ in range(2))
    pictures = np.stack([sample.source for sample in synthetic(0, 1, 0)])[:2]
    with torch.no_grad():
        text, mask = trainer.embed(["remove the red ball", "blur the background"], pictures)
        s = torch.tensor([0.3, 0.8])
        velocity, region = trainer.velocity_and_region(noisy, s, source, text, mask)
        assert torch.equal(velocity, trainer.velocity(noisy, s, source, text, mask))
    assert region.shape == (2, 32)
    assert trainer.places(text, mask).shape == (2, 4)
    assert not any(name.startswith(("where", "quarter")) for name, _ in trainer.transformer.named_parameters())


def test_token_shares_are_in_the_tokens_order() -> None:
    scene = make_scene("addition", embedded_tiles("pretrain"), np.random.default_rng(0))
    shares = token_shares(replace(scene, region=np.eye(32, dtype=np.float32)))
    assert shares.reshape(4, 4).tolist() == (torch.eye(4) / 8).tolist()


def test_prepared_pairs_are_read_back_as_they_were(tmp_path: Path) -> None:
    codec = Codec(build_pipeline(0).vae)
    with two_dimensional():
        drawn, kept = (prepare_pairs(codec, 20, 0, tmp_path) for _ in range(2))
    assert drawn.instructions == kept.instructions
    assert np.array_equal(drawn.sources, kept.sources)
    assert torch.equal(drawn.latents, kept.latents)
    assert torch.equal(drawn.regions, kept.regions)
    loss, figures = flow_loss(
        EditorTrainer(build_pipeline(0)), kept, np.arange(4), np.zeros(4, np.int64), torch.Generator().manual_seed(0)
    )
    assert torch.isfinite(loss)
    assert float(loss.detach()) == pytest.approx(figures["flow"] + GROUNDING * figures["grounding"], rel=1e-5)


def asked(sample: Sample, reasoning: Reasoning, order: Order) -> list[Question]:
    """The score, and one question about the edit with and one without its source, as HP-Scorer asks them."""
    case = replace(to_case(make_scene(sample.task, embedded_tiles("pretrain"), np.random.default_rng(0)), "c"),
                   instruction=sample.instruction, sources=(to_image(sample.source),))  # fmt: skip
    edit = to_image(sample.edit)
    alone = next(q for q in LIBRARY[sample.task] if q.shows == "edit")
    fact = reasoning_question(reasoning, case, edit)
    stem, images = score_question(case, edit, order).stem, score_question(case, edit, order).images
    return [score_question(case, edit, order), replace(fact, stem=stem, images=images),
            reasoning_question(alone, case, edit)]  # fmt: skip


def test_judges_shared_parts_equal_the_plain_forward() -> None:
    tokenizer = build_tokenizer()
    trainer = JudgeTrainer(build_judge_model(tokenizer), tokenizer)
    trainer.look_at_same_place()
    judge = TransformersJudge(trainer.model, build_judge_processor(tokenizer), "random")
    samples = [on_256_levels(sample) for sample in synthetic(0, 2, 0)]
    orders: list[Order] = ["edit first" if number % 3 == 0 else "source first" for number in range(len(samples))]
    questions = [LIBRARY[sample.task][number % 3] for number, sample in enumerate(samples)]
    # Two edits of one scene share what is read before the second picture.
    twin = replace(samples[0], edit=samples[1].edit)
    samples, orders = [samples[0], twin, *samples[1:]], ["source first", "source first", *orders[1:]]
    questions = [questions[0], *questions]
    with torch.no_grad():
        said = trainer(samples, orders, list(enumerate(questions)))
        imagined = trainer.imagination([samples[i] for i in said.sources])
        alone = trainer.alone(samples, [next(q for q in LIBRARY[s.task] if q.shows == "edit") for s in samples])
    torch.testing.assert_close(imagined, said.imagined, atol=1e-4, rtol=1e-4)
    for number, (sample, order) in enumerate(zip(samples, orders, strict=True)):
        found = (said.scores[number], said.facts[number], alone[number])
        for ours, question in zip(found, asked(sample, questions[number], order), strict=True):
            tokens = trainer.digits if question.choices == DIGITS else trainer.facts
            inputs = judge.processor(text=[judge._prompt(question)], images=list(question.images), return_tensors="pt")
            with torch.no_grad():
                plain = judge.model(**inputs).logits[0, -1].log_softmax(-1)
            torch.testing.assert_close(ours[tokens], plain[tokens], atol=1e-4, rtol=1e-4)


def test_patches_equal_the_processors() -> None:
    samples = [on_256_levels(sample) for sample in synthetic(0, 1, 0)]
    pictures = np.stack([p for s in samples for p in (s.source, s.edit)])
    processor = build_judge_processor(build_tokenizer())
    theirs = processor.image_processor(images=[to_image(p) for p in pictures], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(patchify(pictures), theirs, atol=1e-5, rtol=1e-4)


def test_every_question_has_a_right_answer_that_the_exact_target_gives() -> None:
    assert set(TRUTHS) == {question.id for own in LIBRARY.values() for question in own}
    for task, questions in LIBRARY.items():
        assert 6 <= len(questions) <= 10
        assert len({question.id for question in questions}) == len(questions)
        scene = make_scene(task, embedded_tiles("pretrain"), np.random.default_rng(3))
        exact, copy = (to_sample(scene, picture) for picture in (scene.target, scene.source))
        for question in questions:
            best = {"yes": 1.0, "no": 0.0, "degree": 5.0}[question.good]
            assert abs(truth(question, exact) - best) < 0.2, (task, question.id)
        assert truth(questions[0], copy) < 0.1


def test_a_step_of_training_and_its_measure_are_finite() -> None:
    tokenizer = build_tokenizer()
    trainer = JudgeTrainer(build_judge_model(tokenizer), tokenizer)
    samples = synthetic(0, 1, 0)
    loss, metrics = loss_on(trainer, samples, np.random.default_rng(0), synthetic(1, 1, 0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert {"entropy", "questions", "alone"} <= set(metrics)
    assert np.isfinite(agreement(trainer, samples)["mae"])


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
