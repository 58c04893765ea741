"""The loop that all three trainings share: learning-rate schedule, EMA, checkpoints, a log line now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpedit.store.atomic import append_jsonl
from hpedit.store.checkpoint import load_latest, save_checkpoint

Metrics = dict[str, float]


def learning_rate(step: int, steps: int, peak: float, warmup: int = 200) -> float:
    """Linear warm-up, the peak, and over the last DECAY of the steps linearly down to 2 % of it.

    Until the decay it does not depend on `steps`, so a training can be resumed with more of them.
    """
    left = (steps - step) / max(1.0, DECAY * steps)
    return peak * min((step + 1) / warmup, 1.0, max(0.02, left))


DECAY = 0.4
"""Share of the steps over which the learning rate falls."""


class Ema:
    """Exponential moving average of a module's parameters (decay warms up with the step)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the parameters as they are after `step`; early on the average follows them closely."""
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.values.values()), [p.detach() for p in module.parameters()], 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's parameters with their averages."""
        for name, p in module.named_parameters():
            p.copy_(self.values[name])


def fit(
    module: nn.Module,
    loss_of: Callable[[int], tuple[Tensor, Metrics]],
    *,
    steps: int,
    peak: float,
    folder: Path,
    every: int,
    evaluate: Callable[[int], Metrics] | None = None,
    weight_decay: float = 0.0,
    ema_decay: float = 0.999,
    max_seconds: float = math.inf,
) -> None:
    """Train `module` by AdamW; on return it holds the averaged weights.

    Continues from the newest checkpoint under `folder`. `loss_of(step)` returns the loss and figures to log; data must
    depend on the step alone so that a resumed training sees what an unbroken one would. `max_seconds` shortens the
    schedule's rest to its final learning rate once the time is spent, it never cuts it off without a checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
    )
    ema = Ema(module, ema_decay)
    first = _restore(module, optimizer, ema, folder)
    begun, sums = time.monotonic(), dict[str, float]()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        loss, metrics = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        ema.update(module, step)
        for name, value in {"loss": float(loss.detach()), **metrics}.items():
            sums[name] = sums.get(name, 0.0) + value / every
        last = step + 1 == steps or time.monotonic() - begun > max_seconds
        if (step + 1) % every == 0 or last:
            extra = _evaluate_averaged(module, ema, evaluate, step + 1) if evaluate else {}
            record = {"step": step + 1, "seconds": round(time.monotonic() - begun, 1), **sums, **extra}
            append_jsonl(folder / "metrics.jsonl", record)
            sums = {}
            _save(module, optimizer, ema, folder, step + 1)
        if last:
            break
    ema.copy_to(module)


def _evaluate_averaged(module: nn.Module, ema: Ema, evaluate: Callable[[int], Metrics], step: int) -> Metrics:
    """Evaluate the averaged weights and put the trained ones back."""
    kept = {name: p.detach().clone() for name, p in module.named_parameters()}
    ema.copy_to(module)
    with torch.no_grad():
        metrics = evaluate(step)
        for name, p in module.named_parameters():
            p.copy_(kept[name])
    return metrics


def _save(module: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema, folder: Path, step: int) -> None:
    moments: dict[str, Tensor] = {}
    names = [name for name, _ in module.named_parameters()]
    # By index: parameters that never had a gradient have no state, and the others would slip into their places.
    for index, state in optimizer.state_dict()["state"].items():
        name = names[index]
        moments |= {f"{name}|m": state["exp_avg"], f"{name}|v": state["exp_avg_sq"]}
    weights = {name: p.detach() for name, p in module.named_parameters()}
    save_checkpoint(folder, step, {"weights": weights, "ema": ema.values, "optimizer": moments}, {}, keep=2)


def _restore(module: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema, folder: Path) -> int:
    """Load weights, averages and moments of the newest checkpoint; returns the step to go on from, 0 without one."""
    checkpoint = load_latest(folder)
    if checkpoint is None:
        return 0
    parameters = dict(module.named_parameters())
    state: dict[int, Any] = {}
    with torch.no_grad():
        for index, (name, p) in enumerate(parameters.items()):
            p.copy_(checkpoint.tensors["weights"][name])
            ema.values[name].copy_(checkpoint.tensors["ema"][name])
            moments = checkpoint.tensors["optimizer"]
            if f"{name}|m" in moments:
                step = torch.tensor(float(checkpoint.step))
                state[index] = {"step": step, "exp_avg": moments[f"{name}|m"], "exp_avg_sq": moments[f"{name}|v"]}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return checkpoint.step
