"""Cost of an iteration in transformer forwards of one row: the unit in which trainers are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FORWARD: Final = 1
TRAINED: Final = 3
"""A forward with its backward, which costs two."""
RECOMPUTED: Final = 4
"""The same with gradient checkpointing, which runs the forward again."""
TRAINED_ROW: Final[Mapping[bool, int]] = {False: TRAINED, True: RECOMPUTED}
"""Whether activations are recomputed -> cost of one row that is trained on."""
