"""Zero-shot classification of photographs with CLIP or SigLIP.

CLIP (Radford et al. 2021, arXiv 2103.00020) gives probabilities that add up to 1 over the categories (softmax), SigLIP
(Zhai et al. 2023, arXiv 2303.15343) an independent one for each (sigmoid), as transformers' pipeline
"zero-shot-image-classification" computes them, except that category names are encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hpedit.cases.coco import indefinite, spoken
from hpedit.cases.labels.protocol import Label
from hpedit.errors import HPEditError
from hpedit.progress import quiet_loading

BATCH = 64
"""Photographs in one forward pass."""
PROMPT = "a photo of {}."
"""CLIP's own prompt for objects; the name brings its article."""
SIGMOID = ("siglip", "siglip2")
"""Model types trained with a sigmoid loss, on texts padded to full length."""


class ZeroShotLabeller:
    """Labels photographs with a CLIP or SigLIP model.

    Args:
        model: With an image and a text encoder.
        processor: Of the model.
        categories: To choose from, at least one.
        min_probability: Below it (0 to 1) a photograph has no category.
    """

    def __init__(self, model: Any, processor: Any, categories: Sequence[str], min_probability: float) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.categories = tuple(categories)
        self.min_probability = min_probability
        self.sigmoid = model.config.model_type in SIGMOID
        self._names: Tensor | None = None

    @classmethod
    def load(
        cls, model: str, revision: str | None, categories: Sequence[str], min_probability: float
    ) -> ZeroShotLabeller:
        """Load a CLIP or SigLIP from a folder or a hub id.

        Raises:
            HPEditError: no such model, or one of another kind.
        """
        from transformers import AutoModelForZeroShotImageClassification, AutoProcessor

        local = Path(model).is_dir()
        asked = {"revision": revision or "main", "local_files_only": local}
        device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        try:
            with quiet_loading():
                network = AutoModelForZeroShotImageClassification.from_pretrained(model, **asked)
                processor = AutoProcessor.from_pretrained(model, **asked)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise HPEditError(
                f"the labeller {model!r} can't be loaded: {' '.join(str(error).split())}",
                hint="give labels.model a folder or the hub id of a CLIP or SigLIP, as openai/clip-vit-large-patch14",
            ) from error
        return cls(network.to(device), processor, categories, min_probability)

    def label(self, images: Sequence[Image.Image], given: Sequence[Sequence[str]] = ()) -> list[Label]:  # noqa: ARG002
        """See `Labeller`; given labels are ignored."""
        found: list[Label] = []
        for start in range(0, len(images), BATCH):
            best = self.probabilities(images[start : start + BATCH]).max(-1)
            for place, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True):
                enough = probability >= self.min_probability
                found.append(Label(self.categories[place] if enough else "", probability))
        return found

    @torch.inference_mode()
    def probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        """Category probabilities (pictures, categories) in [0, 1]; with softmax each row adds up to 1."""
        inputs = self.processor(images=list(images), return_tensors="pt").to(self.model.device)
        pictures = _normed(self.model.get_image_features(**inputs))
        logits = pictures @ self._name_features().T * self.model.logit_scale.exp()
        if self.sigmoid:
            return torch.as_tensor(torch.sigmoid(logits + self.model.logit_bias).float().cpu())
        return torch.as_tensor(logits.float().softmax(-1).cpu())

    def _name_features(self) -> Tensor:
        """Text features (categories, width) of norm 1; computed once."""
        if self._names is None:
            texts = [PROMPT.format(indefinite(spoken(name))) for name in self.categories]
            longest = int(self.model.config.text_config.max_position_embeddings)
            padding = {"padding": "max_length", "max_length": longest} if self.sigmoid else {"padding": True}
            inputs = self.processor(text=texts, return_tensors="pt", truncation=True, **padding)
            self._names = _normed(self.model.get_text_features(**inputs.to(self.model.device)))
        return self._names


def _normed(features: Any) -> Tensor:
    """Normalise projected features, returned as a tensor or in an output object."""
    vectors = torch.as_tensor(getattr(features, "pooler_output", features))
    return torch.nn.functional.normalize(vectors, dim=-1)
