"""Training of the mini base editor by flow matching on (partly flawed) supervised pairs.

Transformer and text encoder learn together; the VAE is fixed, so each pair's latents are computed once. Every scene has
two target draws; a share FLAW_SHARE of them carries a flaw (hpedit.mini.flaws), as real editing sets do. At its plateau
the editor therefore makes clean and flawed edits by chance, and more of the same supervision does not change the odds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageEditPlusPipeline
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import DynamicCache

from hpedit.mini.architecture import EDITOR_PATCH, JOINT_DIM, LATENT_CHANNELS, build_pipeline
from hpedit.mini.build.loop import Metrics, fit
from hpedit.mini.build.vae import decode_raw, encode_mean, two_dimensional
from hpedit.mini.drawing import SIZE
from hpedit.mini.flaws import flawed_picture
from hpedit.mini.oracle import mark
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import Scene, make_scene
from hpedit.mini.tokenizer import TEMPLATE, TEMPLATE_TOKENS
from hpedit.tasks import TASK_IDS

SIDE = SIZE // (2 * EDITOR_PATCH)
TOKENS = SIDE * SIDE
"""Tokens the text encoder makes of a picture, SIDE x SIDE."""
GRID = SIZE // 8
"""Side of the packed latent grid: 4 x 4 tokens a picture."""
VARIANTS = 2
"""Target draws a scene."""
CHANGED = 0.05
"""Mean squared difference of two tokens (of about unit variance) from which they count as different."""
CHANGED_WEIGHT = 4.0
"""Weight of such a token in the loss; the others weigh 1."""
GROUNDING = 0.2
"""Weight in the loss of where the picture must change."""
LEVEL_MEAN, LEVEL_STD = 0.0, 1.2
"""Logit of the noise levels that are trained on; a lower mean trains more of the last steps, which sharpen."""
CURRICULUM = (
    *("addition", "removal", "color") * 2,
    *("swap",) * 4,
    *("background",) * 3,
    *("bokeh", "relighting", "style"),
)
"""Tasks of the scenes in turn: the more of a task, the harder it is to learn."""
SHAPES = [[(1, GRID, GRID), (1, GRID, GRID)]]
"""The transformer's `img_shapes` for one edit: the noisy target, then the source."""


def draw_scene(index: int, seed: int) -> tuple[Scene, list[NDArray[np.float32]]]:
    """Scene `index` of the training set and its target draws."""
    rng = np.random.default_rng((seed, 77, index))
    scene = make_scene(CURRICULUM[index % len(CURRICULUM)], embedded_tiles("pretrain"), rng)
    return scene, [flawed_picture(scene.source, scene.target, scene.region, rng) for _ in range(VARIANTS)]


def pack(latents: Tensor) -> Tensor:
    """(B, C, 1, 8, 8) -> (B, 16, 4 C) tokens, in the pipeline's order."""
    b, c = latents.shape[:2]
    return latents.reshape(b, c, GRID, 2, GRID, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, GRID * GRID, 4 * c)


