"""Linear layers, parameters and FLOPs of an editor's transformer, computed from its config.json. No torch.

    architecture = Architecture(json.load(open("transformer/config.json")))
    architecture.parameters                  # 20,430,401,088 for Qwen-Image
    architecture.flops(Tokens(1024, 1024, 244))

The layers are those of diffusers' classes, name by name: LoRA targets can be checked, and counts are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from hpedit.errors import HPEditError

Stream = Literal["image", "text", "joint", "once"]
TIME = 256
"""Channels of the sinusoidal timestep embedding."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of one row of a forward."""

    target: int
    """Tokens of the edit."""
    source: int
    """Tokens of all its sources."""
    text: int
    """Tokens of the encoded instruction, and of the sources as the text encoder sees them."""

    @property
    def image(self) -> int:
        """Target and sources."""
        return self.target + self.source

    @property
    def all(self) -> int:
        """Sequence length of the attention."""
        return self.image + self.text

    def of(self, stream: Stream) -> int:
        """How many tokens pass a layer of the stream; a "once" layer sees only the timestep embedding."""
        return {"image": self.image, "text": self.text, "joint": self.all, "once": 1}[stream]


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer with a bias."""

    name: str
    inputs: int
    outputs: int
    stream: Stream

    @property
    def parameters(self) -> int:
        """Weights and bias."""
        return self.inputs * self.outputs + self.outputs


class Architecture:
    """A transformer's layers, parameter count and FLOPs by its config.json."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """HPEditError for an unsupported class, or a config with a missing or invalid entry."""
        self.config, self.kind = dict(config), str(config.get("_class_name"))
        if self.kind not in _LAYERS:
            raise HPEditError(f"{self.kind} is not a supported transformer", hint=f"supported: {', '.join(_LAYERS)}")
        try:
            self.width = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
            self.double = int(config["num_layers"])
            self.single = int(config.get("num_single_layers", 0)) if self.kind == FLUX else 0
            self.linears: list[Linear] = list(_LAYERS[self.kind](self.config, self.width))
        except (KeyError, TypeError, ValueError) as error:
            raise HPEditError(f"the transformer's config.json has a missing or invalid entry: {error}") from error

    @property
    def blocks(self) -> int:
        """Number of double and single blocks."""
        return self.double + self.single

    @cached_property
    def parameters(self) -> int:
        """Exact number of parameters."""
        head, config = int(self.config["attention_head_dim"]), self.config
        norms = self.double * 4 * head + self.single * 2 * head
        if self.kind == QWEN:
            norms += int(config["joint_attention_dim"])
            norms += 2 * self.width if config.get("use_additional_t_cond") else 0
        return norms + sum(layer.parameters for layer in self.linears)

    def flops(self, tokens: Tokens) -> int:
        """FLOPs of one forward of one row: 2 per weight and token, 4 L^2 d per block for attention."""
        linear = sum(2 * layer.inputs * layer.outputs * tokens.of(layer.stream) for layer in self.linears)
        return linear + self.blocks * 4 * tokens.all**2 * self.width

    def adapted(self, targets: Sequence[str]) -> list[Linear]:
        """The layers that a LoRA with these targets adapts."""
        return [layer for layer in self.linears if any(_matches_target(layer.name, target) for target in targets)]

    def unmatched(self, targets: Sequence[str]) -> list[str]:
        """Targets that match no layer's name."""
        return [target for target in targets if not any(_matches_target(layer.name, target) for layer in self.linears)]

    def endings(self) -> list[str]:
        """Distinct endings of the layers' names."""
        return sorted({_name_ending(layer.name) for layer in self.linears})


def _matches_target(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _name_ending(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def _embedder_layers(name: str, inputs: int, width: int) -> Iterator[Linear]:
    yield Linear(f"{name}.linear_1", inputs, width, "once")
    yield Linear(f"{name}.linear_2", width, width, "once")


def _attention_layers(at: str, width: int) -> Iterator[Linear]:
    """Joint attention of a double block."""
    image, text = ("to_q", "to_k", "to_v", "to_out.0"), ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    yield from (Linear(f"{at}.attn.{name}", width, width, "image") for name in image)
    yield from (Linear(f"{at}.attn.{name}", width, width, "text") for name in text)


def _mlp_layers(at: str, width: int, stream: Stream) -> Iterator[Linear]:
    yield Linear(f"{at}.net.0.proj", width, 4 * width, stream)
    yield Linear(f"{at}.net.2", 4 * width, width, stream)


def _qwen_layers(config: Mapping[str, Any], width: int) -> Iterator[Linear]:
    """Layers of diffusers' QwenImageTransformer2DModel."""
    yield from _embedder_layers("time_text_embed.timestep_embedder", TIME, width)
    yield Linear("img_in", config["in_channels"], width, "image")
    yield Linear("txt_in", config["joint_attention_dim"], width, "text")
    for number in range(config["num_layers"]):
        at = f"transformer_blocks.{number}"
        yield Linear(f"{at}.img_mod.1", width, 6 * width, "once")
        yield from _attention_layers(at, width)
        yield from _mlp_layers(f"{at}.img_mlp", width, "image")
        yield Linear(f"{at}.txt_mod.1", width, 6 * width, "once")
        yield from _mlp_layers(f"{at}.txt_mlp", width, "text")
    yield Linear("norm_out.linear", width, 2 * width, "once")
    outputs = config["patch_size"] ** 2 * (config["out_channels"] or config["in_channels"])
    yield Linear("proj_out", width, outputs, "image")


def _flux_layers(config: Mapping[str, Any], width: int) -> Iterator[Linear]:
    """Layers of diffusers' FluxTransformer2DModel."""
    yield from _embedder_layers("time_text_embed.timestep_embedder", TIME, width)
    if config.get("guidance_embeds"):
        yield from _embedder_layers("time_text_embed.guidance_embedder", TIME, width)
    yield from _embedder_layers("time_text_embed.text_embedder", config["pooled_projection_dim"], width)
    yield Linear("context_embedder", config["joint_attention_dim"], width, "text")
    yield Linear("x_embedder", config["in_channels"], width, "image")
    for number in range(config["num_layers"]):
        at = f"transformer_blocks.{number}"
        yield Linear(f"{at}.norm1.linear", width, 6 * width, "once")
        yield Linear(f"{at}.norm1_context.linear", width, 6 * width, "once")
        yield from _attention_layers(at, width)
        yield from _mlp_layers(f"{at}.ff", width, "image")
        yield from _mlp_layers(f"{at}.ff_context", width, "text")
    for number in range(config["num_single_layers"]):
        at = f"single_transformer_blocks.{number}"
        yield Linear(f"{at}.norm.linear", width, 3 * width, "once")
        yield Linear(f"{at}.proj_mlp", width, 4 * width, "joint")
        yield Linear(f"{at}.proj_out", 5 * width, width, "joint")
        yield from (Linear(f"{at}.attn.{name}", width, width, "joint") for name in ("to_q", "to_k", "to_v"))
    yield Linear("norm_out.linear", width, 2 * width, "once")
    outputs = config["patch_size"] ** 2 * (config.get("out_channels") or config["in_channels"])
    yield Linear("proj_out", width, outputs, "image")


QWEN: Final = "QwenImageTransformer2DModel"
FLUX: Final = "FluxTransformer2DModel"
_LAYERS: Final[Mapping[str, Callable[[Mapping[str, Any], int], Iterator[Linear]]]] = {
    QWEN: _qwen_layers,
    FLUX: _flux_layers,
}
