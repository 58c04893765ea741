"""The benchmark summary of a post-training run: base, post-trained and control model, as summary.json has it.

A special case of `hpedit.bench.comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpedit.bench.bench_folder import BenchFolder
from hpedit.bench.comparison import compare_models
from hpedit.errors import HPEditError

INSTRUMENTS = ("oracle", "scorer")
SECOND = "second"
"""A second judge, in a summary only where one has scored base and post."""
ARMS = ("base", "post", "control")


def before_after_summary(folders: Mapping[str, BenchFolder | None]) -> dict[str, Any]:
    """The benchmark summary of `{"base": ..., "post": ..., "control": ... or None}`.

    Returns:
        "oracle" and "scorer" (None if not measured), each with base, post, gain as {"mean", "ci95"}, low_share,
        win_tie_loss, n, and, if there is one, control with its own gain and post_minus_control; the oracle also has
        copy, the untouched source. "second" is there if a second judge has scored.
        "tasks": the same of oracle and scorer per task. Further n, sources, unscorable, low_share, win_tie_loss,
        control, alarms, seconds.
        Bounds that too few photos allow are None.

    Raises:
        HPEditError: base or post is missing, or the folders differ in cases, seed, steps or scorer.
    """
    present = {name: folders[name] for name in ARMS if folders.get(name) is not None}
    missing = [name for name in ("base", "post") if name not in present]
    if missing:
        raise HPEditError(f"no benchmark of the {' and the '.join(missing)} model", hint="run it on the same cases")
    named = {name: replace(folder, label=name) for name, folder in present.items() if folder is not None}
    # Control before post-trained, so that their difference is what post-training is ahead by.
    compared = compare_models([named[name] for name in ("base", "control", "post") if name in named])
    tables = {one["key"]: one for one in compared["instruments"]}
    whole = {name: _block(tables[name]["overall"] if name in tables else None) for name in INSTRUMENTS}
    block = _block(tables[SECOND]["overall"] if SECOND in tables else None)
    second = {SECOND: block} if block else {}
    return {
        **whole,
        **second,
        "tasks": {
            task: {name: _block(tables[name]["tasks"].get(task) if name in tables else None) for name in INSTRUMENTS}
            for task in sorted(compared["tasks"])
        },
        "n": compared["n"],
        "sources": compared["sources"],
        "unscorable": {arm: tables.get("scorer", {}).get("unscorable", {}).get(arm, 0) for arm in named},
        "low_share": {name: block and block["low_share"] for name, block in whole.items()},
        "win_tie_loss": {name: block and block["win_tie_loss"] for name, block in whole.items()},
        "control": {name: block["control"] for name, block in whole.items() if block} if "control" in named else None,
        "alarms": {name: _alarm(one) for name, one in compared["alarms"].items()},
        "seconds": {f"bench, {name}": sum(folder.seconds.values()) for name, folder in named.items()},
    }


def _estimate(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: model[key] for key in ("mean", "ci95")}


def _block(block: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """One instrument's figures under the names of the arms; None if it did not measure both base and post."""
    if block is None or not {"base", "post"} <= block["models"].keys():
        return None
    models = block["models"]
    result: dict[str, Any] = {name: _estimate(model) for name, model in models.items()}
    result |= {"gain": models["post"]["gain"], "win_tie_loss": models["post"]["win_tie_loss"], "n": block["n"]}
    result["low_share"] = {name: model["low_share"] for name, model in models.items()}
    result["high_share"] = {name: model["high_share"] for name, model in models.items()}
    for pair in block["pairs"]:
        result["control"] |= {"gain": models["control"]["gain"], "post_minus_control": pair["gain"]}
    if "copy" in block:
        result["copy"] = block["copy"]
    return result


def _alarm(measure: Mapping[str, Any]) -> dict[str, Any]:
    base, post = (measure["models"][name] for name in ("base", "post"))
    found = {"source": measure["source"], "base": _estimate(base), "post": _estimate(post)}
    return found | {name: post[name] for name in ("gain", "alarm", "meaning")}
