"""Train with a reward of your own: anything that has `fingerprint` and `score` can be the scorer of a run.

    python examples/custom_reward.py [folder] [iterations]

The run has all of `hpedit train`: checkpoints, resume, held-out evaluation, metrics. Run it again to continue it.
"""

import sys

import numpy as np

from hpedit.config.recipe import EvaluateSection, LogSection, Recipe, RolloutSection, TrainSection
from hpedit.editors.load import load_editor
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.records import Score
from hpedit.rl.trainer import train


class Darkness:
    """A reward on the human scale, 0 to 5: how dark an edit is."""

    fingerprint = "darkness, version 1"
    """Change it with the code: runs of two fingerprints are never mixed."""

    def score(self, cases, images, edit_ids=None):
        """One Score for each edit; a value of None, with a reason, leaves an edit out."""
        ids = edit_ids or [case.id for case in cases]
        values = [5.0 * (1.0 - np.asarray(image, dtype=float).mean() / 255) for image in images]
        return [Score(name, self.fingerprint, float(value)) for name, value in zip(ids, values, strict=True)]


def main(folder="runs/darkness", iterations=20):
    """Train a LoRA on the mini editor; prints the gain on held-out cases and where the LoRA is."""
    recipe = Recipe(
        output=str(folder),
        cases="passed in",
        scorer="passed in",
        rollout=RolloutSection(groups=4, group_size=8),
        train=TrainSection(iterations=int(iterations), learning_rate=1e-3),
        log=LogSection(tensorboard=False),
        evaluate=EvaluateSection(every=5, count=8),
    )
    editor = load_editor("mini", device="cpu")
    cases = make_cases(embedded_tiles("train"), 4, 0, "train")
    result = train(recipe, editor=editor, cases=cases, scorer=Darkness())
    last = result.metrics[-1]
    print(f"darkness of held-out edits: {last['held_out_scorer']:.2f} of 5, {last['held_out_scorer_gain']:+.2f}")
    print(result.lora)
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
