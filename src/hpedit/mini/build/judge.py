"""Training of the mini judge: a small Qwen2.5-VL that answers the scoring prompt with a digit.

What made it learn (docs/mini.md has the figures):

1. The label is soft: the oracle's score between two digits becomes probability of both, so that the expectation is
   exact.
2. Dense side tasks, used in training alone. From each token of the source a linear head tells what the exact target
   looks like there, from each token of the edit how far that patch is from source and target: carrying out the
   instruction and comparing two pictures are learnt from 16 answers a picture instead of one. The target is asked of
   the source's tokens, which come first: asked of the edit's, it would be copied from the edit.
3. A few attention heads start out looking at the same place of the previous picture (`look_at_same_place`); left to
   chance, 3,000 steps did not find that.
4. The fixed part of a task's prompt is computed once a batch, and its keys and values are shared by all edits of the
   task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from hpedit.mini.architecture import JUDGE_DIM, JUDGE_PATCH, build_judge_model
from hpedit.mini.build.loop import Metrics, fit
from hpedit.mini.build.spoil import spoiled_edit
from hpedit.mini.drawing import SIZE
from hpedit.mini.oracle import mark
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_scene
from hpedit.mini.tokenizer import build_tokenizer
from hpedit.scorer.prompts import CHOICES, IMAGE, rubric, scoring_prompt
from hpedit.tasks import TASK_IDS

SIDE = SIZE // (2 * JUDGE_PATCH)
TOKENS = SIDE * SIDE
IMAGINED = 13
"""Answers of a source token: 2 x 2 colours of the target, share of its pixels that must change."""
COMPARED = 4
"""Answers of an edit token: distance to source, to target, to target inside and outside the region."""
SAME_PLACE_HEADS = ((0, 0), (0, 1), (1, 0), (2, 0))
"""(layer, head) of the heads that start out comparing places."""
SAME_PLACE_GAIN = 4.5


@dataclass(frozen=True, slots=True)
class Sample:
    """One rated edit: pictures (32, 32, 3) in [0, 1], region (32, 32) and the oracle's score in [0, 5]."""

    task: str
    instruction: str
    source: NDArray[np.float32]
    target: NDArray[np.float32]
    region: NDArray[np.float32]
    edit: NDArray[np.float32]
    score: float


def synthetic(step: int, per_task: int, seed: int) -> list[Sample]:
    """Fresh spoiled edits, `per_task` of each task in turn; a function of its arguments."""
    rng = np.random.default_rng((seed, step))
    tiles = embedded_tiles("pretrain")
    samples = []
    for task in TASK_IDS:
        for _ in range(per_task):
            scene = make_scene(task, tiles, rng)
            edit = spoiled_edit(scene, rng)
            score = mark(scene.source, scene.target, scene.region, edit).score
            samples.append(Sample(task, scene.instruction, scene.source, scene.target, scene.region, edit, score))
    return samples


def patchify(pictures: NDArray[np.float32]) -> Tensor:
    """Pictures (B, 32, 32, 3) in [0, 1] as the patches Qwen2VLImageProcessor makes of them: (B * 64, 3 * 2 * 4 * 4)."""
    p, side = JUDGE_PATCH, SIDE
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1
    x = x.reshape(-1, 3, side, 2, p, side, 2, p).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return x.unsqueeze(6).expand(*x.shape[:6], 2, p, p).reshape(-1, 3 * 2 * p * p)


