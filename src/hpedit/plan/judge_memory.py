"""Memory that a scorer's judges need, in process or on a server, from the scorer's folder. No torch.

A judge runs in the trainer's process, where it shares the GPU, or on a server, where it needs its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hpedit.errors import HPEditError
from hpedit.plan.hub_models import JUDGES, SMALL_FILES, STORED, HubJudge
from hpedit.plan.model_folders import read_model_config, safetensors_parameters
from hpedit.store.atomic import read_json

MOST_TOKENS: Final = 32_768
"""Tokens of one forward of an in-process judge: `MAX_TOKENS` of judges.transformers_judge."""
LIVE: Final = 8
"""Hidden states per token alive at once in a forward without gradients, the MLP's wide ones included."""
LOCAL: Final = ("127.0.0.1", "localhost", "::1", "0.0.0.0")


@dataclass(frozen=True, slots=True)
class JudgeShape:
    """Memory of an in-process judge."""

    name: str
    weights: int
    """Bytes."""
    running: int
    """Bytes of keys, values and activations of its largest forward."""
    download: int
    """Bytes on the hub; 0 for a folder."""


@dataclass(frozen=True, slots=True)
class JudgeUse:
    """One judge of a scorer, and how it is asked."""

    name: str
    revision: str | None
    urls: tuple[str, ...]
    """URLs of its servers; none = in process."""
    questions: float
    """Questions per edit, the score included; the mean over tasks."""

    @property
    def here(self) -> bool:
        """Whether one of its servers is on this machine."""
        return any((urlsplit(url).hostname or "") in LOCAL for url in self.urls)

    @property
    def model(self) -> str:
        """The model's name on its server, or in process."""
        return self.name.partition("#")[2] if self.urls else self.name


@dataclass(frozen=True, slots=True)
class ScorerUse:
    """A fitted scorer as a plan sees it: its judges and its verdict."""

    path: str
    judges: tuple[JudgeUse, ...]
    verdict: str
    reason: str

    @property
    def questions(self) -> float:
        """Questions to all judges per edit."""
        return sum(judge.questions for judge in self.judges)


def read_scorer_judges(path: str) -> ScorerUse:
    """Read a scorer's judges from its folder; HPEditError if it is missing or damaged."""
    folder = Path(path)
    if not folder.is_dir():
        raise HPEditError(f"the scorer {path} does not exist", hint="fit one: hpedit scorer fit --cases ...")
    for name in ("scorer.json", "calibration.json"):
        if not (folder / name).is_file():
            hint = "fit one: hpedit scorer fit --cases ..."
            raise HPEditError(f"{path} is not a scorer with a judge: it has no {name}", hint)
    calibration, settings = read_json(folder / "calibration.json"), read_json(folder / "scorer.json")
    try:
        names = [str(part["judge"]) for part in calibration["parts"]]
        weights = dict.fromkeys(names, 0.0)
        blend = calibration["blend"]
        weights |= {names[place]: weight for place, weight in zip(blend["judges"], blend["weights"], strict=True)}
        uses = [
            _judge_use(part, settings["judges"][part["judge"]], calibration["tasks"])
            for part in calibration["parts"]
            if weights[part["judge"]]
        ]
        return ScorerUse(path, tuple(uses), str(calibration["verdict"]), str(calibration["reason"]))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise HPEditError(f"the scorer {path} is damaged: {error!r}", hint="fit it again: hpedit scorer fit") from error


def _judge_use(part: Mapping[str, Any], settings: Mapping[str, Any], tasks: list[str]) -> JudgeUse:
    name = str(part["judge"])
    urls = tuple(name.partition("#")[0].split(",")) if name.startswith(("http://", "https://")) else ()
    kept = sum(len(own["names"]) for own in part["questions"].values())
    return JudgeUse(name, settings["revision"], urls, 1 + kept / max(1, len(tasks)))


SERVED: Final = 1.2
"""Memory of a judge's server per byte of its bfloat16 weights, at least: leaves room for a few questions."""


def judge_server_bytes(use: JudgeUse) -> int:
    """Minimum memory of a judge's server in bytes; 0 for a model that is not in the table."""
    known = JUDGES.get(use.model)
    return int(SERVED * STORED * known.parameters) if known else 0


def judge_shape(model: str, *, accelerator: bool, folder: Path | None) -> JudgeShape | None:
    """Memory of an in-process judge; None if its size is unknown.

    Args:
        model: "mini", a folder, or a hub id.
        accelerator: Whether it runs on a GPU, then in bfloat16.
        folder: The model's folder, if it is on this machine.
    """
    element = 2 if accelerator and model != "mini" else 4
    if folder is not None:
        text = read_model_config(folder)
        text = text.get("text_config") or text
        heads, width = int(text["num_attention_heads"]), int(text["hidden_size"])
        head = int(text.get("head_dim") or width // heads)
        kv = int(text.get("num_key_value_heads") or heads)
        known = HubJudge(safetensors_parameters(folder), int(text["num_hidden_layers"]), kv, width, head)
    elif model in JUDGES:
        known = JUDGES[model]
    else:
        return None
    running = MOST_TOKENS * element * (known.kv_token + LIVE * known.width)
    download = 0 if folder is not None else STORED * known.parameters + SMALL_FILES
    return JudgeShape(model, known.parameters * element, running, download)
