"""Judges that write: an answer in words, held to a JSON schema while it is written. No backend is imported here.

    prompt = WritingPrompt(Question((IMAGE,), (photo,), "Describe it as JSON."), json.dumps(schema))
    reply, = judge.write([prompt])
    reply.text                                # JSON that fits the schema; None when there is none, with the reason

In process the schema's grammar forbids every token that would leave it (llguidance), so even a judge that can't write
gives JSON of the right form, if it comes to an end. A server is sent the schema as response_format; whether it keeps it
is its own affair, so readers hold the text against the schema again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hpedit.judges.protocol import Judge, Question

MAX_TOKENS = 512
"""Of one answer."""
CUT_OFF = "the answer is longer than its limit of tokens"
"""Why there is no text: half of a JSON is of no use."""


@dataclass(frozen=True, slots=True)
class WritingPrompt:
    """What is to be written."""

    question: Question
    """Prompt and pictures; its choices are ignored."""
    schema: str
    """JSON schema as text. A text without maxLength may run on until it is cut off."""
    max_tokens: int = MAX_TOKENS
    temperature: float = 0.0
    """0 takes the likeliest token each time."""
    seed: int = 0
    """Of the draws, at a temperature above 0."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a judge wrote."""

    text: str | None
    """JSON; None when there is none."""
    reason: str | None = None
    """Why there is none."""
    again: bool = False
    """True where another seed may do better: the answer did not come to its end."""


class WritingJudge(Judge, Protocol):
    """A judge that answers questions and writes."""

    def write(self, prompts: Sequence[WritingPrompt]) -> list[Reply]:
        """One reply a prompt, in order; what can't be had has no text and a reason.

        Raises:
            HPEditError: a schema that can't be kept to, or no judge answers any more.
        """
        ...
