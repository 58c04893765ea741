"""Read and validate a recipe: a YAML file plus dotted overrides (--set), checked against a pydantic schema.

One surface: `train.learning_rate=1e-4` on the command line is the key of the same name in the file. Every mistake is
reported at once, each as `file:line: key: message` with the nearest right name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from hpedit.config.kinds import has_keys_of, recipe_command
from hpedit.config.yaml_source import Key, Source, YamlPosition, parse_yaml, read_yaml
from hpedit.errors import HPEditError


class Section(BaseModel):
    """Strict: no unknown key, no text or boolean for a number, no NaN or infinity."""

    RENAMED: ClassVar[Mapping[str, str]] = {}
    """Old name of a key -> its name now: the old one is an error that gives the new one."""
    SHORT: ClassVar[str] = ""
    """The key that a text in place of the whole section stands for; "" = there is none."""

    COMMAND: ClassVar[str] = ""
    """Which command's recipe it is; empty for a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


M = TypeVar("M", bound=Section)


def read_recipe(path: Path | str, model: type[M], overrides: Sequence[str] = ()) -> M:
    """Read a YAML recipe of one schema and apply overrides such as "train.learning_rate=1e-4", in order.

    HPEditError with all mistakes of file and overrides at once, a line each; for a recipe of another command only that.
    """
    source = read_yaml(path)
    if not isinstance(source.data, dict):
        what = "is empty" if source.data is None else f"holds {kind_of(source.data)}"
        raise HPEditError(f"{path}: {what}, not a recipe", hint="a recipe is a mapping, see the folder recipes/")
    if model.COMMAND and not has_keys_of(model.COMMAND, source.data) and (other := recipe_command(source.data)):
        raise HPEditError(f"{path}: this is a recipe of `{other}`", hint=f"give it to that command: {other} {path}")
    for override in overrides:
        _apply_override(source, override, model)
    return _validate_recipe(source, model)


def read_options(model: type[M], options: Mapping[str, Any]) -> M:
    """Make a section from command-line options; HPEditError with all mistakes, each by the name of its option."""
    try:
        return model.model_validate_json(json.dumps(dict(options)))
    except ValidationError as error:
        found = error.errors(include_url=False)
        lines = [f"{_option_name(detail['loc'])}{_pydantic_message(detail)}" for detail in found]
        raise HPEditError("; ".join(lines)) from error


def _option_name(key: tuple[int | str, ...]) -> str:
    return f"--{str(key[0]).replace('_', '-')}: " if key else ""


def recipe_text(recipe: Section) -> str:
    """The resolved recipe as YAML that `read_recipe` reads back to an equal one."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text


def _apply_override(source: Source, override: str, model: type[BaseModel]) -> None:
    """Set one dotted key in the source's data; what cannot be set becomes a problem of the source."""
    name, equals, text = override.partition("=")
    place = YamlPosition(f"--set {override}", None)
    key: Key = tuple(name.strip().split("."))
    if not equals or not all(key):
        raise HPEditError(f"--set {override}: not key=value", hint="for example --set train.learning_rate=1e-4")
    value = parse_yaml(text, place.name)
    section, schema = source.data, model
    for depth, part in enumerate(key[:-1], start=1):
        schema = (_section_of(schema, str(part))[0] if part in schema.model_fields else None) or BaseModel
        short: str = getattr(schema, "SHORT", "")
        if short and isinstance(section.get(part), str):
            section[part] = {short: section[part]}
            source.places[(*key[:depth], short)] = source.places.get(key[:depth], place)
        if part not in section or section[part] is None:
            section[part] = {}
            source.places.setdefault(key[:depth], place)
        section = section[part]
        if not isinstance(section, dict):
            source.problems.append(
                (key, place, f"{'.'.join(map(str, key[:depth]))} is {kind_of(section)}, not a section")
            )
            return
    section[key[-1]] = value.data
    # Problems of an earlier value of this key no longer matter.
    source.problems = [problem for problem in source.problems if problem[0][: len(key)] != key]
    source.problems += [((*key, *inner), place, message) for inner, _, message in value.problems]
    source.places |= {(*key, *inner): place for inner in value.places} | {key: place}


