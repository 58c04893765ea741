"""Load the recipe's instruction writer: templates, a VLM, or only what the photographs came with.

    writer = load_writer(recipe.instructions, recipe.seed, base=folder_of_the_recipe)
    written = writer.write(photos, [label.category for label in labels])

Photographs that came with instructions keep them, and none are written for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hpedit.cases.coco import COCO
from hpedit.cases.instructions.languages import check_languages
from hpedit.cases.instructions.templates import TemplateWriter
from hpedit.cases.recipe import InstructionsSection
from hpedit.cases.source_items import InstructionCandidate, Photo, WrittenInstructions
from hpedit.errors import HPEditError
from hpedit.store.text_checks import clean, refusal

if TYPE_CHECKING:
    from hpedit.judges.writing import WritingJudge


class InstructionWriter(Protocol):
    """Writes instructions for photographs.

        for written in writer.write(photos, categories):
            candidates += written.candidates

    The result for a photograph depends only on the photograph, its category, the settings and the seed.
    """

    def write(self, photos: Sequence[Photo], categories: Sequence[str]) -> list[WrittenInstructions]:
        """Write instructions for each photograph; `categories` are those of `Labeller.label`, "" for none."""
        ...


def load_writer(
    section: InstructionsSection,
    seed: int,
    *,
    categories: Sequence[str] = (),
    base: Path = Path(),
    judge: WritingJudge | None = None,
) -> InstructionWriter:
    """Load the instruction writer that a recipe names, with its model.

    Args:
        section: Of the recipe.
        seed: Of the recipe.
        categories: `labels.categories`: what templates add and swap in without `section.objects`.
        base: Folder that `section.objects` is relative to.
        judge: Used instead of `section.model`.

    Raises:
        HPEditError: no such model or list of objects, or templates in another language.
    """
    if section.by == "given":
        return GivenWriter(None)
    if section.by == "judge":
        from hpedit.cases.instructions.judge_writer import JudgeWriter
        from hpedit.judges.loading import load_writing_judge

        check_languages(section.languages)
        if judge is None:
            assert section.model is not None, "the recipe's schema requires it"
            judge = load_writing_judge(section.model, revision=section.revision)
        return GivenWriter(JudgeWriter(judge, section, seed, tuple(categories) or COCO))
    if section.languages != ("en",):
        raise HPEditError(
            f"templates write English only, not {', '.join(section.languages)}",
            hint="use a VLM: instructions.by: judge, instructions.model: ...",
        )
    objects = read_object_list(base / section.objects) if section.objects else tuple(categories) or COCO
    return GivenWriter(TemplateWriter(section.tasks, section.per_photo, section.wordings, objects, seed))


def read_object_list(path: Path) -> tuple[str, ...]:
    """Read a list of objects from a text file, one a line, without repeats, blank lines and # comments.

    Raises:
        HPEditError: the file is unreadable or empty.
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
    """Takes the instructions that photographs came with; another writer serves those without.

    Args:
        other: Writes for photographs without instructions; None writes nothing for them.
    """

    def __init__(self, other: InstructionWriter | None) -> None:
        self.other = other

    def write(self, photos: Sequence[Photo], categories: Sequence[str]) -> list[WrittenInstructions]:
        """See `InstructionWriter`."""
        bare = [place for place, photo in enumerate(photos) if not photo.candidates]
        new: list[WrittenInstructions] = [WrittenInstructions() for _ in bare]
        if self.other is not None and bare:
            new = self.other.write([photos[place] for place in bare], [categories[place] for place in bare])
        found = dict(zip(bare, new, strict=True))
        return [found.get(place) or self._given(photo) for place, photo in enumerate(photos)]

    @staticmethod
    def _given(photo: Photo) -> WrittenInstructions:
        usable: dict[tuple[str, str], InstructionCandidate] = {}
        rejected: list[tuple[str, str]] = []
        for candidate in photo.candidates:
            said = (candidate.task, candidate.instruction)
            reason = refusal(candidate.instruction) or ("the photograph has it already" if said in usable else None)
            if reason is None:
                usable[said] = candidate
            else:
                rejected.append((candidate.instruction, reason))
        return WrittenInstructions(tuple(usable.values()), tuple(rejected))
