"""Constrained decoding: text that follows a JSON schema, from a model in process.

At each step the schema's grammar (llguidance) says which tokens may come next; all others get probability 0. At a
temperature above 0 a row's logits get Gumbel noise of its own seed and the largest is taken, which samples from their
softmax: a row's text does not depend on its neighbours in the batch, but for the last bits of a float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpedit.errors import HPEditError
from hpedit.judges.writing import CUT_OFF, Reply, WritingPrompt

HINT = "install it with: pip install 'hp-edit[models]'"


class Grammars:
    """Compiles JSON schemas to grammars over a tokenizer.

    Args:
        tokenizer: A fast tokenizer of transformers; others are not supported.
    """

    def __init__(self, tokenizer: Any) -> None:
        try:
            import llguidance.hf
        except ImportError as error:
            raise HPEditError("writing JSON in process needs the package llguidance", hint=HINT) from error
        try:
            self._tokens = llguidance.hf.from_tokenizer(tokenizer, eos_token=tokenizer.eos_token_id)
        except ValueError as error:
            raise HPEditError(f"the judge's tokenizer can't be held to a JSON schema: {error}") from error

    def matcher(self, schema: str) -> Any:
        """A fresh matcher for a schema; HPEditError for an unsupported schema."""
        from llguidance import LLMatcher

        try:
            # No white space between the parts: a weak judge would write it forever.
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
        except ValueError as error:
            raise HPEditError(f"the JSON schema can't be read: {error}") from error
        matcher = LLMatcher(self._tokens, grammar, log_level=0)
        if matcher.is_error():
            raise HPEditError(f"the JSON schema can't be kept to: {matcher.get_error()}")
        return matcher


@dataclass(slots=True)
class _Row:
    """One text that is being written."""

    prompt: WritingPrompt
    matcher: Any
    random: torch.Generator = field(init=False)
    tokens: list[int] = field(default_factory=list)
    done: bool = False
    reason: str | None = None

    def __post_init__(self) -> None:
        self.random = torch.Generator().manual_seed(self.prompt.seed % 2**63)

    def take(self, logits: Tensor) -> int | None:
        """Sample the next token from float32 logits (vocabulary,) on the CPU; None at the end of the text."""
        if self.matcher.is_stopped():
            return None
        if len(self.tokens) >= self.prompt.max_tokens:
            self.reason = CUT_OFF
            return None
        bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
        allowed = torch.from_numpy(np.unpackbits(bits, bitorder="little")[: len(logits)].astype(bool))
        # A vocabulary may be padded beyond the tokenizer's.
        logits = logits[: len(allowed)].masked_fill(~allowed, -torch.inf)
        if torch.isnan(logits).any() or not torch.isfinite(logits).any():
            self.reason = "the judge's probabilities are not numbers"
            return None
        if self.prompt.temperature > 0:
            uniform = torch.rand(len(logits), generator=self.random, dtype=torch.float64)
            logits = logits.double() / self.prompt.temperature - (-uniform.log()).log()
        token = int(logits.argmax())
        kept = self.matcher.consume_token(token)
        assert kept, self.matcher.get_error()
        self.tokens.append(token)
        return token


class _Held:
    """A transformers logits processor that leaves each row only the token that was sampled."""

    def __init__(self, rows: Sequence[_Row], end: int) -> None:
        self.rows = rows
        self.end = end

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        """Scores (rows, vocabulary) with everything but each row's next token at minus infinity."""
        held = torch.full_like(scores, -torch.inf)
        logits = scores.float().cpu()
        for place, row in enumerate(self.rows):
            token = None if row.done else row.take(logits[place])
            row.done = row.done or token is None or token == self.end
            held[place, self.end if token is None else token] = 0.0
        return held


@torch.inference_mode()
def write_batch(judge: Any, texts: Sequence[str], prompts: Sequence[WritingPrompt], grammars: Grammars) -> list[Reply]:
    """Write JSON replies to prompts that fit one batch.

    Args:
        judge: Has model and processor; the tokenizer pads on the left.
        texts: The prompts in the judge's chat format.
        prompts: Their pictures, schemas and limits.
        grammars: Of the judge's tokenizer.
    """
    from transformers import GenerationConfig, LogitsProcessorList

    tokenizer = judge.processor.tokenizer
    rows = [_Row(prompt, grammars.matcher(prompt.schema)) for prompt in prompts]
    images = [image for prompt in prompts for image in prompt.question.images]
    inputs = judge.processor(text=list(texts), images=images or None, padding=True, return_tensors="pt")
    config = GenerationConfig(
        # The step after the last token is the one that ends the row.
        max_new_tokens=max(prompt.max_tokens for prompt in prompts) + 1,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )
    held = LogitsProcessorList([_Held(rows, tokenizer.eos_token_id)])
    judge.model.generate(**inputs.to(judge.model.device), generation_config=config, logits_processor=held)
    return [_reply(row, tokenizer) for row in rows]


def _reply(row: _Row, tokenizer: Any) -> Reply:
    if row.reason:
        return Reply(None, row.reason, again=row.reason == CUT_OFF)
    tokens = [token for token in row.tokens if token != tokenizer.eos_token_id]
    return Reply(str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)))
