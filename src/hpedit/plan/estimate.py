"""Plan a training run before it starts: memory, disk, forwards, time and every error of the recipe, as plain data.

    plan = plan_run(recipe, "recipes/x.yaml", gpu="H100", gpus=1)
    plan["memory"]["fits"], plan["errors"]

No torch, unless a step is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from hpedit.config.recipe import Recipe
from hpedit.editors.usual import settle
from hpedit.plan import forwards, hub
from hpedit.plan.advice import memory_advice
from hpedit.plan.disk import PNG_PIXEL, Disk, run_disk_use
from hpedit.plan.editor_shape import EditorShape
from hpedit.plan.fetching import Download, find_editor, find_judges
from hpedit.plan.findings import Findings
from hpedit.plan.judge_memory import JudgeShape, judge_server_bytes
from hpedit.plan.layout import Layout, layout_of_recipe
from hpedit.plan.machine import Machine, check_port, find_machine
from hpedit.plan.memory import GIB, Memory, account_memory, editing_bytes, lora_parameter_count, most_rows
from hpedit.plan.recipe_checks import check_recipe
from hpedit.plan.recipe_inputs import RecipeInputs, check_output_folder, read_recipe_inputs
from hpedit.plan.timing import Speed, run_time, speed_from_table
from hpedit.plan.transformer_layers import Tokens

DEFAULT_CASES = 1000
"""Cases assumed where none could be read."""


def plan_run(
    recipe: Recipe, name: str, *, gpu: str | None = None, gpus: int = 1, measure: bool | None = None,
    around: Around | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Plan a training run.

    Args:
        recipe: The run's recipe.
        name: What to call it.
        gpu: Kind of GPU of the machine that will run it; None = this machine.
        gpus: Processes, one per GPU.
        measure: Time one training step of the editor here; None = only if there is a GPU.
        around: The other stages, where this is one of several; then inputs and output folder are not looked for.

    Raises:
        HPEditError: `gpu` is not in the table. Whatever is wrong with the recipe is in the plan's "errors".
    """
    findings = around.findings if around else Findings()
    machine = find_machine(recipe, gpu, gpus, findings)
    recipe = recipe.model_copy(update={"editor": settle(recipe.editor, accelerator=machine.accelerator)})
    layout = layout_of_recipe(recipe, gpus, accelerator=machine.accelerator, recomputes=machine.cuda)
    shape, downloads = find_editor(recipe, findings, elsewhere=machine.elsewhere)
    inputs = around.inputs if around else read_recipe_inputs(recipe, findings)
    judges, more = find_judges(inputs.scorers, findings, accelerator=machine.accelerator, elsewhere=machine.elsewhere)
    check_recipe(recipe, shape, layout, inputs, findings)
    check_port(machine, findings)
    if around is None:
        check_output_folder(recipe, findings)
    plan = {"recipe": name, "algorithm": recipe.train.algorithm, "machine": _machine_section(machine)}
    plan |= {"forwards": _forwards_section(recipe, layout), "judge": _judge_section(recipe, inputs, judges)}
    if shape is not None:
        sized = _SizedRun(recipe, layout, machine, inputs, _joint_judge(judges), findings)
        if around is not None:
            plan["editing"] = sized.editing(shape, around.batches)
            sized = replace(sized, pictures=around.pictures)
        plan |= sized.plan(shape, [*downloads, *more], measure)
    return plan | {level + "s": [asdict(found) for found in findings.of(level)] for level in ("error", "warning")}


@dataclass(frozen=True, slots=True)
class Around:
    """What a training run is planned with where it is one stage of several: its inputs are made by earlier ones."""

    inputs: RecipeInputs
    """What is known of cases and scorers; they need not be there yet."""
    pictures: int
    """Edits that the other stages keep, as PNG."""
    batches: Mapping[str, int]
    """Cases that other stages edit at once, by the recipe key that sets it."""
    findings: Findings
    """Takes the plan's errors and warnings."""


