"""Write instructions from templates, without a VLM: wordings filled in with objects, backgrounds, colours, styles.

    writer = TemplateWriter(tasks, per_photo=2, wordings=1, objects=COCO, seed=0)
    written, = writer.write([photo], ["dog"])

Removal, swap and colour change need an object that is known to be in the photograph: its category, or its labels.
Addition takes a listed object that is not known to be in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from hpedit.cases.coco import GROUP_OF, USUAL_COLORS, indefinite, spoken
from hpedit.cases.source_items import InstructionCandidate, Photo, WrittenInstructions
from hpedit.seeds import hash_choice, hash_shuffle

_WORDS = yaml.safe_load(Path(__file__).with_name("templates.yaml").read_text("utf-8"))
WORDINGS: dict[str, list[str]] = _WORDS["wordings"]
"""Eight ways of saying each task, as many as `instructions.wordings` allows."""
PLACES, BACKDROPS, COLORS, BLURS, BOKEHS, LIGHTS, STYLES = (
    _WORDS[name] for name in ("places", "backdrops", "colors", "blurs", "bokehs", "lights", "styles")
)
NEEDS_OBJECT = frozenset({"removal", "swap", "color"})
SUBJECT = "the main subject"


def template_fingerprint() -> str:
    """SHA-256 (hex) of all template words: a version with other words writes other instructions, so stages go stale."""
    groups, usual = sorted(GROUP_OF.items()), sorted((name, sorted(colors)) for name, colors in USUAL_COLORS.items())
    words = [WORDINGS, PLACES, BACKDROPS, COLORS, BLURS, BOKEHS, LIGHTS, STYLES, SUBJECT, groups, usual]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


class TemplateWriter:
    """Writes English instructions from templates and word lists; every choice is a hash of seed, task and photograph.

    Args:
        tasks: Tasks to draw from.
        per_photo: Tasks for one photograph, fewer if not as many make sense.
        wordings: Instruction candidates for each task that say the same in other words, 1 to 8.
        objects: What may be added and swapped in.
        seed: Of the build.
    """

    def __init__(self, tasks: Sequence[str], per_photo: int, wordings: int, objects: Sequence[str], seed: int) -> None:
        self.tasks = tuple(tasks)
        self.per_photo = per_photo
        self.wordings = wordings
        self.objects = tuple(dict.fromkeys(objects))
        self.seed = seed

    def write(self, photos: Sequence[Photo], categories: Sequence[str]) -> list[WrittenInstructions]:
        """See `InstructionWriter`."""
        return [self._write(photo, category) for photo, category in zip(photos, categories, strict=True)]

    def _write(self, photo: Photo, category: str) -> WrittenInstructions:
        known = tuple(dict.fromkeys(name for name in (category, *photo.labels) if name))
        candidates: list[InstructionCandidate] = []
        tasks = [task for task in hash_shuffle(self.tasks, self.seed, "tasks", photo.id) if self._fits(task, known)]
        for task in tasks[: self.per_photo]:
            candidates += self._instructions(task, photo.id, known)
        return WrittenInstructions(tuple(candidates))

    def _fits(self, task: str, known: Sequence[str]) -> bool:
        """Whether a task makes sense for a photograph with these known objects."""
        if task in NEEDS_OBJECT and not known:
            return False
        return task not in ("addition", "swap") or any(name not in known for name in self.objects)

    def _instructions(self, task: str, photo: str, known: Sequence[str]) -> list[InstructionCandidate]:
        """The same request in `wordings` wordings, with the object that it is about."""
        key = (self.seed, task, photo)
        words, category = self._words(task, photo, known)
        forms = hash_shuffle(WORDINGS[task], *key, "wording")[: self.wordings]
        texts = (form.format(**words) for form in forms)
        return [InstructionCandidate(task, text, category, wording=n, by="template") for n, text in enumerate(texts)]

    def _words(self, task: str, photo: str, known: Sequence[str]) -> tuple[dict[str, str], str]:
        """The words that fill a task's wordings, and the object that the request is about."""
        key = (self.seed, task, photo)
        main = known[0] if known else ""
        words = {"subject": f"the {spoken(main)}" if main else SUBJECT}
        if task == "addition":
            main = hash_choice([name for name in self.objects if name not in known], *key, "new")
            words |= {"new": indefinite(spoken(main)), "place": hash_choice(PLACES, *key, "place")}
        elif task == "removal":
            words["old"] = spoken(main)
        elif task == "swap":
            words |= {
                "old": spoken(main),
                "new": indefinite(spoken(hash_choice(self._replacements(known), *key, "new"))),
            }
        elif task == "color":
            colors = [color for color in COLORS if color not in USUAL_COLORS.get(main, ())]
            words |= {"thing": "person's clothing" if main == "person" else spoken(main)}
            color = hash_choice(colors, *key, "color")
            words |= {"color": color, "a_color": indefinite(color)}
        else:
            lists = {"backdrop": BACKDROPS, "blur": BLURS, "bokeh": BOKEHS, "light": LIGHTS, "style": STYLES}
            words |= {name: hash_choice(items, *key, name) for name, items in lists.items()}
        return words, main

    def _replacements(self, known: Sequence[str]) -> list[str]:
        """What can replace the main object: objects of its group if the list has any, else all others."""
        others = [name for name in self.objects if name not in known]
        group = GROUP_OF.get(known[0])
        return [name for name in others if group and GROUP_OF.get(name) == group] or others
