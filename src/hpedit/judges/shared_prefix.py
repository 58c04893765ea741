"""Shared-prefix inference: questions about one edit run in one pass, their common prefix computed once.

    plan = encode_group(processor, prompts, images)      # None if the questions can't share
    logits = forward_groups(model, [plan, ...])          # (questions of all groups, vocabulary)

The longest common prefix of the questions' token ids, images included, runs once per group and fills a KV cache. The
cache's rows are repeated for the tails, which then run as one batch on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from PIL import Image
from torch import Tensor

MODEL_TYPES = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"})
"""Models whose positions and image tokens are laid out as `forward_groups` computes them."""


@dataclass(frozen=True, slots=True)
class QuestionGroup:
    """Questions about the same images, as token ids.

    Args:
        prefix: (P,) ids that all questions begin with; all picture places are in it.
        kinds: (P,) 1 at a picture's token, else 0.
        pixels: (patches, values a patch) of all pictures.
        grid: (pictures, 3) patches in time, height and width.
        tails: The rest of each question, at least one id.
    """

    prefix: Tensor
    kinds: Tensor
    pixels: Tensor
    grid: Tensor
    tails: tuple[tuple[int, ...], ...]


def can_share(model: Any) -> bool:
    """Whether `forward_groups` knows this model's layout."""
    return getattr(model.config, "model_type", None) in MODEL_TYPES


def encode_group(processor: Any, prompts: Sequence[str], images: Sequence[Image.Image]) -> QuestionGroup | None:
    """Tokenize prompts that show the same images; the images are preprocessed once.

    Returns:
        None if the prompts can't share: no images, or the processor lays them out in an unknown way.
    """
    if not images:
        return None
    first = processor(text=[prompts[0]], images=list(images), return_tensors="pt")
    grid = first["image_grid_thw"]
    counts = (grid.prod(-1) // processor.image_processor.merge_size**2).tolist()
    place = processor.image_token_id
    ids = [_expand(processor.tokenizer(prompt)["input_ids"], place, counts) for prompt in prompts]
    if ids[0] != first["input_ids"][0].tolist():
        return None
    # Each tail keeps at least one token: the logits after it are the answer.
    common = min(_common(ids), min(len(row) for row in ids) - 1)
    if any(place in row[common:] for row in ids):
        return None
    prefix = first["input_ids"][0, :common]
    tails = tuple(tuple(row[common:]) for row in ids)
    return QuestionGroup(prefix, (prefix == place).int(), first["pixel_values"], grid, tails)


def _expand(ids: Sequence[int], place: int, counts: Sequence[int]) -> list[int]:
    """Repeat each image placeholder as often as the image has tokens."""
    left = iter(counts)
    return [token for id_ in ids for token in ([id_] * next(left, 0) if id_ == place else [id_])]


def _common(rows: Sequence[Sequence[int]]) -> int:
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False)))


def forward_groups(model: Any, groups: Sequence[QuestionGroup]) -> Tensor:
    """Logits after each question, (questions, vocabulary), group after group.

    Prefixes and tails are padded on the left; padding is masked and has no position.
    """
    device = model.device
    ids, seen = _pad([group.prefix for group in groups], device)
    kinds, _ = _pad([group.kinds for group in groups], device)
    grid = torch.cat([group.grid for group in groups]).to(device)
    positions, deltas = model.model.get_rope_index(
        ids, mm_token_type_ids=kinds, image_grid_thw=grid, attention_mask=seen
    )
    cache = model.model(
        input_ids=ids,
        attention_mask=seen,
        position_ids=positions,
        pixel_values=torch.cat([group.pixels for group in groups]).to(device),
        image_grid_thw=grid,
        use_cache=True,
    ).past_key_values
    owner = torch.tensor([g for g, group in enumerate(groups) for _ in group.tails], device=device)
    cache.batch_select_indices(owner)
    tails, tail_seen = _pad([torch.tensor(tail) for group in groups for tail in group.tails], device)
    # A prefix of n tokens ends at position n + delta - 1, since a picture takes fewer positions than tokens.
    start = (seen.sum(-1, keepdim=True) + deltas)[owner]
    places = (start + tail_seen.cumsum(-1) - 1) * tail_seen
    logits = model(
        input_ids=tails,
        attention_mask=torch.cat([seen[owner], tail_seen], dim=-1),
        position_ids=places.expand(3, -1, -1),
        past_key_values=cache,
        logits_to_keep=1,
    ).logits
    return torch.as_tensor(logits[:, -1])


def _pad(rows: Sequence[Tensor], device: Any) -> tuple[Tensor, Tensor]:
    """Left-pad rows to (rows, longest), with an attention mask."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    seen = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = row
        seen[index, longest - len(row) :] = 1
    return ids.to(device), seen.to(device)
