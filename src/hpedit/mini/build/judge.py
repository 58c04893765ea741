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
   task; likewise the two pictures are read once for the score and for a reasoning question.
5. The answers to the reasoning questions are learnt beside the score, one question a sample, with the right answers of
   `answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from hpedit.judges.protocol import DIGITS, IMAGE, YES_NO
from hpedit.mini.architecture import JUDGE_DIM, build_judge_model
from hpedit.mini.build.answers import truth
from hpedit.mini.build.loop import Metrics, fit
from hpedit.mini.build.samples import COMPARED, IMAGINED, SIDE, TOKENS, Sample, dense_labels, patchify
from hpedit.mini.tokenizer import build_tokenizer
from hpedit.scorer.prompts import DEGREE, EDIT_ALONE, LIBRARY, SCORE, YES_OR_NO, Order, Reasoning, rubric, stem
from hpedit.tasks import TASK_IDS

SAME_PLACE_HEADS = ((0, 0), (0, 1), (1, 0), (2, 0))
"""(layer, head) of the heads that start out comparing places."""
SAME_PLACE_GAIN = 4.5
SWAPPED_SHARE = 0.1
"""Share of the samples of a task that are shown with the edit first."""
ALONE_SHARE = 0.1
"""Share of the batch of which the quality is asked without the source."""
MARKS = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
"""What the chat format puts around a prompt."""


def soft_labels(scores: Tensor, count: int = len(DIGITS)) -> Tensor:
    """Probabilities (B, count) of the places 0, 1, ... whose expectation is the score."""
    return (1 - (scores[:, None] - torch.arange(float(count))).abs()).clamp(min=0)


class JudgeTrainer(nn.Module):
    """The judge with its side heads, and a forward pass that computes shared parts of the prompts once."""

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, tokenizer: Qwen2Tokenizer) -> None:
        super().__init__()
        self.model = model
        self.imagine = nn.Linear(JUDGE_DIM, IMAGINED)
        self.compare = nn.Linear(JUDGE_DIM, COMPARED)
        self.tokenizer = tokenizer
        self.digits, self.facts = ([int(tokenizer.convert_tokens_to_ids(c)) for c in said] for said in (DIGITS, YES_NO))
        self.pad = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        self.prefixes = {task: self._ids(MARKS[0] + rubric(task)) for task in TASK_IDS}
        self.image = "<|vision_start|>" + "<|image_pad|>" * TOKENS + "<|vision_end|>"

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])

    def _body(self, sample: Sample, order: Order = "source first") -> list[int]:
        """Token ids of a sample's stem after its task's prefix."""
        ids = self._ids(MARKS[0] + "".join(stem(sample.task, sample.instruction, order)).replace(IMAGE, self.image))
        prefix = self.prefixes[sample.task]
        assert ids[: len(prefix)] == prefix
        return ids[len(prefix) :]

    def _tail(self, question: Reasoning | None) -> list[int]:
        """Token ids of a question, None being the score, up to where the answer begins."""
        if question is None:
            return self._ids(SCORE + MARKS[1])
        form = DEGREE if question.good == "degree" else YES_OR_NO
        return self._ids(form.format(question.text) + MARKS[1])

    @torch.no_grad()
    def look_at_same_place(self) -> None:
        """Let a few heads start out attending from each token of the edit to the same place of the source.

        A rotary head whose query and key are constants scores cos(f (p - q) - phase) for each frequency f; with
        phase = f d that peaks at distance d, here the distance of the two pictures.
        """
        sample = Sample(TASK_IDS[0], "x", *(np.zeros(1, np.float32),) * 4, 0.0)
        places, (first, second) = self._positions(self._body(sample), 0)
        distance = int(places[0, second] - places[0, first])
        frequencies = self.model.model.language_model.rotary_emb.inv_freq
        width = 2 * len(frequencies)
        phase = frequencies * distance
        for layer, head in SAME_PLACE_HEADS:
            attention = self.model.model.language_model.layers[layer].self_attn
            rows = slice(head * width, (head + 1) * width)
            attention.k_proj.bias[rows] = SAME_PLACE_GAIN * torch.cat((torch.ones_like(phase), torch.zeros_like(phase)))
            attention.q_proj.bias[rows] = SAME_PLACE_GAIN * torch.cat((phase.cos(), -phase.sin()))

    def _positions(self, ids: Sequence[int], start: int) -> tuple[NDArray[np.int64], list[int]]:
        """Rotary positions (3, T) as get_rope_index gives them from `start` on, and where each picture begins."""
        pictures = [at for at, token in enumerate(ids) if token == self.model.config.image_token_id][::TOKENS]
        shift = np.zeros(len(ids), np.int64)
        for begin in pictures:
            shift[begin + TOKENS :] += SIDE - TOKENS
        places = np.broadcast_to(np.arange(len(ids)) + shift + start, (3, len(ids))).copy()
        cells = np.arange(TOKENS)
        for begin in pictures:
            places[:, begin : begin + TOKENS] = places[:, begin : begin + 1] + np.stack(
                (0 * cells, cells // SIDE, cells % SIDE)
            )
        return places, pictures

    def _prefix_cache(self, tasks: Sequence[str], repeats: Tensor) -> tuple[DynamicCache, Tensor]:
        """Keys and values of the tasks' prefixes, padded on the left, each repeated for its samples; and their mask."""
        longest = max(len(self.prefixes[task]) for task in tasks)
        ids = torch.full((len(tasks), longest), self.pad)
        mask = torch.zeros((len(tasks), longest), dtype=torch.long)
        for row, task in enumerate(tasks):
            prefix = self.prefixes[task]
            ids[row, -len(prefix) :] = torch.tensor(prefix)
            mask[row, -len(prefix) :] = 1
        places = (mask.cumsum(-1) - 1).clamp(min=0).expand(3, -1, -1)
        cache = DynamicCache(config=self.model.config.text_config)
        self._language(self._embed(ids), mask, places, cache)
        _each_row(cache, lambda values: values.repeat_interleave(repeats, 0))
        return cache, mask.repeat_interleave(repeats, 0)

    def forward(
        self, samples: Sequence[Sample], questions: Sequence[Reasoning], orders: Sequence[Order]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ask for the score of each sample, and one question about it; samples of one task stand together.

        Returns:
            Log-probabilities over the vocabulary of the answers, (2, B, V): scores first, then the questions; and the
            answers of the side tasks, (B, 16, IMAGINED) and (B, 16, COMPARED).
        """
        tasks = list(dict.fromkeys(sample.task for sample in samples))
        repeats = torch.tensor([sum(sample.task == task for sample in samples) for task in tasks])
        cache, before = self._prefix_cache(tasks, repeats)
        bodies = [self._body(sample, order) for sample, order in zip(samples, orders, strict=True)]
        starts = [len(self.prefixes[sample.task]) for sample in samples]
        ids, mask, places, pictures = self._padded(bodies, starts)
        swapped = torch.tensor([order == "edit first" for order in orders])
        mask = torch.cat((before, mask), 1)
        hidden = self._language(self._embed(ids, self._seen(samples, swapped)), mask, places, cache)
        rows, cells = torch.arange(len(samples))[:, None], torch.arange(TOKENS)
        first, second = (hidden[rows, start[:, None] + cells] for start in pictures.T)
        turned = swapped[:, None, None]
        source, edit = torch.where(turned, second, first), torch.where(turned, first, second)
        _each_row(cache, lambda values: torch.cat((values, values)))
        tails = [self._tail(question) for question in (*[None] * len(samples), *questions)]
        after = (places.amax((0, 2)) + 1).repeat(2).tolist()
        said = self._answer(tails, after, torch.cat((mask, mask)), cache)
        return said.reshape(2, len(samples), -1), self.imagine(source), self.compare(edit)

    def alone(self, samples: Sequence[Sample], questions: Sequence[Reasoning]) -> Tensor:
        """Ask about edits shown without their sources: log-probabilities of the answers, (B, V)."""
        start = self._ids(MARKS[0] + "".join(EDIT_ALONE).replace(IMAGE, self.image))
        ids, mask, places, _ = self._padded([start] * len(samples), [0] * len(samples))
        seen = self._look(np.stack([sample.edit for sample in samples]))
        cache = DynamicCache(config=self.model.config.text_config)
        self._language(self._embed(ids, seen), mask, places, cache)
        after = (places.amax((0, 2)) + 1).tolist()
        return self._answer([self._tail(question) for question in questions], after, mask, cache)

    def _answer(
        self, tails: Sequence[Sequence[int]], starts: Sequence[int], before: Tensor, cache: DynamicCache
    ) -> Tensor:
        """Log-probabilities (B, V) of the token after each tail, which follows what is in the cache."""
        ids, mask, places, _ = self._padded(tails, starts)
        hidden = self._language(self._embed(ids), torch.cat((before, mask), 1), places, cache)
        last: Tensor = hidden[torch.arange(len(tails)), mask.sum(1) - 1] @ self.model.lm_head.weight.T
        return last.log_softmax(-1)

    def _padded(self, rows: Sequence[Sequence[int]], starts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ids and mask (B, T), padded on the right, positions (3, B, T), and where the pictures begin, (B, n)."""
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.pad)
        mask = torch.zeros_like(ids)
        places = torch.zeros((3, len(rows), longest), dtype=torch.long)
        pictures = []
        for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
            positions, found = self._positions(row, start)
            places[:, number, : len(row)] = torch.from_numpy(positions)
            pictures.append(found)
        return ids, mask, places, torch.tensor(pictures)

    def _seen(self, samples: Sequence[Sample], swapped: Tensor) -> Tensor:
        """Visual tokens of the pictures of each sample in the order shown: (B * 2 * 16, D)."""
        pairs = [
            (s.edit, s.source) if turned else (s.source, s.edit) for s, turned in zip(samples, swapped, strict=True)
        ]
        return self._look(np.stack([picture for pair in pairs for picture in pair]))

    def _look(self, pictures: NDArray[np.float32]) -> Tensor:
        """Visual tokens of pictures (n, 32, 32, 3), in reading order: (n * 16, D)."""
        grid = torch.tensor([[1, 2 * SIDE, 2 * SIDE]]).repeat(len(pictures), 1)
        seen: Tensor = self.model.model.visual(patchify(pictures), grid_thw=grid).pooler_output
        return seen

    def _embed(self, ids: Tensor, seen: Tensor | None = None) -> Tensor:
        """Embeddings (B, T, D) of ids, the pictures' places filled with what is seen."""
        embeds: Tensor = self.model.model.language_model.embed_tokens(ids)
        if seen is None:
            return embeds
        return embeds.masked_scatter((ids == self.model.config.image_token_id)[..., None], seen.to(embeds.dtype))

    def _language(self, embeds: Tensor, mask: Tensor, places: Tensor, cache: DynamicCache) -> Tensor:
        """Last hidden states (B, T, D) of what follows the cache, which takes it in; `mask` covers both."""
        hidden: Tensor = self.model.model.language_model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
        ).last_hidden_state
        return hidden


def _each_row(cache: DynamicCache, change: Callable[[Tensor], Tensor]) -> None:
    """Change the rows of all keys and values."""
    for layer in cache.layers:
        layer.keys, layer.values = change(layer.keys), change(layer.values)


def loss_on(trainer: JudgeTrainer, samples: Sequence[Sample], rng: np.random.Generator) -> tuple[Tensor, Metrics]:
    """Cross-entropy to the soft labels + squared errors of expected scores and their differences + the side tasks."""
    both = [[q for q in LIBRARY[sample.task] if q.shows == "both"] for sample in samples]
    questions = [own[int(rng.integers(len(own)))] for own in both]
    orders: list[Order] = ["edit first" if rng.random() < SWAPPED_SHARE else "source first" for _ in samples]
    said, imagined, compared = trainer(samples, questions, orders)
    scores = torch.tensor([sample.score for sample in samples])
    log_probs = said[0][:, trainer.digits]
    entropy = -(soft_labels(scores) * log_probs).sum(-1).mean()
    expected = log_probs.softmax(-1) @ torch.arange(6.0)
    miss = (expected - scores).square().mean()
    wanted = dense_labels(samples)
    parts = {
        "entropy": entropy,
        "mse": miss,
        "difference": _difference_loss(samples, expected, scores),
        "imagined": functional.smooth_l1_loss(imagined, wanted[0], beta=0.2),
        "compared": functional.smooth_l1_loss(compared, wanted[1], beta=0.2),
        "questions": _answer_loss(trainer, said[1], questions, samples),
    }
    few = rng.permutation(len(samples))[: max(1, round(ALONE_SHARE * len(samples)))]
    shown = [samples[i] for i in few]
    alone = [next(q for q in LIBRARY[sample.task] if q.shows == "edit") for sample in shown]
    parts["alone"] = _answer_loss(trainer, trainer.alone(shown, alone), alone, shown)
    weights = {"entropy": 1, "mse": 0.5, "difference": 0.5, "imagined": 3, "compared": 6, "questions": 1, "alone": 0.2}
    loss: Tensor = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def _difference_loss(samples: Sequence[Sample], expected: Tensor, scores: Tensor) -> Tensor:
    """Squared error of the difference between two edits of one scene: which is better, whatever the scene is worth."""
    last: dict[int, int] = {}
    pairs = []
    for number, sample in enumerate(samples):
        if id(sample.source) in last:
            pairs.append((last[id(sample.source)], number))
        last[id(sample.source)] = number
    if not pairs:
        return torch.zeros(())
    first, second = torch.tensor(pairs).T
    return ((expected[first] - expected[second]) - (scores[first] - scores[second])).square().mean()


def _answer_loss(
    trainer: JudgeTrainer, said: Tensor, questions: Sequence[Reasoning], samples: Sequence[Sample]
) -> Tensor:
    """Cross-entropy of the answers (B, V) to the right ones."""
    losses = []
    for row, question, sample in zip(said, questions, samples, strict=True):
        tokens = trainer.digits if question.good == "degree" else trainer.facts
        label = soft_labels(torch.tensor([truth(question, sample)]), len(tokens))[0]
        losses.append(-(label * row[tokens]).sum())
    return torch.stack(losses).mean()


@torch.no_grad()
def agreement(trainer: JudgeTrainer, samples: Sequence[Sample]) -> Metrics:
    """Pearson of the score with the oracle, pooled and by task; mean over the questions of theirs with the truth."""
    ordered = sorted(samples, key=lambda sample: sample.task)
    most = max(len([q for q in own if q.shows == "both"]) for own in LIBRARY.values())
    expected: list[Tensor] = []
    answers: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for turn in range(most):
        for start in range(0, len(ordered), 128):
            part = ordered[start : start + 128]
            own = [[q for q in LIBRARY[sample.task] if q.shows == "both"] for sample in part]
            asked = [questions[turn % len(questions)] for questions in own]
            said, *_ = trainer(part, asked, ["source first"] * len(part))
            if turn == 0:
                expected.append(said[0][:, trainer.digits].softmax(-1) @ torch.arange(6.0))
            for sample, question, row in zip(part, asked, said[1], strict=True):
                tokens = trainer.digits if question.good == "degree" else trainer.facts
                value = float(row[tokens].softmax(-1) @ torch.arange(float(len(tokens))))
                answers.setdefault((sample.task, question.id), []).append((value, truth(question, sample)))
    found, right = torch.cat(expected).numpy(), np.array([sample.score for sample in ordered])
    names = np.array([sample.task for sample in ordered])
    metrics = {"mae": float(np.abs(found - right).mean())}
    rows = {"pearson": np.full(len(names), True)} | {task: names == task for task in TASK_IDS}
    metrics |= {name: _pearson(found[row], right[row]) for name, row in rows.items()}
    pairs = [np.array(values).T for values in answers.values()]
    known = [value for value in (_pearson(x, y) for x, y in pairs) if not np.isnan(value)]
    metrics["questions_pearson"] = float(np.mean(known)) if known else float("nan")
    return {name: round(value, 4) for name, value in metrics.items() if not np.isnan(value)}


def _pearson(found: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """NaN for constants, such as the scores of a judge that has not learnt anything yet."""
    if found.std() == 0 or right.std() == 0:
        return float("nan")
    return float(np.corrcoef(found, right)[0, 1])


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
        lambda step: loss_on(trainer, batches(step), np.random.default_rng((seed, 77, step))),
        steps=steps,
        peak=peak,
        folder=work,
        every=100,
        evaluate=lambda _: agreement(trainer, held_out),
        weight_decay=0.01,
        max_seconds=max_seconds,
    )
    return trainer.eval()
