"""Edit one picture file: `hpedit edit`, as a function that a notebook can call too."""

from __future__ import annotations

from pathlib import Path

from hpedit.config.editor import EditorSection
from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write
from hpedit.store.images import load_image, png_bytes


def edit_file(
    image: Path, instruction: str, out: Path, *, model: str | EditorSection = "mini", lora: Path | None = None,
    steps: int | None = None, seed: int = 0, cfg: float | None = None,
) -> None:  # fmt: skip
    """Edit the picture in `image` and write the edit to `out` as PNG.

    Args:
        image: Picture file.
        instruction: What to change.
        out: A .png file; missing folders are made.
        model: The editor, as a section or by its name alone.
        lora: Its LoRA.
        steps: Sampling steps; None = the model's own.
        seed: Of the noise.
        cfg: Scale of classifier-free guidance; 1 is off, None = the model's own.

    Raises:
        HPEditError: a bad picture, model or LoRA.
    """
    if out.suffix.lower() != ".png":
        raise HPEditError(f"{out} does not end in .png", hint="edits are written as lossless PNG")
    from hpedit.editors.load import open_editor
    from hpedit.editors.sampling import edit_image

    picture = load_image(image)
    section = EditorSection(model=model) if isinstance(model, str) else model
    editor = open_editor(section, cfg=cfg, lora=lora)
    edited = edit_image(editor, picture, instruction, seed=seed, steps=steps or editor.usual.steps)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, png_bytes(edited))
