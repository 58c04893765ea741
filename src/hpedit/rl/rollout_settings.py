"""What a rollout has to know of a recipe."""

from __future__ import annotations

from typing import Protocol


class RolloutSettings(Protocol):
    """The `rollout` section of a recipe, as far as it is needed here."""

    @property
    def steps(self) -> int:
        """Sampling steps."""
        ...

    @property
    def dynamics(self) -> str:
        """A key of `hpedit.rl.flow_sde.STOCHASTIC`."""
        ...

    @property
    def noise(self) -> float:
        """Noise level a."""
        ...

    @property
    def window(self) -> int:
        """Stochastic steps."""
        ...

    @property
    def window_start(self) -> tuple[int, int]:
        """First and last step at which the window may start."""
        ...

    @property
    def group_size(self) -> int:
        """Edits of one case."""
        ...

    @property
    def shared_noise(self) -> bool:
        """Whether a group starts from one noise; its ODE steps before the window are then computed once."""
        ...
