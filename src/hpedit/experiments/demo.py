"""`hpedit demo`: the whole loop in the mini world, one folder per stage; run again, it resumes where it was stopped.

1. ratings: the base editor edits calibration cases, simulated raters score the edits
2. scorer: HP-Scorer is fitted on two thirds of the photo crops, probed, and compared with the raters on the rest
3. cases: training candidates are edited and scored, the hard ones are kept
4. train: Flow-GRPO with the scorer as reward; control: as many more supervised steps
5. bench: base, post-trained and control edit held-out cases from the same noise
6. report: report.html, report.json, summary.json
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpedit.mini.world import World
from hpedit.records import Case
from hpedit.stats.intervals import GAIN, Interval, number_text
from hpedit.store.atomic import append_jsonl, read_json, read_jsonl
from hpedit.tasks import TASK_IDS

if TYPE_CHECKING:
    from hpedit.bench.bench_folder import BenchFolder
    from hpedit.cases.recipe import CasesRecipe
    from hpedit.config.recipe import Recipe
    from hpedit.editors.diffusers_editor import DiffusersEditor
    from hpedit.experiments.demo_scorer import CalibrationEdits
    from hpedit.scorer.hp_scorer import HPScorer

SECONDS = "seconds.jsonl"
BENCH_CASES = "cases.parquet"
STEPS = 8
LEARNING_RATE = 6e-4
"""Twice the paper's, for a run of minutes; at 1.5e-3 the scorer's gain still grows but the oracle's is lost."""


@dataclass(frozen=True, slots=True)
class DemoSize:
    """Size of the demo's stages. The defaults fill the time it has; tests use less."""

    rated_per_task: int = 48
    """Calibration cases a task; each is edited twice."""
    candidates_per_task: int = 40
    bench_per_task: int = 28
    iterations: int = 36
    groups: int = 12
    group_size: int = 12