@dataclass(frozen=True, slots=True)
class _SizedRun:
    """The parts of a plan that need the editor's size."""

    recipe: Recipe
    layout: Layout
    machine: Machine
    inputs: RecipeInputs
    judge: JudgeShape | None
    """All in-process judges as one."""
    findings: Findings
    pictures: int = 0
    """Edits that other stages keep."""

    def plan(self, shape: EditorShape, downloads: Sequence[Download], measure: bool | None) -> dict[str, Any]:
        """The plan's sections editor, memory, disk and time."""
        tokens = shape.tokens(self.inputs.sources)
        memory = self.memory(self.recipe, shape, self.layout, self.judge is not None)
        self.check_judge_server(memory)
        advice: list[str] = []
        if memory.fits is False:
            advice = memory_advice(self.recipe, shape, self.layout, judge=self.judge is not None, account=self.memory)
            self.out_of_memory(memory, advice)
        disk = run_disk_use(
            self.recipe,
            shape,
            tokens,
            self.layout,
            download=sum(model.bytes for model in downloads),
            cases=self.inputs.cases or DEFAULT_CASES,
            cache=hub.hub_cache(),
        )
        disk = replace(disk, other=disk.other + self.pictures * shape.resolution**2 * PNG_PIXEL)
        for lack in disk.lacking():
            say = self.findings.of_machine(elsewhere=self.machine.elsewhere)
            say(lack, "free some space, or set output or HF_HUB_CACHE to another disk")
        speed = self.speed(shape, tokens, measure)
        items = {"items": [asdict(item) for item in memory.items], "totals": memory.totals, "peak": memory.peak}
        return {
            "editor": _editor_section(self.recipe, shape, tokens),
            "memory": items | {"available": memory.available, "fits": memory.fits, "advice": advice},
            "disk": _disk_section(disk, downloads),
            "time": _time_section(self.recipe, speed, self.layout) if speed else None,
        }

    def memory(self, recipe: Recipe, shape: EditorShape, layout: Layout, judge: bool) -> Memory:
        """Memory of one GPU for a changed recipe, editor or layout, with or without the judge in process."""
        beside = self.judge if judge else None
        tokens = shape.tokens(self.inputs.sources)
        return account_memory(recipe, shape, tokens, layout, beside, self.machine.available, self.inputs.cases)

    def editing(self, shape: EditorShape, batches: Mapping[str, int]) -> dict[str, Any]:
        """Memory while other stages edit, by the key of their batch; an error, with a batch that fits, for too much."""
        tokens, alone = shape.tokens(self.inputs.sources), replace(self.layout, gpus=1, shard=False)

        def need(rows: int) -> int:
            return editing_bytes(self.recipe, shape, tokens, alone, self.judge, rows)

        available, found = self.machine.available, {}
        for key, rows in batches.items():
            fits = None if available is None else need(rows) <= available
            found[key] = {"rows": rows, "bytes": need(rows), "fits": fits}
            if available is not None and not fits:
                most = next((less for less in range(rows - 1, 0, -1) if need(less) <= available), 0)
                self.findings.error(
                    f"out of memory: {need(rows) / GIB:.1f} GiB are needed to edit {rows} cases at once, "
                    f"{self.machine.name} has {available / GIB:.1f}",
                    hint=f"set {key} to {most}" if most else "take a larger GPU, or editor.base: 8bit",
                )
        return found

    def check_judge_server(self, memory: Memory) -> None:
        """A judge's server on the machine of the run needs a GPU of its own, or room beside the policy."""
        uses = [use for scorer in self.inputs.scorers for use in scorer.judges if use.here]
        served = {use.model: judge_server_bytes(use) for use in uses}
        need, free = sum(served.values()), (self.machine.available or 0) - memory.peak
        if not need or not self.machine.accelerator or self.machine.available is None:
            return
        names = ", ".join(served)
        needs = f"needs {need / GIB:.0f} GiB or more, and the run leaves {free / GIB:.0f} GiB"
        if need <= free:
            share = f"--gpu-memory-utilization {free / self.machine.available - 0.01:.2f}"
            hint = f"a GPU of its own is better; on the same one: vllm serve ... {share}"
            self.findings.warning(f"the judge's server is on the same machine: {names} {needs} of a GPU", hint)
            return
        say = self.findings.error if self.machine.spare == 0 else self.findings.warning
        hint = "serve the judge on a GPU of its own (CUDA_VISIBLE_DEVICES), or on another machine"
        say(f"policy and judge do not fit on one GPU: {names} {needs}", hint)

    def out_of_memory(self, memory: Memory, advice: Sequence[str]) -> None:
        """Note the phase that needs too much, and what would fit."""
        assert memory.available is not None
        phase = max(memory.totals, key=lambda key: memory.totals[key])
        shared = " beside the judge in the same process" if memory.bytes_of("judge: weights") else ""
        self.findings.error(
            f"out of memory: {memory.peak / GIB:.1f} GiB are needed to {phase}{shared}, {self.machine.name} has "
            f"{memory.available / GIB:.1f}",
            hint="; or ".join(advice)
            or "no single change is enough: take a larger GPU, or a smaller resolution and batch",
        )

    def speed(self, shape: EditorShape, tokens: Tokens, measure: bool | None) -> Speed | None:
        """Measured here if wanted and possible, else from the table of GPUs; None for an unknown GPU."""
        rows, machine = most_rows(self.recipe), self.machine
        wanted = machine.cuda if measure is None else measure
        if wanted and not machine.elsewhere and not self.findings.of("error"):
            from hpedit.plan.measure import measure_step

            return measure_step(self.recipe, shape, tokens, self.layout, rows)
        return speed_from_table(machine.kind, shape, tokens, self.layout, rows) if machine.kind else None


