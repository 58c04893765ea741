"""The plan of a run: everything that can be told before it starts, as plain data.

    plan = plan_run(recipe, "recipes/x.yaml", gpu="H100", gpus=1)
    plan["memory"]["fits"], plan["errors"]

No torch, unless a step is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hpedit.config.recipe import Recipe
from hpedit.plan import forwards, hub
from hpedit.plan.advice import advise
from hpedit.plan.architecture import Tokens
from hpedit.plan.checks import check_recipe
from hpedit.plan.data import Data, check_output, read_data
from hpedit.plan.disk import Disk, disk_of
from hpedit.plan.fetching import Fetched, find_editor, find_judges
from hpedit.plan.judges import JudgeShape, served_bytes
from hpedit.plan.layout import Layout, layout_of
from hpedit.plan.machine import Machine, check_port, machine_of
from hpedit.plan.memory import GIB, Memory, account, lora_numbers, most_rows
from hpedit.plan.problems import Problems
from hpedit.plan.shape import EditorShape
from hpedit.plan.timing import Speed, reckoned, time_of

DEFAULT_CASES = 1000
"""Cases that are assumed where none could be read."""


def plan_run(
    recipe: Recipe, name: str, *, gpu: str | None = None, gpus: int = 1, measure: bool | None = None
) -> dict[str, Any]:
    """Plan a training run.

    Args:
        recipe: What is to be run.
        name: What to call it.
        gpu: Kind of GPU of the machine that will run it; None = this machine.
        gpus: Processes, one a GPU.
        measure: Time one step of the editor here; None = where there is a GPU.

    Raises:
        HPEditError: `gpu` is not in the table. Whatever is wrong with the recipe is in the plan's "errors".
    """
    problems = Problems()
    machine = machine_of(recipe, gpu, gpus, problems)
    layout = layout_of(recipe, gpus, accelerator=machine.accelerator, recomputes=machine.cuda)
    shape, fetched = find_editor(recipe, problems, elsewhere=machine.elsewhere)
    data = read_data(recipe, problems)
    judges, more = find_judges(data.scorers, problems, accelerator=machine.accelerator, elsewhere=machine.elsewhere)
    check_recipe(recipe, shape, layout, data, problems)
    check_port(machine, problems)
    check_output(recipe, problems)
    plan = {"recipe": name, "algorithm": recipe.train.algorithm, "machine": _machine(machine)}
    plan |= {"forwards": _forwards(recipe, layout), "judge": _judge(recipe, data, judges)}
    if shape is not None:
        plan |= _sized(recipe, shape, layout, machine, data, judges, [*fetched, *more], measure, problems)
    return plan | {level + "s": [asdict(p) for p in problems.of(level)] for level in ("error", "warning")}


def _sized(
    recipe: Recipe,
    shape: EditorShape,
    layout: Layout,
    machine: Machine,
    data: Data,
    judges: Sequence[JudgeShape],
    fetched: Sequence[Fetched],
    measure: bool | None,
    problems: Problems,
) -> dict[str, Any]:
    """What depends on the editor's size."""
    tokens = shape.tokens(data.sources)
    together = _together(judges)

    def added(changed: Recipe, sized: EditorShape, laid: Layout, judge: bool) -> Memory:
        own = sized.tokens(data.sources)
        return account(changed, sized, own, laid, together if judge else None, machine.available, data.cases)

    memory = added(recipe, shape, layout, together is not None)
    _check_served(memory, machine, data, problems)
    advice: list[str] = []
    if memory.fits is False:
        advice = advise(recipe, shape, layout, judge=together is not None, account=added)
        _does_not_fit(memory, machine, advice, problems)
    disk = disk_of(
        recipe,
        shape,
        tokens,
        layout,
        download=sum(one.bytes for one in fetched),
        cases=data.cases or DEFAULT_CASES,
        cache=hub.cache_folder(),
    )
    for lack in disk.lacking():
        problems.of_machine(elsewhere=machine.elsewhere)(lack, "clear it, or set output or HF_HUB_CACHE elsewhere")
    speed = _speed(recipe, shape, tokens, layout, machine, measure, problems)
    return {
        "editor": _editor(recipe, shape, tokens),
        "memory": _memory(memory, advice),
        "disk": _disk(disk, fetched),
        "time": _time(recipe, speed, layout) if speed else None,
    }


def _together(judges: Sequence[JudgeShape]) -> JudgeShape | None:
    """All judges in process as one: their weights add up, they run one after the other."""
    if not judges:
        return None
    return JudgeShape(
        " + ".join(judge.name for judge in judges),
        sum(judge.weights for judge in judges),
        max(judge.running for judge in judges),
        0,
    )


def _check_served(memory: Memory, machine: Machine, data: Data, problems: Problems) -> None:
    """A judge's server on the machine of the run needs a GPU of its own, or room beside the policy."""
    served = {use.model: served_bytes(use) for scorer in data.scorers for use in scorer.judges if use.here}
    need, free = sum(served.values()), (machine.available or 0) - memory.peak
    if not need or not machine.accelerator or machine.available is None:
        return
    names, needs = ", ".join(served), f"needs {need / GIB:.0f} GiB or more, and the run leaves {free / GIB:.0f} GiB"
    if need <= free:
        share = f"--gpu-memory-utilization {free / machine.available - 0.01:.2f}"
        problems.warning(
            f"the judge's server is on the same machine: {names} {needs} of a GPU",
            hint=f"a GPU of its own is better; on the same one: vllm serve ... {share}",
        )
        return
    say = problems.error if machine.spare == 0 else problems.warning
    say(
        f"policy and judge do not fit on one GPU: {names} {needs}",
        "serve the judge on a GPU of its own (CUDA_VISIBLE_DEVICES), or on another machine",
    )


