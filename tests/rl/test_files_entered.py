"""How many files a reader follows through one training iteration, from the cases to the optimizer step."""

from tests.count_files import files_entered
from tests.rl.redness import RednessScorer

from hpedit.config.recipe import LoraSection
from hpedit.editors.load import load_editor
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.online import Online
from hpedit.rl.parallel.processes import SingleProcess
from hpedit.rl.policy import LoraPolicy
from hpedit.rl.rewards import MAIN, Rewards
from hpedit.rl.sampler import CaseSampler

MOST = 25


def test_one_training_iteration_enters_at_most_25_files(make_recipe):
    """Flow-GRPO on the mini editor, sampling, rewards, advantages, replay, loss and optimizer step included."""
    recipe = make_recipe(train={"micro_batch": 4}, rollout={"dynamic_sampling": 1})
    editor = load_editor("mini", device="cpu")
    editor.add_lora(LoraSection(rank=2, alpha=4.0), 0)
    cases = make_cases(embedded_tiles("train"), 1, 0, "train")
    context = UpdateContext(recipe, editor, LoraPolicy(editor, recipe.train), recomputes=False)
    rewards = Rewards({MAIN: RednessScorer()}, {MAIN: 1.0})
    online = Online(context, cases, rewards, CaseSampler(len(cases), 0), SingleProcess())
    online.iterate(0)
    files = files_entered(lambda: online.iterate(1))
    assert online.last.active.any(), "an update was made"
    assert len(files) <= MOST, files