def _validate_recipe(source: Source, model: type[M]) -> M:
    mistakes = list(source.problems)
    known = _without_unknown(source.data, model, (), _KeyCheck(model, source, mistakes))
    recipe: M | None = None
    try:
        # Through JSON, where strict mode takes a list for a tuple and a whole number for a float, and nothing else.
        recipe = model.model_validate_json(json.dumps(known))
    except ValidationError as error:
        named = {problem[0] for problem in source.problems}
        for detail in error.errors(include_url=False):
            if detail["loc"] not in named:
                mistakes.append((detail["loc"], source.place(detail["loc"]), _pydantic_message(detail)))
    if mistakes:
        raise HPEditError(_mistakes_text(mistakes))
    assert recipe is not None
    return recipe


def _mistakes_text(mistakes: list[tuple[Key, YamlPosition, str]]) -> str:
    ordered = sorted(mistakes, key=lambda mistake: (mistake[1].line is None, mistake[1].line or 0))
    lines = [f"{place}: {_dotted(key)}: {message}" if key else f"{place}: {message}" for key, place, message in ordered]
    return lines[0] if len(lines) == 1 else f"{len(lines)} mistakes\n" + "\n".join(f"  {line}" for line in lines)


@dataclass(frozen=True, slots=True)
class _KeyCheck:
    """State of the search for unknown keys."""

    root: type[BaseModel]
    source: Source
    mistakes: list[tuple[Key, YamlPosition, str]]


def _without_unknown(data: dict[str, Any], model: type[BaseModel], at: Key, check: _KeyCheck) -> dict[str, Any]:
    """`data` less the keys that `model` does not have, each reported as a mistake with a suggestion."""
    result: dict[str, Any] = {}
    for name, value in data.items():
        key = (*at, name)
        if name not in model.model_fields:
            message = f"unknown key{_suggestion(name, model, at, check.root)}"
            check.mistakes.append((key, check.source.place(key), message))
            continue
        section, several = _section_of(model, name)
        if section and several and isinstance(value, list):
            result[name] = [
                _without_unknown(item, section, (*key, number), check) if isinstance(item, dict) else item
                for number, item in enumerate(value)
            ]
        elif section and isinstance(value, dict):
            result[name] = _without_unknown(value, section, key, check)
        elif section and not several and value is None and not _key_may_be_none(model, name):
            result[name] = {}  # a section whose keys are all commented out
        else:
            result[name] = value
    return result


def _suggestion(name: str, model: type[BaseModel], at: Key, root: type[BaseModel]) -> str:
    """What was probably meant by an unknown key: its new name, the right place of a right name, or the nearest name."""
    if name in getattr(model, "RENAMED", {}):
        return f": it is called {model.RENAMED[name]} now"  # type: ignore[attr-defined]
    elsewhere = {_dotted(key): str(key[-1]) for key in _recipe_keys(root) if key[:-1] != at}
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


def _recipe_keys(model: type[BaseModel], at: Key = ()) -> Iterator[Key]:
    for name in model.model_fields:
        yield (*at, name)
        section, _ = _section_of(model, name)
        if section:
            yield from _recipe_keys(section, (*at, name))


def _section_of(model: type[BaseModel], name: str) -> tuple[type[BaseModel] | None, bool]:
    """The section that a key holds, if it holds one, and whether it holds a list of such."""
    kind = model.model_fields[name].annotation
    several = get_origin(kind) in (tuple, list)
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate, several
    return None, False


def _key_may_be_none(model: type[BaseModel], name: str) -> bool:
    return type(None) in get_args(model.model_fields[name].annotation)


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


def _pydantic_message(detail: ErrorDetails) -> str:
    """Turn pydantic's error into a sentence for somebody who edits YAML."""
    kind, value = detail["type"], detail.get("input")
    if kind == "missing":
        # Lists have a fixed length; all else that is missing is a key.
        return "one more item is expected" if isinstance(detail["loc"][-1], int) else "is missing"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if kind == "literal_error":
        choices = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = difflib.get_close_matches(str(value), choices, n=1)
        return f"must be one of {', '.join(choices)}, is {kind_of(value)}" + (
            f" (did you mean {near[0]}?)" if near else ""
        )
    if kind in _EXPECTED:
        return f"{_EXPECTED[kind]}, not {kind_of(value)}"
    message = detail["msg"].removeprefix("Input should ").replace("be greater than or equal to", "be at least")
    return f"must {message.replace('be less than or equal to', 'be at most')}, is {kind_of(value)}"


def kind_of(value: Any) -> str:
    """Describe a YAML value for an error message."""
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
