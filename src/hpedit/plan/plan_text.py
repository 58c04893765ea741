"""Format a plan as text for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from hpedit.plan.disk import format_bytes
from hpedit.plan.gpus import MIB
from hpedit.plan.memory import GIB, PHASES

WIDTH = 80
NAME = 46
Cells = Mapping[str, Any]


def render_plan(plan: Cells) -> str:
    """The plan as text, without its errors, which go to stderr."""
    lines = list(_wrapped(_title_text(plan)))
    if "editor" in plan:
        lines += ["", *_memory_lines(plan["memory"], plan["machine"]), "", *_disk_lines(plan["disk"])]
    lines += ["", *_forwards_lines(plan["forwards"])]
    if "editor" in plan:
        lines += ["", *_time_lines(plan["time"], plan["machine"])]
    lines += _judge_lines(plan["judge"])
    if "stages" in plan:
        lines += ["", *_stage_lines(plan)]
    if plan["warnings"]:
        lines.append("")
    for warning in plan["warnings"]:
        hint = f" ({warning['hint']})" if warning["hint"] else ""
        lines += _wrapped(f"Note: {warning['message']}{hint}")
    lines += ["", _error_count(plan)]
    return "\n".join(line.rstrip() for line in lines)


def _title_text(plan: Cells) -> str:
    machine = plan["machine"]
    place = f"{machine['gpus']} x {machine['name']}" if machine["accelerator"] else machine["name"]
    if "editor" not in plan:
        return f"{plan['recipe']}: {plan['algorithm']} on {place}"
    editor, tokens = plan["editor"], plan["editor"]["tokens"]
    return (
        f"{plan['recipe']}: {plan['algorithm']} of {editor['model']} ({_many(editor['parameters'])} parameters, LoRA "
        f"{_many(editor['lora_parameters'])}) at {editor['resolution']} px on {place}. A row has {tokens['target']} "
        f"target + {tokens['source']} source + {tokens['text']} text tokens, a forward of it "
        f"{editor['forward_flops'] / 1e12:.3g} TFLOP."
    )


def _memory_lines(memory: Cells, machine: Cells) -> Iterator[str]:
    where = "a GPU" if machine["accelerator"] else "the process"
    unit, size = ("GiB", GIB) if memory["peak"] >= GIB else ("MiB", MIB)
    yield f"{f'Memory of {where}, {unit}':<{NAME}}" + "".join(f"{phase:>11}" for phase in PHASES)
    for item in memory["items"]:
        yield f"  {_cut(item['name'], NAME - 2):<{NAME - 2}}" + "".join(_cell(item[phase], size) for phase in PHASES)
    yield f"  {'in all':<{NAME - 2}}" + "".join(_cell(memory["totals"][phase], size) for phase in PHASES)
    if memory["available"] is None:
        yield f"  peak {memory['peak'] / size:.1f} {unit}; the available memory is unknown"
        return
    verdict = "fits" if memory["fits"] else "DOES NOT FIT"
    share = memory["peak"] / memory["available"]
    yield f"  {verdict}: {memory['peak'] / GIB:.1f} of {memory['available'] / GIB:.1f} GiB ({share:.0%})"
    for change in memory["advice"]:
        yield from _wrapped(f"  would fit: {change}", "    ")


def _disk_lines(disk: Cells) -> Iterator[str]:
    yield "Disk"
    free = "" if disk["free_at_cache"] is None else f" of {format_bytes(disk['free_at_cache'])} free"
    sizes = ", ".join(f"{one['name']} ({one['source']})" for one in disk["models"])
    if disk["models"]:
        yield from _wrapped(f"  download {format_bytes(disk['download'])}{free}: {sizes}", "    ")
    else:
        yield "  download nothing"
    free = "" if disk["free_at_output"] is None else f" of {format_bytes(disk['free_at_output'])} free"
    parts = ", ".join(f"{name} {format_bytes(disk[name])}" for name in ("conditioning", "checkpoints", "grids"))
    yield from _wrapped(f"  output {format_bytes(disk['output'])}{free}: {parts}", "    ")


def _forwards_lines(forwards: Cells) -> Iterator[str]:
    unit, each = forwards["unit"], forwards["per_unit"]
    train = "recomputed" if forwards["recomputes"] else "not recomputed"
    yield f"Forwards of the transformer; a backward counts 2, activations are {train}"
    parts = [("rollout", "rollout"), ("training", "train"), ("reference", "reference"), ("old policy", "old")]
    split = ", ".join(f"{name} {each[key]:.3g}" for name, key in parts if each[key])
    yield from _wrapped(f"  each {unit}: {each['all']:.3g} ({split})", "    ")
    units = f"{forwards['units_per_iteration']} {unit}s"
    yield f"  an iteration of {units}: {_usual_and_most(forwards['per_iteration'], forwards['per_iteration_at_most'])}"
    yield f"  {forwards['iterations']} iterations: {_usual_and_most(forwards['per_run'], forwards['per_run_at_most'])}"


def _usual_and_most(usual: float, most: float) -> str:
    return f"{usual:,.0f}" if most == usual else f"{usual:,.0f}, with all replacements {most:,.0f}"


def _time_lines(time: Cells | None, machine: Cells) -> Iterator[str]:
    if time is None:
        yield "Time: unknown; --measure times a step here, --gpu NAME plans for a GPU"
        return
    yield from _wrapped(f"Time ({time['how']}; transformer alone)")
    parts = f"{_duration(time['rollout'])} rollout, {_duration(time['train'])} training"
    yield f"  an iteration: {_duration(time['iteration'])} ({parts})"
    longest = "" if time["run_at_most"] == time["run"] else f", with all replacements {_duration(time['run_at_most'])}"
    yield f"  the run: {_duration(time['run'])}{longest}"
    if machine["accelerator"]:
        yield f"  GPU-hours: {time['gpu_hours']:.1f}"


def _judge_lines(judge: Cells) -> Iterator[str]:
    if not judge["edits_judged"]:
        return
    asked = judge["questions_per_edit"]
    calls = "" if asked is None else f", {asked:.1f} questions each"
    yield from _wrapped(f"Judge: {_usual_and_most(judge['edits_judged'], judge['edits_judged_at_most'])} edits{calls}")
    for scorer in judge["scorers"]:
        yield from _wrapped(f"  {scorer['path']}: {', '.join(scorer['judges'])}", "    ")


def _stage_lines(plan: Cells) -> Iterator[str]:
    """All stages of `hpedit run`, the training among them."""
    cases = plan["cases"]
    about = "" if cases["known"] else "at most about "
    yield from _wrapped(
        f"All stages, for {about}{cases['rated']:,} rated, {cases['train']:,} training and {cases['bench']:,} "
        "benchmark cases; time of the transformer alone"
    )
    yield f"  {'stage':<12}{'edits':>14}{'forwards':>16}{'judge questions':>18}{'time':>14}"
    stages = plan["stages"]
    known = all(stage["seconds"] is not None for stage in stages)
    sums = {key: sum(stage[key] for stage in stages) for key in ("edits", "forwards", "questions")}
    seconds = sum(stage["seconds"] for stage in stages) if known else None
    for stage in (*stages, {"name": "in all", "seconds": seconds} | sums):
        time = "-" if not stage["forwards"] else "?" if stage["seconds"] is None else _duration(stage["seconds"])
        counts = "".join(
            f"{_count(stage[key]):>{width}}" for key, width in (("edits", 14), ("forwards", 16), ("questions", 18))
        )
        yield f"  {stage['name']:<12}{counts}{time:>14}"
    for key, editing in plan.get("editing", {}).items():
        size, unit = (GIB, "GiB") if editing["bytes"] >= GIB else (MIB, "MiB")
        verdict = {True: "fits", False: "DOES NOT FIT", None: "of unknown memory"}[editing["fits"]]
        yield f"  {key} {editing['rows']}: {editing['bytes'] / size:.1f} {unit} while editing, {verdict}"


def _count(number: float) -> str:
    return f"{number:,.0f}" if number else "-"


def _error_count(plan: Cells) -> str:
    errors = len(plan["errors"])
    return "No errors." if not errors else f"{errors} error{'s' if errors > 1 else ''}: it would not run."


def _cell(number: int, unit: int) -> str:
    return f"{number / unit:>11.2f}" if number else f"{'-':>11}"


def _many(number: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
