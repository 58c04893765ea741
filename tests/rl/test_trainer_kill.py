"""SIGKILL of a whole run at any point, the same command again, and the same weights bit for bit.

The child is a real process. It counts what it does to its output folder (every open for writing, mkdir, rename,
removal) and every call of the scorer, and kills itself at a given count, just before the deed.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from hpedit.store.atomic import read_jsonl

ITERATIONS = 4
WATCHED = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")


def run_child(output, recipe, kill_at):
    """Train to the end, or to the deed number `kill_at`; the number of deeds of a whole run goes to output.count."""
    import torch
    from PIL import Image
    from tests.rl.redness import RednessScorer

    from hpedit.config.recipe import Recipe
    from hpedit.editors.load import wrap_pipeline
    from hpedit.editors.sizes import ImageAreas
    from hpedit.mini.architecture import build_pipeline
    from hpedit.records import Case
    from hpedit.rl.trainer import train

    torch.set_num_threads(1)
    deeds = 0

    def count():
        nonlocal deeds
        deeds += 1
        if deeds == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event, args):
        if event not in WATCHED or not str(args[0]).startswith(str(output)):
            return
        if event != "open" or args[2] & (os.O_WRONLY | os.O_RDWR):
            count()

    class Scorer(RednessScorer):
        def score(self, cases, *args):
            count()
            # One case gives no signal, so that with dynamic sampling others take its place.
            self.answer = lambda number, value: 3.0 if cases[number].id == "navy" else value
            return super().score(cases, *args)

    editor = wrap_pipeline(build_pipeline(0), ImageAreas(32, 1024, 1024), fingerprint="tiny")
    colours = ["teal", "olive", "navy", "gray"]
    cases = [Case(c, "color", "make it red", (Image.new("RGB", (32, 32), c),), c) for c in colours]
    sys.addaudithook(hook)
    train(Recipe.model_validate(recipe, strict=False), editor=editor, cases=cases, scorer=Scorer())
    Path(f"{output}.count").write_text(str(deeds))


@pytest.fixture
def spawn(processes, make_recipe, tmp_path):
    def run(name, kill_at=0, algorithm="flow_grpo", rounds=0):
        recipe = make_recipe(
            tmp_path / name,
            train={"iterations": ITERATIONS, "algorithm": algorithm},
            rollout={"dynamic_sampling": rounds},
            checkpoint={"every": 2},
            log={"grid_every": 2},
        )
        child = processes.Process(target=run_child, args=(tmp_path / name, recipe.resolved(), kill_at))
        child.start()
        child.join(timeout=120)
        return child.exitcode

    return run


def outcome(folder):
    """Final LoRA, grids, and metrics without the clock."""
    records = read_jsonl(folder / "metrics.jsonl")
    metrics = [{k: v for k, v in record.items() if not k.startswith("seconds")} for record in records]
    grids = {path.name: path.read_bytes() for path in (folder / "grids").iterdir()}
    return (folder / "lora" / "pytorch_lora_weights.safetensors").read_bytes(), grids, metrics


@pytest.mark.slow
def test_killed_anywhere_and_started_again_ends_in_the_same_weights(spawn, tmp_path):
    assert spawn("whole") == 0
    deeds = int((tmp_path / "whole.count").read_text())
    expected = outcome(tmp_path / "whole")
    assert [record["step"] for record in expected[2]] == list(range(1, ITERATIONS + 1))
    # One folder killed again and again (each start gets further than the last), others killed once.
    chains = {"often": [2, deeds // 3, deeds // 3 + 1, deeds // 2]}
    chains |= {f"once-{share}": [deeds * share // 8] for share in (3, 5, 6, 7)}
    chains["at the very end"] = [deeds]
    for name, kills in chains.items():
        for kill_at in kills:
            assert spawn(name, kill_at) == -signal.SIGKILL
        assert spawn(name) == 0
        assert outcome(tmp_path / name) == expected, name
        assert not list((tmp_path / name).rglob("*.tmp-*"))


@pytest.mark.slow
def test_the_old_policy_and_the_cursor_after_dynamic_sampling_survive_a_kill(spawn, tmp_path):
    how = {"algorithm": "nft", "rounds": 1}
    assert spawn("whole", **how) == 0
    deeds = int((tmp_path / "whole.count").read_text())
    expected = outcome(tmp_path / "whole")
    assert sum(record["groups_replaced"] for record in expected[2]) > 0
    # In the third and fourth iteration, which need what the checkpoint of the second holds, and in between.
    for kill_at in (deeds * 5 // 8, deeds * 6 // 8, deeds * 7 // 8):
        assert spawn("killed", kill_at, **how) in (-signal.SIGKILL, 0)
    assert spawn("killed", **how) == 0
    assert outcome(tmp_path / "killed") == expected