def demo_recipe(out: Path, seed: int, size: DemoSize) -> Recipe:
    """The training recipe of the demo; `hpedit train` takes the same as recipes/mini.yaml."""
    from hpedit.config.recipe import Recipe

    half = max(1, size.iterations // 2)
    return Recipe.model_validate(
        {
            "seed": seed,
            "output": str(out / "train"),
            "editor": {"model": "mini"},
            "cases": str(out / "cases"),
            "scorer": str(out / "scorer"),
            "rollout": {"steps": STEPS, "group_size": size.group_size, "groups": size.groups},
            "train": {"iterations": size.iterations, "learning_rate": LEARNING_RATE},
            "log": {"tensorboard": True, "grid_every": half, "groups_every": half},
            "evaluate": {"every": max(1, size.iterations // 6), "count": 32},
        }
    )


def run_demo(
    out: Path, photos: Path | None = None, seed: int = 0, size: DemoSize | None = None, objects: Path | None = None
) -> dict[str, Any]:
    """Run, or resume, the demo in `out`; prints the gains and the report's path, and returns the summary.

    Args:
        photos: A folder of photographs to build the world on, instead of the embedded ones.
        objects: A folder of cut-outs (PNG with alpha) that stand in it, instead of the drawn shapes.

    Raises:
        HPEditError: a stage cannot do its work; what is done so far stays.
    """
    # Spinning OpenMP threads starve other processes of their core; must be set before torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    import torch

    torch.set_num_threads(min(2, os.cpu_count() or 1))
    demo = _Demo(Path(out), World(photos, objects), seed, size or DemoSize())
    summary = demo.run()
    _say_result(summary, Path(out) / "report.html")
    return summary


class _Demo:
    """One run of the demo; each stage reads what the previous one wrote to disk."""

    def __init__(self, out: Path, world: World, seed: int, size: DemoSize) -> None:
        self.out, self.world, self.seed, self.size = out, world, seed, size
        self.recipe = demo_recipe(out, seed, size)

    def run(self) -> dict[str, Any]:
        with self._clock("ratings"):
            rated = self._ratings()
        with self._clock("scorer"):
            agreement, points = self._scorer(rated)
        with self._clock("cases"):
            hard = self._cases()
        with self._clock("train"):
            metrics = self._train(hard)
        with self._clock("control"):
            control = self._control(hard)
        with self._clock("bench"):
            bench_cases, folders = self._bench(control)
        return self._report(agreement, points, bench_cases, folders, metrics)

    @contextmanager
    def _clock(self, stage: str) -> Iterator[None]:
        """Add the time of this run to the stage's seconds."""
        began = time.monotonic()
        yield
        self.out.mkdir(parents=True, exist_ok=True)
        append_jsonl(self.out / SECONDS, {"stage": stage, "seconds": round(time.monotonic() - began, 2)})

    def _seconds(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        for record in read_jsonl(self.out / SECONDS):
            totals[record["stage"]] = round(totals.get(record["stage"], 0.0) + record["seconds"], 2)
        return totals

    @cached_property
    def editor(self) -> DiffusersEditor:
        """The base editor; training and benchmark attach and detach their LoRAs."""
        from hpedit.editors.load import load_editor

        return load_editor("mini")

    @cached_property
    def scorer(self) -> HPScorer:
        """The scorer fitted by the previous stage."""
        from hpedit.scorer.hp_scorer import HPScorer

        return HPScorer.load(self.out / "scorer")

    def _cases_of(self, split: str, per_task: int) -> list[Case]:
        return self.world.cases(split, per_task, self.seed)

    def _ratings(self) -> CalibrationEdits:
        """Two edits of each calibration case, and the simulated raters' scores."""
        from hpedit.experiments.demo_scorer import rate_edits

        cases = self._cases_of("calibration", self.size.rated_per_task)
        return rate_edits(self.out / "ratings", self.editor, cases, self.seed, STEPS)

    def _scorer(self, rated: CalibrationEdits) -> tuple[dict[str, Any], list[tuple[float, float]]]:
        """Fit and probe the scorer; its agreement on unseen crops, and the points (mean rating, score)."""
        from hpedit.experiments.demo_scorer import compare_with_raters, prepare_scorer

        return compare_with_raters(prepare_scorer(self.out / "scorer", rated, self.seed), rated, self.seed)

    def _cases(self) -> list[Case]:
        """The training cases that the base editor does not yet solve."""
        from hpedit.cases.build import run_build
        from hpedit.cases.folder import CasesFolder

        run_build(self._cases_recipe(), editor=self.editor, scorer=self.scorer)
        return list(CasesFolder(self.out / "cases").kept())

    def _cases_recipe(self) -> CasesRecipe:
        """What `hpedit cases build` takes as recipes/cases_mini.yaml, with the paper's filter."""
        from hpedit.cases.recipe import CasesRecipe

        folders = {"photos": self.world.photos, "objects": self.world.objects}
        source = {"mini": "train", "count": self.size.candidates_per_task * len(TASK_IDS)}
        return CasesRecipe.model_validate(
            {
                "seed": self.seed,
                "output": str(self.out / "cases"),
                "sources": ({**source, **{name: str(path) for name, path in folders.items() if path}},),
                "balance": {"tasks": "as_found", "categories": "as_found"},
                "edits": {"editor": "mini", "steps": STEPS},
                "filter": {"by": "drop-solved", "scorer": str(self.out / "scorer")},
            }
        )

    def _train(self, hard: Sequence[Case]) -> list[dict[str, Any]]:
        """Flow-GRPO on the hard cases; leaves train/lora and returns one record an iteration."""
        from hpedit.rl.trainer import train

        return train(self.recipe, editor=self.editor, cases=hard, scorer=self.scorer).metrics

    def _control(self, hard: Sequence[Case]) -> Path:
        """Folder of the LoRA trained by as many additional supervised updates."""
        from hpedit.mini.control import train_control

        return train_control(self.out / "control", self.editor, hard, self.recipe)

    def _bench(self, control: Path) -> tuple[list[Case], dict[str, BenchFolder]]:
        """The held-out cases, written to bench/cases.parquet, and the benchmarks of base, post-trained and control."""
        from hpedit.bench.benchmark_run import run_bench
        from hpedit.store.tables import write_cases

        cases = self._cases_of("bench", self.size.bench_per_task)
        # For `hpedit bench`, which measures other editors on the same cases.
        (self.out / "bench").mkdir(parents=True, exist_ok=True)
        write_cases(self.out / "bench" / BENCH_CASES, cases)
        folders = {}
        for label, lora in (("base", None), ("post", self.out / "train" / "lora"), ("control", control)):
            if lora is None:
                self.editor.remove_lora()
            else:
                self.editor.load_lora(lora)
            out = self.out / "bench" / label
            folders[label] = run_bench(
                self.editor, cases, self.scorer, out, seed=self.seed, steps=STEPS, label=label, batch=48
            )
        return cases, folders

    def _report(
        self, agreement: dict[str, Any], points: list[tuple[float, float]], cases: Sequence[Case],
        folders: dict[str, BenchFolder], metrics: list[dict[str, Any]],
    ) -> dict[str, Any]:  # fmt: skip
        from hpedit.bench.before_after import before_after_summary
        from hpedit.experiments.demo_report import DemoFacts, demo_report
        from hpedit.experiments.demo_scorer import probe_note
        from hpedit.report.report_page import write_report
        from hpedit.report.train_page import alarm_note, write_train_page

        write_train_page(self.out / "train", command=self._command())
        with self.editor.lora_disabled():
            base = self.editor.fingerprint
        facts = DemoFacts(
            self.world, self._command(), self.recipe, base, self.scorer.fingerprint, self._seconds(),
            cases_kept=read_json(self.out / "cases" / "result.json"), probe=probe_note(self.out / "scorer"),
            watch=alarm_note(self.out / "train"),
        )  # fmt: skip
        summary = {**before_after_summary(folders, self.seed), "agreement": agreement}
        write_report(self.out, demo_report(facts, summary, agreement, points, cases, folders, metrics))
        result: dict[str, Any] = read_json(self.out / "summary.json")
        return result

    def _command(self) -> str:
        words = ["hpedit", "demo", "--out", str(self.out)]
        words += ["--photos", str(self.world.photos)] if self.world.photos else []
        words += ["--objects", str(self.world.objects)] if self.world.objects else []
        return shlex.join([*words, "--seed", str(self.seed)])


def _say_result(summary: dict[str, Any], page: Path) -> None:
    """Print the two gains and, on the last line, the report's path."""
    for name in ("oracle", "scorer"):
        base, post, gain = (Interval.read(summary, name, key) for key in ("base", "post", "gain"))
        if base is None or post is None or gain is None:
            continue
        interval = gain.bounds(GAIN, between=" to ") or "unknown"
        sys.stdout.write(
            f"{name:<7} {number_text(base.value)} -> {number_text(post.value)}, "
            f"gain {number_text(gain.value, GAIN)} (95 % interval {interval})\n"
        )
    sys.stdout.write(f"report: {page}\n")
