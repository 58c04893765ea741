"""Writers of instructions by the recipe.

    writer = load_writer(recipe.instructions, recipe.seed, base=folder_of_the_recipe)
    written = writer.write(photos, [label.category for label in labels])

Photographs that come with instructions keep theirs, and none are written for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpedit.cases.coco import COCO
from hpedit.cases.instructions.languages import known_languages
from hpedit.cases.instructions.templates import TemplateWriter
from hpedit.cases.instructions.written import Writer, Written
from hpedit.cases.photos import Draft, Photo
from hpedit.cases.recipe import InstructionsSection
from hpedit.errors import HPEditError
from hpedit.store.text_checks import clean, refusal

if TYPE_CHECKING:
    from hpedit.judges.writing import WritingJudge

__all__ = ["GivenWriter", "Writer", "Written", "load_writer"]


def load_writer(
    section: InstructionsSection,
    seed: int,
    *,
    categories: Sequence[str] = (),
    base: Path = Path(),
    judge: WritingJudge | None = None,
) -> Writer:
    """The writer that a recipe asks for; a model is loaded with it.

    Args:
        section: The recipe's.
        seed: The recipe's.
        categories: `labels.categories`: what templates may add and swap in where `section.objects` names no file.
        base: Folder that `section.objects` is relative to.
        judge: Writes instead of `section.model`.

    Raises:
        HPEditError: no such model or list of objects, or templates are asked for another language.
    """
    if section.by == "given":
        return GivenWriter(None)
    if section.by == "judge":
        from hpedit.cases.instructions.judge_writer import JudgeWriter
        from hpedit.judges.loading import load_writing_judge

        known_languages(section.languages)
        if judge is None:
            assert section.model is not None, "the recipe's schema asks for it"
            judge = load_writing_judge(section.model, revision=section.revision)
        return GivenWriter(JudgeWriter(judge, section, seed, tuple(categories) or COCO))
    if section.languages != ("en",):
        raise HPEditError(
            f"templates are in English, not in {', '.join(section.languages)}",
            hint="let a VLM write: instructions.by: judge, instructions.model: ...",
        )
    objects = read_objects(base / section.objects) if section.objects else tuple(categories) or COCO
    return GivenWriter(TemplateWriter(section.tasks, section.per_photo, section.wordings, objects, seed))


def read_objects(path: Path) -> tuple[str, ...]:
    """The objects of a text file, one a line, without repeats; empty lines and lines that begin with # are none.

    Raises:
        HPEditError: the file can't be read, or names no object.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HPEditError(f"the list of objects {path} can't be read: {error}") from error
    names = tuple(dict.fromkeys(clean(line) for line in lines if line.strip() and not line.lstrip().startswith("#")))
    if not names:
        raise HPEditError(f"the list of objects {path} is empty", hint="write one object a line")
    return names


class GivenWriter:
    """Takes the instructions that photographs come with, and asks another writer for those that have none.

    Args:
        other: Who writes for photographs without instructions; None writes nothing for them.
    """

    def __init__(self, other: Writer | None) -> None:
        self.other = other

    def write(self, photos: Sequence[Photo], categories: Sequence[str]) -> list[Written]:
        """See `Writer`."""
        bare = [place for place, photo in enumerate(photos) if not photo.drafts]
        new: list[Written] = [Written() for _ in bare]
        if self.other is not None and bare:
            new = self.other.write([photos[place] for place in bare], [categories[place] for place in bare])
        found = dict(zip(bare, new, strict=True))
        return [found.get(place) or self._given(photo) for place, photo in enumerate(photos)]

    @staticmethod
    def _given(photo: Photo) -> Written:
        usable: dict[tuple[str, str], Draft] = {}
        rejected: list[tuple[str, str]] = []
        for draft in photo.drafts:
            said = (draft.task, draft.instruction)
            reason = refusal(draft.instruction) or ("the photograph has it already" if said in usable else None)
            if reason is None:
                usable[said] = draft
            else:
                rejected.append((draft.instruction, reason))
        return Written(tuple(usable.values()), tuple(rejected))
