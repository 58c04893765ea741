"""The recipe of a training run: its schema, and reading it from YAML. No torch.

One surface: a YAML file plus dotted overrides of the same names (`train.learning_rate=1e-4`). Every mistake in it is
reported at once, each as `file:line: key: message` with the nearest right name. Where the paper is silent, a default
is that of the best public code for edits (flow_grpo, Edit-R1, verl-omni), as the field's docstring says.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from hpedit.errors import HPEditError
from hpedit.yaml_source import Key, Place, Source, parse_yaml, read_yaml

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]


class _Section(BaseModel):
    """Strict: no unknown key, no text or boolean for a number, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


class EditorSection(_Section):
    """The editor that is trained."""

    model: Text = "mini"
    """"mini" (shipped in the package), a local folder, or a Hugging Face id such as Qwen/Qwen-Image-Edit-2509."""
    revision: Text | None = None
    """Git revision of a hub model; pin it, a name alone can change behind your back."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the frozen weights; sampling mathematics and LoRA stay in float32."""
    resolution: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 32
    """Side of a square edit in pixels; other aspects keep about this area. VAE and packing need multiples of 32."""
    device: Text = "auto"
    """auto, cpu, mps, cuda or cuda:N; auto takes the first accelerator there is."""

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,4})?", value):
            raise ValueError(f"must be auto, cpu, mps, cuda or cuda:N, is {_kind(value)}")
        return value


class LoraSection(_Section):
    """The adapter, all that is trained. Rank from the paper; alpha and targets from Edit-R1's recipe for 2509."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 32
    alpha: Positive = 64.0
    """The adapter's output is scaled by alpha / rank."""
    targets: Annotated[tuple[Text, ...], Field(min_length=1)] = (
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
        "to_add_out",
    )
    """Ends of module names; each must match at least one module of the transformer."""


class RolloutSection(_Section):
    """How edits are sampled for training. The paper is silent; these follow public Qwen-Image-Edit recipes."""

    steps: Annotated[int, Field(ge=2, le=1000)] = 8
    """Sampling steps, at least 2: the schedule of Qwen-Image-Edit has no single-step form."""
    dynamics: Literal["flow_sde", "dance_sde", "cps"] = "flow_sde"
    """The stochastic step. ODE is refused: it has no log-probability, and the Flow-GRPO loss needs one."""
    noise: Annotated[float, Field(gt=0.0, le=2.0)] = 0.8
    """Noise level of the stochastic steps (a, or eta of dance_sde); 0 would be the ODE."""
    window: Annotated[int, Field(ge=1)] = 2
    """Consecutive stochastic steps, the only ones that are trained on; the rest are ODE steps."""
    window_start: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (0, 4)
    """Lowest and highest first step of the window, both included; drawn for each group of each iteration."""
    group_size: Annotated[int, Field(le=1024)] = 12
    """Edits of one case that are compared with each other, at least 2."""
    groups: Count = 12
    """Cases an iteration."""
    cfg: Annotated[float, Field(ge=1.0, le=20.0)] = 1.0
    """Classifier-free guidance; 1 is off. One public trainer collapses with 4.5 and is stable without."""
    shared_noise: bool = False
    """All edits of a group start from the same noise, and share the steps before the window."""

    @field_validator("dynamics", mode="before")
    @classmethod
    def _has_log_probability(cls, value: Any) -> Any:
        if value == "ode":
            raise ValueError(
                "ode has no log-probability, which the Flow-GRPO loss needs; use flow_sde, dance_sde or cps"
            )
        return value

    @field_validator("group_size")
    @classmethod
    def _has_a_comparison(cls, value: int) -> int:
        if value < 2:
            raise ValueError(
                f"must be at least 2, is {value}: an edit's advantage is its reward against the others of its group, "
                "and a group of one has no others, so nothing but noise would be learnt"
            )
        return value

    @field_validator("window")
    @classmethod
    def _window_fits(cls, window: int, info: ValidationInfo) -> int:
        steps = info.data.get("steps")
        if steps is not None and window > steps - 1:
            raise ValueError(
                f"must be at most {steps - 1}, is {window}: of {steps} steps the last goes to noise level 0 and "
                "cannot be stochastic"
            )
        return window

    @field_validator("window_start")
    @classmethod
    def _start_fits(cls, value: tuple[int, int], info: ValidationInfo) -> tuple[int, int]:
        low, high = value
        if low > high:
            raise ValueError(f"the lowest start, {low}, lies above the highest, {high}")
        steps, window = info.data.get("steps"), info.data.get("window")
        if steps is not None and window is not None and high + window > steps - 1:
            raise ValueError(
                f"the highest start must be at most {steps - 1 - window}, is {high}: a window of {window} from there "
                f"would hold step {high + window - 1} of 0..{steps - 1}, and the last goes to noise level 0 and cannot "
                "be stochastic"
            )
        return value


