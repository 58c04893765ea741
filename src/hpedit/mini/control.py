"""The control arm of the demo: what as many more supervised steps as RL took would have gained.

The base editor goes on learning from supervised pairs with the same flaws as those it was built on, with a LoRA of the
same size, the same optimizer and the same number of updates as the RL run. If the base had only been unfinished, this
would gain as much as RL does.
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
from hpedit.mini.flaws import flawed_picture
from hpedit.mini.oracle import to_array
from hpedit.mini.scenes import to_image
from hpedit.progress import stage
from hpedit.records import Case
from hpedit.seeds import derive_seed, generator
from hpedit.store.run_folder import RunFolder

BATCH = 64
"""Pairs an update, as in the building of the base."""
DRAWS = 3
"""Target draws a case."""


def train_control(out: Path, editor: DiffusersEditor, cases: Sequence[Case], recipe: Recipe) -> Path:
    """Train the control's LoRA on mini cases and return its folder.

    A finished one is returned at once; a killed one starts again, since it takes half a minute.

    Raises:
        HPEditError: a case has no exact target, or `out` holds another run.
    """
    updates = recipe.train.iterations * recipe.train.inner_updates
    asked = {"updates": updates, "batch": BATCH, "lora": recipe.lora.model_dump(mode="json"), "seed": recipe.seed}
    with editor.lora_disabled():
        inputs = {"editor": editor.fingerprint}
    with RunFolder.open(out, "control", asked, inputs) as run:
        if not run.done:
            targets = _targets(editor, cases, recipe.seed)
            editor.add_lora(recipe.lora, derive_seed(recipe.seed, "control"))
            loss = _train(editor, cases, targets, recipe, updates)
            editor.save_lora(run.path / "lora")
            run.finish({"updates": updates, "pairs": updates * BATCH, "loss": loss})
    return out / "lora"


def _targets(editor: DiffusersEditor, cases: Sequence[Case], seed: int) -> Tensor:
    """Latents (cases, DRAWS, N, C) of flawed or exact targets, in the base's own share and mixture."""
    rng = np.random.default_rng((seed, 31))
    found = []
    for case in cases:
        if case.oracle is None:
            raise HPEditError(
                f"case {case.id} has no exact target, which the control learns from",
                hint="give it cases of the mini world",
            )
        region = np.asarray(case.oracle.region, np.float32) / np.float32(255)
        drawn = [flawed_picture(to_array(case.source), to_array(case.oracle.target), region, rng) for _ in range(DRAWS)]
        found.append(editor.latents([to_image(picture) for picture in drawn]))
    return torch.stack(found)


def _train(editor: DiffusersEditor, cases: Sequence[Case], targets: Tensor, recipe: Recipe, updates: int) -> float:
    """Flow matching with the base's distribution of noise levels; returns the last loss."""
    everything = Conditioning.cat([editor.encode([case]) for case in cases])
    optimizer = torch.optim.AdamW(
        editor.lora_parameters().values(), lr=recipe.train.learning_rate, betas=recipe.train.betas
    )
    value = float("nan")
    with stage("control: supervised steps", updates) as advance:
        for update in range(updates):
            draw = generator(recipe.seed, "control", update)
            index = torch.randint(len(cases), (BATCH,), generator=draw)
            clean = targets[index, torch.randint(DRAWS, (BATCH,), generator=draw)]
            noise = torch.randn(clean.shape, generator=draw)
            s = torch.sigmoid(0.2 + 1.2 * torch.randn(BATCH, generator=draw))
            mixed = torch.lerp(clean, noise, s[:, None, None])
            loss = (editor.velocity(mixed, s, everything.select(index)) - (noise - clean)).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(editor.lora_parameters().values(), recipe.train.max_grad_norm)
            optimizer.step()
            value = float(loss.detach())
            advance(1)
    return value
