"""Judges: vision-language models that answer a prompt about pictures with one of a few tokens.

    judge = TransformersJudge.load("mini")          # or a folder or hub id of a Qwen2.5-VL
    answer, = judge.ask([Question(parts, (source, edit))])
    answer.expected                                 # expectation over the digits; None when unreadable

The probabilities are read off the next-token distribution after the prompt, never sampled: a sampled digit wastes
signal (UniWorld-V2, arXiv 2510.16888, measured 74.7 % against 60.8 % pairwise agreement).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from hpedit.editors.fingerprint import folder_fingerprint
from hpedit.errors import HPEditError
from hpedit.quiet import quiet_loading
from hpedit.scorer.prompts import CHOICES, IMAGE

MIN_MASS = 0.5
"""Least probability of all choices together; below it the judge wants to say something else and is unreadable."""
BATCH = 48
"""Questions in one forward pass."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as its parts in order (those equal to IMAGE are pictures) and the pictures, RGB."""

    parts: Sequence[str]
    images: tuple[Image.Image, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge said to one question."""

    probabilities: tuple[float, ...] | None
    """Of the choices, scaled to sum 1; None when the answer can't be read."""
    reason: str | None = None
    """Why there are no probabilities."""

    @property
    def expected(self) -> float | None:
        """Expectation of the digits 0, 1, ...; None when unreadable."""
        if self.probabilities is None:
            return None
        return sum(digit * p for digit, p in enumerate(self.probabilities))

    @property
    def spread(self) -> float | None:
        """Standard deviation of the digits under the judge's probabilities; None when unreadable."""
        if self.probabilities is None:
            return None
        mean = sum(digit * p for digit, p in enumerate(self.probabilities))
        return math.sqrt(sum(p * (digit - mean) ** 2 for digit, p in enumerate(self.probabilities)))


def read_answer(log_probs: Sequence[float]) -> Answer:
    """Turn the log-probabilities of the choices (over the whole vocabulary) into an answer.

    A choice the judge did not list may be -inf: mass 0. NaN, or a mass below MIN_MASS, is unreadable: None with the
    reason, never a score of 0.
    """
    if any(math.isnan(value) for value in log_probs):
        return Answer(None, "the judge's probabilities are not numbers")
    masses = [math.exp(value) for value in log_probs]
    total = sum(masses)
    if not MIN_MASS <= total <= 1 + 1e-3:
        return Answer(None, f"the judge did not answer with a digit: {total:.2f} of its probability lies on 0 to 5")
    return Answer(tuple(mass / total for mass in masses))


class Judge(Protocol):
    """What HP-Scorer needs of a judge."""

    @property
    def fingerprint(self) -> str:
        """Names model, revision and decoding."""
        ...

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer a question, in order."""
        ...


class TransformersJudge:
    """A Qwen2.5-VL in process, through transformers."""

    def __init__(self, model: Any, processor: Any, fingerprint: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.processor.tokenizer.padding_side = "left"
        self._weights = fingerprint
        self._digits = [_single_token(processor.tokenizer, choice) for choice in CHOICES]

    @classmethod
    def load(
        cls, model: str = "mini", revision: str | None = None, dtype: str = "float32", device: str = "cpu"
    ) -> TransformersJudge:
        """Load a judge from a folder, a hub id, or "mini" (inside the package).

        Raises:
            HPEditError: there is no such model, or it is not a Qwen2.5-VL.
        """
        from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

        from hpedit.mini.weights import judge_path

        place = str(judge_path()) if model == "mini" else model
        local = Path(place).is_dir()
        asked = {"revision": revision or "main", "local_files_only": local}
        if device == "auto":
            found = torch.accelerator.current_accelerator(check_available=True)
            device = found.type if found else "cpu"
        try:
            with quiet_loading():
                network = Qwen2_5_VLForConditionalGeneration.from_pretrained(
                    place, dtype=getattr(torch, dtype), **asked
                )
                processor = AutoProcessor.from_pretrained(place, **asked)
        except (OSError, ValueError) as error:
            raise HPEditError(
                f"the judge {model!r} can't be loaded: {error}",
                hint="give 'mini', a folder, or the hub id of a Qwen2.5-VL",
            ) from error
        name = folder_fingerprint(Path(place)) if local else f"{model}@{revision or 'main'}"
        return cls(network.to(device), processor, name)

    @property
    def fingerprint(self) -> str:
        """Weights, answer tokens, and the way the answer is read."""
        text = f"{self._weights}|{self._digits}|{self.model.dtype}|expectation|{MIN_MASS}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer a question, in order; batched."""
        answers: list[Answer] = []
        for start in range(0, len(questions), BATCH):
            answers += self._ask_batch(questions[start : start + BATCH])
        return answers

    @torch.inference_mode()
    def _ask_batch(self, questions: Sequence[Question]) -> list[Answer]:
        texts = [self._prompt(question) for question in questions]
        images = [image for question in questions for image in question.images]
        inputs = self.processor(text=texts, images=images, padding=True, return_tensors="pt").to(self.model.device)
        logits = self.model(**inputs, logits_to_keep=1).logits[:, -1].float()
        return [read_answer(row) for row in logits.log_softmax(-1)[:, self._digits].tolist()]

    def _prompt(self, question: Question) -> str:
        """The question in the judge's chat format, up to where its answer begins."""
        if sum(part == IMAGE for part in question.parts) != len(question.images):
            raise HPEditError("a prompt must have as many picture places as pictures")
        # A user's words must not become the chat format's own marks: no picture places, no end of a turn.
        words = [part.replace("<|", "< |") for part in question.parts]
        content = [{"type": "image"} if part == IMAGE else {"type": "text", "text": part} for part in words]
        messages = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _single_token(tokenizer: Any, choice: str) -> int:
    """The id of an answer; HPEditError for a tokenizer that splits it, since then its probability can't be read."""
    ids = tokenizer(choice, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise HPEditError(f"the judge's tokenizer splits the answer {choice!r} into {len(ids)} tokens")
    return int(ids[0])
