"""A vision-language model in process, through transformers.

    judge = TransformersJudge.load("mini")          # or a folder or hub id of a Qwen2.5-VL
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hpedit.editors.fingerprint import folder_fingerprint
from hpedit.errors import HPEditError
from hpedit.quiet import quiet_loading
from hpedit.scorer.backends.protocol import IMAGE, MIN_MASS, Answer, Question, read_answer

BATCH = 48
"""Questions in one forward pass."""


class TransformersJudge:
    """A Qwen2.5-VL in process, through transformers."""

    def __init__(self, model: Any, processor: Any, fingerprint: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.processor.tokenizer.padding_side = "left"
        self._weights = fingerprint
        self._tokens: dict[str, int] = {}

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
        text = f"{self._weights}|{self.model.dtype}|expectation|{MIN_MASS}"
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
        masses = logits.softmax(-1)
        return [
            read_answer(row[[self._token(choice) for choice in question.choices]].tolist(), question.choices)
            for row, question in zip(masses, questions, strict=True)
        ]

    def _token(self, choice: str) -> int:
        if choice not in self._tokens:
            self._tokens[choice] = _single_token(self.processor.tokenizer, choice)
        return self._tokens[choice]

    def _prompt(self, question: Question) -> str:
        """The question in the judge's chat format, up to where its answer begins."""
        if sum(part == IMAGE for part in question.stem) != len(question.images):
            raise HPEditError("a prompt must have as many picture places as pictures")
        # A user's words must not become the chat format's own marks: no picture places, no end of a turn.
        words = [part.replace("<|", "< |") for part in (*question.stem, question.tail)]
        content = [{"type": "image"} if part == IMAGE else {"type": "text", "text": part} for part in words]
        messages = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _single_token(tokenizer: Any, choice: str) -> int:
    """The id of an answer; HPEditError for a tokenizer that splits it, since then its probability can't be read."""
    ids = tokenizer(choice, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise HPEditError(f"the judge's tokenizer splits the answer {choice!r} into {len(ids)} tokens")
    return int(ids[0])