def _joint_judge(judges: Sequence[JudgeShape]) -> JudgeShape | None:
    """All judges in process as one: their weights add up, they run one after the other."""
    if not judges:
        return None
    weights, running = sum(judge.weights for judge in judges), max(judge.running for judge in judges)
    return JudgeShape(" + ".join(judge.name for judge in judges), weights, running, 0)


def _machine_section(machine: Machine) -> dict[str, Any]:
    facts = {"name": machine.name, "gpus": machine.gpus, "accelerator": machine.accelerator}
    return facts | {"available_bytes": machine.available, "named": machine.elsewhere}


def _editor_section(recipe: Recipe, shape: EditorShape, tokens: Tokens) -> dict[str, Any]:
    layers = shape.architecture.adapted(recipe.lora.targets)
    return {
        "model": shape.model,
        "pipeline": shape.pipeline,
        "parameters": shape.architecture.parameters,
        "encoder_parameters": shape.encoders,
        "vae_parameters": shape.vae,
        "lora_parameters": lora_parameter_count(layers, recipe.lora.rank),
        "resolution": shape.resolution,
        "tokens": asdict(tokens),
        "forward_flops": shape.architecture.flops(tokens),
    }


def _disk_section(disk: Disk, downloads: Sequence[Download]) -> dict[str, Any]:
    cache, output = disk.free()
    parts = {name: getattr(disk, name) for name in ("conditioning", "checkpoints", "grids", "other", "output")}
    models = {"download": disk.download, "models": [asdict(model) for model in downloads]}
    return models | parts | {"free_at_cache": cache, "free_at_output": output}


def _forwards_section(recipe: Recipe, layout: Layout) -> dict[str, Any]:
    usual = forwards.iteration_forwards(recipe, recomputes=layout.recomputes, processes=layout.gpus)
    most = usual.with_refills(recipe.rollout.dynamic_sampling)
    units, iterations = forwards.units_per_iteration(recipe), recipe.train.iterations
    return {
        "unit": "pair" if recipe.offline else "edit",
        "units_per_iteration": units,
        "per_unit": asdict(usual.scaled(1 / units)) | {"all": usual.all / units},
        "per_iteration": usual.all,
        "per_iteration_at_most": most.all,
        "per_run": usual.all * iterations,
        "per_run_at_most": most.all * iterations,
        "iterations": iterations,
        "recomputes": layout.recomputes,
    }


def _judge_section(recipe: Recipe, inputs: RecipeInputs, judges: Sequence[JudgeShape]) -> dict[str, Any]:
    edits = 0 if recipe.offline else forwards.units_per_iteration(recipe) * recipe.train.iterations
    scorers = inputs.scorers
    return {
        "scorers": [{"path": scorer.path, "judges": [judge.name for judge in scorer.judges]} for scorer in scorers],
        "in_process": [judge.name for judge in judges],
        "server_here": any(judge.here for scorer in scorers for judge in scorer.judges),
        "edits_judged": edits,
        "edits_judged_at_most": edits * (1 + recipe.rollout.dynamic_sampling),
        "questions_per_edit": sum(scorer.questions for scorer in scorers) if scorers else None,
    }


def _time_section(recipe: Recipe, speed: Speed, layout: Layout) -> dict[str, Any]:
    usual = forwards.iteration_forwards(recipe, recomputes=layout.recomputes, processes=layout.gpus)
    time = run_time(recipe, speed, layout, usual)
    seconds = {"iteration": time.iteration, "gpu_hours": time.gpu_hours}
    return asdict(time) | seconds | {"forward": speed.forward, "trained": speed.trained}
