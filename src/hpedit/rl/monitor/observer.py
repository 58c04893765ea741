"""The interface of an observer of training: it may draw, measure and warn, and never affects the weights.

for observer in observers:
    record |= observer.after(iteration, learner.last)
"""

from __future__ import annotations

from typing import Any, Protocol

from hpedit.rl.online import Experience


class Observer(Protocol):
    """Called with an iteration's edits after its update."""

    def after(self, iteration: int, made: Experience | None) -> dict[str, Any]:
        """Return numbers for the iteration's record; called before its checkpoint, so a kill in between repeats it.

        Args:
            iteration: From 0.
            made: The edits of this process; None where the algorithm makes none.
        """
