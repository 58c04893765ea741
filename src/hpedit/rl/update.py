"""One iteration's policy update: replay the stored steps under the weights as they are, and follow the clipped loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from hpedit.editors.protocol import TrainableEditor
from hpedit.errors import HPEditError
from hpedit.rl.advantage import Advantages
from hpedit.rl.losses.grpo import grpo_loss
from hpedit.rl.losses.kl import kl_to_base
from hpedit.rl.rollout import Batch, Rollout, RolloutSettings, parts, replay

RATIO_TOLERANCE: Final = {torch.float32: 1e-6, torch.bfloat16: 2e-5, torch.float16: 2e-5}
"""How far from 1 a ratio may be before any update, by the model's dtype: rounding alone. A clip range of 1e-4 leaves no
room for more.
"""


class TrainSettings(Protocol):
    """The `train` section of a recipe, as far as it is needed here."""

    @property
    def clip(self) -> float:
        """Half-width of the ratio's free range."""
        ...

    @property
    def kl(self) -> float:
        """Weight of the KL to the base; 0 runs no reference forward."""
        ...

    @property
    def max_grad_norm(self) -> float:
        """The gradient is scaled down to this norm."""
        ...

    @property
    def inner_updates(self) -> int:
        """Optimizer steps an iteration."""
        ...


@dataclass(slots=True)
class _Sums:
    """Sums over the replayed steps of one optimizer step."""

    steps: int = 0
    loss: float = 0.0
    ratio: float = 0.0
    deviation: float = 0.0
    clipped: float = 0.0
    kl: float = 0.0
    chunks: list[Tensor] = field(default_factory=list)

    def reduce(self) -> None:
        """Fetch all chunks' numbers at once: one wait for the device instead of one a chunk."""
        for loss, ratio, deviation, clipped, kl in torch.stack(self.chunks).tolist():
            self.loss += loss
            self.ratio += ratio
            # Written so that a NaN is kept.
            self.deviation = self.deviation if deviation <= self.deviation else deviation
            self.clipped += clipped
            self.kl += kl
        self.chunks.clear()


def policy_update(
    editor: TrainableEditor,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    advantages: Advantages,
    settings: RolloutSettings,
    train: TrainSettings,
) -> dict[str, float | None]:
    """Do `inner_updates` optimizer steps on one rollout.

    The loss is the mean over all stochastic steps of all scored edits. Groups without a signal add nothing to it, so
    they are not replayed; when no group has one, the weights and the optimizer stay as they are.

    Returns:
        Metrics of the last optimizer step, but `ratio_deviation` of the first, which must be rounding alone; None where
        nothing was done.

    Raises:
        HPEditError: the first ratio is off 1 (the replay is not the rollout), or the loss or gradient is not finite.
    """
    if not advantages.active.any():
        names = ("loss", "ratio_mean", "ratio_deviation", "clip_fraction", "kl", "grad_norm")
        return dict.fromkeys(names) | {"optimizer_steps": 0.0}
    scored = len(advantages.values) - advantages.unscorable
    weight = 1.0 / (scored * settings.window)
    first_deviation = 0.0
    for update in range(train.inner_updates):
        optimizer.zero_grad(set_to_none=True)
        sums = _accumulate(editor, rollout, advantages, settings, train, weight)
        if update == 0:
            first_deviation = sums.deviation
            _check_first_ratio(sums.deviation, editor.dtype)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, train.max_grad_norm))
        _check_finite(sums.loss, grad_norm)
        optimizer.step()
    return {
        "loss": sums.loss * weight,
        "ratio_mean": sums.ratio / sums.steps,
        "ratio_deviation": first_deviation,
        "clip_fraction": sums.clipped / sums.steps,
        "kl": sums.kl / sums.steps if train.kl else None,
        "grad_norm": grad_norm,
        "optimizer_steps": float(train.inner_updates),
    }


def _accumulate(
    editor: TrainableEditor,
    rollout: Rollout,
    advantages: Advantages,
    settings: RolloutSettings,
    train: TrainSettings,
    weight: float,
) -> _Sums:
    """Add the gradient of every replayed step to the parameters; the sum does not depend on the chunks' size."""
    sums = _Sums()
    for batch, slot, rows in _chunks(rollout, advantages.active, settings.window):
        step = replay(editor, batch, settings, slot, rows)
        on_device = rows.to(batch.path.device)
        advantage = torch.as_tensor(advantages.values[batch.edits[rows].numpy()]).to(step.log_prob)
        terms = grpo_loss(step.log_prob, batch.log_prob[on_device, slot], advantage, clip=train.clip)
        loss, kl = terms.loss.sum(), torch.zeros_like(terms.loss)
        if train.kl:
            kl = _kl(editor, batch, settings, slot, rows, step.mu)
            loss = loss + train.kl * kl.sum()
        (weight * loss).backward()  # type: ignore[no-untyped-call]
        deviation = (terms.ratio - 1).abs().max()
        numbers = [loss.detach(), terms.ratio.sum(), deviation, terms.clipped.sum().to(loss), kl.detach().sum()]
        sums.chunks.append(torch.stack(numbers))
        sums.steps += len(rows)
    sums.reduce()
    return sums


def _chunks(rollout: Rollout, active: NDArray[Any], window: int) -> Iterator[tuple[Batch, int, Tensor]]:
    """Batch, step of the window, and rows to replay at once: the edits that take part, in the rollout's chunks."""
    for batch in rollout.batches:
        rows = torch.as_tensor(active[batch.edits.numpy()]).nonzero()[:, 0]
        for slot in range(window):
            yield from ((batch, slot, part) for part in parts(rows, batch.chunk))


def _kl(
    editor: TrainableEditor, batch: Batch, settings: RolloutSettings, slot: int, rows: Tensor, mu: Tensor
) -> Tensor:
    """(j,) KL to the editor with its LoRA switched off."""
    with torch.no_grad(), editor.lora_disabled():
        reference = replay(editor, batch, settings, slot, rows)
    assert reference.std is not None
    s, s_next = batch.level_pair(slot)
    return kl_to_base(mu, reference.mu, reference.std, (s_next - s)[rows])


def _check_first_ratio(deviation: float, dtype: torch.dtype) -> None:
    tolerance = RATIO_TOLERANCE[dtype]
    if not deviation <= tolerance:
        raise HPEditError(
            f"before the first update a ratio is off 1 by {deviation:.2g} (tolerance {tolerance:.0e} in {dtype})",
            hint="the replay does not repeat the rollout: look for dropout, another precision, state between forwards",
        )


def _check_finite(loss: float, grad_norm: float) -> None:
    if not torch.isfinite(torch.tensor([loss, grad_norm])).all():
        raise HPEditError(
            f"the loss ({loss}) or its gradient's norm ({grad_norm}) is not finite",
            hint="lower train.learning_rate or rollout.noise; the checkpoints are from before it happened",
        )
