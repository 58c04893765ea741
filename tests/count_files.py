"""Count the files of src/hpedit that a call enters: how far a reader must walk to follow it.

    PYTHONPATH=src python -m tests.count_files runs/demo/scorer

A file counts once one of its functions runs in the thread that calls; what runs while a module is imported does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import hpedit

_ROOT = Path(hpedit.__file__).parent


def files_entered(call: Callable[[], Any]) -> list[str]:
    """Files whose functions run in this thread during ``call``, as sorted paths below src/hpedit.

    Call it once before, so that nothing is loaded or cached for the first time.
    """
    entered: set[str] = set()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and not _at_import(frame):
            entered.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    own = (Path(name) for name in entered)
    return sorted(str(path.relative_to(_ROOT)) for path in own if path.is_relative_to(_ROOT))


def _at_import(frame: FrameType | None) -> bool:
    """Whether a module's body is running in this frame or in one that called it."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and Path(frame.f_code.co_filename).is_relative_to(_ROOT):
            return True
        frame = frame.f_back
    return False


def score_files(folder: Path) -> list[str]:
    """Files that one score of one edit enters, by a scorer that is loaded already."""
    from hpedit.mini.photos import embedded_tiles
    from hpedit.mini.scenes import make_cases
    from hpedit.scorer.hp_scorer import HPScorer

    scorer = HPScorer.load(folder)
    case = make_cases(embedded_tiles("bench"), 1, 0, "bench")[0]
    scorer.score([case], [case.source])
    return files_entered(lambda: scorer.score([case], [case.source]))


def main() -> None:
    """Print the files of one calibrated score."""
    files = score_files(Path(sys.argv[1]))
    judging = [name for name in files if name.startswith("judges/")]
    print("\n".join(files))
    print(f"one calibrated score: {len(files)} files, {len(files) - len(judging)} without the judge's own")


if __name__ == "__main__":
    main()