def _does_not_fit(memory: Memory, machine: Machine, advice: Sequence[str], problems: Problems) -> None:
    assert memory.available is not None
    phase = max(memory.totals, key=lambda key: memory.totals[key])
    shared = " beside the judge in the same process" if memory.bytes_of("judge: weights") else ""
    problems.error(
        f"out of memory: {memory.peak / GIB:.1f} GiB are needed to {phase}{shared}, {machine.name} has "
        f"{memory.available / GIB:.1f}",
        hint="; or ".join(advice) or "no single change is enough: take a larger GPU, or a smaller resolution and batch",
    )


def _speed(
    recipe: Recipe,
    shape: EditorShape,
    tokens: Tokens,
    layout: Layout,
    machine: Machine,
    measure: bool | None,
    problems: Problems,
) -> Speed | None:
    rows = most_rows(recipe)
    wanted = machine.cuda if measure is None else measure
    if wanted and not machine.elsewhere and not problems.of("error"):
        from hpedit.plan.measure import measured

        return measured(recipe, shape, tokens, layout, rows)
    return reckoned(machine.kind, shape, tokens, layout, rows) if machine.kind else None


def _machine(machine: Machine) -> dict[str, Any]:
    return {
        "name": machine.name,
        "gpus": machine.gpus,
        "accelerator": machine.accelerator,
        "available_bytes": machine.available,
        "named": machine.elsewhere,
    }


def _editor(recipe: Recipe, shape: EditorShape, tokens: Tokens) -> dict[str, Any]:
    layers = shape.architecture.adapted(recipe.lora.targets)
    return {
        "model": shape.model,
        "pipeline": shape.pipeline,
        "parameters": shape.architecture.parameters,
        "encoder_parameters": shape.encoders,
        "vae_parameters": shape.vae,
        "lora_parameters": lora_numbers(layers, recipe.lora.rank),
        "resolution": shape.resolution,
        "tokens": {"target": tokens.target, "source": tokens.source, "text": tokens.text},
        "forward_flops": shape.architecture.flops(tokens),
    }


def _memory(memory: Memory, advice: Sequence[str]) -> dict[str, Any]:
    return {
        "items": [asdict(item) for item in memory.items],
        "totals": memory.totals,
        "peak": memory.peak,
        "available": memory.available,
        "fits": memory.fits,
        "advice": list(advice),
    }


def _disk(disk: Disk, fetched: Sequence[Fetched]) -> dict[str, Any]:
    cache, output = disk.free()
    return {
        "download": disk.download,
        "models": [asdict(one) for one in fetched],
        "conditioning": disk.conditioning,
        "checkpoints": disk.checkpoints,
        "grids": disk.grids,
        "other": disk.other,
        "output": disk.output,
        "free_at_cache": cache,
        "free_at_output": output,
    }


def _forwards(recipe: Recipe, layout: Layout) -> dict[str, Any]:
    usual = forwards.of_iteration(recipe, recomputes=layout.recomputes, processes=layout.gpus)
    most = forwards.at_most(recipe, recomputes=layout.recomputes, processes=layout.gpus)
    edits, iterations = forwards.units(recipe), recipe.train.iterations
    return {
        "unit": "pair" if recipe.offline else "edit",
        "units_per_iteration": edits,
        "per_unit": asdict(usual.scaled(1 / edits)) | {"all": usual.all / edits},
        "per_iteration": usual.all,
        "per_iteration_at_most": most.all,
        "per_run": usual.all * iterations,
        "per_run_at_most": most.all * iterations,
        "iterations": iterations,
        "recomputes": layout.recomputes,
    }


def _judge(recipe: Recipe, data: Data, judges: Sequence[JudgeShape]) -> dict[str, Any]:
    edits = 0 if recipe.offline else forwards.units(recipe) * recipe.train.iterations
    questions = sum(scorer.questions for scorer in data.scorers)
    return {
        "scorers": [
            {"path": scorer.path, "judges": [judge.name for judge in scorer.judges]} for scorer in data.scorers
        ],
        "in_process": [judge.name for judge in judges],
        "server_here": any(judge.here for scorer in data.scorers for judge in scorer.judges),
        "edits_judged": edits,
        "edits_judged_at_most": edits * (1 + recipe.rollout.dynamic_sampling),
        "questions_per_edit": questions if data.scorers else None,
    }


def _time(recipe: Recipe, speed: Speed, layout: Layout) -> dict[str, Any]:
    usual = forwards.of_iteration(recipe, recomputes=layout.recomputes, processes=layout.gpus)
    most = forwards.at_most(recipe, recomputes=layout.recomputes, processes=layout.gpus)
    time = time_of(recipe, speed, layout, usual, most)
    return asdict(time) | {
        "iteration": time.iteration,
        "gpu_hours": time.gpu_hours,
        "forward": speed.forward,
        "trained": speed.trained,
    }
