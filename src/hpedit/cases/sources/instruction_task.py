"""Tell the task of an English instruction from its verb, then from the object of the verb.

"Put the light bulb in the lamp" is an addition although it speaks of light: the verb says what is done, the head of its
object ("bulb") to what, and what follows "to", "into" or "with" what comes of it. Nouns elsewhere say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import yaml

_WORDS: Final[dict[str, str]] = yaml.safe_load(Path(__file__).with_name("instruction_task.yaml").read_text("utf-8"))


def _pattern(name: str, form: str = r"\b(?:{})\b") -> re.Pattern[str]:
    """The regular expression of a list of words in instruction_task.yaml."""
    return re.compile(form.format("|".join(_WORDS[name].split(", "))))


_POLITE = _pattern("polite", r"^(?:(?:{})[\s,]+)+")
_VERBS: Final = {verb: _pattern(verb, r"^(?:{})\b") for verb in ("remove", "add", "swap", "relight", "dye", "change")}
_BOKEH, _STYLE, _LIGHT, _COLOR = (_pattern(name) for name in ("bokeh", "style", "light", "color"))
_STYLE_HEAD, _LIGHT_HEAD, _SCENE_HEAD = (_pattern(f"{n}_head", r"(?:^|\s)(?:{})$") for n in ("style", "light", "scene"))
_SCENE, _PLACE, _WHOLE, _GONE = (_pattern(name) for name in ("scene", "place", "whole", "gone"))
_LAMP, _OWN = _pattern("lamp"), _pattern("own", r"\b(?:{})$")
_STATE, _THERE = _pattern("state", r"\s(?:{})\s(.*)"), _pattern("there", r"^(?:{})\s")
_NOUN_END = _pattern("noun_end", r"[\s,]+(?:{})\b.*")
_RESULT = re.compile(r"\s(?:into|to|with|for|as|like|by)\s(.*)|\s(?:in|from \S+)\s(an?\s.*)")
_ARTICLE = re.compile(r"^(?:the|an?|some|all|this|that|his|her|its|their|more|soft|only)\s+")
_COLOR_END = re.compile(rf"(?:^|\s)(?:{_WORDS['hue'].replace(', ', '|')})(?:\sone)?$")


def task_by_words(instruction: str) -> str | None:
    """The id of the task that an English instruction asks for, one of `hpedit.tasks.TASK_IDS`; None if it is none."""
    text = re.sub(r"\s+", " ", instruction.lower().replace("colour", "color")).strip(" .!?\"'")
    if _BOKEH.search(text):
        return "bokeh"
    for clause in [text, *re.split(r"[,:;.]\s", text)[1:]]:
        clause = _POLITE.sub("", re.sub(r"^[^\w]+", "", clause))
        for verb, pattern in _VERBS.items():
            if found := pattern.match(clause):
                return _BY_VERB[verb](clause[found.end() :].strip())
    return _of_state(_POLITE.sub("", text))


def _head(phrase: str) -> str:
    """The noun phrase at the start of a text, without its article and what belongs to it: its last word is the head."""
    return _ARTICLE.sub("", _NOUN_END.sub("", phrase)).strip()


def _is_light(head: str) -> bool:
    """Whether the head of a phrase is light, or weather, and not a lamp."""
    return bool(_LIGHT_HEAD.search(head)) and not _LAMP.search(head)


def _removal(rest: str) -> str:
    """The task of what is removed: a background, fog, a color cast, or a thing."""
    head = _head(rest)
    if _SCENE_HEAD.search(head):
        return "background"
    if _OWN.search(head):
        return "color"
    return "relighting" if _is_light(head) else "removal"


def _addition(rest: str) -> str:
    """The task of what is added: light, a filter, a place that something is put in front of, or a thing."""
    head = _head(rest)
    if _SCENE_HEAD.search(head) or (_PLACE.search(rest) and not re.match("an? ", rest)):
        return "background"
    if _STYLE_HEAD.search(head):
        return "style"
    if _is_light(head):
        return "relighting"
    return "color" if _COLOR.search(head) and _OWN.search(head) else "addition"


def _swap(rest: str) -> str:
    """The task of a replacement: of a background, of the light, of a color, or of a thing."""
    head = _head(rest)
    if _SCENE_HEAD.search(head):
        return "background"
    if re.search(r"\bcolors?\b", head) or _COLOR_END.search(head) or re.search(r"\b(paint|hue)$", head):
        return "color"
    return "relighting" if _is_light(head) else "swap"


def _dyeing(rest: str) -> str:
    """The task of what is painted or colored: the style of the whole picture, or a thing's color."""
    return "style" if _STYLE.search(rest) and not _COLOR_END.search(rest) else "color"


def _change(rest: str) -> str | None:
    """The task of what is changed, made or turned: by what it is, then by what it shall become."""
    head = _head(rest)
    found = _RESULT.search(f" {rest}")
    result = next((part for part in found.groups() if part), "") if found else ""
    end = result or rest
    if re.search(r"\b(color|hue)\b", head):
        return "color"
    if _SCENE_HEAD.search(head) or _SCENE.match(_ARTICLE.sub("", rest)):
        return "background"
    if _is_light(head) or re.match(r"(?:off|on)\b|.*\s(?:off|on)$", rest):
        return "relighting"
    whole = bool(_WHOLE.match(rest)) or not result
    if (_STYLE_HEAD.search(head) and not _WHOLE.match(rest)) or (whole and _STYLE.search(end)):
        return "style"
    if whole and _LIGHT.search(end):
        return "relighting"
    if _GONE.search(rest):
        return "removal"
    if _COLOR_END.search(_NOUN_END.sub("", end)) or _COLOR_END.search(end) or _COLOR_END.search(_head(rest)):
        return "color"
    if _WHOLE.match(rest) and _PLACE.search(rest):
        return "background"
    if result and not _WHOLE.match(rest):
        same = _COLOR.search(head) and _COLOR.search(result) and head.split()[-1] == _head(result).split()[-1]
        return "color" if same else "swap"
    if re.search(r"\b(?:wear|hold|carry)\b", rest):
        return "addition"
    # "Make the pizza a burger": a second noun phrase.
    return "swap" if re.match(r"(?:the|his|her|its|their)\s\S+(?:\s\S+)?\s(?:be\s)?an?\s", rest) else None


def _of_state(text: str) -> str | None:
    """The task of an instruction without a verb of editing: "there should be a clock", "cyberpunk style"."""
    if there := _THERE.match(text):
        rest = text[there.end() :]
        return "removal" if rest.startswith("no ") else _addition(rest)
    if _GONE.search(text):
        return "removal"
    if found := _STATE.search(text):
        return _change(f"{text[: found.start()]} {found[1]}")
    if _STYLE.search(text):
        return "style"
    return "relighting" if _is_light(text) else None


_BY_VERB: Final[dict[str, Callable[[str], str | None]]] = {
    "remove": _removal, "add": _addition, "swap": _swap, "dye": _dyeing, "change": _change,
    "relight": lambda _: "relighting",
}  # fmt: skip