class TrainSection(_Section):
    """The optimisation. AdamW and learning rate from the paper; clip from flow_grpo's edit recipes."""

    iterations: Count = 60
    """Rounds of sampling, scoring and updating."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 3e-4
    weight_decay: NonNegative = 0.0
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    clip: Annotated[float, Field(gt=0.0, lt=1.0)] = 1e-4
    """How far the probability ratio may leave 1; a mean over all latent dimensions moves little, hence so small."""
    kl: NonNegative = 0.0
    """Weight of the KL to the base (the adapter switched off); 0 saves its forward pass."""
    advantage_std: Literal["batch", "group"] = "batch"
    """Whose standard deviation divides the advantage; the batch's is what public edit recipes use."""
    max_grad_norm: Positive = 1.0
    micro_batch: Count = 48
    """Edits a forward pass; changes memory and speed, not the result."""
    inner_updates: Annotated[int, Field(ge=1, le=100)] = 1
    """Optimiser steps an iteration; with 1 every update is on-policy."""
    ema: Fraction = 0.9
    """Decay per iteration of the average of the LoRA that is exported; 0 exports the last weights, with which sampling
    always goes on. Adam takes full steps along noise too, which the average cancels."""


class CheckpointSection(_Section):
    """What a killed run continues from."""

    every: Count = 5
    """Iterations between two checkpoints."""
    keep: Count = 3
    """Checkpoints kept; at least one good one always stays."""


class LogSection(_Section):
    """What a run tells, beside metrics.jsonl."""

    tensorboard: bool = True
    grid_every: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    """Iterations between two grids of source | before | after; 0 for none."""


class Recipe(_Section):
    """All of one training run. Paths are relative to the folder in which the command runs."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of all randomness: the same recipe gives the same weights on the same machine."""
    output: Text
    """The run's folder."""
    cases: Text
    """Training cases: a parquet file, or a folder that `hpedit cases build` wrote."""
    scorer: Text
    """A fitted HP-Scorer: the folder that `hpedit scorer fit` or the demo wrote."""
    scorer_force: bool = False
    """Train even with a scorer that failed `hpedit scorer probe`."""
    editor: EditorSection = EditorSection()
    lora: LoraSection = LoraSection()
    rollout: RolloutSection = RolloutSection()
    train: TrainSection = TrainSection()
    checkpoint: CheckpointSection = CheckpointSection()
    log: LogSection = LogSection()

    def resolved(self) -> dict[str, Any]:
        """All settings, defaults included, as plain JSON."""
        return self.model_dump(mode="json")


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides such as "train.learning_rate=1e-4", in order.

    HPEditError with all mistakes of file and overrides at once, a line each.
    """
    source = read_yaml(path)
    if not isinstance(source.data, dict):
        what = "is empty" if source.data is None else f"holds {_kind(source.data)}"
        raise HPEditError(f"{path}: {what}, not a recipe", hint="a recipe is a mapping, see the folder recipes/")
    for override in overrides:
        _apply(source, override)
    return _validate(source)


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load_recipe` reads back to an equal one."""
    text: str = yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True)
    return text


def _apply(source: Source, override: str) -> None:
    """Set one dotted key in the source's data; what cannot be set becomes a problem of the source."""
    name, equals, text = override.partition("=")
    place = Place(f"--set {override}", None)
    key: Key = tuple(name.strip().split("."))
    if not equals or not all(key):
        raise HPEditError(f"--set {override}: not key=value", hint="for example --set train.learning_rate=1e-4")
    value = parse_yaml(text, place.name)
    section = source.data
    for depth, part in enumerate(key[:-1], start=1):
        if part not in section or section[part] is None:
            section[part] = {}
            source.places.setdefault(key[:depth], place)
        section = section[part]
        if not isinstance(section, dict):
            source.problems.append(
                (key, place, f"{'.'.join(map(str, key[:depth]))} is {_kind(section)}, not a section")
            )
            return
    section[key[-1]] = value.data
    # What an earlier value of this key did wrong no longer matters.
    source.problems = [problem for problem in source.problems if problem[0][: len(key)] != key]
    source.problems += [((*key, *inner), place, message) for inner, _, message in value.problems]
    source.places |= {(*key, *inner): place for inner in value.places} | {key: place}


