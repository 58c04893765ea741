"""The mini judge's network in plain torch, on the parameters of the transformers class: it trains several times faster.

    seen = look(model, pictures)                                      # (n, 16, D) visual tokens
    hidden, _, memory = read(model, embeds, places, mask, depth=3)    # the beginning of a prompt
    hidden, said, memory = read(model, more, places, mask, memory, depth=4)     # what follows it

Pieces are padded on the left. A memory is what attention needs of all that was read before: many continuations of one
beginning read it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration

from hpedit.mini.architecture import JUDGE_MERGE
from hpedit.mini.build.samples import SIDE, TOKENS, patchify

Need = Literal["answers", "memory", "hidden"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Keys and values (B, heads, T, head width) of each layer, and which of the T tokens are no padding, (B, T)."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor

    def rows(self, index: Tensor) -> Memory:
        """The memory of some rows, repeated at will."""
        return Memory(tuple((keys[index], values[index]) for keys, values in self.layers), self.mask[index])

    def without_last(self, count: int) -> Memory:
        """The memory as it was before the last `count` tokens."""
        cut = tuple((keys[:, :, :-count], values[:, :, :-count]) for keys, values in self.layers)
        return Memory(cut, self.mask[:, :-count])


def look(model: Qwen2_5_VLForConditionalGeneration, pictures: NDArray[np.float32]) -> Tensor:
    """Visual tokens (n, 16, D) of pictures (n, 32, 32, 3), in reading order; all pictures share each operation."""
    tower = model.model.visual
    patches = patchify(pictures)
    x = functional.linear(patches, tower.patch_embed.proj.weight.flatten(1)).unflatten(0, (len(pictures), -1))  # type: ignore[no-untyped-call]
    cos, sin = tower.rotary_pos_emb(x, _patch_places())
    for block in tower.blocks:
        q, k, v = block.attn.qkv(_norm(block.norm1, x)).unflatten(-1, (3, block.attn.num_heads, -1)).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(_turned(q, cos, sin), _turned(k, cos, sin), v)
        x = x + block.attn.proj(mixed.transpose(1, 2).flatten(2))
        x = x + block.mlp(_norm(block.norm2, x))
    found: Tensor = tower.merger.mlp(_norm(tower.merger.ln_q, x).unflatten(1, (TOKENS, -1)).flatten(2))  # type: ignore[no-untyped-call]
    return found


def _patch_places() -> Tensor:
    """Row and column of each patch, (patches, 2): those that become one token follow each other."""
    cells = torch.arange(SIDE * JUDGE_MERGE).unflatten(0, (SIDE, JUDGE_MERGE))  # type: ignore[no-untyped-call]
    rows = cells[:, None, :, None].expand(SIDE, SIDE, JUDGE_MERGE, JUDGE_MERGE)
    return torch.stack((rows.flatten(), rows.transpose(0, 1).transpose(2, 3).flatten()), -1)


def read(
    model: Qwen2_5_VLForConditionalGeneration,
    embeds: Tensor,
    places: Tensor,
    mask: Tensor,
    memory: Memory | None = None,
    *,
    depth: int,
    need: Need = "answers",
) -> tuple[Tensor, Tensor | None, Memory]:
    """Read a piece of each row's prompt.

    Args:
        embeds: (B, T, D).
        places: (3, B, T) rotary positions.
        mask: (B, T) bool, false where a row is padded.
        memory: What was read before.
        depth: Layers after which hidden states are returned, fewer than there are.
        need: "hidden" ends after `depth` layers, "memory" before what the last layer says.

    Returns:
        Hidden states (B, T, D) after `depth` layers, what the model would say after the last token, as
        log-probabilities (B, V), and the memory after it.
    """
    language = model.model.language_model
    cos, sin = language.rotary_emb(embeds, places)
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    whole = mask if memory is None else torch.cat((memory.mask, mask), 1)
    bias = _bias(mask, whole, embeds.dtype)
    x, middle, layers = embeds, embeds, list[tuple[Tensor, Tensor]]()
    for number, layer in enumerate(language.layers):
        final = number + 1 == len(language.layers)
        own = slice(-1, None) if final else slice(None)
        if number == depth:
            middle = x
            if need == "hidden":
                break
        q, k, v = _queries_keys_values(layer.self_attn, _norm(layer.input_layernorm, x), cos, sin, own)
        if memory is not None:
            k, v = (torch.cat(both, 2) for both in zip(memory.layers[number], (k, v), strict=True))
        layers.append((k, v))
        if final and need == "memory":
            break
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, :, own])
        (change,) = linear(mixed.transpose(1, 2).flatten(2), layer.self_attn.o_proj)
        x = x[:, own] + change
        gate, up = linear(_norm(layer.post_attention_layernorm, x), layer.mlp.gate_proj, layer.mlp.up_proj)
        (change,) = linear(functional.silu(gate) * up, layer.mlp.down_proj)
        x = x + change
    said = _norm(language.norm, x[:, -1]) @ model.lm_head.weight.T if need == "answers" else None
    return middle, None if said is None else said.log_softmax(-1), Memory(tuple(layers), whole)


def _queries_keys_values(
    attention: Any, x: Tensor, cos: Tensor, sin: Tensor, own: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """Heads (B, heads, T, width) of one attention; queries of the tokens `own` alone."""
    if own == slice(None):
        parts = linear(x, attention.q_proj, attention.k_proj, attention.v_proj)
    else:
        parts = (*linear(x[:, own], attention.q_proj), *linear(x, attention.k_proj, attention.v_proj))
    q, k, v = (part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for part in parts)  # type: ignore[no-untyped-call]
    return _turned(q, cos[:, :, own], sin[:, :, own]), _turned(k, cos, sin), v


def linear(x: Tensor, *layers: Any) -> tuple[Tensor, ...]:
    """What each of some linear layers makes of x."""
    return tuple(layer(x) for layer in layers)


def _bias(mask: Tensor, whole: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, T, S): 0 where a token may look, else -inf; padding looks at itself, since softmax needs something."""
    count, before = mask.shape[1], whole.shape[1] - mask.shape[1]
    causal = torch.ones(count, whole.shape[1], dtype=torch.bool).tril(before)
    self_ = torch.eye(count, dtype=torch.bool)
    allowed = causal & whole[:, None] | functional.pad(self_, (before, 0))
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, float("-inf"))[:, None]


def _norm(norm: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions applied to heads (B, heads, T, width)."""
    turned: Tensor = _Turn.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return turned


class _Turn(torch.autograd.Function):
    """A rotation, whose gradient is turned back: that of its halves would fill both with zeros first."""

    @staticmethod
    def forward(context: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        context.save_for_backward(cos, sin)
        one, two = x.chunk(2, -1)
        return torch.cat((-two, one), -1).mul_(sin).addcmul_(x, cos)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = context.saved_tensors
        one, two = (gradient * sin).chunk(2, -1)
        return torch.cat((two, -one), -1).addcmul_(gradient, cos), None, None
