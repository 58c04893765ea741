"""GPU memory of a training run, item by item and phase by phase, in bytes. No torch.

Three phases: cases are encoded (text encoders and VAE beside the base; then the text encoders move to the CPU's
memory), edits are sampled, and the policy is trained. An in-process judge is there all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from hpedit.config.recipe import Recipe
from hpedit.plan import activations
from hpedit.plan.activations import FLOAT
from hpedit.plan.editor_shape import EditorShape
from hpedit.plan.forwards import ALGORITHMS
from hpedit.plan.judge_memory import JudgeShape
from hpedit.plan.layout import Layout
from hpedit.plan.transformer_layers import Linear, Tokens

GIB: Final = 2**30
CONTEXT: Final = 1 * GIB
"""Bytes of CUDA's context with the kernels of torch, cuBLAS and attention."""
COLLECTIVES: Final = 1 * GIB
"""Bytes of NCCL's buffers, with more than one GPU."""
FRAGMENTS: Final = 0.05
"""Share of memory lost to the allocator's fragmentation."""
CACHED_CASES: Final = 1024
"""Encoded cases that the editor caches at most."""
DECODING: Final = 6
"""Full-size feature maps of the VAE that exist at once."""
PHASES: Final = ("encode", "sample", "train")


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """One line of the account: bytes in each phase."""

    name: str
    encode: int
    sample: int
    train: int

    @classmethod
    def constant(cls, name: str, size: int) -> MemoryItem:
        """As much in every phase."""
        return cls(name, size, size, size)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory account of one GPU."""

    items: tuple[MemoryItem, ...]
    available: int | None
    """Bytes that are free for the run; None = unknown."""
    totals: dict[str, int] = field(default_factory=dict)

    @property
    def peak(self) -> int:
        """Bytes of the phase that needs the most."""
        return max(self.totals.values())

    @property
    def fits(self) -> bool | None:
        """Whether the peak is available; None = unknown."""
        return None if self.available is None else self.peak <= self.available

    def bytes_of(self, name: str) -> int:
        """The most that an item takes in any phase; 0 if there is no such item."""
        return max((max(i.encode, i.sample, i.train) for i in self.items if i.name == name), default=0)


def lora_parameter_count(layers: list[Linear], rank: int) -> int:
    """Parameters of a LoRA on these layers."""
    return sum(rank * (layer.inputs + layer.outputs) for layer in layers)


def optimizer_bytes(layers: list[Linear], rank: int) -> int:
    """AdamW's state: two moments of every number, and a float32 step of each of a layer's two matrices."""
    return FLOAT * (2 * lora_parameter_count(layers, rank) + 2 * len(layers))


def account_memory(
    recipe: Recipe,
    shape: EditorShape,
    tokens: Tokens,
    layout: Layout,
    judge: JudgeShape | None,
    available: int | None,
    cases: int | None = None,
) -> Memory:
    """Add up the memory that a run takes on one GPU.

    Args:
        recipe: The run's recipe.
        shape: Its editor.
        tokens: Tokens of one row.
        layout: Layout of the base on the GPUs.
        judge: A judge on the same GPU; None = elsewhere.
        available: Bytes that are free for the run.
        cases: Number of training cases, if known.
    """
    items = [*_weight_items(shape, layout), *_lora_items(recipe, shape)]
    items += [*_latent_items(recipe, shape, tokens, layout, cases), *_activation_items(recipe, shape, tokens, layout)]
    if judge is not None:
        items.append(MemoryItem.constant("judge: weights", judge.weights))
        items.append(MemoryItem("judge: keys, values, activations", 0, judge.running, judge.running))
    items = [item for item in items if max(item.encode, item.sample, item.train)]
    sums = {phase: sum(getattr(item, phase) for item in items) for phase in PHASES}
    if layout.accelerator:
        fixed = CONTEXT + (COLLECTIVES if layout.gpus > 1 else 0)
        margin = {phase: fixed + int(FRAGMENTS * total) for phase, total in sums.items()}
        items.append(MemoryItem("margin: context, fragments", *(margin[phase] for phase in PHASES)))
        sums = {phase: sums[phase] + margin[phase] for phase in PHASES}
    return Memory(tuple(items), available, sums)


def editing_bytes(
    recipe: Recipe, shape: EditorShape, tokens: Tokens, layout: Layout, judge: JudgeShape | None, rows: int
) -> int:
    """Bytes on one GPU while `rows` cases are edited at once without training: text encoders stay, nothing is kept.

    Args:
        recipe: The run's recipe.
        shape: Its editor.
        tokens: Tokens of one row.
        layout: Layout of the base; other stages than training do not shard it.
        judge: A judge on the same GPU; None = elsewhere.
        rows: Cases at once.
    """
    working = activations.working_memory(shape.architecture, tokens, layout.element, backward=False)
    # Working memory and decoding follow each other.
    decoding = DECODING * shape.vae_width * layout.element * shape.resolution**2
    weights = layout.base_bytes(shape.architecture) + (shape.encoders + shape.vae) * layout.element
    lora = FLOAT * lora_parameter_count(shape.architecture.adapted(recipe.lora.targets), recipe.lora.rank)
    total = weights + lora + rows * (max(working, decoding) + shape.conditioning(tokens, layout.element))
    total += judge.weights + judge.running if judge else 0
    return total + (CONTEXT + int(FRAGMENTS * total) if layout.accelerator else 0)


def _weight_items(shape: EditorShape, layout: Layout) -> list[MemoryItem]:
    base, vae = layout.base_bytes(shape.architecture), shape.vae * layout.element
    encoders = shape.encoders * layout.element
    later = 0 if layout.accelerator and layout.encoders_leave else encoders
    items = [MemoryItem.constant(f"base, {layout.describe()}", base)]
    return [*items, MemoryItem("text encoders", encoders, later, later), MemoryItem.constant("VAE", vae)]


def _lora_items(recipe: Recipe, shape: EditorShape) -> list[MemoryItem]:
    layers = shape.architecture.adapted(recipe.lora.targets)
    lora = FLOAT * lora_parameter_count(layers, recipe.lora.rank)
    adam = optimizer_bytes(layers, recipe.lora.rank)
    items = [MemoryItem.constant("LoRA and its average", 2 * lora)]
    items += [MemoryItem("gradient", 0, lora, lora), MemoryItem("AdamW's state", 0, adam, adam)]
    if ALGORITHMS[recipe.train.algorithm].old_policy:
        items.append(MemoryItem("old policy", lora, 2 * lora, 2 * lora))
    return items


def _latent_items(
    recipe: Recipe, shape: EditorShape, tokens: Tokens, layout: Layout, cases: int | None
) -> list[MemoryItem]:
    """Encoded cases, and the latents of the rollout that are kept for the update."""
    cached = min(CACHED_CASES, cases or CACHED_CASES) * shape.conditioning(tokens, layout.element)
    encoded = MemoryItem.constant("encoded cases", cached)
    if recipe.offline:
        return [encoded]
    latent = FLOAT * tokens.target * int(shape.architecture.config["in_channels"])
    algorithm, rollout = ALGORITHMS[recipe.train.algorithm], recipe.rollout
    window = rollout.window if algorithm.stochastic else 0
    tensors = window + 2 + (window if algorithm.keeps_means else 0)
    edits = -(-rollout.groups // layout.gpus) * rollout.group_size * (1 + rollout.dynamic_sampling)
    latents = edits * tensors * latent
    return [encoded, MemoryItem("latents of the rollout", 0, latents, latents)]


def _activation_items(recipe: Recipe, shape: EditorShape, tokens: Tokens, layout: Layout) -> list[MemoryItem]:
    """Activations of the micro batch and of the VAE."""
    architecture, lora = shape.architecture, recipe.lora
    rows = min(recipe.train.micro_batch, most_rows(recipe))
    picture = DECODING * shape.vae_width * layout.element
    encode = picture * max(shape.source_area, shape.resolution**2)
    decode = 0 if recipe.offline else picture * shape.resolution**2 * min(rows, recipe.rollout.group_size)
    sample = activations.working_memory(architecture, tokens, layout.element, backward=False) * rows
    train = activations.training_activations(
        architecture, tokens, lora.targets, lora.rank, layout.element, recomputes=layout.recomputes
    )
    kind = "recomputed" if layout.recomputes else "kept"
    items = [MemoryItem(f"activations, {kind}, {rows} rows", 0, sample, train * rows)]
    return [*items, MemoryItem("pictures in the VAE", encode, decode, 0)]


def most_rows(recipe: Recipe) -> int:
    """Rows of the largest forward that the recipe can make."""
    if recipe.offline:
        return max(2, 2 * max(1, recipe.train.micro_batch // 2))
    waves = max(1, recipe.train.micro_batch // recipe.rollout.group_size)
    return min(recipe.train.micro_batch, waves * recipe.rollout.group_size)
