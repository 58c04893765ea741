"""Building the mini weights from scratch: VAE, then base editor, then judge. docs/mini.md has times and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Stage = Literal["vae", "editor", "judge", "all"]


def build(out: Path, stage: Stage = "all", seed: int = 0) -> None:
    """Build the weights into `out` (vae/, editor/, judge/); a killed build continues with the same command.

    The editor needs the VAE, the judge needs the editor. To ship them, copy editor/ and judge/ to
    src/hpedit/mini/checkpoints.

    Raises:
        HPEditError: the stage before has not been built in `out`.
    """
    from hpedit.mini.build.stages import STAGES

    for name, run in STAGES.items():
        if stage in (name, "all"):
            run(out, seed)
