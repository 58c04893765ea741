"""What an iteration costs, in transformer forwards of one edit: the measure in which trainers are compared.

A backward pass costs two forwards; recomputing activations (gradient checkpointing) costs one more.
"""

from __future__ import annotations

FORWARD = 1
TRAINED = 3
"""A forward with its backward."""
RECOMPUTED = 4
"""The same with gradient checkpointing."""


def passes(cfg: float) -> int:
    """Forwards of the network for one velocity: guidance takes another, of the negative prompt."""
    return 1 if cfg == 1.0 else 2


def trained_row_cost(recomputes: bool) -> int:
    """Forward-equivalents of one row that is trained on."""
    return RECOMPUTED if recomputes else TRAINED
