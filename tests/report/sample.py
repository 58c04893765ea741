"""A full set of report data with known figures; the pictures are crops of real photographs at 32 px."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from skimage import data as photos

from hpedit.report.report_data import Agreement, Picture, Provenance, ReportData
from hpedit.tasks import TASK_IDS

INSTRUCTIONS = {
    "addition": "add a small red ball on the left",
    "removal": "remove the green cone",
    "swap": "replace the ball with a wooden box",
    "background": "put it in front of a brick wall instead",
    "color": "make the box blue",
    "bokeh": "blur the background softly, keep the ball sharp",
    "relighting": "warm evening light from the right",
    "style": "turn the picture into a pencil drawing",
}


def crops(count: int, size: int = 32) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sheets = [Image.fromarray(sheet) for sheet in (photos.astronaut(), photos.cat(), photos.coffee())]
    result = []
    for index in range(count):
        sheet = sheets[index % len(sheets)]
        x, y = (int(rng.integers(0, side - 200)) for side in sheet.size)
        result.append(sheet.crop((x, y, x + 200, y + 200)).resize((size, size), Image.Resampling.BOX))
    return result


def pictures(count: int, size: int = 32) -> list[Picture]:
    rng = np.random.default_rng(1)
    result = []
    for index, source in enumerate(crops(count, size)):
        task = TASK_IDS[index % len(TASK_IDS)]
        target = source.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        base, post = (float(np.clip(rng.normal(mean, 1.1), 0, 5)) for mean in (2.6, 3.1))
        result.append(
            Picture(
                case_id=f"case-{index:04d}",
                task=task,
                instruction=INSTRUCTIONS[task],
                source=source,
                base=target.filter(ImageFilter.GaussianBlur(1.2)),
                post=target.filter(ImageFilter.GaussianBlur(0.6)),
                target=target,
                oracle=(base, post),
                scorer=(min(5.0, base + 0.3), None if index == 3 else min(5.0, post + 0.4)),
            )
        )
    return result


def mean(value: float, half: float) -> dict[str, Any]:
    return {"mean": value, "ci95": [value - half, value + half]}


def block(base: float, gain: float, half: float, n: int, control: float | None = None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "base": mean(base, half + 0.1),
        "post": mean(base + gain, half + 0.1),
        "gain": mean(gain, half),
        "low_share": {"base": 0.36, "post": 0.22},
        "win_tie_loss": {"win": round(n * 0.64), "tie": round(n * 0.11), "loss": n - round(n * 0.64) - round(n * 0.11)},
        "n": n,
        "copy": mean(0.31, 0.04),
    }
    if control is not None:
        ahead = {"gain": mean(control, half), "post_minus_control": mean(gain - control, half)}
        result["control"] = mean(base + control, half) | ahead
    return result


def summary(n: int = 240) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    tasks = {
        task: {
            "oracle": block(2.1 + rng.random(), 0.5 * rng.random() + (-0.35 if task == "style" else 0.1), 0.2, n // 8),
            "scorer": block(2.5 + rng.random(), 0.5 * rng.random() + 0.15, 0.17, n // 8),
        }
        for task in TASK_IDS
    }
    return {
        "oracle": block(2.63, 0.41, 0.09, n, 0.03),
        "scorer": block(2.94, 0.52, 0.08, n - 1, 0.05),
        "tasks": tasks,
        "n": n,
        "sources": n // 2,
        "unscorable": {"base": 0, "post": 1, "control": 0},
        "alarms": {
            "sharpness": {"source": mean(0.051, 0.002), "base": mean(0.034, 0.002), "post": mean(0.043, 0.002)}
            | {"gain": mean(0.009, 0.001), "alarm": False, "meaning": "closer to the sources"},
            "grid_energy": {"source": mean(0.102, 0.002), "base": mean(0.121, 0.002), "post": mean(0.158, 0.003)}
            | {"gain": mean(0.037, 0.004), "alarm": True, "meaning": "further from the sources, 31 % of the base"},
        },
        "seconds": {"bench": 41.2},
    }


def metrics(count: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    rows = []
    for index in range(count):
        rise = 1 - math.exp(-index / 25)
        row: dict[str, Any] = {
            "step": index + 1,
            "score_mean": 2.9 + 0.6 * rise + 0.12 * rng.normal(),
            "reward_mean": 0.62 + 0.13 * rise + 0.03 * rng.normal(),
            "reward_std": 0.14 + 0.01 * rng.normal(),
            "kl": 4e-4 * rise * (1 + 0.2 * rng.normal()),
            "ratio_deviation": 3e-7 * (1 + rng.random()),
            "ratio_mean": 1 + 2e-5 * rng.normal(),
            "clip_fraction": 0.2 + 0.06 * rng.normal(),
            "grad_norm": 0.4 + 0.1 * rng.random(),
            "frac_zero_std": 0.0,
        }
        if index % 20 == 0:
            row |= {"held_out_scorer": 2.9 + 0.5 * rise, "held_out_oracle": 2.6 + 0.4 * rise}
        rows.append(row)
    return rows


def agreement(simulated: bool = True) -> Agreement:
    rng = np.random.default_rng(4)
    human = np.clip(np.round(rng.uniform(-0.3, 5.3, 160) * 3) / 3, 0, 5)
    scored = np.clip(human * 0.8 + 0.6 + rng.normal(0, 0.6, 160), 0, 5)

    def measures(a: float, b: float, c: float) -> dict[str, Any]:
        names = ("pearson", "spearman", "pairwise_accuracy")
        return {name: {"value": v, "ci95": [v - 0.05, v + 0.04]} for name, v in zip(names, (a, b, c), strict=True)}

    report = measures(0.84, 0.82, 0.88) | {
        "raw": measures(0.61, 0.6, 0.79),
        "human": measures(0.9, 0.89, 0.92),
        "gain": measures(0.23, 0.22, 0.09),
        "n": 160,
        "unscorable": 1,
        "verdict": "ok",
        "tasks": {task: measures(0.8, 0.78, 0.85) for task in TASK_IDS},
    }
    points = list(zip(human.tolist(), scored.tolist(), strict=True))
    title = "Mini world, held-out edits" if simulated else "ImagenHub, held-out sources"
    return Agreement(title, report, points, simulated)


def full(count: int = 160) -> ReportData:
    return ReportData(
        title="HP-Edit: before and after",
        subtitle="A mini image editor, post-trained by Flow-GRPO with HP-Scorer as its reward.",
        created="2026-11-23 18:20",
        summary=summary(),
        pictures=pictures(count),
        metrics=metrics(),
        agreements=[agreement(True), agreement(False)],
        provenance=[
            Provenance("Photographs", False, "crops of the photographs in scikit-image and scikit-learn"),
            Provenance("Raters", True, "oracle + each rater's bias and noise, rounded to whole scores"),
            Provenance("Editor", False, "QwenImageEditPlusPipeline of diffusers, 1.3 M parameters"),
        ],
        seconds={"collect ratings": 12.3, "fit scorer": 3.9, "build cases": 31.0, "post-train": 182.4},
        command="hpedit demo --seed 0 --out runs/demo",
        control_note="Here: 60 supervised steps of 144 pairs.",
        versions={"hpedit": "0.1.0", "torch": "2.13.0", "diffusers": "0.42.1"},
        fingerprints={"base editor": "9f3c1ab2e4d05577", "scorer": "51d0c6aa0e12bb94", "cases": "e1f9d3"},
    )
