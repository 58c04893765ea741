"""D9: what a model was trained on is refused in its benchmark."""

import json

import pytest
from PIL import Image
from tests.conftest import picture

from hpedit.bench.leakage import refuse_leaked_cases, run_of_lora, training_cases
from hpedit.errors import HPEditError
from hpedit.records import Case, OracleKey
from hpedit.store.tables import write_cases


def detailed(seed):
    """A picture with structure at all scales, which has a perceptual hash."""
    base = picture(256, 256, seed)
    fine = picture(256, 256, seed + 100).resize((64, 64)).resize((256, 256), Image.Resampling.NEAREST)
    import numpy as np

    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((256, 256))
    return Image.blend(Image.blend(base, fine, 0.3), noise, 0.6)


def case(name, image, source="photo"):
    return Case(name, "color", "make it red", (image,), source)


@pytest.fixture
def trained(tmp_path):
    write_cases(tmp_path / "train.parquet", [case(f"t{i}", detailed(i), f"seen-{i}") for i in range(3)])
    return tmp_path / "train.parquet"


def test_same_id_photo_or_pixels_are_refused(trained):
    fresh = [case("new", detailed(50), "new")]
    refuse_leaked_cases(fresh, [trained])
    refuse_leaked_cases(fresh, [])
    for bad, word in (
        (case("t1", detailed(60), "x"), "id t1"),
        (case("other", detailed(61), "seen-2"), "seen-2"),
        (case("other", detailed(0), "x"), "pixels"),
    ):
        with pytest.raises(HPEditError, match=rf"1 of 2 cases are in the training data: {bad.id}.*{word}"):
            refuse_leaked_cases([*fresh, bad], [trained])


def test_near_duplicate_of_a_training_photo(trained):
    smaller = detailed(0).resize((180, 180)).point(lambda value: min(255, value + 6))
    with pytest.raises(HPEditError, match="looks like case t0"):
        refuse_leaked_cases([case("other", smaller, "x")], [trained])


def test_scenes_with_a_target_may_share_their_looks(trained):
    """Scenes of the mini world share backgrounds by design, and are split by tile."""
    smaller = detailed(0).resize((180, 180))
    scene = Case(
        "scene", "color", "make it red", (smaller,), "x", oracle=OracleKey(smaller, Image.new("L", smaller.size, 255))
    )
    refuse_leaked_cases([scene], [trained])
    same = detailed(0)
    scene = Case("scene", "color", "x", (same,), "x", oracle=OracleKey(same, Image.new("L", same.size, 255)))
    with pytest.raises(HPEditError, match="pixels"):
        refuse_leaked_cases([scene], [trained])


def test_training_is_found_by_recipe_run_or_cases(trained, tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"output: {tmp_path / 'run'}\ncases: {trained}\nscorer: s\n")
    run = tmp_path / "run"
    (run / "lora").mkdir(parents=True)
    (run / "recipe.json").write_text(json.dumps({"stage": "train", "recipe": {"cases": str(trained)}}))
    assert training_cases(recipe) == training_cases(run) == training_cases(trained) == trained
    assert run_of_lora(run / "lora") == run
    (tmp_path / "link").symlink_to(run / "lora")
    assert run_of_lora(tmp_path / "link") == run
    assert run_of_lora(tmp_path) is None
    trained.unlink()
    with pytest.raises(HPEditError, match="does not exist"):
        training_cases(run)
