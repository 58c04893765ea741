"""Flow-GRPO in one loop, to be read top to bottom: the mini editor learns to make pictures redder.

    python examples/rl_loop.py [iterations]

It is the kernel of `hpedit train` (rollout, replay, advantages, loss) without resume, processes, tracking and held-out
evaluation; `hpedit.rl.online` is the same loop with all of that. See `custom_reward.py` for a whole run.
"""

import sys

import numpy as np
import torch

from hpedit.config.recipe import LoraSection, RolloutSection
from hpedit.editors.load import load_editor
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.rl.advantage import group_advantages
from hpedit.rl.losses.grpo import grpo_loss
from hpedit.rl.rollout import RolloutSeed, collect, replay

GROUPS, CHUNK, CLIP = 4, 32, 1e-4
ROLLOUT = RolloutSection(group_size=8)  # 8 steps, of which a window of 2 is stochastic


def redness(image):
    """How much red exceeds green and blue, in -1 to 1."""
    red, green, blue = np.asarray(image, dtype=float).mean((0, 1)) / 255
    return red - (green + blue) / 2


def train(iterations=20, seed=0):
    """Train a LoRA on the mini editor; returns the mean reward of each iteration."""
    editor = load_editor("mini", device="cpu")
    editor.add_lora(LoraSection(), seed)
    parameters = list(editor.lora_parameters().values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    # The same cases in every iteration make the curve easy to read; a run draws new ones, by `CaseSampler`.
    cases, means = make_cases(embedded_tiles("train"), 4, seed, "train")[:GROUPS], []
    for iteration in range(iterations):
        # Rollout: a group of edits of each case; the stochastic steps are kept with their log-probabilities.
        draws = RolloutSeed(seed, iteration, groups=tuple(range(GROUPS)))
        rollout = collect(editor, cases, ROLLOUT, draws, chunk=CHUNK)
        # Advantages: how much better an edit is than the others of its group; a zero-variance group teaches nothing.
        rewards = [redness(image) for image in rollout.images]
        found = group_advantages(rewards, [edit // ROLLOUT.group_size for edit in range(len(rewards))])
        advantages, active = torch.as_tensor(found.values).float(), torch.as_tensor(found.active)
        # Replay: the kept steps under the current weights. The gradient is accumulated step by step.
        terms = int(active.sum()) * ROLLOUT.window
        for batch in rollout.batches:
            rows = active[batch.edits].nonzero()[:, 0]
            for slot in range(ROLLOUT.window if len(rows) else 0):
                step = replay(editor, batch, ROLLOUT, rows, torch.full_like(rows, slot))
                old = batch.log_prob[rows, slot]  # the importance ratio is exp(new - old), 1 at the first update
                loss = grpo_loss(step.log_prob, old, advantages[batch.edits[rows]], clip=CLIP).loss
                (loss.sum() / terms).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        means.append(sum(rewards) / len(rewards))
        print(f"iteration {iteration + 1}: mean reward {means[-1]:.3f}")
    return means


if __name__ == "__main__":
    train(*map(int, sys.argv[1:]))
