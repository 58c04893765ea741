"""Training of the mini judge: a small Qwen2.5-VL that answers the scoring prompt with a digit.

What makes it learn (docs/mini.md has the figures):

1. What an instruction asks for comes first (`learn_to_imagine`): from each token of the source a linear head tells what
   the exact target looks like there. No edit is needed for that, so every sample is another scene.
2. Then several edits of each scene stand side by side (`learn_to_rank`), with a loss on all their pairs: a reward is
   only ever used within a case. What the edits share, prompt and source, is read once.
3. From each token of the edit a linear head tells how far that patch is from source and target. The target is asked of
   the source's tokens, which come first: asked of the edit's, it would be copied from the edit. Both heads are used in
   training alone.
4. The label is soft: the oracle's score between two digits becomes probability of both, so that the expectation is
   exact.
5. A few attention heads start out looking at the same place of the previous picture (`look_at_same_place`); left to
   chance, 3,000 steps did not find that.
6. The answers to the reasoning questions are learnt beside the score, with the right answers of `answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from hpedit.judges.protocol import DIGITS, YES_NO
from hpedit.mini.architecture import JUDGE_DIM, build_judge_model
from hpedit.mini.build.answers import truth
from hpedit.mini.build.loop import Metrics, fit
from hpedit.mini.build.network import Memory, Need, look, read
from hpedit.mini.build.samples import (
    COMPARED,
    IMAGINED,
    SIDE,
    TOKENS,
    Sample,
    compared_labels,
    fresh_scenes,
    imagined_labels,
)
from hpedit.mini.tokenizer import build_tokenizer
from hpedit.scorer.prompts import DEGREE, EDIT_ALONE, LIBRARY, SCORE, YES_OR_NO, Order, Reasoning, rubric, stem
from hpedit.stats.ranking import within_cases
from hpedit.tasks import TASK_IDS

SAME_PLACE_HEADS = ((0, 0), (0, 1), (1, 0), (2, 0))
"""(layer, head) of the heads that start out comparing places."""
SAME_PLACE_GAIN = 4.5
SWAPPED_SHARE = 0.3
"""Share of the scenes of which one edit is shown before the source: it can't share what is read first."""
ALONE_SHARE = 0.1
"""Share of the batch of which the quality is asked without the source."""
CHANGED_WEIGHT = 4.0
"""Weight of the tokens of a picture that must change among those whose target is imagined."""
ASKED_SHARE = 0.25
"""Share of the batch of which a reasoning question is asked."""
IMAGINED_AFTER, COMPARED_AFTER = 3, 4
"""Layers after which the side tasks are asked: the edit's tokens look up what the source's have imagined."""
SCENES, MORE_SCENES = 64, 16
"""Scenes whose targets are imagined in a step: of the first stage, and besides the edits later."""
RANK_SCALE = 0.25
"""Difference of two scores from which on their order alone counts."""
WEIGHTS = {
    "entropy": 1.0, "mse": 0.5, "ranking": 2.0, "imagined": 1.0, "imagined_more": 3.0, "compared": 6.0,
    "questions": 1.0, "alone": 0.2,
}  # fmt: skip
"""Of the parts of the loss."""
MARKS = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
"""What the chat format puts around a prompt."""


def soft_labels(scores: Tensor, count: int = len(DIGITS)) -> Tensor:
    """Probabilities (B, count) of the places 0, 1, ... whose expectation is the score."""
    return (1 - (scores[:, None] - torch.arange(float(count))).abs()).clamp(min=0)


@dataclass(frozen=True, slots=True)
class Said:
    """What the judge answers about a batch of B samples."""

    scores: Tensor
    """Log-probabilities over the vocabulary, (B, V)."""
    facts: Tensor
    """The same of the answers to the questions, (Q, V)."""
    imagined: Tensor
    """Of each row of `sources`, (n, 16, IMAGINED)."""
    compared: Tensor
    """Of each row of `edits`, (m, 16, COMPARED)."""
    sources: tuple[int, ...]
    edits: tuple[int, ...]