def _validate(source: Source) -> Recipe:
    mistakes = list(source.problems)
    known = _without_unknown(source.data, Recipe, (), source, mistakes)
    recipe: Recipe | None = None
    try:
        # Through JSON, where strict mode takes a list for a tuple and a whole number for a float, and nothing else.
        recipe = Recipe.model_validate_json(json.dumps(known))
    except ValidationError as error:
        named = {problem[0] for problem in source.problems}
        for detail in error.errors(include_url=False):
            if detail["loc"] not in named:
                mistakes.append((detail["loc"], source.place(detail["loc"]), _message(detail)))
    if mistakes:
        raise HPEditError(_report(mistakes))
    assert recipe is not None
    return recipe


def _report(mistakes: list[tuple[Key, Place, str]]) -> str:
    ordered = sorted(mistakes, key=lambda mistake: (mistake[1].line is None, mistake[1].line or 0))
    lines = [f"{place}: {_dotted(key)}: {message}" if key else f"{place}: {message}" for key, place, message in ordered]
    return lines[0] if len(lines) == 1 else f"{len(lines)} mistakes\n" + "\n".join(f"  {line}" for line in lines)


def _without_unknown(
    data: dict[str, Any], model: type[BaseModel], at: Key, source: Source, mistakes: list[tuple[Key, Place, str]]
) -> dict[str, Any]:
    """`data` less the keys that `model` does not have, each noted as a mistake with what was probably meant."""
    result: dict[str, Any] = {}
    for name, value in data.items():
        if name not in model.model_fields:
            mistakes.append(((*at, name), source.place((*at, name)), f"unknown key{_suggestion(name, model, at)}"))
            continue
        section = _section_of(model, name)
        if section and isinstance(value, dict):
            result[name] = _without_unknown(value, section, (*at, name), source, mistakes)
        elif section and value is None:
            result[name] = {}  # a section whose keys are all commented out
        else:
            result[name] = value
    return result


def _suggestion(name: str, model: type[BaseModel], at: Key) -> str:
    """What was probably meant by an unknown key: the right place of a right name, or the nearest name."""
    elsewhere = {_dotted(key): str(key[-1]) for key in _all_keys(Recipe) if key[:-1] != at}
    if "." in name and name in elsewhere:
        return f": write it nested, as {name.replace('.', ': {')}: ...{'}' * name.count('.')}"
    homes = [dotted for dotted, last in elsewhere.items() if last == name]
    if homes:
        level = "at the top level" if "." not in homes[0] else f"under {homes[0].rpartition('.')[0]}"
        return f" here, it belongs {level} (as {homes[0]})"
    near = difflib.get_close_matches(name, model.model_fields, n=1)
    if not near:
        close = difflib.get_close_matches(name, elsewhere.values(), n=1, cutoff=0.75)
        near = [dotted for dotted, last in elsewhere.items() if close and last == close[0]]
    return f" (did you mean {near[0]}?)" if near else f" (there are {', '.join(model.model_fields)})"


def _all_keys(model: type[BaseModel], at: Key = ()) -> Iterator[Key]:
    for name in model.model_fields:
        yield (*at, name)
        section = _section_of(model, name)
        if section:
            yield from _all_keys(section, (*at, name))


def _section_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    kind = model.model_fields[name].annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


_EXPECTED: Mapping[str, str] = {
    "int_type": "a whole number is expected",
    "int_from_float": "a whole number is expected",
    "float_type": "a number is expected",
    "string_type": "a text is expected (in quotes, if it looks like something else)",
    "bool_type": "true or false is expected",
    "tuple_type": "a list is expected",
    "model_type": "a section of keys is expected",
    "model_attributes_type": "a section of keys is expected",
    "finite_number": "a finite number is expected",
}


def _message(detail: ErrorDetails) -> str:
    """Pydantic's error as a sentence for somebody who edits YAML."""
    kind, value = detail["type"], detail.get("input")
    if kind == "missing":
        # Lists have a fixed length; all else that is missing is a key.
        return "one more item is expected" if isinstance(detail["loc"][-1], int) else "is missing"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if kind == "literal_error":
        choices = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = difflib.get_close_matches(str(value), choices, n=1)
        return f"must be one of {', '.join(choices)}, is {_kind(value)}" + (
            f" (did you mean {near[0]}?)" if near else ""
        )
    if kind in _EXPECTED:
        return f"{_EXPECTED[kind]}, not {_kind(value)}"
    message = detail["msg"].removeprefix("Input should ").replace("be greater than or equal to", "be at least")
    return f"must {message.replace('be less than or equal to', 'be at most')}, is {_kind(value)}"


def _kind(value: Any) -> str:
    """A value as a person would name it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"the text {text!r}" if isinstance(value, str) else text


def _dotted(key: Key) -> str:
    """("train", "betas", 0) as train.betas[0]."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
