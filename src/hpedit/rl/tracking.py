"""TensorBoard as a side channel: metrics.jsonl is the record, and no failure here stops a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class Tracker:
    """Writes scalars for TensorBoard until the first failure, which is logged once."""

    def __init__(self, folder: Path, *, enabled: bool, step: int) -> None:
        """Open an event file below `folder`; what TensorBoard has of steps after `step` is marked as gone."""
        self._writer: Any = None
        if enabled:
            try:
                # Imported here: it takes a second, and a run without it needs no tensorboard.
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(folder), purge_step=step + 1)
            except (ImportError, OSError) as error:
                logger.warning("no TensorBoard log: %s", error)

    def log(self, step: int, record: Mapping[str, Any]) -> None:
        """Write the numbers of one record."""
        if self._writer is None:
            return
        try:
            for name, value in record.items():
                if isinstance(value, int | float) and name != "step":
                    self._writer.add_scalar(f"train/{name}", value, step)
        except OSError as error:
            logger.warning("TensorBoard log ends at step %d: %s", step, error)
            self._writer = None

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()