class JudgeTrainer(nn.Module):
    """The judge with its side heads, and a forward pass that reads what edits of one scene share once."""

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, tokenizer: Qwen2Tokenizer) -> None:
        super().__init__()
        self.model = model
        self.imagine = nn.Linear(JUDGE_DIM, IMAGINED)
        self.compare = nn.Linear(JUDGE_DIM, COMPARED)
        self.tokenizer = tokenizer
        self.digits, self.facts = ([int(tokenizer.convert_tokens_to_ids(c)) for c in said] for said in (DIGITS, YES_NO))
        self.pad = int(tokenizer.convert_tokens_to_ids("<|endoftext|>"))
        self.picture = int(tokenizer.convert_tokens_to_ids("<|image_pad|>"))
        self.image = self._new_ids("<|vision_start|>" + "<|image_pad|>" * TOKENS + "<|vision_end|>")
        self.known: dict[str, list[int]] = {}
        self.score = self._ids(SCORE + MARKS[1])

    def _new_ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])

    def _ids(self, text: str) -> list[int]:
        """Token ids of a text that comes again and again: the tokenizer would take a tenth of a step."""
        if text not in self.known:
            self.known[text] = self._new_ids(text)
        return self.known[text]

    def _first(self, sample: Sample, order: Order) -> list[int]:
        """The prompt up to the end of the first picture: what edits of one scene share, the source being first."""
        before, name, *_ = stem(sample.task, sample.instruction, order)
        start = self._ids(MARKS[0] + rubric(sample.task))
        rest = (MARKS[0] + before + name).removeprefix(MARKS[0] + rubric(sample.task))
        return start + self._new_ids(rest) + self.image

    def _second(self, order: Order) -> list[int]:
        """What stands between the first picture and the question."""
        return self._ids(stem(TASK_IDS[0], "", order)[3]) + self.image

    def _tail(self, question: Reasoning) -> list[int]:
        """A question up to where the answer begins."""
        form = DEGREE if question.good == "degree" else YES_OR_NO
        return self._ids(form.format(question.text) + MARKS[1])

    @torch.no_grad()
    def look_at_same_place(self) -> None:
        """Let a few heads start out attending from each token of the edit to the same place of the source.

        A rotary head whose query and key are constants scores cos(f (p - q) - phase) for each frequency f; with
        phase = f d that peaks at distance d, here the distance of the two pictures.
        """
        distance = SIDE + len(self._second("source first")) - TOKENS
        frequencies = self.model.model.language_model.rotary_emb.inv_freq
        width = 2 * len(frequencies)
        phase = frequencies * distance
        for layer, head in SAME_PLACE_HEADS:
            attention = self.model.model.language_model.layers[layer].self_attn
            rows = slice(head * width, (head + 1) * width)
            attention.k_proj.bias[rows] = SAME_PLACE_GAIN * torch.cat((torch.ones_like(phase), torch.zeros_like(phase)))
            attention.q_proj.bias[rows] = SAME_PLACE_GAIN * torch.cat((phase.cos(), -phase.sin()))

    def forward(
        self, samples: Sequence[Sample], orders: Sequence[Order], asked: Sequence[tuple[int, Reasoning]] = ()
    ) -> Said:
        """Ask for the score of each sample, and for facts about some of them: (number of the sample, question).

        Samples that follow each other with one source and instruction share what is read first.
        """
        owners = _owners(samples, orders)
        leads = [owners.index(owner) for owner in range(owners[-1] + 1)]
        early = [samples[i].source if orders[i] == "source first" else samples[i].edit for i in leads]
        late = [s.edit if order == "source first" else s.source for s, order in zip(samples, orders, strict=True)]
        seen = look(self.model, np.stack(early + late))
        first = [self._first(samples[i], orders[i]) for i in leads]
        ends, shared, _, memory = self._read(
            first, [0] * len(leads), seen[: len(leads)], None, IMAGINED_AFTER, "memory"
        )
        second = [self._second(order) + self.score for order in orders]
        starts = [ends[owner] for owner in owners]
        rows = torch.tensor(owners)
        ends, own, scores, memory = self._read(second, starts, seen[len(leads) :], memory.rows(rows))
        facts = torch.zeros((0, scores.shape[-1]))
        if asked:
            memory = memory.without_last(len(self.score)).rows(torch.tensor([number for number, _ in asked]))
            tails = [self._tail(question) for _, question in asked]
            _, _, facts, _ = self._read(tails, [ends[number] - len(self.score) for number, _ in asked], None, memory)
        sources = [n for n, i in enumerate(leads) if orders[i] == "source first"]
        edits = [n for n, order in enumerate(orders) if order == "source first"]
        return Said(
            scores,
            facts,
            self.imagine(_flat(shared[sources])),
            self.compare(_flat(own[edits])),
            tuple(leads[n] for n in sources),
            tuple(edits),
        )

    def imagination(self, samples: Sequence[Sample]) -> Tensor:
        """What the targets look like, told from source and instruction: (B, 16, IMAGINED). Edits are not looked at."""
        tasks = list(dict.fromkeys(sample.task for sample in samples))
        rubrics = [self._ids(MARKS[0] + rubric(task)) for task in tasks]
        ends, _, _, memory = self._read(rubrics, [0] * len(tasks), None, None, IMAGINED_AFTER, "hidden")
        owners = [tasks.index(sample.task) for sample in samples]
        rows = [self._first(sample, "source first") for sample in samples]
        rests = [row[len(rubrics[owner]) :] for row, owner in zip(rows, owners, strict=True)]
        seen = look(self.model, np.stack([sample.source for sample in samples]))
        starts = [ends[owner] for owner in owners]
        known = memory.rows(torch.tensor(owners))
        hidden = self._read(rests, starts, seen, known, IMAGINED_AFTER, "hidden")[1]
        said: Tensor = self.imagine(_flat(hidden))
        return said

    def alone(self, samples: Sequence[Sample], questions: Sequence[Reasoning]) -> Tensor:
        """Ask about edits shown without their sources: log-probabilities of the answers, (B, V)."""
        start = self._ids(MARKS[0] + EDIT_ALONE[0]) + self.image
        rows = [start + self._tail(question) for question in questions]
        seen = look(self.model, np.stack([sample.edit for sample in samples]))
        return self._read(rows, [0] * len(rows), seen)[2]

    def _read(
        self,
        rows: Sequence[Sequence[int]],
        starts: Sequence[int],
        seen: Tensor | None,
        memory: Memory | None = None,
        depth: int = COMPARED_AFTER,
        need: Need = "answers",
    ) -> tuple[list[int], Tensor, Tensor, Memory]:
        """Read token ids, one picture at most in each row, from rotary positions `starts` on.

        Returns:
            The position after each row; hidden states of the pictures' tokens after `depth` layers, (B, 16, D);
            log-probabilities of the answers (B, V) where they are needed, and the memory.
        """
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.pad)
        mask = np.zeros((len(rows), longest), bool)
        places = np.zeros((3, len(rows), longest), np.int64)
        for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
            own = slice(longest - len(row), None)
            ids[number, own], mask[number, own] = row, True
            places[:, number, own] = self._places(row) + start
        pictures = torch.from_numpy(ids == self.picture)
        embeds = self.model.model.language_model.embed_tokens(torch.from_numpy(ids))
        if seen is not None:
            embeds = embeds.masked_scatter(pictures[..., None], seen.to(embeds.dtype))
        hidden, said, memory = read(
            self.model, embeds, torch.from_numpy(places), torch.from_numpy(mask), memory,
            depth=depth, need=need,
        )  # fmt: skip
        if seen is not None:
            hidden = hidden[pictures].unflatten(0, (len(rows), TOKENS))  # type: ignore[no-untyped-call]
        ends = (places[0, :, -1] + 1).tolist()
        return ends, hidden, hidden if said is None else said, memory

    def _places(self, ids: Sequence[int]) -> NDArray[np.int64]:
        """Rotary positions (3, T) as get_rope_index gives them."""
        places = np.broadcast_to(np.arange(len(ids)), (3, len(ids))).copy()
        if self.picture in ids:
            begin = list(ids).index(self.picture)
            cells = np.arange(TOKENS)
            places[:, begin : begin + TOKENS] = begin + np.stack((0 * cells, cells // SIDE, cells % SIDE))
            places[:, begin + TOKENS :] += SIDE - TOKENS
        return places


def _owners(samples: Sequence[Sample], orders: Sequence[Order]) -> list[int]:
    """Number of the beginning that each sample shares with those before it."""
    owners: list[int] = []
    for number, (sample, order) in enumerate(zip(samples, orders, strict=True)):
        before = samples[number - 1]
        shares = number > 0 and order == orders[number - 1] == "source first"
        same = shares and before.source is sample.source and before.instruction == sample.instruction
        owners.append(owners[-1] + (not same) if owners else 0)
    return owners


def _flat(hidden: Tensor) -> Tensor:
    """Hidden states of unit scale, as the last norm gives them, without its weights."""
    return functional.rms_norm(hidden, hidden.shape[-1:])


def loss_on(
    trainer: JudgeTrainer, samples: Sequence[Sample], rng: np.random.Generator, more: Sequence[Sample] = ()
) -> tuple[Tensor, Metrics]:
    """Cross-entropy to the soft labels + squared errors + which of two edits of a scene is better + the side tasks.

    A batch has few scenes with many edits each, but what an instruction means is learnt from scenes: the targets of
    `more` scenes are imagined besides.
    """
    orders = drawn_orders(samples, rng)
    few = rng.permutation(len(samples))[: max(1, round(ASKED_SHARE * len(samples)))]
    asked = []
    for number in few:
        own = [question for question in LIBRARY[samples[number].task] if question.shows == "both"]
        asked.append((int(number), own[int(rng.integers(len(own)))]))
    said = trainer(samples, orders, asked)
    scores = torch.tensor([sample.score for sample in samples])
    log_probs = said.scores[:, trainer.digits]
    expected = log_probs.softmax(-1) @ torch.arange(float(len(DIGITS)))
    parts = {
        "entropy": -(soft_labels(scores) * log_probs).sum(-1).mean(),
        "mse": (expected - scores).square().mean(),
        "ranking": ranking_loss(samples, expected, scores),
        "imagined": imagined_loss(said.imagined, [samples[i] for i in said.sources]),
        "compared": functional.smooth_l1_loss(
            said.compared, compared_labels([samples[i] for i in said.edits]), beta=0.1
        ),
        "questions": _answer_loss(
            trainer, said.facts, [question for _, question in asked], [samples[number] for number, _ in asked]
        ),
    }
    shown = [samples[i] for i in rng.permutation(len(samples))[: max(1, round(ALONE_SHARE * len(samples)))]]
    alone = [next(question for question in LIBRARY[sample.task] if question.shows == "edit") for sample in shown]
    parts["alone"] = _answer_loss(trainer, trainer.alone(shown, alone), alone, shown)
    if more:
        parts["imagined_more"] = imagined_loss(trainer.imagination(more), more)
    loss: Tensor = torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum()
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def imagined_loss(said: Tensor, samples: Sequence[Sample]) -> Tensor:
    """Of what was imagined (B, 16, IMAGINED): tokens that must change count CHANGED_WEIGHT times, others are easy.

    Where to change, the last answer, counts as much as half of the colours: which object is meant is learnt first.
    """
    wanted = imagined_labels(samples)
    weight = torch.where(wanted[..., -1] > 0.1, CHANGED_WEIGHT, 1.0)
    errors = functional.smooth_l1_loss(said, wanted, beta=0.1, reduction="none")
    error = errors[..., :-1].mean(-1) + 0.5 * errors[..., -1]
    return (weight * error).mean() / weight.mean()


@torch.no_grad()
def imagined_errors(trainer: JudgeTrainer, samples: Sequence[Sample]) -> Metrics:
    """By task, how far the imagined colours are from the target's where it must change; 1 is what the source's are."""
    wanted = imagined_labels(samples)
    sources = imagined_labels([replace(sample, target=sample.source) for sample in samples])
    region = wanted[..., -1] > 0.3
    missed, copied = (
        ((guess - wanted)[..., :-1].abs().mean(-1) * region).sum(-1)
        for guess in (trainer.imagination(samples), sources)
    )
    rows = {task: [row for row, sample in enumerate(samples) if sample.task == task] for task in TASK_IDS}
    return {task: round(float(missed[own].sum() / copied[own].sum()), 3) for task, own in rows.items() if own}


def drawn_orders(samples: Sequence[Sample], rng: np.random.Generator) -> list[Order]:
    """The source first, but for the first edit of a share of the scenes."""
    begins = [number == 0 or samples[number - 1].source is not s.source for number, s in enumerate(samples)]
    return ["edit first" if begin and rng.random() < SWAPPED_SHARE else "source first" for begin in begins]


def ranking_loss(samples: Sequence[Sample], expected: Tensor, scores: Tensor) -> Tensor:
    """Logistic loss on all pairs of edits of one scene, the label as soft as the difference of the scores is small.

    Least where the difference of the expected scores is that of the scores. RANK_SCALE tells what counts as small: far
    above it only the order matters, so that a hopeless edit beside good ones does not drown the order of the good ones.
    """
    scenes = torch.tensor(_owners(samples, ["source first"] * len(samples)))
    first, second = torch.triu_indices(len(samples), len(samples), 1)
    same = scenes[first] == scenes[second]
    first, second = first[same], second[same]
    if not len(first):
        return torch.zeros(())
    found, wanted = ((values[first] - values[second]) / RANK_SCALE for values in (expected, scores))
    label = wanted.sigmoid()
    # Less the label's own entropy, which no answer can undo.
    floor = functional.binary_cross_entropy(label, label)
    return functional.binary_cross_entropy_with_logits(found, label) - floor


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
    """How the score agrees with the oracle, pooled and within scenes; of the answers to questions the mean Pearson."""
    ordered = sorted(samples, key=lambda sample: sample.task)
    expected: list[Tensor] = []
    answers: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for start in range(0, len(ordered), 128):
        part = ordered[start : start + 128]
        own = [[q for q in LIBRARY[sample.task] if q.shows == "both"] for sample in part]
        asked = [questions[number % len(questions)] for number, questions in enumerate(own)]
        said = trainer(part, ["source first"] * len(part), list(enumerate(asked)))
        expected.append(said.scores[:, trainer.digits].softmax(-1) @ torch.arange(float(len(DIGITS))))
        for sample, question, row in zip(part, asked, said.facts, strict=True):
            tokens = trainer.digits if question.good == "degree" else trainer.facts
            value = float(row[tokens].softmax(-1) @ torch.arange(float(len(tokens))))
            answers.setdefault((sample.task, question.id), []).append((value, truth(question, sample)))
    found, right = torch.cat(expected).double().numpy(), np.array([sample.score for sample in ordered])
    names, scenes = np.array([sample.task for sample in ordered]), [id(sample.source) for sample in ordered]
    metrics = {"mae": float(np.abs(found - right).mean()), "pearson": _pearson(found, right)}
    metrics |= {f"within_{name}": value for name, value in within_cases(found, right, scenes).items()}
    for task in TASK_IDS:
        rows = np.nonzero(names == task)[0]
        own_figures = within_cases(found[rows], right[rows], [scenes[row] for row in rows])
        metrics[task] = own_figures.get("spearman", float("nan"))
    pairs = [np.array(values).T for values in answers.values()]
    known = [value for value in (_pearson(x, y) for x, y in pairs) if not np.isnan(value)]
    metrics["questions_pearson"] = float(np.mean(known)) if known else float("nan")
    return {name: round(value, 4) for name, value in metrics.items() if not np.isnan(value)}


def _pearson(found: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """NaN for constants, such as the scores of a judge that has not learnt anything yet."""
    if found.std() == 0 or right.std() == 0:
        return float("nan")
    return float(np.corrcoef(found, right)[0, 1])


def new_trainer(seed: int) -> JudgeTrainer:
    """An untrained judge, some heads of which look at the same place of the other picture."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    trainer = JudgeTrainer(build_judge_model(tokenizer), tokenizer)
    trainer.look_at_same_place()
    return trainer


def learn_to_imagine(trainer: JudgeTrainer, work: Path, seed: int, steps: int, peak: float = 1.5e-3) -> None:
    """Teach what instructions ask for, from sources and targets alone (resumes from `work`)."""

    def loss_of(step: int) -> tuple[Tensor, Metrics]:
        samples = fresh_scenes(step, SCENES, seed)
        return imagined_loss(trainer.imagination(samples), samples), {}

    held_out = fresh_scenes(0, 2 * SCENES, seed + 10**6)
    _fit(trainer, loss_of, lambda: imagined_errors(trainer, held_out), work, steps, peak)


def learn_to_rank(
    trainer: JudgeTrainer,
    work: Path,
    seed: int,
    steps: int,
    batches: Callable[[int], list[Sample]],
    held_out: Sequence[Sample],
    peak: float = 1e-3,
) -> None:
    """Train the judge on the batches given, edits of one scene beside each other (resumes from `work`)."""

    def loss_of(step: int) -> tuple[Tensor, Metrics]:
        more = fresh_scenes(step, MORE_SCENES, seed + 1)
        return loss_on(trainer, batches(step), np.random.default_rng((seed, 77, step)), more)

    _fit(trainer, loss_of, lambda: agreement(trainer, held_out), work, steps, peak)


def _fit(
    trainer: JudgeTrainer,
    loss_of: Callable[[int], tuple[Tensor, Metrics]],
    evaluate: Callable[[], Metrics],
    work: Path,
    steps: int,
    peak: float,
) -> None:
    """One of the judge's two trainings, with what both share."""
    fit(
        trainer.train(), loss_of, steps=steps, peak=peak, folder=work, every=100, evaluate=lambda _: evaluate(),
        weight_decay=0.01,
    )  # fmt: skip
