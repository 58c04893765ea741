"""Supervised controls: what training on pairs would have gained for as much computation as RL took.

`train_control` teaches the base editor with pairs that carry the same flaws as those it was built on, by the loss that
it was built with, and exports the average of the weights, as RL does. If the base had only been unfinished, this would
gain as much as RL does. With exact targets instead it shows what a teacher who knows every right answer reaches with as
much computation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpedit.config.recipe import Recipe
from hpedit.editors.diffusers_editor import DiffusersEditor
from hpedit.editors.protocol import Conditioning
from hpedit.errors import HPEditError
from hpedit.mini.build.editor import CHANGED, CHANGED_WEIGHT, LEVEL_MEAN, LEVEL_STD
from hpedit.mini.flaws import flawed_picture
from hpedit.mini.oracle import to_array
from hpedit.mini.scenes import to_image
from hpedit.progress import stage
from hpedit.records import Case
from hpedit.seeds import derive_seed, generator
from hpedit.store.run_folder import RunFolder

BATCH = 64
"""Pairs an update."""
DRAWS = 3
"""Target draws a case."""
LEARNING_RATE = 1e-4
"""Chosen on scenes of the calibration split, where 3e-5 gains less and RL's own rate loses."""
EMA = 0.98
"""Decay of the average of the weights that is exported."""


def train_control(
    out: Path, editor: DiffusersEditor, cases: Sequence[Case], recipe: Recipe, updates: int, *, exact: bool = False
) -> Path:
    """Train a control's LoRA on mini cases and return its folder.

    A finished one is returned at once; a killed one starts again, since it takes half a minute.

    Args:
        out: Its run folder.
        editor: The base editor; has the LoRA in the end.
        cases: Those that RL was trained on.
        recipe: RL's, for the LoRA's size and the seed.
        updates: Optimizer steps of BATCH pairs.
        exact: Exact targets instead of those of the base's own mixture.

    Raises:
        HPEditError: a case has no exact target, or `out` holds another run.
    """
    asked = {"updates": updates, "batch": BATCH, "lora": recipe.lora.model_dump(mode="json"), "seed": recipe.seed}
    asked |= {"exact": exact, "learning_rate": LEARNING_RATE, "ema": EMA}
    with editor.lora_disabled():
        inputs = {"editor": editor.fingerprint}
    with RunFolder.open(out, "control", asked, inputs) as run:
        if not run.done:
            sources, targets = _latents(editor, cases, recipe.seed, exact)
            editor.add_lora(recipe.lora, derive_seed(recipe.seed, "control"))
            loss = _train(editor, cases, sources, targets, recipe, updates)
            editor.save_lora(run.path / "lora")
            run.finish({"updates": updates, "pairs": updates * BATCH, "loss": loss})
    return out / "lora"


def _latents(editor: DiffusersEditor, cases: Sequence[Case], seed: int, exact: bool) -> tuple[Tensor, Tensor]:
    """Latents of the sources (cases, N, C), and of flawed or exact targets (cases, DRAWS, N, C)."""
    rng = np.random.default_rng((seed, 31))
    sources, found = [], []
    for case in cases:
        if case.oracle is None:
            raise HPEditError(
                f"case {case.id} has no exact target, which the control learns from",
                hint="give it cases of the mini world",
            )
        region = np.asarray(case.oracle.region, np.float32) / np.float32(255)
        share = {"share": 0.0} if exact else {}
        drawn = [
            flawed_picture(to_array(case.source), to_array(case.oracle.target), region, rng, **share)
            for _ in range(DRAWS)
        ]
        latents = editor.latents([case.source, *(to_image(picture) for picture in drawn)])
        sources.append(latents[0])
        found.append(latents[1:])
    return torch.stack(sources), torch.stack(found)


def _train(
    editor: DiffusersEditor, cases: Sequence[Case], sources: Tensor, targets: Tensor, recipe: Recipe, updates: int
) -> float:
    """Flow matching by the base's own loss; leaves the average of the weights and returns the last loss."""
    everything = Conditioning.cat([editor.encode([case]) for case in cases])
    weights = editor.lora_parameters()
    average = {name: p.detach().clone() for name, p in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=LEARNING_RATE, betas=recipe.train.betas)
    value = float("nan")
    with stage("control: supervised steps", updates) as advance:
        for update in range(updates):
            draw = generator(recipe.seed, "control", update)
            index = torch.randint(len(cases), (BATCH,), generator=draw)
            clean = targets[index, torch.randint(DRAWS, (BATCH,), generator=draw)]
            noise = torch.randn(clean.shape, generator=draw)
            s = torch.sigmoid(LEVEL_MEAN + LEVEL_STD * torch.randn(BATCH, generator=draw))
            mixed = torch.lerp(clean, noise, s[:, None, None])
            changed = (clean - sources[index]).square().mean(-1, keepdim=True) > CHANGED
            weight = torch.where(changed, CHANGED_WEIGHT, 1.0)
            error = (editor.velocity(mixed, s, everything.select(index)) - (noise - clean)).square()
            loss = (weight * error).mean() / weight.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights.values(), recipe.train.max_grad_norm)
            optimizer.step()
            value = float(loss.detach())
            with torch.no_grad():
                decay = min(EMA, (1 + update) / (10 + update))
                for name, p in weights.items():
                    average[name].lerp_(p, 1 - decay)
            advance(1)
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(average[name])
    return value
