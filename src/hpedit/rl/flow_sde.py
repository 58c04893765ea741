"""Stochastic sampling step of a flow (SDE), drawn or replayed with its log-probability by the same function.

Convention: x_s = (1 - s) x0 + s eps, velocity v = eps - x0, s runs from 1 to 0, dt = s' - s < 0.
The model's clean estimate is x0_hat = x - s v, its noise estimate eps_hat = x + (1 - s) v.

    rollout:  step = sde_step(x, v, s, s_next, 0.8, z=noise)         # draws step.x_next
    replay:   step = sde_step(x, v, s, s_next, 0.8, x_next=stored)   # scores the stored sample under the new v

Both give `log_prob`, the mean over all non-batch dimensions, so that its size does not depend on the resolution.

Sources: Flow-GRPO (arXiv 2505.05470) for "flow_sde", DanceGRPO (2505.07818) for "dance_sde", Flow-CPS (2509.05952) for
    "cps".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hpedit.editors.sampling import Level, as_level, euler_step
from hpedit.errors import HPEditError


@dataclass(frozen=True, slots=True)
class Step:
    """One sampling step of a batch: sample, mean, standard deviation, log-probability."""

    x_next: Tensor
    """(B, ...) the sample at the next level; the given one, if the step was replayed."""
    mu: Tensor
    """(B, ...) mean of the step's distribution; carries the gradient of v."""
    std: Tensor | None
    """(B, 1, ...) its standard deviation S, or (1, 1, ...) if the levels are numbers; None where the step is
    deterministic.
    """
    _log_prob: Tensor | None

    @property
    def log_prob(self) -> Tensor:
        """(B,) mean log-density of x_next. A deterministic step has none: HPEditError."""
        if self._log_prob is None:
            raise HPEditError(
                "an ODE step has no log-probability",
                hint="policy-gradient losses need stochastic dynamics: flow_sde, dance_sde or cps",
            )
        return self._log_prob


def sde_step(
    x: Tensor,
    v: Tensor,
    s: Level,
    s_next: Level,
    noise_level: float,
    *,
    kind: str = "flow_sde",
    z: Tensor | None = None,
    generator: torch.Generator | None = None,
    x_next: Tensor | None = None,
) -> Step:
    """Take one sampling step from noise level s to s_next, or score a given one (replay).

    Args:
        x: (B, ...) sample at level s. Computed in float64 if it is float64, else in float32, whatever the model's
            dtype.
        v: (B, ...) velocity at (x, s).
        s: Noise level in (0, 1], a number or (B,).
        s_next: Next level in [0, s). For stochastic kinds above 0: at the last step the log-density degenerates.
        noise_level: a of flow_sde and cps, eta of dance_sde; 0 makes every kind the Euler step.
        kind: One of `DYNAMICS`.
        z: (B, ...) standard normal noise to use; else it is drawn from `generator`.
        generator: Source of the noise where z is not given; None means torch's global one.
        x_next: (B, ...) a stored sample to be scored instead of drawing one; its gradient is cut.

    Raises:
        HPEditError: unknown kind; a stochastic step to level 0; replaying a deterministic step.
    """
    if kind not in DYNAMICS:
        raise HPEditError(f"unknown dynamics {kind!r}", hint=f"one of {', '.join(DYNAMICS)}")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    x, v = x.to(dtype), v.to(dtype)
    if kind == "ode" or noise_level == 0.0:
        if x_next is not None:
            raise HPEditError("an ODE step cannot be replayed: it has no log-probability")
        mu = euler_step(x, v, s, s_next)
        return Step(mu, mu, None, None)
    if not _above_zero(s_next):
        raise HPEditError(
            "the last step (to noise level 0) cannot be stochastic",
            hint="move the window of stochastic steps forward, or shorten it",
        )
    mu, std = STOCHASTIC[kind](x, v, as_level(s, x), as_level(s_next, x), noise_level)
    if x_next is None:
        if z is None:
            z = torch.randn(
                x.shape, generator=generator, dtype=dtype, device=generator.device if generator else x.device
            )
        x_next = (mu + std * z.to(x)).detach()
    else:
        x_next = x_next.to(x).detach()
    return Step(x_next, mu, std, _mean_log_density(x_next, mu, std, kind))


def _mean_log_density(x_next: Tensor, mu: Tensor, std: Tensor, kind: str) -> Tensor:
    """(B,) mean over the dimensions of log N(x_next; mu, std), or of -(x_next - mu)^2 for Flow-CPS."""
    density = -(x_next - mu).square()
    # Flow-CPS leaves out the variance: it is the same for every policy, and vanishes toward s' = 0.
    if kind != "cps":
        density = density / (2 * std.square()) - std.log() - 0.5 * math.log(2 * math.pi)
    return density.flatten(1).mean(1)


def _flow_sde(x: Tensor, v: Tensor, s: Tensor, s_next: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """Diffusion g = a sqrt(s / (1 - s)).

    At s = 1, where that is infinite, the denominator takes the schedule's second level, which is s' there.
    """
    finite = torch.where(s >= 1.0, s_next, s)
    return _langevin(x, v, s, s_next, a * torch.sqrt(s / (1.0 - finite)))


def _dance_sde(x: Tensor, v: Tensor, s: Tensor, s_next: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """The same drift and diffusion with constant g = eta."""
    return _langevin(x, v, s, s_next, torch.full_like(s, eta))


def _langevin(x: Tensor, v: Tensor, s: Tensor, s_next: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Mean mu = x + dt (v + g^2 / (2 s) eps_hat), S = g sqrt(-dt)."""
    dt = s_next - s
    noise_estimate = x + (1.0 - s) * v
    return x + dt * (v + g.square() / (2.0 * s) * noise_estimate), g * torch.sqrt(-dt)


def _cps(x: Tensor, v: Tensor, s: Tensor, s_next: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """S = s' sin(a pi / 2), mu = (1 - s') x0_hat + sqrt(s'^2 - S^2) eps_hat.

    The noise of level s' is in part kept and in part redrawn.
    sqrt(s'^2 - S^2) is written s' cos(a pi / 2), which loses no digits where a is near 1.
    """
    std = s_next * math.sin(a * math.pi / 2)
    clean, noise = x - s * v, x + (1.0 - s) * v
    return (1.0 - s_next) * clean + s_next * math.cos(a * math.pi / 2) * noise, std


STOCHASTIC: Final[dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]]] = {
    "flow_sde": _flow_sde,
    "dance_sde": _dance_sde,
    "cps": _cps,
}
"""Name in the recipe -> (mean, standard deviation) of the step."""
DYNAMICS: Final = (*STOCHASTIC, "ode")


def _above_zero(level: Level) -> bool:
    """Checked where the level lives, which is the CPU in all our loops: no wait for a GPU."""
    return bool((torch.as_tensor(level) > 0).all())
