"""The model card of a trained LoRA, from its run: base, data, figures with intervals, alarms, how to load it.

    path = write_card(Path("runs/mine"), licence="apache-2.0")      # runs/mine/README.md

A run is a folder of `hpedit train`, or of `hpedit run`, which has more to tell. The card names no path of this machine:
a base or a judge from a local folder is called so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hpedit import __version__
from hpedit.cases.dataset.card import HUB_LICENCES, code_span, escape_cell
from hpedit.editors.lora import WEIGHTS_NAME
from hpedit.editors.lora_files import read_lora
from hpedit.errors import HPEditError
from hpedit.report import train_views
from hpedit.report.gain_wording import gain_sentence, headline
from hpedit.report.train_charts import NAMES, gain_interval, ordered
from hpedit.report.train_data import TrainRun
from hpedit.rl.monitor.evaluations import Evaluation
from hpedit.stats.intervals import GAIN, Interval, interval_text
from hpedit.store.atomic import atomic_write, read_json
from hpedit.store.run_folder import RECIPE, RESULT

CARD = "README.md"
ALGORITHMS = {"flow_grpo": "Flow-GRPO", "grpo_guard": "GRPO-Guard", "nft": "DiffusionNFT", "online_dpo": "online DPO"}
MINI = "mini"
PLACE = "path/of/this/folder"
"""Stands in the card for the LoRA's name on the hub where that is not known."""


@dataclass(frozen=True, slots=True)
class FinishedLora:
    """A finished training run with its LoRA, and the run of all stages around it."""

    train: TrainRun
    whole: Path | None
    """Folder of `hpedit run`; None where only a training run is known."""

    @classmethod
    def open(cls, path: Path) -> FinishedLora:
        """Read a folder of `hpedit train` or `hpedit run`; HPEditError for others, and for a run without a LoRA yet."""
        whole = path if (path / "train" / RECIPE).is_file() else None
        train = TrainRun.open(path / "train" if whole else path)
        if train.result is None or not (train.path / "lora" / WEIGHTS_NAME).is_file():
            raise HPEditError(f"{train.path} has no finished LoRA yet", hint="the run's own command continues it")
        return cls(train, whole)

    @property
    def lora(self) -> Path:
        """Folder of the LoRA."""
        return self.train.path / "lora"

    @property
    def name(self) -> str:
        """Of the run."""
        return (self.whole or self.train.path).resolve().name

    def stage(self, *parts: str) -> dict[str, Any]:
        """A JSON file of the whole run; empty if there is none."""
        file = self.whole.joinpath(*parts) if self.whole else None
        found: dict[str, Any] = read_json(file) if file is not None and file.is_file() else {}
        return found


def write_card(path: Path, out: Path | None = None, *, licence: str | None = None, overwrite: bool = False) -> Path:
    """Write the model card of a run's LoRA.

    Args:
        path: Folder of `hpedit train` or `hpedit run`.
        out: The file; README.md in the run's folder if None.
        licence: Of the LoRA, as the hub names licences; none is stated if None.
        overwrite: Replace a file that is there.

    Raises:
        HPEditError: no finished training run, or a file that is there already.
    """
    card = render_lora_card(FinishedLora.open(path), licence=licence)
    out = out or path / CARD
    if out.exists() and not overwrite:
        raise HPEditError(f"{out} exists, perhaps with your own words", hint="--overwrite replaces it")
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, card.encode("utf-8", "replace"))
    return out


