"""The base installation and the extras for people and servers pull no network: their modules load no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "diffusers", "peft", "accelerate")
LIGHT = (
    "hpedit.cli",
    "hpedit.records",
    "hpedit.store.images",
    "hpedit.store.tables",
    "hpedit.rate.server",
    "hpedit.ratings.agreement",
    "hpedit.scorer.tables.fit_tables",
    "hpedit.scorer.evaluation.learning_curve",
    "hpedit.scorer.votes.evaluate_votes",
    "hpedit.scorer.probes.probes",
    "hpedit.scorer.features",
    "hpedit.scorer.hp_scorer",
    "hpedit.judges.openai_judge",
    "hpedit.judges.answer_cache",
    "hpedit.config.recipe",
)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_no_network(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "sys.argv = ['hpedit', 'edit', '--image', 'x.png', '--instruction', 'y']\n"
        "from hpedit.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: this needs torch, which is not installed",
        "hint: pip install 'hp-edit[models]'",
    ]
