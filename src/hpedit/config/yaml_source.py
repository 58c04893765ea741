"""Parse YAML to plain data with the position of every key, so that an error can say `file:line`.

Scalars follow YAML 1.2's core schema, which has fewer traps: `no`, `off` and `12:30` are texts, `010` is ten, and
`1e-4` is a number. Refused, each by name: repeated keys, non-text keys, aliases, program tags, tabs as
indentation. Nothing is ever constructed but dicts, lists, texts, numbers, booleans and None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hpedit.errors import HPEditError

Key = tuple[str | int, ...]
"""Where a value stands: ("train", "betas", 0)."""

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_DIGITS = 4000
"""Python itself refuses to parse integers of more digits."""


@dataclass(frozen=True, slots=True)
class YamlPosition:
    """Position of a value: file and line, or a command-line option without one."""

    name: str
    line: int | None

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


@dataclass(slots=True)
class Source:
    """One YAML document: its data, the position of each key, and problems beyond its grammar."""

    data: Any
    places: dict[Key, YamlPosition] = field(default_factory=dict)
    """Key to the line on which it is given."""
    problems: list[tuple[Key, YamlPosition, str]] = field(default_factory=list)
    """(key, place, message)."""

    def place(self, key: Key) -> YamlPosition:
        """Position of `key`; of a missing one that of the nearest section around it."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places[key]


def read_yaml(path: Path | str) -> Source:
    """Read the YAML file at `path`, UTF-8 with or without a byte order mark, with any line ends.

    HPEditError for a file that cannot be read or does not follow YAML's grammar, with file and line.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise HPEditError(f"{path} does not exist") from error
    except OSError as error:
        raise HPEditError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise HPEditError(f"{path}:{line}: not UTF-8 text", hint="save the file as UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Source:
    """Parse YAML text like `read_yaml`; `name` stands for the file in messages."""
    source = Source(None)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        tab = "\\t" in (error.problem or "")
        hint = "indent with spaces, not tabs" if tab else ""
        raise HPEditError(f"{name}:{line}: not valid YAML: {error.problem}", hint=hint) from error
    except yaml.YAMLError as error:
        raise HPEditError(f"{name}: not valid YAML: {error}".replace("\n", " ")) from error
    except RecursionError as error:
        raise HPEditError(f"{name}: nested too deep") from error
    if node is not None:
        source.data = _YamlBuilder(name, source).build(node, ())
    return source


class _YamlBuilder:
    """Turns YAML's nodes into data, noting places and problems in `source`."""

    def __init__(self, name: str, source: Source) -> None:
        self._name = name
        self._source = source
        self._seen: set[int] = set()

    def build(self, node: yaml.Node, key: Key) -> Any:
        self._source.places.setdefault(key, self._place(node))
        if id(node) in self._seen:
            # Aliases can refer to themselves, or unfold to gigabytes.
            return self._problem(node, key, "YAML aliases (*name) are not supported, write the value out")
        self._seen.add(id(node))
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
            return self._problem(node, key, f"YAML tags such as {node.tag} are not supported")
        if isinstance(node, yaml.MappingNode):
            return self._yaml_mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*key, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._yaml_scalar(node, key)

    def _yaml_mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = name_node.value
            if not isinstance(name, str):
                self._problem(name_node, key, "a key must be a text")
            elif name in result:
                before = self._source.places[(*key, name)]
                self._problem(name_node, (*key, name), f"given twice, first at {before}")
            else:
                self._source.places[(*key, name)] = self._place(name_node)
                result[name] = self.build(value_node, (*key, name))
        return result

    def _yaml_scalar(self, node: yaml.ScalarNode, key: Key) -> Any:
        text = node.value
        if node.style is not None:
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        if len(text) > _MAX_DIGITS and (_INT.fullmatch(text) or _FLOAT.fullmatch(text)):
            return self._problem(node, key, f"a number of {len(text)} digits")
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _SPECIAL_FLOAT.fullmatch(text):
            return float(text.replace(".", ""))
        return text

    def _place(self, node: yaml.Node) -> YamlPosition:
        return YamlPosition(self._name, node.start_mark.line + 1)

    def _problem(self, node: yaml.Node, key: Key, message: str) -> None:
        self._source.problems.append((key, self._place(node), message))
