"""Memory of one GPU, item by item and phase by phase, in bytes. No torch.

Three phases: cases are encoded (text encoders and VAE beside the base; then the text encoders leave for the CPU's
memory), edits are sampled, and the policy is trained. A judge in process is there all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from hpedit.config.recipe import Recipe
from hpedit.plan import activations
from hpedit.plan.activations import FLOAT
from hpedit.plan.architecture import Linear, Tokens
from hpedit.plan.forwards import ALGORITHMS
from hpedit.plan.judges import JudgeShape
from hpedit.plan.layout import Layout
from hpedit.plan.shape import EditorShape

GIB: Final = 2**30
CONTEXT: Final = 1 * GIB
"""CUDA's context with the kernels of torch, cuBLAS and attention."""
COLLECTIVES: Final = 1 * GIB
"""Buffers of NCCL, where there is more than one GPU."""
FRAGMENTS: Final = 0.05
"""Share that the allocator cannot use."""
CACHED_CASES: Final = 1024
"""Encoded cases that the editor keeps beside it."""
DECODING: Final = 6
"""Feature maps of the VAE's full size that exist at once."""
PHASES: Final = ("encode", "sample", "train")


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the account."""

    name: str
    encode: int
    sample: int
    train: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The account of one GPU."""

    items: tuple[Item, ...]
    available: int | None
    """bytes that the GPU has for us; None = not known."""
    totals: dict[str, int] = field(default_factory=dict)

    @property
    def peak(self) -> int:
        """Bytes of the phase that needs most."""
        return max(self.totals.values())

    @property
    def fits(self) -> bool | None:
        """None where it is not known what there is."""
        return None if self.available is None else self.peak <= self.available

    def bytes_of(self, name: str) -> int:
        """An item's largest."""
        return max((max(i.encode, i.sample, i.train) for i in self.items if i.name == name), default=0)


def lora_numbers(layers: list[Linear], rank: int) -> int:
    """Parameters of a LoRA on these layers."""
    return sum(rank * (layer.inputs + layer.outputs) for layer in layers)


def optimizer_bytes(layers: list[Linear], rank: int) -> int:
    """AdamW's state: two moments of every number, and a float32 step of each of a layer's two matrices."""
    return FLOAT * (2 * lora_numbers(layers, rank) + 2 * len(layers))


def account(
    recipe: Recipe,
    shape: EditorShape,
    tokens: Tokens,
    layout: Layout,
    judge: JudgeShape | None,
    available: int | None,
    cases: int | None = None,
) -> Memory:
    """Add up what one GPU holds.

    Args:
        recipe: Of the run.
        shape: Of its editor.
        tokens: Of one row.
        layout: How the base lies on the GPUs.
        judge: A judge on the same GPU; None = elsewhere.
        available: bytes that the GPU has for us.
        cases: Training cases, where that is known.
    """
    items = [*_weights(shape, layout), *_learnt(recipe, shape)]
    items += _kept(recipe, shape, tokens, layout, cases)
    items += _passing(recipe, shape, tokens, layout)
    if judge is not None:
        items += [
            Item("judge: weights", judge.weights, judge.weights, judge.weights),
            Item("judge: keys, values, activations", 0, judge.running, judge.running),
        ]
    items = [item for item in items if max(item.encode, item.sample, item.train)]
    sums = {phase: sum(getattr(item, phase) for item in items) for phase in PHASES}
    if layout.accelerator:
        fixed = CONTEXT + (COLLECTIVES if layout.gpus > 1 else 0)
        margin = {phase: fixed + int(FRAGMENTS * total) for phase, total in sums.items()}
        items.append(Item("margin: context, fragments", *(margin[phase] for phase in PHASES)))
        sums = {phase: sums[phase] + margin[phase] for phase in PHASES}
    return Memory(tuple(items), available, sums)


def _weights(shape: EditorShape, layout: Layout) -> list[Item]:
    base, vae = layout.base_bytes(shape.architecture), shape.vae * layout.element
    encoders = shape.encoders * layout.element
    later = 0 if layout.accelerator and layout.encoders_leave else encoders
    return [
        Item(f"base, {layout.describe()}", base, base, base),
        Item(
            "text encoders",
            encoders,
            later,
            later,
        ),
        Item("VAE", vae, vae, vae),
    ]


def _learnt(recipe: Recipe, shape: EditorShape) -> list[Item]:
    layers = shape.architecture.adapted(recipe.lora.targets)
    lora = FLOAT * lora_numbers(layers, recipe.lora.rank)
    adam = optimizer_bytes(layers, recipe.lora.rank)
    items = [
        Item("LoRA and its average", 2 * lora, 2 * lora, 2 * lora),
        Item("gradient", 0, lora, lora),
        Item("AdamW's state", 0, adam, adam),
    ]
    if ALGORITHMS[recipe.train.algorithm].old_policy:
        items.append(Item("old policy", lora, 2 * lora, 2 * lora))
    return items


def _kept(recipe: Recipe, shape: EditorShape, tokens: Tokens, layout: Layout, cases: int | None) -> list[Item]:
    """Encoded cases, and the latents that wait for their update."""
    here = min(CACHED_CASES, cases or CACHED_CASES)
    encoded = here * shape.conditioning(tokens, layout.element)
    latent = FLOAT * tokens.target * int(shape.architecture.config["in_channels"])
    if recipe.offline:
        return [Item("encoded cases", encoded, encoded, encoded)]
    algorithm, rollout = ALGORITHMS[recipe.train.algorithm], recipe.rollout
    window = rollout.window if algorithm.stochastic else 0
    tensors = window + 2 + (window if algorithm.keeps_means else 0)
    edits = -(-rollout.groups // layout.gpus) * rollout.group_size * (1 + rollout.dynamic_sampling)
    latents = edits * tensors * latent
    return [Item("encoded cases", encoded, encoded, encoded), Item("latents of the rollout", 0, latents, latents)]


def _passing(recipe: Recipe, shape: EditorShape, tokens: Tokens, layout: Layout) -> list[Item]:
    """Activations of the micro batch, and of the VAE."""
    rows, architecture, lora = recipe.train.micro_batch, shape.architecture, recipe.lora
    rows = min(rows, most_rows(recipe))
    picture = DECODING * shape.vae_width * layout.element
    encode = picture * max(shape.source_area, shape.resolution**2)
    decode = 0 if recipe.offline else picture * shape.resolution**2 * min(rows, recipe.rollout.group_size)
    sample = activations.working(architecture, tokens, layout.element, backward=False) * rows
    train = activations.trained(
        architecture, tokens, lora.targets, lora.rank, layout.element, recomputes=layout.recomputes
    )
    kind = "recomputed" if layout.recomputes else "kept"
    return [
        Item(f"activations, {kind}, {rows} rows", 0, sample, train * rows),
        Item("pictures in the VAE", encode, decode, 0),
    ]


def most_rows(recipe: Recipe) -> int:
    """Rows of the largest forward that the recipe can make."""
    if recipe.offline:
        return max(2, 2 * max(1, recipe.train.micro_batch // 2))
    waves = max(1, recipe.train.micro_batch // recipe.rollout.group_size)
    return min(recipe.train.micro_batch, waves * recipe.rollout.group_size)
