"""The examples run, learn, and stay short enough to be read."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_rl_loop_raises_its_reward_in_a_few_iterations():
    means = load("rl_loop").train(iterations=6)
    assert len(means) == 6
    assert means[-1] > means[0]


def test_the_rl_loop_has_at_most_70_lines():
    assert len((EXAMPLES / "rl_loop.py").read_text().splitlines()) <= 70


def test_a_custom_reward_trains(tmp_path, capsys):
    result = load("custom_reward").main(tmp_path / "run", iterations=2)
    assert result.iterations == 2
    assert all(record["optimizer_steps"] == 1 for record in result.metrics)
    assert (result.lora / "pytorch_lora_weights.safetensors").exists()
    assert "darkness of held-out edits" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_every_example_says_how_to_run_it(name):
    assert f"python examples/{name}.py" in (EXAMPLES / f"{name}.py").read_text()
