"""`hpedit bench ablate`: what hard cases and calibration each contribute; the paper's ablation and its missing cell.

Four post-trainings from the same base, with equal numbers of cases and iterations and the same seeds: on raw or on hard
cases, by a plain or by the calibrated scorer. Each is measured on held-out cases by the oracle, which took no part, and
by both scorers. HP-Edit (arXiv 2604.19406) reports base 4.472, raw + plain 4.391, hard + plain 4.577 and hard +
calibrated 4.667.

    run_ablation(Path("runs/ablate"), seeds=(0, 1, 2))       # ablate.md, .csv, .tex, .json

One folder per seed, one per cell; the same call resumes a stopped ablation, and seeds may be added later.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.experiments.ablate_cells import AblationJob, AblationSize, run_job
from hpedit.experiments.ablate_table import ablation_figures, write_ablation_tables
from hpedit.mini.world import World
from hpedit.progress import stage
from hpedit.store.run_folder import RunFolder, hash_path

CASES = ("raw", "hard")
SCORERS = ("plain", "calibrated")


def run_ablation(
    out: Path, *, seeds: Sequence[int] = (0, 1, 2), world: World | None = None, jobs: int = 2,
    size: AblationSize | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run, or resume, the ablation in `out`; writes its tables and returns the figures.

    Args:
        seeds: Each is a draw of candidates, of training and of held-out scenes; the scorer is that of seed 0.
        jobs: Processes, of one thread each.

    Raises:
        HPEditError: a cell fails, or `out` was made with another world or size; finished work stays.
    """
    world, size = world or World(), size or AblationSize()
    if not seeds or len(set(seeds)) < len(seeds):
        raise HPEditError("an ablation needs distinct seeds", hint="for instance --seeds 0,1,2")
    folders = {"photos": world.photos, "objects": world.objects}
    inputs = {name: hash_path(folder) for name, folder in folders.items() if folder is not None}
    with RunFolder.open(out, "ablate", {"size": asdict(size)}, inputs):
        _run_all(_phases(out, seeds, world, size), jobs)
        figures = ablation_figures(out, seeds)
        write_ablation_tables(out, figures)
    return figures


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from `0,1,2`; HPEditError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) < 2**31 for part in parts):
        raise HPEditError(f"--seeds {text!r} is not a list of seeds", hint="for instance --seeds 0,1,2")
    return tuple(map(int, parts))


def _phases(out: Path, seeds: Sequence[int], world: World, size: AblationSize) -> list[list[AblationJob]]:
    """The jobs by phase; a job needs all earlier phases and none of its own."""
    first = [AblationJob("scorer", out, world, size, 0)]
    second = [AblationJob(kind, out, world, size, seed) for seed in seeds for kind in ("pool", "base")]
    cells = [(cases, scorer) for cases in CASES for scorer in SCORERS]
    third = [AblationJob("cell", out, world, size, seed, *cell) for seed in seeds for cell in cells]
    return [first, second, third]


def _run_all(phases: Sequence[Sequence[AblationJob]], jobs: int) -> None:
    """Run the phases in turn; a failure ends the ablation once the running jobs have ended."""
    # Spinning OpenMP threads starve other processes of their core; must be set before torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    context = multiprocessing.get_context("spawn")
    with (
        stage("ablation", sum(map(len, phases))) as advance,
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare_process) as pool,
    ):
        for phase in phases:
            running = {pool.submit(_attempt, job): job for job in phase}
            for future in as_completed(running):
                failure = future.result()
                if failure is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                    job = running[future]
                    raise HPEditError(f"{job.name} of seed {job.seed}: {failure[0]}", hint=failure[1])
                advance(1)


def _prepare_process() -> None:
    """Use one thread, and exit with the parent process instead of waiting for jobs forever."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a process of the pool"

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _attempt(job: AblationJob) -> tuple[str, str] | None:
    """Run a job with its progress in a log beside its folder; returns message and hint of an HPEditError."""
    log = job.folder.with_name(job.folder.name + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as stream, contextlib.redirect_stderr(stream):
        try:
            run_job(job)
        except HPEditError as error:
            return error.message, error.hint
    return None
