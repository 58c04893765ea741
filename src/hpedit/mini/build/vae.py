"""Training of the mini VAE.

For a single picture (T = 1) each causal 3-D convolution of AutoencoderKLQwenImage equals a 2-D convolution with its
last temporal tap, which trains faster; the weights stay those of the real class (the other taps keep their initial
value 0).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import Tensor
from torch.nn import functional

from hpedit.mini.architecture import LATENT_CHANNELS, build_vae
from hpedit.mini.build.loop import Metrics, fit
from hpedit.mini.flaws import flawed_picture
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_scene
from hpedit.tasks import TASK_IDS

LATENT_NOISE = 0.03
"""Deviation of the noise added to latents (of about unit variance), so that the decoder forgives small errors."""


def _as_2d(self: QwenImageCausalConv3d, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
    """`QwenImageCausalConv3d.forward` for a single picture: (B, C, 1, H, W) -> (B, C', 1, H', W')."""
    assert x.shape[2] == 1
    assert cache_x is None
    left, _, top, *_ = self._padding
    weight = self.weight[:, :, -1].contiguous(memory_format=torch.channels_last)
    flat = x[:, :, 0].contiguous(memory_format=torch.channels_last)
    return functional.conv2d(flat, weight, self.bias, stride=self.stride[1:], padding=(top, left)).unsqueeze(2)


@contextlib.contextmanager
def two_dimensional() -> Iterator[None]:
    """Run the VAE's causal convolutions as the 2-D ones they are for single pictures."""
    kept = QwenImageCausalConv3d.forward
    QwenImageCausalConv3d.forward = _as_2d
    try:
        yield
    finally:
        QwenImageCausalConv3d.forward = kept


def encode_mean(vae: AutoencoderKLQwenImage, pixels: Tensor) -> Tensor:
    """Mean latents (B, C, 1, h, w), not normalised, of pictures (B, 3, H, W) in [-1, 1]."""
    mean: Tensor = vae.quant_conv(vae.encoder(pixels.unsqueeze(2)))[:, :LATENT_CHANNELS]
    return mean


def decode_raw(vae: AutoencoderKLQwenImage, latents: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), unclamped, of latents (B, C, 1, h, w) that are not normalised."""
    decoded: Tensor = vae.decoder(vae.post_quant_conv(latents))[:, :, 0]
    return decoded


def pictures(step: int, count: int, seed: int) -> Tensor:
    """Sources and (partly flawed) targets of fresh scenes, (count, 3, 32, 32) in [-1, 1].

    A function of its arguments, so that a resumed training sees what an unbroken one would.
    """
    rng = np.random.default_rng((seed, step))
    tiles = embedded_tiles("pretrain")
    found = []
    for _ in range(count):
        scene = make_scene(TASK_IDS[int(rng.integers(8))], tiles, rng)
        found.append(
            scene.source if rng.random() < 0.4 else flawed_picture(scene.source, scene.target, scene.region, rng)
        )
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2) * 2 - 1


def psnr(vae: AutoencoderKLQwenImage, pixels: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over a batch of pictures in [-1, 1]."""
    with torch.no_grad():
        back = decode_raw(vae, encode_mean(vae, pixels)).clamp(-1, 1)
    return float(-10 * torch.log10(((back - pixels) / 2).square().mean()))


def _start_with_one_tap(vae: AutoencoderKLQwenImage) -> None:
    """Silence all but the last temporal tap and scale that one up to the variance that all of them had together."""
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, QwenImageCausalConv3d) and module.weight.shape[2] > 1:
                module.weight[:, :, :-1] = 0
                module.weight[:, :, -1] *= module.weight.shape[2] ** 0.5


def _finish(vae: AutoencoderKLQwenImage, seed: int) -> None:
    """Write the latents' mean and deviation into the config; make the (unused) posterior deviation next to nothing."""
    with torch.no_grad():
        latents = torch.cat([encode_mean(vae, pictures(step, 64, seed + 1)) for step in range(16)])
        mean, std = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
        vae.quant_conv.weight[LATENT_CHANNELS:] = 0
        vae.quant_conv.bias[LATENT_CHANNELS:] = -12
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())


def build(work: Path, seed: int, steps: int = 18_000, batch: int = 16) -> AutoencoderKLQwenImage:
    """Train the VAE (resumes from `work`). Returns it with its latent statistics set."""
    torch.manual_seed(seed)
    vae = build_vae()
    _start_with_one_tap(vae)
    held_out = pictures(10**9, 256, seed)

    def loss_of(step: int) -> tuple[Tensor, Metrics]:
        pixels = pictures(step, batch, seed)
        latents = encode_mean(vae, pixels)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed * 10**6 + step))
        back = decode_raw(vae, latents + LATENT_NOISE * noise)
        wrong = back - pixels
        error = wrong.square().mean()
        # Of edges and textures a squared error forgives the loss, the oracle's `detail` does not.
        edges = wrong.diff(dim=-1).square().mean() + wrong.diff(dim=-2).square().mean()
        loss = error + edges + 0.05 * wrong.abs().mean() + 1e-4 * latents.square().mean()
        return loss, {"mse": float(error.detach())}

    with two_dimensional():
        fit(
            vae,
            loss_of,
            steps=steps,
            peak=2e-3,
            folder=work,
            every=500,
            evaluate=lambda _: {"psnr": psnr(vae, held_out)},
        )
        _finish(vae, seed)
    return vae
