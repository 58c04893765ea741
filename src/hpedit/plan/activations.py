"""Activation memory of a training forward per row: what it saves for the backward, and its working memory. No torch.

Counted by the operations of diffusers' blocks with a frozen base: a frozen linear layer keeps nothing, a LoRA keeps its
input in float32 (peft casts it for every layer, so that q, k and v keep three copies in bfloat16), a layer norm its
input, the norms of q and k their inputs and a float32 copy, attention q, k, v and its output, GELU its input.
docs/plan.md compares this with what torch saves.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpedit.plan.transformer_layers import Architecture, Linear, Tokens

FLOAT = 4
"""Bytes of float32."""


def saved_activations(
    architecture: Architecture, tokens: Tokens, targets: Sequence[str], rank: int, element: int
) -> int:
    """Bytes that all blocks save for the backward without gradient checkpointing.

    Args:
        architecture: The transformer.
        tokens: Tokens of a row.
        targets: LoRA targets.
        rank: LoRA rank.
        element: Bytes per number in the base's dtype.
    """
    double = architecture.double * tokens.all * _double_block_token(architecture, element)
    single = architecture.single * tokens.all * _single_block_token(architecture, element)
    return double + single + _lora_activations(architecture.adapted(targets), tokens, rank, element)


def checkpointed_activations(architecture: Architecture, tokens: Tokens, element: int) -> int:
    """Bytes that gradient checkpointing saves: the input of every block."""
    return architecture.blocks * tokens.all * architecture.width * element


def working_memory(architecture: Architecture, tokens: Tokens, element: int, *, backward: bool) -> int:
    """Bytes of temporary tensors within one block.

    Forward: the MLP's 4 d twice, its input and output, float32 copies of q and k for the rotary embedding. Backward:
    the gradients of all of that too.
    """
    once = tokens.all * architecture.width * (12 * element + 2 * FLOAT)
    return 2 * once if backward else once


def training_activations(
    architecture: Architecture, tokens: Tokens, targets: Sequence[str], rank: int, element: int, *, recomputes: bool
) -> int:
    """Peak bytes of activations in one row's backward."""
    kept = saved_activations(architecture, tokens, targets, rank, element)
    if recomputes:
        kept = checkpointed_activations(architecture, tokens, element) + kept // max(1, architecture.blocks)
    return kept + working_memory(architecture, tokens, element, backward=True)


def _double_block_token(architecture: Architecture, element: int) -> int:
    """Bytes per token in a double block: 2 layer norms, q and k before their norm, q, k, v, out, and GELU's 4 d."""
    copies = 2 * FLOAT if element < FLOAT else 0
    return architecture.width * (12 * element + copies)


def _single_block_token(architecture: Architecture, element: int) -> int:
    """Bytes per token in a single block: 1 layer norm, q and k before their norm, q, k, v, out, and GELU's 4 d."""
    return architecture.width * 11 * element


def _lora_activations(layers: Sequence[Linear], tokens: Tokens, rank: int, element: int) -> int:
    """What LoRA adapters save, in the base's dtype: their inputs, and the result of A."""
    total = 0
    for layer in layers:
        # k and v share q's input, which is counted once.
        shared = layer.name.endswith(("to_k", "to_v", "add_k_proj", "add_v_proj"))
        total += tokens.of(layer.stream) * element * ((0 if shared else layer.inputs) + rank)
    return total
