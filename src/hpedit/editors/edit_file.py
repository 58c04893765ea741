"""Edit one picture file: `hpedit edit`, as a function that a notebook can call too."""

from __future__ import annotations

from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write
from hpedit.store.images import load_image, png_bytes


def edit_file(
    image: Path, instruction: str, out: Path, *, model: str, lora: Path | None, steps: int, seed: int, cfg: float = 1.0
) -> None:
    """Edit the picture in `image` and write the edit to `out` as PNG; HPEditError for a bad picture, model or LoRA."""
    if out.suffix.lower() != ".png":
        raise HPEditError(f"{out} does not end in .png", hint="edits are written as lossless PNG")
    from hpedit.editors.load import load_editor
    from hpedit.editors.sampling import edit_image

    picture = load_image(image)
    editor = load_editor(model, lora=lora, cfg=cfg)
    edited = edit_image(editor, picture, instruction, seed=seed, steps=steps)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, png_bytes(edited))