def render_lora_card(run: FinishedLora, *, licence: str | None = None, repo: str | None = None) -> str:
    """The card as Markdown with a YAML header; `repo` is the LoRA's name on the hub."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"code": code_span}
    base = _base(run)
    rows = _rows(run)
    algorithm = str(run.train.recipe["train"]["algorithm"])
    body = environment.get_template("lora_card.md.jinja").render(
        title=escape_cell(run.name),
        base=base,
        algorithm=ALGORITHMS.get(algorithm, "offline DPO"),
        verdict=_verdict(run),
        where=_python(repo or PLACE),
        licence=licence,
        steps=_steps(run),
        rows=rows,
        measured_on=_measured_on(run),
        reward=_reward(run),
        alarms=_alarms(run),
        no_alarm=train_views.no_alarm(run.train).text,
        data=_data(run),
        facts=[(name, escape_cell(str(value))) for name, value in _facts(run)],
        version=__version__,
    )
    head = yaml.safe_dump(_header(base, algorithm, licence), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + re.sub(r"\n{3,}", "\n\n", body)


def _header(base: Mapping[str, Any], algorithm: str, licence: str | None) -> dict[str, Any]:
    known = licence is None or licence.lower() in HUB_LICENCES
    return {
        **({"base_model": base["id"], "base_model_relation": "adapter"} if base["id"] else {}),
        **({"license": licence.lower() if known else "other"} if licence else {}),
        **({} if known else {"license_name": re.sub(r"[^a-z0-9.]+", "-", str(licence).lower()).strip("-") or "own"}),
        "library_name": "diffusers",
        "pipeline_tag": "image-to-image",
        "tags": ["lora", "image-editing", "hp-edit", algorithm.replace("_", "-")],
    }


def _base(run: FinishedLora) -> dict[str, Any]:
    """The base model: its id and commit on the hub, "mini", or a local folder, of which only the weights are named."""
    found = read_lora(run.lora).base
    name, _, revision = (found.name if found else "").partition("@")
    mini = not name and run.train.recipe["editor"]["model"] == MINI
    text = f"[{name}](https://huggingface.co/{name}) at revision `{revision}`" if name else "a local model"
    loads = f"{_python(name)}, revision={_python(revision)}" if name else '"path/of/the/base"'
    return {
        "id": name,
        "text": "the mini editor of the package hp-edit" if mini else text,
        "load": loads,
        "pipeline_class": "mini" if mini else "DiffusionPipeline",
        "unknown": not name and not mini,
        "weights": found.weights if found else "unknown",
    }


def _python(text: str) -> str:
    """A string of Python in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _exported(run: TrainRun) -> Evaluation | None:
    """The held-out evaluation of the weights that were exported."""
    step = (run.result or {}).get("exported")
    looks = run.table.evaluations if run.table else []
    return next((look for look in looks if look.step == step), looks[-1] if looks else None)


def _rows(run: FinishedLora) -> list[dict[str, str]]:
    """A row per instrument: of the benchmark, or else of the held-out cases of the training."""
    summary = run.stage("summary.json")
    blocks = {
        name: one for name, one in summary.items() if isinstance(one, dict) and {"base", "post", "gain"} <= {*one}
    }
    if blocks:
        return [
            _row(name, interval_text(one["base"]), interval_text(one["post"]), interval_text(one["gain"], GAIN))
            for name, one in blocks.items()
        ]
    table, look = run.train.table, _exported(run.train)
    if table is None or look is None:
        return []
    rows = []
    for name in ordered(table):
        gain = gain_interval(table, look, name)
        means = (_mean(table.base, name), _mean(look, name))
        rows.append(_row(name, *means, gain.text(GAIN) if gain else "n/a"))
    return rows


def _row(name: str, base: str, post: str, gain: str) -> dict[str, str]:
    note = train_views.NOTES.get(name, "a further reward")
    return {"name": escape_cell(NAMES.get(name, name)), "note": note, "base": base, "post": post, "gain": gain}


def _mean(look: Evaluation, name: str) -> str:
    known = [value for value in look.scores.get(name, ()) if value is not None]
    return f"{sum(known) / len(known):.2f}" if known else "n/a"


def _verdict(run: FinishedLora) -> str:
    """One sentence on the gain."""
    summary = run.stage("summary.json")
    if summary:
        return headline(summary).text
    table, look = run.train.table, _exported(run.train)
    if table is None or look is None:
        return "Nothing was held out, so nothing can be said about the gain."
    names = ordered(table)
    judge = next((name for name in ("oracle", "second") if name in names), names[0])
    gain: Interval | None = gain_interval(table, look, judge)
    return f"On held-out cases, by the {NAMES.get(judge, judge).lower()}: {gain_sentence(gain).text}."


def _measured_on(run: FinishedLora) -> str:
    summary, table = run.stage("summary.json"), run.train.table
    if summary:
        return f"On a benchmark of {summary['n']} held-out cases of {summary['sources']} source photographs."
    if table is None:
        return ""
    return f"On {len(table.cases)} held-out cases of {len(set(table.source_ids))} source photographs, during training."


