"""Every mistake in a recipe is named with its place, all at once."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hpedit.config.reading import recipe_text
from hpedit.config.recipe import Recipe, load_recipe
from hpedit.config.yaml_source import parse_yaml
from hpedit.errors import HPEditError

HEAD = "output: runs/x\ncases: c.parquet\nscorer: s\n"
FOLDER = Path(__file__).parents[2] / "recipes"
OF_OTHER_COMMANDS = {*FOLDER.glob("cases_*.yaml"), FOLDER / "mini_hour.yaml"}
RECIPES = sorted(set(FOLDER.glob("*.yaml")) - OF_OTHER_COMMANDS)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tmp_path / "r.yaml"


def load(path: Path, text: str | bytes, *overrides: str) -> Recipe:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_recipe(path, overrides)


def mistakes(path: Path, text: str | bytes, *overrides: str) -> list[str]:
    """The lines of the error, without the folder that the test runs in."""
    with pytest.raises(HPEditError) as caught:
        load(path, text, *overrides)
    lines = [line.strip().replace(f"{path.parent}/", "") for line in caught.value.message.splitlines()]
    if len(lines) > 1:
        assert lines.pop(0) == f"{len(lines)} mistakes"
    return lines


def test_defaults_are_enough(recipe: Path) -> None:
    loaded = load(recipe, HEAD)
    assert loaded.rollout.group_size == 12
    assert loaded.train.clip == 1e-4


def test_an_unknown_key_at_the_top_names_the_nearest(recipe: Path) -> None:
    assert mistakes(recipe, HEAD + "sede: 3\n") == ["r.yaml:4: sede: unknown key (did you mean seed?)"]


def test_an_unknown_nested_key_names_the_nearest(recipe: Path) -> None:
    text = HEAD + "rollout:\n  grup_size: 3\ntrain: {\n  learning_rat: 1.0e-4}\n"
    assert mistakes(recipe, text) == [
        "r.yaml:5: rollout.grup_size: unknown key (did you mean group_size?)",
        "r.yaml:7: train.learning_rat: unknown key (did you mean learning_rate?)",
    ]


def test_a_near_name_elsewhere_is_offered_with_its_section(recipe: Path) -> None:
    assert mistakes(recipe, HEAD + "groupsize: 3\n") == [
        "r.yaml:4: groupsize: unknown key (did you mean rollout.group_size?)"
    ]


def test_a_name_like_none_lists_what_there_is(recipe: Path) -> None:
    [line] = mistakes(recipe, HEAD + "checkpoint: {xyz: 1}\n")
    assert line == "r.yaml:4: checkpoint.xyz: unknown key (there are every, keep)"


def test_the_right_key_in_the_wrong_place_is_sent_home(recipe: Path) -> None:
    text = (
        HEAD + "group_size: 4\nrollout:\n  learning_rate: 0.1\ntrain:\n  seed: 3\n  lora: {rank: 4}\nlog:\n  keep: 2\n"
    )
    assert mistakes(recipe, text) == [
        "r.yaml:4: group_size: unknown key here, it belongs under rollout (as rollout.group_size)",
        "r.yaml:6: rollout.learning_rate: unknown key here, it belongs under train (as train.learning_rate)",
        "r.yaml:8: train.seed: unknown key here, it belongs at the top level (as seed)",
        "r.yaml:9: train.lora: unknown key here, it belongs at the top level (as lora)",
        "r.yaml:11: log.keep: unknown key here, it belongs under checkpoint (as checkpoint.keep)",
    ]


def test_a_dotted_key_in_the_file_is_told_to_be_nested(recipe: Path) -> None:
    assert mistakes(recipe, HEAD + "train.kl: 0.1\n") == [
        "r.yaml:4: train.kl: unknown key: write it nested, as train: {kl: ...}"
    ]


def test_all_mistakes_come_together(recipe: Path) -> None:
    text = "output: 12\ncases: c\nrollout:\n  group_size: 1\n  steps: x\ntrain: {clip: -1,\n  betas: [0.9]}\nlora: 5\n"
    lines = mistakes(recipe, text, "train.kl=nope", "sede=1")
    assert [line.split(": ")[:2] for line in lines] == [
        ["r.yaml:1", "output"],
        ["r.yaml:1", "scorer"],
        ["r.yaml:4", "rollout.group_size"],
        ["r.yaml:5", "rollout.steps"],
        ["r.yaml:6", "train.clip"],
        ["r.yaml:7", "train.betas[1]"],
        ["r.yaml:8", "lora"],
        ["--set sede=1", "sede"],
        ["--set train.kl=nope", "train.kl"],
    ]


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "+1e-4", "0.0001", ".0001"])
def test_a_number_in_any_spelling_is_a_number(recipe: Path, text: str) -> None:
    assert load(recipe, f"{HEAD}train: {{learning_rate: {text}}}").train.learning_rate == 1e-4


def test_a_number_in_quotes_is_refused(recipe: Path) -> None:
    assert mistakes(recipe, f'{HEAD}train: {{learning_rate: "1e-4"}}') == [
        "r.yaml:4: train.learning_rate: a number is expected, not the text '1e-4'"
    ]


@pytest.mark.parametrize("text", ["no", "off", "No", "n", "yes", "on", "0"])
def test_only_true_and_false_are_booleans(recipe: Path, text: str) -> None:
    [line] = mistakes(recipe, f"{HEAD}log: {{tensorboard: {text}}}")
    assert "log.tensorboard: true or false is expected, not" in line


def test_no_and_off_are_texts_where_a_text_is_meant(recipe: Path) -> None:
    assert load(recipe, "output: no\ncases: off\nscorer: 12:30:00\n").output == "no"


def test_a_leading_zero_is_no_octal(recipe: Path) -> None:
    assert load(recipe, f"{HEAD}seed: 010").seed == 10


def test_a_key_given_twice_is_refused_with_both_places(recipe: Path) -> None:
    text = HEAD + "train:\n  kl: 0.1\n  kl: 0.2\nseed: 1\nseed: 2\n"
    assert mistakes(recipe, text) == [
        "r.yaml:6: train.kl: given twice, first at r.yaml:5",
        "r.yaml:8: seed: given twice, first at r.yaml:7",
    ]


def test_tabs_are_refused_with_the_line_and_a_hint(recipe: Path) -> None:
    with pytest.raises(HPEditError, match=r"r\.yaml:5: not valid YAML") as caught:
        load(recipe, HEAD + "train:\n\tkl: 0.1\n")
    assert "spaces" in caught.value.hint


def test_byte_order_mark_and_windows_line_ends_are_no_trouble(recipe: Path) -> None:
    text = b"\xef\xbb\xbf" + (HEAD + "train:\n  kl: 0.5\n").replace("\n", "\r\n").encode()
    assert load(recipe, text).train.kl == 0.5
    assert mistakes(recipe, text + b"sede: 1\r\n") == ["r.yaml:6: sede: unknown key (did you mean seed?)"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b"# only words\n", "is empty"),
        (b"- a\n- b\n", "holds a list"),
        (b"just words\n", "holds the text"),
        (b"output: \xff\n", "r.yaml:1: not UTF-8"),
        (b"a: 1\nb: [1, 2\n", "not valid YAML"),
        (b"a: \x00\n", "not valid YAML"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        (b"a: " + b"[" * 3000, "nested too deep"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(recipe: Path, text: bytes, said: str) -> None:
    [line] = mistakes(recipe, text)
    assert said in line


def test_aliases_and_tags_are_refused(recipe: Path) -> None:
    assert mistakes(recipe, HEAD + "train: &t {kl: 0.1}\nlog: *t\n") == [
        "r.yaml:4: log: YAML aliases (*name) are not supported, write the value out"
    ]
    [line] = mistakes(recipe, HEAD + "seed: !!python/object/apply:os.system ['true']\n")
    assert "r.yaml:4: seed: YAML tags" in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match=r"no\.yaml does not exist"):
        load_recipe(tmp_path / "no.yaml")


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf", "true", "1e999", "-1", "[1]", "{a: 1}", "null", "nan"])
def test_no_such_number(recipe: Path, text: str) -> None:
    for key in ("train: {learning_rate: %s}", "train: {clip: %s}", "rollout: {noise: %s}", "lora: {rank: %s}"):
        [line] = mistakes(recipe, HEAD + key % text)
        assert line.startswith("r.yaml:4: ")


@pytest.mark.parametrize("text", ["1.5", "1.0", "99999999999999999999999", "9" * 5000, "0x10"])
def test_no_such_whole_number(recipe: Path, text: str) -> None:
    [line] = mistakes(recipe, f"{HEAD}rollout: {{groups: {text}}}")
    assert line.startswith("r.yaml:4: rollout.groups: ")
    assert len(line) < 200


def test_the_old_name_of_a_key_is_an_error_that_gives_the_new_one(recipe: Path) -> None:
    [line] = mistakes(recipe, f"{HEAD}rollout: {{refill: 2}}")
    assert line == "r.yaml:4: rollout.refill: unknown key: it is called dynamic_sampling now"
    [line] = mistakes(recipe, HEAD, "rollout.refill=2")
    assert line == "--set rollout.refill=2: rollout.refill: unknown key: it is called dynamic_sampling now"


def test_a_run_folder_keeps_the_old_name_of_a_key_so_that_older_runs_can_be_resumed(recipe: Path) -> None:
    loaded = load(recipe, HEAD, "rollout.dynamic_sampling=2")
    assert list(loaded.shaping()["rollout"])[-1] == "refill"
    assert loaded.shaping()["rollout"]["refill"] == 2


@pytest.mark.parametrize("size", [1, 0, -3])
def test_a_group_of_one_is_refused_with_the_reason(recipe: Path, size: int) -> None:
    [line] = mistakes(recipe, f"{HEAD}rollout: {{group_size: {size}}}")
    assert f"rollout.group_size: must be at least 2, is {size}" in line
    assert "only noise would be trained on" in line


def test_ode_dynamics_are_refused_with_the_reason(recipe: Path) -> None:
    [line] = mistakes(recipe, f"{HEAD}rollout: {{dynamics: ode}}")
    assert "ode has no log-probability" in line
    [line] = mistakes(recipe, f"{HEAD}rollout: {{dynamics: flow-sde}}")
    assert "did you mean flow_sde?" in line
    [line] = mistakes(recipe, f"{HEAD}rollout: {{noise: 0}}")
    assert "must be greater than 0" in line


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("steps: 8, window: 2, window_start: [0, 6]", "the highest start must be at most 5, is 6"),
        ("steps: 8, window: 8", "rollout.window: must be at most 7, is 8"),
        ("steps: 4", "the highest start must be at most 1, is 4"),
        ("window_start: [3, 1]", "the lowest start, 3, lies above the highest, 1"),
        ("window_start: [-1, 1]", "must be at least 0"),
        ("window_start: 2", "a list is expected"),
        ("window: 0", "must be at least 1"),
    ],
)
def test_a_window_outside_the_steps_is_refused(recipe: Path, window: str, said: str) -> None:
    lines = mistakes(recipe, f"{HEAD}rollout: {{{window}}}")
    assert said in lines[0]


def test_the_last_window_that_fits_is_taken(recipe: Path) -> None:
    assert load(recipe, f"{HEAD}rollout: {{steps: 8, window: 2, window_start: [0, 5]}}").rollout.window_start == (0, 5)
    assert load(recipe, f"{HEAD}rollout: {{steps: 8, window: 7, window_start: [0, 0]}}").rollout.window == 7


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu ", ""])
def test_a_device_that_is_none_is_refused(recipe: Path, device: str) -> None:
    assert "r.yaml:4: editor.device: must" in mistakes(recipe, f"{HEAD}editor: {{device: '{device}'}}")[0]
    assert load(recipe, f"{HEAD}editor: {{device: 'cuda:1'}}").editor.device == "cuda:1"


def test_overrides_win_in_order(recipe: Path) -> None:
    loaded = load(recipe, HEAD, "train.kl=0.1", "train.kl=1e-2", "lora.targets=[to_q]", "seed = 7", "editor.model=a=b")
    assert loaded.train.kl == 0.01
    assert loaded.lora.targets == ("to_q",)
    assert loaded.seed == 7
    assert loaded.editor.model == "a=b"


def test_an_override_mends_a_mistake_in_the_file(recipe: Path) -> None:
    assert load(recipe, HEAD + "seed: 1\nseed: 2\ntrain: {kl: x}\n", "seed=3", "train.kl=0").seed == 3


@pytest.mark.parametrize("override", ["seed", "=3", "train..kl=3", "train.kl=[", "seed.x=3"])
def test_an_override_that_is_none_is_named(recipe: Path, override: str) -> None:
    [line] = mistakes(recipe, HEAD, override)
    assert line.startswith(f"--set {override}:") or override == "train.kl=["
    assert "--set" in line


def test_every_shipped_recipe_loads() -> None:
    assert len(RECIPES) >= 3, "no recipes found: the test looks in the wrong place"
    models = {load_recipe(path).editor.model for path in RECIPES}
    assert models == {"mini", "Qwen/Qwen-Image-Edit-2509", "black-forest-labs/FLUX.1-Kontext-dev"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_resolved_recipe_reads_back_equal(path: Path, recipe: Path) -> None:
    loaded = load_recipe(path, ["train.learning_rate=3.3e-5"])
    assert load(recipe, recipe_text(loaded)) == loaded


def message_of(call: Callable[[], object], default: str) -> str:
    """The clear error's message, `default` if there is none; any other exception is passed on."""
    try:
        call()
    except HPEditError as error:
        return error.message
    return default


YAML_TEXT = st.text(
    alphabet=st.sampled_from("abk:_-[]{}&*!|>'\"#%@` \n\t,.019e~\u00e9\U0001f642\x00\ud800"), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(YAML_TEXT)
def test_any_text_is_data_or_a_clear_error(text: str) -> None:
    assert "x.yaml" in message_of(lambda: parse_yaml(text, "x.yaml"), default="x.yaml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["train", "seed", "rollout", "lora", "output", "log", "x"]), VALUES)
def test_any_value_of_any_key_loads_or_is_named(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(HEAD + yaml.safe_dump({key: value}, allow_unicode=False) if key != "output" else HEAD)
    assert "fuzz.yaml" in message_of(lambda: load_recipe(path), default="fuzz.yaml")


@pytest.mark.parametrize("setting", ["base: 8bit", "compile: true"])
def test_what_fsdp2_can_not_shard_is_refused(recipe: Path, setting: str) -> None:
    [said] = mistakes(recipe, HEAD + f"editor: {{{setting}}}\nscale: {{shard: fsdp2}}\n")
    assert said.endswith(f"fsdp2 does not go with editor.{setting}")
