"""The Python interface: its documented examples run, and training takes a function as its reward."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import picture

from hpedit import api
from hpedit.errors import HPEditError
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.store.tables import write_cases


def test_the_documented_examples_run() -> None:
    source = picture(64, 64)
    found = doctest.testmod(api, extraglobs={"picture": source})
    assert found.attempted >= 8
    assert not found.failed


def darkness(source: Image.Image, edit: Image.Image, instruction: str) -> float:  # noqa: ARG001
    """The darker, the better."""
    grey = edit.convert("L").resize((1, 1)).getpixel((0, 0))
    assert isinstance(grey, int)
    return 5 - 5 * grey / 255


def test_a_function_can_be_trained_on(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.parquet", make_cases(embedded_tiles("train"), 1, 0, "train"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"output: {tmp_path / 'run'}\ncases: {tmp_path / 'cases.parquet'}\nscorer: none\n"
        "rollout: {steps: 4, window: 1, window_start: [0, 1], groups: 2, group_size: 3}\n"
        "train: {iterations: 2}\nevaluate: {every: 0}\n"
    )
    metrics = api.train(recipe, reward=darkness)
    assert [record["step"] for record in metrics] == [1, 2]
    assert all(0 < record["score_mean"] < 5 for record in metrics)
    assert (tmp_path / "run" / "lora").is_dir()


def test_scorers_by_any_name(tmp_path: Path) -> None:
    with pytest.raises(HPEditError):
        api.load_scorer(tmp_path / "nothing")
    assert api.load_scorer(darkness).fingerprint == api.load_scorer(darkness).fingerprint


def test_a_recipe_can_name_a_reward_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its dotted path, from the working directory; a changed function is another reward, which a run notices."""
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "my_rewards_of_a_recipe.py"
    module.write_text("def red(source, edit, instruction):\n    return edit.resize((1, 1)).getpixel((0, 0))[0] / 51\n")
    write_cases(tmp_path / "cases.parquet", make_cases(embedded_tiles("train"), 1, 0, "train"))
    (tmp_path / "recipe.yaml").write_text(
        "output: run\ncases: cases.parquet\nscorer: my_rewards_of_a_recipe.red\n"
        "rollout: {steps: 4, window: 1, window_start: [0, 1], groups: 2, group_size: 3}\n"
        "train: {iterations: 1}\nevaluate: {every: 0}\n"
    )
    (record,) = api.train("recipe.yaml")
    assert 0 < record["score_mean"] < 5
    with pytest.raises(HPEditError, match="scorer"):
        api.train("recipe.yaml", reward=darkness)
