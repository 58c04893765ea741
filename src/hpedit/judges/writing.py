"""The protocol of judges that write: JSON text that follows a schema. Imports no backend.

    prompt = WritingPrompt(Question((IMAGE,), (photo,), "Describe it as JSON."), json.dumps(schema))
    reply, = judge.write([prompt])
    reply.text                                # JSON that fits the schema; None when there is none, with the reason

In process, constrained decoding forbids every token that would violate the schema, so that even a weak judge gives
valid JSON if it comes to an end. A server gets the schema as response_format but may ignore it, so readers validate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hpedit.judges.protocol import Judge, Question

MAX_TOKENS = 512
"""Most tokens of one answer."""
CUT_OFF = "the answer is longer than its limit of tokens"
"""Reason of a reply without text: truncated JSON is useless."""


@dataclass(frozen=True, slots=True)
class WritingPrompt:
    """A prompt for JSON text."""

    question: Question
    """Prompt and pictures; its choices are ignored."""
    schema: str
    """JSON schema as text. A text without maxLength may run on until it is cut off."""
    max_tokens: int = MAX_TOKENS
    temperature: float = 0.0
    """0 is greedy decoding."""
    seed: int = 0
    """Of sampling, at a temperature above 0."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A judge's text."""

    text: str | None
    """JSON; None if there is none."""
    reason: str | None = None
    """Why there is none."""
    again: bool = False
    """Whether another seed may succeed: the answer was truncated."""


class WritingJudge(Judge, Protocol):
    """A judge that answers questions and writes."""

    def write(self, prompts: Sequence[WritingPrompt]) -> list[Reply]:
        """One reply per prompt, in order; without text, the reason.

        Raises:
            HPEditError: an unsupported schema, or no judge answers.
        """
        ...
