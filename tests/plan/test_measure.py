"""A measured step, on the CPU."""

import dataclasses

import pytest
from tests.plan.test_transformer_layers import TINY_FLUX

from hpedit.plan.editor_shape import editor_shape_of_folder
from hpedit.plan.estimate import plan_run
from hpedit.plan.layout import Layout
from hpedit.plan.measure import measure_step
from hpedit.plan.plan_text import render_plan
from hpedit.plan.transformer_layers import Architecture
from hpedit.store.shipped import editor_path

CPU = Layout(1, False, "float32", recomputes=False)


def test_a_step_of_the_mini_is_measured_and_extrapolated(recipe, cases_file, scorer_folder):
    loaded = recipe(
        "mini",
        f"cases={cases_file(12)}",
        f"scorer={scorer_folder()}",
        "editor.device=cpu",
        "rollout.group_size=2",
        "train.micro_batch=2",
    )
    plan = plan_run(loaded, "mini", measure=True)
    time = plan["time"]
    assert "measured on cpu" in time["how"]
    assert 0 < time["forward"] < time["trained"]
    assert time["rollout"] == pytest.approx(24 * 8 * time["forward"])
    assert time["train"] == pytest.approx(24 * 2 * time["trained"])
    assert time["run"] > 36 * time["iteration"]
    assert "measured on cpu" in render_plan(plan)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen", "flux"])
def test_a_transformer_that_is_not_here_is_measured_by_a_few_random_blocks(recipe, kind):
    loaded = recipe("mini", "train.micro_batch=2", "editor.device=cpu")
    shape = editor_shape_of_folder("mini", editor_path(), {"resolution": 32})
    whole = measure_step(loaded, shape, shape.tokens(), CPU, 2)
    if kind == "flux":
        shape = dataclasses.replace(shape, architecture=Architecture(TINY_FLUX))
    shallow = measure_step(loaded, dataclasses.replace(shape, folder=None), shape.tokens(), CPU, 2)
    assert "random weights" in shallow.how
    assert shallow.forward > 0
    if kind == "qwen":
        assert shallow.forward == pytest.approx(whole.forward, rel=0.9)
