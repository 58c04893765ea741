"""Stored tensors are read back as they were written, or refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from hpedit.errors import HPEditError
from hpedit.store.tensors import check_finite, open_tensors, read_tensors, write_tensors


def tensors() -> dict[str, torch.Tensor]:
    """Two small tensors of different types."""
    return {"a": torch.arange(12.0).reshape(3, 4), "mask": torch.tensor([True, False])}


def test_no_flipped_bit_is_read_silently(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, tensors())
    whole, draw = path.read_bytes(), random.Random(0)
    assert all(torch.equal(value, tensors()[name]) for name, value in read_tensors(path).items())
    for _ in range(300):
        place = draw.randrange(8 * len(whole))
        altered = bytearray(whole)
        altered[place // 8] ^= 1 << place % 8
        path.write_bytes(altered)
        with pytest.raises(HPEditError, match=r"t\.safetensors"):
            read_tensors(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    weights = {"good": torch.zeros(3, dtype=dtype), "bad": torch.zeros(3, dtype=dtype)}
    weights["bad"][1] = value
    write_tensors(tmp_path / "t.safetensors", weights)
    with pytest.raises(HPEditError, match="not finite, in bad"):
        open_tensors(tmp_path / "t.safetensors")


def test_integers_empty_and_meta_tensors_have_nothing_to_check() -> None:
    check_finite({"a": torch.tensor([1]), "b": torch.zeros(0), "c": torch.zeros(2, device="meta")}, "t")
