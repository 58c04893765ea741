"""Count a local model's parameters from its safetensors headers, and read its configuration. Weights are not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.store.atomic import read_json


def safetensors_parameters(folder: Path) -> int:
    """Number of parameters in all safetensors files of a folder; HPEditError if there is none, or one is damaged."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise HPEditError(f"{folder} holds no safetensors weights", hint="is the folder complete?")
    return sum(_safetensors_file_parameters(file) for file in files)


def read_model_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A model's or component's configuration; HPEditError if it is missing or not a JSON object."""
    file = folder / name
    if not file.is_file():
        raise HPEditError(f"there is no {file}", hint="give the folder of a complete model")
    config = read_json(file)
    if not isinstance(config, dict):
        raise HPEditError(f"{file} is not a configuration")
    return config


def _safetensors_file_parameters(file: Path) -> int:
    from huggingface_hub import parse_local_safetensors_file_metadata
    from huggingface_hub.errors import SafetensorsParsingError

    try:
        tensors = parse_local_safetensors_file_metadata(file).tensors.values()
        with file.open("rb") as stream:
            header = 8 + int.from_bytes(stream.read(8), "little")
        if file.stat().st_size != header + max((tensor.data_offsets[1] for tensor in tensors), default=0):
            raise ValueError("it is cut short")
        return sum(tensor.parameter_count for tensor in tensors)
    except (SafetensorsParsingError, ValueError, TypeError, AttributeError, LookupError) as error:
        reason = str(error).rpartition("): ")[2]  # huggingface_hub puts the file's name before it
        raise HPEditError(f"{file} is not a whole safetensors file: {reason}", hint="fetch it again") from error