def unpack(tokens: Tensor) -> Tensor:
    """(B, 16, 4 C) tokens -> (B, C, 1, 8, 8)."""
    b, _, channels = tokens.shape
    x = tokens.reshape(b, GRID, GRID, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(b, channels // 4, 1, 2 * GRID, 2 * GRID)


def token_shares(scene: Scene) -> Tensor:
    """Share of each token's pixels that must change, (16,) float16 in the order of the tokens."""
    side = SIZE // GRID
    return torch.from_numpy(scene.region.reshape(GRID, side, GRID, side).mean((1, 3))).flatten().half()


class Codec:
    """Pictures to normalised packed latents and back, through the VAE."""

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        self.vae = vae
        shape = (1, LATENT_CHANNELS, 1, 1, 1)
        self.mean = torch.tensor(vae.config.latents_mean).view(shape)
        self.std = torch.tensor(vae.config.latents_std).view(shape)

    @torch.no_grad()
    def encode(self, pictures: NDArray[np.float32]) -> Tensor:
        """(B, 32, 32, 3) in [0, 1] -> (B, 16, 64)."""
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1
        return pack((encode_mean(self.vae, pixels) - self.mean) / self.std)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> NDArray[np.float32]:
        """(B, 16, 64) -> (B, 32, 32, 3) in [0, 1], on 256 levels."""
        pixels = decode_raw(self.vae, unpack(tokens) * self.std + self.mean).clamp(-1, 1)
        return np.asarray(((pixels.permute(0, 2, 3, 1) + 1) * 127.5).round().numpy() / 255, np.float32)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The training set of N scenes.

    sources: (N, 32, 32, 3) uint8. latents: (N, 1 + VARIANTS, 16, 64) float16, of the source and then of its targets.
    regions: (N, 16) float16, the share of each token that must change.
    """

    instructions: list[str]
    sources: NDArray[np.uint8]
    latents: Tensor
    regions: Tensor


def prepare_pairs(codec: Codec, count: int, seed: int, folder: Path, chunk: int = 64) -> Pairs:
    """Draw and encode `count` scenes, or read them from `folder` where an earlier call left them."""
    file = folder / f"pairs-{count}-{seed}.safetensors"
    if file.exists():
        kept = load_file(file)
        return Pairs(
            json.loads(kept["words"].numpy().tobytes()), kept["sources"].numpy(), kept["latents"], kept["regions"]
        )
    instructions: list[str] = []
    sources = np.empty((count, SIZE, SIZE, 3), np.uint8)
    latents = torch.empty((count, 1 + VARIANTS, GRID * GRID, 4 * LATENT_CHANNELS), dtype=torch.float16)
    regions = torch.empty((count, GRID * GRID), dtype=torch.float16)
    for start in range(0, count, chunk):
        drawn = [draw_scene(index, seed) for index in range(start, min(start + chunk, count))]
        instructions += [scene.instruction for scene, _ in drawn]
        end = start + len(drawn)
        sources[start:end] = (np.stack([scene.source for scene, _ in drawn]) * 255).round()
        regions[start:end] = torch.stack([token_shares(scene) for scene, _ in drawn])
        pictures = np.stack([picture for scene, targets in drawn for picture in (scene.source, *targets)])
        latents[start:end] = codec.encode(pictures).reshape(len(drawn), 1 + VARIANTS, GRID * GRID, -1).half()
    words = torch.frombuffer(bytearray(json.dumps(instructions).encode()), dtype=torch.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"words": words, "sources": torch.from_numpy(sources), "latents": latents, "regions": regions}, file)
    return Pairs(instructions, sources, latents, regions)


def patchify(pictures: NDArray[np.float32]) -> Tensor:
    """Pictures (B, 32, 32, 3) in [0, 1] as the editor's image processor cuts them: (B * 16, 3 * 2 * 8 * 8)."""
    p = EDITOR_PATCH
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1
    x = x.reshape(-1, 3, SIDE, 2, p, SIDE, 2, p).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return x.unsqueeze(6).expand(*x.shape[:6], 2, p, p).reshape(-1, 3 * 2 * p * p)


class EditorTrainer(nn.Module):
    """Transformer and text encoder of a pipeline, with the template's fixed part computed once a batch.

    Two linear heads, which are no part of the pipeline, are asked where the picture must change: `where` of each image
    token half way through the transformer, `quarter` of the text encoder's last token. An editor that does not find the
    object that it is told of changes another one; the flow loss alone teaches that only slowly.
    """

    def __init__(self, pipeline: QwenImageEditPlusPipeline) -> None:
        super().__init__()
        self.transformer = pipeline.transformer
        self.text_encoder = pipeline.text_encoder
        self.tokenizer = pipeline.tokenizer
        self.where = nn.Linear(self.transformer.inner_dim, 1)
        self.quarter = nn.Linear(JOINT_DIM, 4)
        self.requires_grad_(True)
        prefix, _, rest = TEMPLATE.partition("Picture 1")
        self.prefix = torch.tensor([self.tokenizer(prefix)["input_ids"]])
        assert self.prefix.shape[1] == TEMPLATE_TOKENS
        self.rest = "Picture 1" + rest.replace("<|image_pad|>", "<|image_pad|>" * TOKENS)
        self.pad = self.tokenizer.convert_tokens_to_ids("<|endoftext|>")

    def embed(self, instructions: Sequence[str], pictures: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Text conditioning (B, T, D) as the pipeline's encode_prompt computes it, and its mask (B, T)."""
        rows = [self.tokenizer(self.rest.replace("{}", text))["input_ids"] for text in instructions]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self.pad] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        image = self.text_encoder.config.image_token_id
        places = torch.arange(TEMPLATE_TOKENS, TEMPLATE_TOKENS + longest)  # the pipeline asks for no 3-D positions
        model = self.text_encoder.model
        grid = torch.tensor([[1, 2 * SIDE, 2 * SIDE]]).repeat(len(rows), 1)
        seen = model.visual(patchify(pictures), grid_thw=grid).pooler_output
        language = model.language_model
        embeds = language.embed_tokens(ids).masked_scatter((ids == image)[..., None], seen)
        cache = DynamicCache(config=self.text_encoder.config.text_config)
        language(input_ids=self.prefix, past_key_values=cache, use_cache=True)
        for layer in cache.layers:
            layer.keys = layer.keys.expand(len(rows), -1, -1, -1)
            layer.values = layer.values.expand(len(rows), -1, -1, -1)
        hidden = language(
            inputs_embeds=embeds,
            attention_mask=torch.cat((torch.ones(len(rows), TEMPLATE_TOKENS, dtype=torch.long), mask), 1),
            position_ids=places.expand(3, len(rows), longest),
            past_key_values=cache,
        ).last_hidden_state
        return hidden * mask[..., None], mask

    def places(self, text: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, 4) of how much of each quarter of the picture must change, read from the text conditioning."""
        last = mask.sum(1) - 1
        logits: Tensor = self.quarter(text[torch.arange(len(text)), last])
        return logits

    def velocity_and_region(
        self, latents: Tensor, s: Tensor, source: Tensor, text: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The velocity, and logits (B, 32) of the share of each token, of target and source, that must change."""
        seen: list[Tensor] = []
        block = self.transformer.transformer_blocks[len(self.transformer.transformer_blocks) // 2]
        handle = block.register_forward_hook(lambda _module, _inputs, output: seen.append(output[1]))
        try:
            predicted = self.velocity(latents, s, source, text, mask)
        finally:
            handle.remove()
        return predicted, self.where(seen[0]).squeeze(-1)

    def velocity(self, latents: Tensor, s: Tensor, source: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Predicted velocity (B, 16, 64) at noise level s (B,)."""
        tokens = torch.cat((latents, source), 1)
        out = self.transformer(
            hidden_states=tokens,
            timestep=s,
            encoder_hidden_states=text,
            encoder_hidden_states_mask=mask,
            img_shapes=SHAPES * len(latents),
            return_dict=False,
        )[0]
        predicted: Tensor = out[:, : latents.shape[1]]
        return predicted

    @torch.no_grad()
    def sample(
        self, instructions: Sequence[str], pictures: NDArray[np.float32], source: Tensor, sigmas: Tensor, seed: int
    ) -> Tensor:
        """Edit by Euler steps over `sigmas`; packed latents (B, 16, 64)."""
        text, mask = self.embed(instructions, pictures)
        x = torch.randn(source.shape, generator=torch.Generator().manual_seed(seed))
        for s, following in pairwise(sigmas):
            x = x + (following - s) * self.velocity(x, s.expand(len(x)), source, text, mask)
        return x


def flow_loss(
    trainer: EditorTrainer,
    pairs: Pairs,
    index: NDArray[np.int64],
    variant: NDArray[np.int64],
    generator: torch.Generator,
) -> tuple[Tensor, Metrics]:
    """Flow matching: x_s = (1 - s) x0 + s eps, target eps - x0, s = sigmoid(N(LEVEL_MEAN, LEVEL_STD)).

    Tokens in which target and source differ weigh CHANGED_WEIGHT times as much: where an object is added or recoloured
    they are one in eight, and what the instruction says is learnt from them alone. To it comes GROUNDING times the
    cross-entropy of where the picture must change (see `EditorTrainer`).
    """
    latents = pairs.latents[torch.from_numpy(index)].float()
    clean = latents[torch.arange(len(index)), 1 + torch.from_numpy(variant)]
    noise = torch.randn(clean.shape, generator=generator)
    s = torch.sigmoid(LEVEL_MEAN + LEVEL_STD * torch.randn(len(index), generator=generator))
    mixed = (1 - s[:, None, None]) * clean + s[:, None, None] * noise
    pictures = pairs.sources[index].astype(np.float32) / np.float32(255)
    text, mask = trainer.embed([pairs.instructions[i] for i in index], pictures)
    changed = (clean - latents[:, 0]).square().mean(-1, keepdim=True) > CHANGED
    weight = torch.where(changed, CHANGED_WEIGHT, 1.0)
    velocity, found = trainer.velocity_and_region(mixed, s, latents[:, 0], text, mask)
    error = (velocity - (noise - clean)).square()
    flow = (weight * error).mean() / weight.mean()
    region = pairs.regions[torch.from_numpy(index)].float()
    quarters = region.reshape(-1, 2, GRID // 2, 2, GRID // 2).amax((2, 4)).flatten(1)
    grounding = binary_cross_entropy_with_logits(found, region.repeat(1, 2))
    grounding = grounding + binary_cross_entropy_with_logits(trainer.places(text, mask), quarters)
    return flow + GROUNDING * grounding, {"flow": float(flow.detach()), "grounding": float(grounding.detach())}


class HeldOut:
    """Held-out scenes on which the oracle follows the training."""

    def __init__(self, codec: Codec, pipeline: QwenImageEditPlusPipeline, per_task: int, seed: int) -> None:
        tiles = embedded_tiles("pretrain")
        self.scenes = [
            make_scene(t, tiles, np.random.default_rng((seed, 99, k))) for k in range(per_task) for t in TASK_IDS
        ]
        self.codec = codec
        self.sources = np.stack([scene.source for scene in self.scenes])
        self.latents = codec.encode(self.sources)
        pipeline.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 8, 8), mu=0.5)
        self.sigmas = pipeline.scheduler.sigmas.clone()

    def scores(self, edits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Oracle score in [0, 5] of one edit a scene, (N, 32, 32, 3) in [0, 1] -> (N,)."""
        return np.array([mark(c.source, c.target, c.region, e).score for c, e in zip(self.scenes, edits, strict=True)])

    def ceiling(self) -> float:
        """Oracle mean of the exact targets after a trip through the VAE: what a perfect editor would get."""
        targets = np.stack([scene.target for scene in self.scenes])
        return float(self.scores(self.codec.decode(self.codec.encode(targets))).mean())

    def evaluate(self, trainer: EditorTrainer) -> Metrics:
        """Oracle mean overall and by task of one edit a scene."""
        words = [scene.instruction for scene in self.scenes]
        edits = self.codec.decode(trainer.sample(words, self.sources, self.latents, self.sigmas, 1))
        scores = self.scores(edits)
        by_task = {
            t: round(float(np.mean([x for x, c in zip(scores, self.scenes, strict=True) if c.task == t])), 2)
            for t in TASK_IDS
        }
        return {"oracle": float(scores.mean()), **by_task}


def build(
    vae: AutoencoderKLQwenImage, work: Path, seed: int, steps: int, scenes: int, batch: int = 32, peak: float = 1e-3
) -> QwenImageEditPlusPipeline:
    """Train the base editor (resumes from `work`) and return the whole pipeline."""
    pipeline = build_pipeline(seed)
    pipeline.register_modules(vae=vae.eval().requires_grad_(False))
    torch.manual_seed(seed)
    codec = Codec(vae)
    with two_dimensional():
        pairs = prepare_pairs(codec, scenes, seed, work)
        held_out = HeldOut(codec, pipeline, 8, seed)
        trainer = EditorTrainer(pipeline)

        def loss_of(step: int) -> tuple[Tensor, Metrics]:
            rng = np.random.default_rng((seed, 5, step))
            index, variant = rng.integers(scenes, size=batch), rng.integers(VARIANTS, size=batch)
            return flow_loss(trainer, pairs, index, variant, torch.Generator().manual_seed(seed * 10**7 + step))

        fit(
            trainer,
            loss_of,
            steps=steps,
            peak=peak,
            folder=work,
            every=250,
            evaluate=lambda _: held_out.evaluate(trainer),
            ema_decay=0.998,
        )
    trainer.eval().requires_grad_(False)
    return pipeline
