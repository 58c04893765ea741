"""Parse chat completions of an OpenAI-compatible server: the probabilities of the first token, from its logprobs.

Nothing is guessed. An unreadable completion becomes an `Answer` without probabilities that says what came instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hpedit.judges.protocol import Answer, answer_from_masses
from hpedit.judges.token_variants import token_variants
from hpedit.judges.writing import CUT_OFF, Reply
from hpedit.store.json_text import decode_json

SHOWN = 120
"""Longest quotation of a judge's text in a reason, in characters."""


class Unreadable(ValueError):
    """A completion holds no probabilities; the message says what it holds."""


def parse_completion(text: str) -> dict[str, Any]:
    """The JSON object of a reply; Unreadable for anything else."""
    try:
        body = decode_json(text)
    except ValueError as error:
        raise Unreadable(f"the server's reply is not JSON: {quoted(text)}") from error
    if not isinstance(body, dict):
        raise Unreadable(f"the server's reply is not an object: {quoted(text)}")
    return body


def read_completion(text: str, choices: Sequence[str]) -> Answer:
    """Read the answer from a chat completion of one token with logprobs."""
    try:
        listed, began, said, tokens = _first_token(parse_completion(text))
    except Unreadable as error:
        return Answer(None, str(error))
    spellings = {spelling: choice for choice in choices for spelling in token_variants(choice)}
    if tokens > 1 and said not in spellings:
        return Answer(None, f"the judge said more than one answer: {quoted(said)}")
    masses = dict.fromkeys(choices, 0.0)
    found = set()
    for token, logprob in sorted(listed):
        if token in spellings:
            masses[spellings[token]] += math.exp(min(logprob, 1.0))
            found.add(spellings[token])
    answer = answer_from_masses(list(masses.values()), choices, [choice for choice in choices if choice not in found])
    if answer.probabilities is None:
        return Answer(None, f"{answer.reason}; it began with {quoted(began)}")
    return answer


def read_writing(text: str) -> Reply:
    """Read the text of a chat completion that was asked for JSON."""
    try:
        body = parse_completion(text)
        choice, message = _message(body)
    except Unreadable as error:
        return Reply(None, str(error))
    said = str(message.get("content") or "").strip()
    if choice.get("finish_reason") == "length":
        return Reply(None, CUT_OFF, again=True)
    return Reply(said) if said else Reply(None, "the judge's answer is empty", again=True)


def _first_token(body: Mapping[str, Any]) -> tuple[set[tuple[str, float]], str, str, int]:
    """Top tokens with logprobs, the token that was taken, the whole text, and its number of tokens."""
    choice, message = _message(body)
    said = str(message.get("content") or "").strip()
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    token = _first(content)
    if token is None:
        raise Unreadable(_why_no_logprobs(message, said))
    listed = token.get("top_logprobs")
    if not listed:
        raise Unreadable("the server lists no tokens beside the one it took (top_logprobs)")
    try:
        # Different token ids may share a text, and all count; one that a server lists twice counts once.
        values = {(_spaced(str(one["token"])), float(one["logprob"])) for one in listed}
    except (TypeError, KeyError, ValueError) as error:
        raise Unreadable(f"the server's top_logprobs can't be read: {quoted(json.dumps(listed))}") from error
    return values, str(token.get("token", "")), said, len(content or ())


def _message(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first choice and its message; Unreadable if there is none, or if the judge refused."""
    choice = _first(body.get("choices"))
    if choice is None:
        raise Unreadable(f"the server's reply holds no answer: {quoted(json.dumps(body))}")
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        raise Unreadable(f"the judge refused: {quoted(str(message.get('refusal') or 'filtered'))}")
    return choice, message


def _first(items: Any) -> dict[str, Any] | None:
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else None


def _why_no_logprobs(message: Mapping[str, Any], said: str) -> str:
    if message.get("reasoning_content") or message.get("reasoning"):
        return "the judge thinks before it answers: take its instruct variant, or switch thinking off at the server"
    if not said:
        return "the judge's answer is empty"
    return f"the server sends no logprobs, only {quoted(said)}: take one that does (docs/judges.md)"


def _spaced(token: str) -> str:
    """The token with a plain space: some servers list the vocabulary's own mark for it."""
    return token.replace("Ġ", " ").replace("▁", " ")


def quoted(text: str) -> str:
    """Quote the beginning of a foreign text, on one line."""
    line = " ".join(text.split())
    return repr(line if len(line) <= SHOWN else line[:SHOWN] + "...")
