"""A small training run on a real pipeline with random weights, and a real scorer that measures pixels."""

from types import SimpleNamespace

import pytest
from tests.children import fork_server
from tests.rl import several
from tests.rl.redness import RednessScorer

from hpedit.config.recipe import (
    CheckpointSection,
    DPOSection,
    EvaluateSection,
    LogSection,
    LoraSection,
    NFTSection,
    Recipe,
    RolloutSection,
    ScaleSection,
    TrainSection,
)


@pytest.fixture
def redness_scorer():
    return RednessScorer


@pytest.fixture
def training_cases(make_case):
    return [make_case(f"case-{i}", "make it red", seed=10 * i) for i in range(4)]


@pytest.fixture
def make_recipe(tmp_path):
    """A recipe of 2 groups of 4 edits in 3 steps; keyword arguments go to the section that has them."""

    def make(output=None, **changes):
        values = {
            "rollout": {"steps": 3, "window": 1, "window_start": (0, 1), "group_size": 4, "groups": 2},
            "train": {"iterations": 2, "micro_batch": 8},
            "lora": {"rank": 4, "alpha": 8.0},
            "checkpoint": {"every": 1},
            "log": {"tensorboard": False, "grid_every": 0, "groups_every": 0},
            "evaluate": {"every": 0},
            "scale": {},
            "nft": {},
            "dpo": {},
        }
        for section, changed in changes.items():
            values[section] |= changed
        return Recipe(
            output=str(output or tmp_path / "run"),
            cases="passed in",
            scorer="passed in",
            rollout=RolloutSection(**values["rollout"]),
            train=TrainSection(**values["train"]),
            lora=LoraSection(**values["lora"]),
            checkpoint=CheckpointSection(**values["checkpoint"]),
            log=LogSection(**values["log"]),
            dpo=DPOSection(**values["dpo"]),
            evaluate=EvaluateSection(**values["evaluate"]),
            scale=ScaleSection(**values["scale"]),
            nft=NFTSection(**values["nft"]),
        )

    return make


@pytest.fixture
def make_rollout_settings():
    def make(**changes):
        values = {
            "steps": 4,
            "dynamics": "flow_sde",
            "noise": 0.8,
            "window": 2,
            "window_start": (0, 1),
            "group_size": 3,
            "shared_noise": False,
        }
        return SimpleNamespace(**values | changes)

    return make


@pytest.fixture(scope="session")
def processes():
    return fork_server()


@pytest.fixture
def start_several(processes, tmp_path):
    """Start processes that train; those that are still there at the end of the test are killed."""
    started = []

    def start(recipe, size=2, **how):
        folder = tmp_path / f"processes-{len(started)}"
        started.append(several.start(processes, folder, recipe.resolved(), size, **how))
        return started[-1]

    yield start
    for one in started:
        one.end()
