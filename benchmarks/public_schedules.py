"""The iterations of public trainers of edits, written out over the same transformer, kernels, losses and optimizer.

What differs from ours is the schedule alone: what is encoded how often, which steps are sampled stochastically, which
forwards are made, and in what batches. Read in public code of 2025-09 to 2026-08:

- `flow_grpo` (yifan123/flow_grpo, its Qwen-Image-Edit-Plus script): each copy of a prompt is encoded for itself, a
  negative prompt too; guidance doubles every forward; all steps but the last are stochastic; each step is trained on
  in batches of its own; silent groups are trained on with advantage 0; judging runs in a thread while others are
  sampled. With a window of 2 and no guidance it is the same trainer's windowed form.
- `nft` (PKU-YuanGroup/Edit-R1): 6 deterministic steps with the old adapter, then 5 noise levels of each edit, each with
  a forward of the old adapter, one of the policy with its backward, and one with the adapter off.

Where they only lose time by an oversight, they are written at their best: batches are as large as ours, the VAE takes a
whole batch, and no reference is run at KL weight 0. A prompt is encoded at a time: the pipeline takes no more at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from hpedit.config.recipe import Recipe
from hpedit.editors.diffusers_editor import DiffusersEditor
from hpedit.editors.lora import ADAPTER
from hpedit.editors.protocol import Conditioning, EncodedPrompt
from hpedit.records import Case
from hpedit.rl.advantage import group_advantages, reward_from_score
from hpedit.rl.flow_sde import sde_step
from hpedit.rl.losses.grpo import grpo_loss
from hpedit.rl.losses.kl import velocity_kl
from hpedit.rl.losses.nft import nft_loss, nft_reward
from hpedit.scorer.protocol import Scorer

NEGATIVE = " "
GUIDANCE = 4.0
NFT_STEPS, NFT_LEVELS, NFT_KL = 6, 5, 1e-4
OLD = "old"


@dataclass(frozen=True, slots=True)
class Kind:
    """Which of the public trainers."""

    nft: bool = False
    guidance: float | None = None
    window: int | None = None
    """Stochastic steps; None for all but the last."""


KINDS = {
    "all_steps_cfg": Kind(guidance=GUIDANCE),
    "all_steps": Kind(),
    "windowed": Kind(window=2),
    "edit_r1_nft": Kind(nft=True),
}


@dataclass(slots=True)
class Sampled:
    """One batch of edits."""

    positive: Conditioning
    negative: Conditioning | None
    levels: Tensor
    path: list[Tensor]
    """Samples before and after each stochastic step."""
    log_probs: list[Tensor]
    start: int
    clean: Tensor
    judged: Future[list[float | None]]


@dataclass
class PublicTrainer:
    """One trainer with its own editor, whose LoRA is `editor`'s own."""

    kind: Kind
    editor: DiffusersEditor
    cases: Sequence[Case]
    scorer: Scorer
    recipe: Recipe
    seconds: dict[str, float] = field(default_factory=dict)
    judge: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    judge_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Set up optimizer, average and old adapter."""
        self.editor.add_lora(self.recipe.lora, 0)
        for module in self.editor.pipeline.transformer.modules():
            module.__dict__.pop("forward", None)  # peft's own forward, which they use
        self.parameters = self.editor.lora_parameters()
        train = self.recipe.train
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=train.learning_rate, weight_decay=0.0)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.random = random.Random(self.recipe.seed)
        self.generator = torch.Generator().manual_seed(self.recipe.seed)
        if self.kind.nft:
            transformer = self.editor.pipeline.transformer
            transformer.add_adapter(transformer.peft_config[ADAPTER], adapter_name=OLD)
            self.old = {n: p for n, p in transformer.named_parameters() if f".{OLD}." in n}
            self._follow(0.0)
            transformer.set_adapter(ADAPTER)

    def iterate(self, iteration: int) -> dict[str, float]:
        """One iteration; seconds by phase."""
        self.seconds = dict.fromkeys(("encode", "rollout", "judge", "train"), 0.0)
        self.judge_seconds = 0.0
        rollout = self.recipe.rollout
        first = iteration * rollout.groups
        cases = [self.cases[(first + i) % len(self.cases)] for i in range(rollout.groups)]
        copies = [case for case in cases for _ in range(rollout.group_size)]
        batches = [self._sample(part) for part in _cut(copies, self.recipe.train.micro_batch)]
        with self._phase("judge"):
            scores = [score for batch in batches for score in batch.judged.result()]
        rewards = [None if score is None else reward_from_score(score) for score in scores]
        groups = [i // rollout.group_size for i in range(len(copies))]
        found = group_advantages(rewards, groups, std="batch")
        with self._phase("train"):
            self._train(batches, torch.as_tensor(found.values, dtype=torch.float32), iteration)
        return {**self.seconds, "judge_thread": self.judge_seconds}

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began

    @torch.no_grad()
    def _sample(self, copies: Sequence[Case]) -> Sampled:
        with self._phase("encode"):
            positive = self._encode(copies, [case.instruction for case in copies])
            negative = self._encode(copies, [NEGATIVE] * len(copies)) if self.kind.guidance else None
        with self._phase("rollout"):
            sampled = self._sample_nft(positive) if self.kind.nft else self._sample_sde(positive, negative)
            images = self.editor.decode(sampled.clean, positive)
        sampled.judged = self.judge.submit(self._judge, list(copies), images)
        return sampled

    def _judge(self, cases: list[Case], images: list[Image.Image]) -> list[float | None]:
        began = time.perf_counter()
        scores = self.scorer.score(cases, images, [str(i) for i in range(len(cases))])
        self.judge_seconds += time.perf_counter() - began
        return [score.value for score in scores]

    def _encode(self, copies: Sequence[Case], prompts: Sequence[str]) -> Conditioning:
        """Prompt and picture of each copy, though many copies are the same."""
        pipe, areas = self.editor.pipeline, self.editor.areas
        seen, side = int(areas.condition_area**0.5), int(areas.source_area**0.5)
        resize, preprocess = pipe.image_processor.resize, pipe.image_processor.preprocess
        embeds = [
            pipe.encode_prompt(prompt=prompt, image=[resize(case.source, seen, seen)], device=self.editor.device)[0]
            for case, prompt in zip(copies, prompts, strict=True)
        ]
        pixels = preprocess([case.source for case in copies], side, side).unsqueeze(2).to(embeds[0])
        latents = pipe._encode_vae_image(pixels, None)
        packed = pipe._pack_latents(latents, len(copies), latents.shape[1], *latents.shape[3:])
        patch = pipe.vae_scale_factor * 2
        grids = ((self.editor.areas.resolution // patch,) * 2, (side // patch,) * 2)
        masks = [row.new_ones(row.shape[:2], dtype=torch.bool) for row in embeds]
        rows = [Conditioning(EncodedPrompt(row, masks[i]), packed[i : i + 1], grids) for i, row in enumerate(embeds)]
        return Conditioning.cat(rows)

    def _noise(self, like: Conditioning) -> Tensor:
        height, width = like.grids[0]
        shape = (len(like), height * width, like.source_latents.shape[-1])
        return torch.randn(shape, generator=self.generator).to(self.editor.device)

    def _velocity(self, x: Tensor, s: Tensor, positive: Conditioning, negative: Conditioning | None) -> Tensor:
        """Guided and rescaled as the model's own pipeline does, in one forward of twice the rows."""
        if negative is None or self.kind.guidance is None:
            return self.editor.velocity(x, s, positive)
        both = self.editor.velocity(torch.cat([x, x]), s.repeat(2), Conditioning.cat([positive, negative]))
        v, other = both.chunk(2)
        mixed = other + self.kind.guidance * (v - other)
        return mixed * (v.norm(dim=-1, keepdim=True) / mixed.norm(dim=-1, keepdim=True))

    def _sample_sde(self, positive: Conditioning, negative: Conditioning | None) -> Sampled:
        settings = self.recipe.rollout
        levels = self.editor.schedule(settings.steps, positive)
        window = self.kind.window or settings.steps - 1
        start = self.random.randint(*settings.window_start) if self.kind.window else 0
        x = self._noise(positive)
        path, log_probs = [x], []
        for i in range(settings.steps):
            v = self._velocity(x, levels[i].expand(len(x)), positive, negative)
            if start <= i < start + window:
                step = sde_step(x, v, levels[i], levels[i + 1], settings.noise, generator=self.generator)
                path.append(step.x_next)
                log_probs.append(step.log_prob)
            else:
                step = sde_step(x, v, levels[i], levels[i + 1], 0.0, kind="ode")
                path = path if i >= start else [step.x_next]
            x = step.x_next
        return Sampled(positive, negative, levels, path, log_probs, start, x, Future())

    def _sample_nft(self, positive: Conditioning) -> Sampled:
        levels = self.editor.schedule(NFT_STEPS, positive)
        x = self._noise(positive)
        transformer = self.editor.pipeline.transformer
        transformer.set_adapter(OLD)
        for i in range(NFT_STEPS):
            v = self.editor.velocity(x, levels[i].expand(len(x)), positive)
            x = sde_step(x, v, levels[i], levels[i + 1], 0.0, kind="ode").x_next
        transformer.set_adapter(ADAPTER)
        return Sampled(positive, None, levels, [], [], 0, x, Future())

    def _train(self, batches: Sequence[Sampled], advantage: Tensor, iteration: int) -> None:
        self.optimizer.zero_grad()
        learn = self._learn_nft if self.kind.nft else self._learn_grpo
        terms, done = 0, 0
        for batch in batches:
            size = len(batch.clean)
            terms += learn(batch, advantage[done : done + size].to(batch.clean))
            done += size
        for parameter in self.parameters.values():
            if parameter.grad is not None:
                parameter.grad /= terms
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.train.max_grad_norm)
        self.optimizer.step()
        if self.kind.nft:
            self._follow(min(0.001 * (iteration + 1), 0.5))
        decay = min(self.recipe.train.ema, (1 + iteration) / (10 + iteration))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.average[name].lerp_(parameter, 1 - decay)

    def _learn_grpo(self, batch: Sampled, advantage: Tensor) -> int:
        for j, old in enumerate(batch.log_probs):
            s, s_next = batch.levels[batch.start + j], batch.levels[batch.start + j + 1]
            v = self._velocity(batch.path[j], s.expand(len(old)), batch.positive, batch.negative)
            step = sde_step(batch.path[j], v, s, s_next, self.recipe.rollout.noise, x_next=batch.path[j + 1])
            grpo_loss(step.log_prob, old, advantage, clip=self.recipe.train.clip).loss.sum().backward()
        return len(batch.clean) * len(batch.log_probs)

    def _learn_nft(self, batch: Sampled, advantage: Tensor) -> int:
        transformer, clean = self.editor.pipeline.transformer, batch.clean
        orders = torch.stack([torch.randperm(NFT_STEPS, generator=self.generator) for _ in range(len(clean))])
        for j in range(NFT_LEVELS):
            t = batch.levels[orders[:, j]]
            noise = torch.randn(clean.shape, generator=self.generator).to(clean)
            x = torch.lerp(clean, noise, t.to(clean)[:, None, None])
            with torch.no_grad():
                transformer.set_adapter(OLD)
                v_old = self.editor.velocity(x, t, batch.positive)
                transformer.set_adapter(ADAPTER)
            v = self.editor.velocity(x, t, batch.positive)
            with torch.no_grad(), self.editor.lora_disabled():
                v_ref = self.editor.velocity(x, t, batch.positive)
            loss = nft_loss(v, v_old, clean, noise, t.to(clean), nft_reward(advantage), beta=1.0).loss
            (loss + NFT_KL * velocity_kl(v, v_ref)).sum().backward()
        return len(clean) * NFT_LEVELS

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        for name, old in self.old.items():
            old.lerp_(self.parameters[name.replace(f".{OLD}.", f".{ADAPTER}.")], 1 - decay)


def _cut(items: Sequence[Case], size: int) -> list[Sequence[Case]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
