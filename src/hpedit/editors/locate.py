"""Resolve a model's name ("mini", a folder, or a hub id) to its folder and fingerprint."""

from __future__ import annotations

from pathlib import Path

from hpedit.editors.fingerprint import folder_fingerprint
from hpedit.errors import HPEditError


def local_folder(model: str) -> Path | None:
    """The folder of "mini" or of a path; None for a hub id."""
    if model == "mini":
        from hpedit.store.shipped import editor_path

        return editor_path()
    return Path(model) if Path(model).is_dir() else None


def model_name(model: str, revision: str | None) -> str:
    """Identify a model without loading or downloading it: content hash of a folder, or hub id and revision."""
    folder = local_folder(model)
    return folder_fingerprint(folder) if folder else f"{model}@{revision}"


def resolve_model(model: str, revision: str | None) -> tuple[Path, str]:
    """Folder and fingerprint of a model; a hub model is downloaded into the hub's own cache if needed.

    Raises:
        HPEditError: neither a folder nor available from the hub.
    """
    folder = local_folder(model)
    if folder:
        return folder, folder_fingerprint(folder)
    from diffusers import DiffusionPipeline

    try:
        folder = Path(DiffusionPipeline.download(model, revision=revision, use_safetensors=True))
    except (OSError, ValueError) as error:
        raise HPEditError(
            f"{model} is neither a folder nor available from the hub: {error}",
            hint="check the path or the hub id, the network, and your access token if the model is gated",
        ) from error
    # The hub's cache names the snapshot by its commit.
    return folder, f"{model}@{folder.name}"
