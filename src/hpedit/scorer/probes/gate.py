"""Gate between scorer and training: a scorer that failed its probe is refused as a reward. No torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.store.atomic import read_json

PROBE = "probe.json"
SHEET = "probe.png"
PROBE_FILES = frozenset({PROBE, SHEET})
"""Files that a probe adds to a scorer's folder; they are no part of the scorer."""


def admit_reward(folder: Path | str, fingerprint: str, *, force: bool) -> None:
    """Admit a scorer that passed its probe as a reward; one without a probe is admitted with a warning on stderr.

    Args:
        folder: The scorer's.
        fingerprint: The scorer's current one: a probe of another judge, prompt or calibration does not count.
        force: Admit one that failed, too.

    Raises:
        HPEditError: it was probed and failed, or its probe.json is not readable.
    """
    found = read_probe(folder)
    if found is None or found["scorer"] != fingerprint:
        state = "has not been probed" if found is None else "was changed after it was probed"
        _say(
            f"the scorer {folder} {state}: degenerate edits may please it; "
            f"hpedit scorer probe --scorer {folder} --cases CASES --edits EDITS tells"
        )
    elif not found["passed"] and not force:
        raise HPEditError(
            f"the scorer {folder} failed its probe and is refused as a reward: {'; '.join(found['reasons'])}",
            hint="look at its probe.png; calibrate on more edits or take another judge, or set scorer_force: true",
        )
    elif not found["passed"]:
        _say(f"the scorer {folder} failed its probe, forced: {'; '.join(found['reasons'])}")


def read_probe(folder: Path | str) -> dict[str, Any] | None:
    """Read the probe in a scorer's folder; None if there is none. HPEditError for a damaged one."""
    file = Path(folder) / PROBE
    if not file.exists():
        return None
    found = read_json(file)
    if not isinstance(found, dict) or not {"scorer", "passed", "reasons"} <= found.keys():
        raise HPEditError(f"{file} is not what hpedit scorer probe writes", hint="probe the scorer again")
    return found


def _say(line: str) -> None:
    """One line to stderr; a closed stderr must not stop a run."""
    try:
        sys.stderr.write(line + "\n")
    except (BrokenPipeError, ValueError):
        return