def _steps(run: FinishedLora) -> int:
    """Sampling steps of the benchmark, or of the evaluations during training."""
    whole, recipe = run.stage(RECIPE).get("recipe", {}), run.train.recipe
    found = whole.get("bench", {}).get("steps") or recipe.get("evaluate", {}).get("steps") or recipe["rollout"]["steps"]
    return int(found)


def _reward(run: FinishedLora) -> list[str]:
    """How far the scorer that gave the reward agrees with people, and how it was probed."""
    lines = []
    if agreement := run.stage("summary.json").get("agreement"):
        simulated = run.stage(RECIPE)["recipe"]["ratings"]["by"] == "simulated"
        lines.append(
            f"The scorer's correlation with {'simulated raters' if simulated else 'people'} is "
            f"{interval_text(agreement['pearson'])} (Pearson) on {agreement['n']} edits of photographs that its "
            "calibration never saw."
        )
    if probe := run.stage("scorer", "probe.json"):
        lines.append(
            "It passed its probe with degenerate edits." if probe["passed"] else
            "**It failed its probe with degenerate edits**, and was used all the same."
        )  # fmt: skip
    return lines


def _alarms(run: FinishedLora) -> list[str]:
    found = [f"{escape_cell(one['text'])} (iteration {one['last']})" for one in train_views.alarm_views(run.train)]
    measures = run.stage("summary.json").get("alarms") or {}
    return found + [
        f"{NAMES.get(name, name.replace('_', ' '))} in the benchmark: {one['meaning']}"
        for name, one in measures.items()
        if one.get("alarm")
    ]


def _data(run: FinishedLora) -> list[str]:
    """Counts of cases, raters and judge, without a path."""
    lines = []
    if built := run.stage("cases", RESULT):
        tasks = ", ".join(f"{name} {one.get('kept', 0)}" for name, one in built["tasks"].items())
        lines.append(
            f"{built['kept']} training cases of {built['photos']} photographs, chosen from {built['candidates']} "
            f"candidates: {tasks}."
        )
    if whole := run.stage(RECIPE).get("recipe"):
        raters = {"app": "people in the rating app", "file": "a file of ratings", "run": "an earlier run's raters"}
        by = raters.get(whole["ratings"]["by"], "simulated raters, who know the exact edit")
        lines.append(f"The base's edits were rated by {by}; the judge is {_judge(whole['judge'])}.")
    inputs = run.train.inputs
    prints = [f"{name} `{inputs[name][:16]}`" for name in ("cases", "pairs", "scorer") if name in inputs]
    if prints:
        lines.append(f"Content hashes: {', '.join(prints)}.")
    return lines


def _judge(spec: str) -> str:
    """A judge's model, without the address of its server or its folder here."""
    if "://" in spec:
        return code_span(spec.partition("#")[2] or "a served model")
    return "a local model" if Path(spec).is_dir() else code_span(spec)


def _facts(run: FinishedLora) -> list[tuple[str, Any]]:
    recipe, result = run.train.recipe, run.train.result or {}
    train, rollout, lora = recipe["train"], recipe["rollout"], recipe["lora"]
    targets = ", ".join(lora["targets"]) if lora["targets"] else "all attention projections"
    found = [
        ("algorithm", train["algorithm"]),
        ("iterations", result["iterations"]),
        ("groups x edits", f"{rollout['groups']} x {rollout['group_size']}"),
        ("sampling steps of the rollout", rollout["steps"]),
        ("learning rate", f"{train['learning_rate']:g}"),
        ("LoRA", f"rank {lora['rank']}, alpha {lora['alpha']:g}; {targets}"),
        ("precision", recipe["editor"]["dtype"]),
        ("seed", recipe["seed"]),
    ]
    if resolution := recipe["editor"].get("resolution"):
        found.append(("size", f"{resolution} px"))
    if "exported" in result:
        found.append(("exported weights", f"of iteration {result['exported']}"))
    found.append(("hpedit", run.train.version))
    if result.get("stopped"):
        found.append(("stopped early", result["stopped"]))
    return found