def _blocks(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Means over blocks of `size` px: (B, 32, 32, C) -> (B, 32/size, 32/size, C)."""
    b, h, w, c = values.shape
    means: NDArray[np.float32] = values.reshape(b, h // size, size, w // size, size, c).mean((2, 4))
    return means


def dense_labels(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Labels of the side tasks, (B, 16, IMAGINED) and (B, 16, COMPARED), each of about unit range."""
    source, target, edit = (
        np.stack([getattr(sample, name) for sample in samples]) for name in ("source", "target", "edit")
    )
    region = np.stack([sample.region for sample in samples])[..., None]
    colours = (
        _blocks(target, 4).reshape(-1, SIDE, 2, SIDE, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, SIDE, SIDE, 12)
    )
    imagined = np.concatenate((colours * 2 - 1, _blocks(region, 8)), -1)
    wrong = (edit - target) ** 2
    errors = ((edit - source) ** 2, wrong, wrong * region, wrong * (1 - region))
    compared = np.concatenate([np.sqrt(_blocks(error, 8).mean(-1, keepdims=True)) * 4 for error in errors], -1)
    return _by_token(imagined), _by_token(compared)


def _by_token(labels: NDArray[np.float32]) -> Tensor:
    """(B, 4, 4, n) -> (B, 16, n), in reading order."""
    return torch.from_numpy(labels.reshape(-1, TOKENS, labels.shape[-1]).astype(np.float32))


def soft_labels(scores: Tensor) -> Tensor:
    """Probabilities (B, 6) of the digits whose expectation is the score."""
    return (1 - (scores[:, None] - torch.arange(6.0)).abs()).clamp(min=0)


class JudgeTrainer(nn.Module):
    """The judge with its side head, and the forward pass that shares the prompts' fixed parts."""

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, tokenizer: Qwen2Tokenizer) -> None:
        super().__init__()
        self.model = model
        self.imagine = nn.Linear(JUDGE_DIM, IMAGINED)
        self.compare = nn.Linear(JUDGE_DIM, COMPARED)
        self.tokenizer = tokenizer
        self.digits = [tokenizer.convert_tokens_to_ids(digit) for digit in CHOICES]
        self.pad = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        self.prefixes = {task: self._ids("<|im_start|>user\n" + rubric(task)) for task in TASK_IDS}
        self.longest = max(len(ids) for ids in self.prefixes.values())
        self.image = "<|vision_start|>" + "<|image_pad|>" * TOKENS + "<|vision_end|>"

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])

    def _suffix(self, sample: Sample) -> list[int]:
        """Token ids of a sample's whole prompt after its task's prefix."""
        text = "".join(scoring_prompt(sample.task, sample.instruction)).replace(IMAGE, self.image)
        ids = self._ids("<|im_start|>user\n" + text + "<|im_end|>\n<|im_start|>assistant\n")
        prefix = self.prefixes[sample.task]
        assert ids[: len(prefix)] == prefix
        return ids[len(prefix) :]

    @torch.no_grad()
    def look_at_same_place(self) -> None:
        """Let a few heads start out attending from each token of the edit to the same place of the source.

        A rotary head whose query and key are constants scores cos(f (p - q) - phase) for each frequency f; with
        phase = f d that peaks at distance d, here the distance of the two pictures.
        """
        sample = Sample(TASK_IDS[0], "x", *(np.zeros(1, np.float32),) * 4, 0.0)
        places, first, second = self._positions(self._suffix(sample), 0)
        distance = int(places[0, second] - places[0, first])
        frequencies = self.model.model.language_model.rotary_emb.inv_freq
        width = 2 * len(frequencies)
        phase = frequencies * distance
        for layer, head in SAME_PLACE_HEADS:
            attention = self.model.model.language_model.layers[layer].self_attn
            rows = slice(head * width, (head + 1) * width)
            attention.k_proj.bias[rows] = SAME_PLACE_GAIN * torch.cat((torch.ones_like(phase), torch.zeros_like(phase)))
            attention.q_proj.bias[rows] = SAME_PLACE_GAIN * torch.cat((phase.cos(), -phase.sin()))

    def _positions(self, ids: Sequence[int], start: int) -> tuple[NDArray[np.int64], int, int]:
        """Rotary positions (3, T) of a suffix as get_rope_index gives them, and where the two pictures begin."""
        image = self.model.config.image_token_id
        first = ids.index(image)
        second = ids.index(image, first + TOKENS)
        shift = np.zeros(len(ids), np.int64)
        shift[first + TOKENS :] += SIDE - TOKENS
        shift[second + TOKENS :] += SIDE - TOKENS
        places = np.broadcast_to(np.arange(len(ids)) + shift + start, (3, len(ids))).copy()
        cells = np.arange(TOKENS)
        for begin in (first, second):
            places[:, begin : begin + TOKENS] = places[:, begin : begin + 1] + np.stack(
                (0 * cells, cells // SIDE, cells % SIDE)
            )
        return places, first, second

    def _prefix_cache(self, tasks: Sequence[str], repeats: Tensor) -> tuple[DynamicCache, Tensor]:
        """Keys and values of the tasks' prefixes, padded on the left, each repeated for its samples; and their mask."""
        ids = torch.full((len(tasks), self.longest), self.pad)
        mask = torch.zeros((len(tasks), self.longest), dtype=torch.long)
        for row, task in enumerate(tasks):
            prefix = self.prefixes[task]
            ids[row, -len(prefix) :] = torch.tensor(prefix)
            mask[row, -len(prefix) :] = 1
        language = self.model.model.language_model
        places = (mask.cumsum(-1) - 1).clamp(min=0).expand(3, -1, -1)
        cache = DynamicCache(config=self.model.config.text_config)
        language(
            inputs_embeds=language.embed_tokens(ids),
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
        )
        for layer in cache.layers:
            layer.keys = layer.keys.repeat_interleave(repeats, 0)
            layer.values = layer.values.repeat_interleave(repeats, 0)
        return cache, mask.repeat_interleave(repeats, 0)

    def forward(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor]:
        """Answer a batch in which the samples of one task stand together.

        Returns:
            Log-probabilities of the digits over the whole vocabulary, (B, 6), and the answers of the side tasks,
            (B, 16, IMAGINED) and (B, 16, COMPARED).
        """
        tasks = list(dict.fromkeys(sample.task for sample in samples))
        repeats = torch.tensor([sum(sample.task == task for sample in samples) for task in tasks])
        cache, before = self._prefix_cache(tasks, repeats)
        suffixes = [self._suffix(sample) for sample in samples]
        longest = max(map(len, suffixes))
        ids = torch.full((len(samples), longest), self.pad)
        mask = torch.zeros_like(ids)
        places = torch.zeros((3, len(samples), longest), dtype=torch.long)
        starts = torch.zeros((2, len(samples)), dtype=torch.long)
        for row, (sample, suffix) in enumerate(zip(samples, suffixes, strict=True)):
            ids[row, : len(suffix)] = torch.tensor(suffix)
            mask[row, : len(suffix)] = 1
            positions, first, second = self._positions(suffix, len(self.prefixes[sample.task]))
            places[:, row, : len(suffix)] = torch.from_numpy(positions)
            starts[0, row], starts[1, row] = first, second
        hidden = self._language(ids, torch.cat((before, mask), 1), places, cache, self._seen(samples))
        rows = torch.arange(len(samples))
        logits = hidden[rows, mask.sum(1) - 1] @ self.model.lm_head.weight.T
        log_probs = logits.log_softmax(-1)[:, self.digits]
        source, edit = (hidden[rows[:, None], start[:, None] + torch.arange(TOKENS)] for start in starts)
        return log_probs, self.imagine(source), self.compare(edit)

    def _seen(self, samples: Sequence[Sample]) -> Tensor:
        """Visual tokens of source and edit of each sample, in reading order: (B * 2 * 16, D)."""
        pictures = np.stack([picture for sample in samples for picture in (sample.source, sample.edit)])
        grid = torch.tensor([[1, 2 * SIDE, 2 * SIDE]]).repeat(len(pictures), 1)
        seen: Tensor = self.model.model.visual(patchify(pictures), grid_thw=grid).pooler_output
        return seen

    def _language(self, ids: Tensor, mask: Tensor, places: Tensor, cache: DynamicCache, seen: Tensor) -> Tensor:
        """Last hidden states (B, T, D) of suffixes `ids` (B, T) after the prefixes in `cache`; `mask` covers both."""
        language = self.model.model.language_model
        embeds = language.embed_tokens(ids)
        embeds = embeds.masked_scatter((ids == self.model.config.image_token_id)[..., None], seen.to(embeds.dtype))
        hidden: Tensor = language(
            inputs_embeds=embeds, attention_mask=mask, position_ids=places, past_key_values=cache
        ).last_hidden_state
        return hidden


def loss_on(trainer: JudgeTrainer, samples: Sequence[Sample]) -> tuple[Tensor, Metrics]:
    """Cross-entropy to the soft label + squared error of the expectation + the side tasks."""
    log_probs, imagined, compared = trainer(samples)
    scores = torch.tensor([sample.score for sample in samples])
    entropy = -(soft_labels(scores) * log_probs).sum(-1).mean()
    miss = (log_probs.softmax(-1) @ torch.arange(6.0) - scores).square().mean()
    wanted = dense_labels(samples)
    dream = functional.smooth_l1_loss(imagined, wanted[0], beta=0.2)
    side = functional.smooth_l1_loss(compared, wanted[1], beta=0.2)
    parts = {"entropy": entropy, "mse": miss, "imagined": dream, "compared": side}
    return entropy + 0.5 * miss + 3 * dream + 6 * side, {name: float(value.detach()) for name, value in parts.items()}


@torch.no_grad()
def agreement(trainer: JudgeTrainer, samples: Sequence[Sample]) -> Metrics:
    """Pearson with the oracle, pooled and by task."""
    expected = []
    ordered = sorted(samples, key=lambda sample: sample.task)
    for start in range(0, len(ordered), 128):
        log_probs, *_ = trainer(ordered[start : start + 128])
        expected.append(log_probs.softmax(-1) @ torch.arange(6.0))
    found, truth = torch.cat(expected).numpy(), np.array([sample.score for sample in ordered])
    names = np.array([sample.task for sample in ordered])
    metrics = {"mae": float(np.abs(found - truth).mean())}
    rows = {"pearson": np.full(len(names), True)} | {task: names == task for task in TASK_IDS}
    for name, row in rows.items():
        # Undefined for constant scores, such as those of a judge that has not learnt anything yet.
        if found[row].std() > 0 and truth[row].std() > 0:
            metrics[name] = round(float(np.corrcoef(found[row], truth[row])[0, 1]), 4)
    return metrics


def build(
    work: Path,
    seed: int,
    steps: int,
    batches: Callable[[int], list[Sample]],
    held_out: Sequence[Sample],
    start: JudgeTrainer | None = None,
    peak: float = 1.5e-3,
    max_seconds: float = float("inf"),
) -> JudgeTrainer:
    """Train the judge on the batches given (resumes from `work`)."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    trainer = start or JudgeTrainer(build_judge_model(tokenizer), tokenizer)
    if start is None:
        trainer.look_at_same_place()
    trainer.train()
    fit(
        trainer,
        lambda step: loss_on(trainer, batches(step)),
        steps=steps,
        peak=peak,
        folder=work,
        every=100,
        evaluate=lambda _: agreement(trainer, held_out),
        weight_decay=0.01,
        max_seconds=max_seconds,
    )
    return trainer.eval()
