"""Requests to OpenAI-compatible servers: retries with backoff, health checks, and error handling.

A transient failure is retried at the least busy server; a failure of one question becomes its reason; one that affects
all questions (key, model, no server left) stops the run.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import openai
from PIL import Image
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base

from hpedit.errors import HPEditError
from hpedit.judges.bounded_reply import ReplyTooLarge
from hpedit.judges.completion import quoted, read_completion, read_writing
from hpedit.judges.endpoints import Endpoint, Endpoints
from hpedit.judges.picture_encoding import data_url
from hpedit.judges.protocol import IMAGE, Answer, Question
from hpedit.judges.token_variants import plain_words
from hpedit.judges.writing import Reply, WritingPrompt

TOP = 20
"""top_logprobs: the most that OpenAI and, by default, vLLM give."""
KEY_VARIABLE = "HPEDIT_JUDGE_API_KEY"
OPENAI_HOST = "api.openai.com"
UNKNOWN_TO_OPENAI = ("minLength", "maxLength")
"""Schema keywords that OpenAI's own service may refuse; the reader validates them anyway."""
KNOCK = 10.0
"""Timeout of a health check, in seconds: a server that failed must list its models to be asked again."""
PICTURES_KEPT = 64
"""Encoded images kept in memory: the questions about one edit follow one another."""
SCORING = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP}
"""Request options for one token with its probabilities."""


class _TransientError(Exception):
    """An attempt failed, but a retry may succeed."""


class _FinalError(Exception):
    """The server refused this question; a retry would not help."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeout, number of attempts and backoff of a request.

    Args:
        timeout: Seconds for one attempt.
        attempts: Most attempts for one question.
        budget: Seconds after which no further attempt starts.
        wait: Backoff between attempts.
    """

    timeout: float
    attempts: int
    budget: float
    wait: wait_base


class OpenAIRequests:
    """The requests of one call of a judge: connections, and the images encoded for it.

    Args:
        model: Its name at the servers.
        endpoints: The servers' state.
        policy: Timeouts and retries.
        clients: The connections, by URL.
    """

    def __init__(
        self, model: str, endpoints: Endpoints, policy: RetryPolicy, clients: Mapping[str, openai.AsyncOpenAI]
    ) -> None:
        self.model = model
        self.endpoints = endpoints
        self.policy = policy
        self.clients = clients
        self.pictures: OrderedDict[int, asyncio.Task[str]] = OrderedDict()

    async def answer(self, question: Question) -> Answer:
        """Ask a question, with retries; without an answer, the reason."""
        text, reason = await self._text(question, SCORING)
        return Answer(None, reason) if text is None else read_completion(text, question.choices)

    async def reply(self, prompt: WritingPrompt) -> Reply:
        """Have a text written, with retries; without a text, the reason."""
        options = {
            "max_tokens": prompt.max_tokens,
            "temperature": prompt.temperature,
            "seed": prompt.seed % 2**31,
            "response_format": self._format(prompt.schema),
        }
        text, reason = await self._text(prompt.question, options)
        return Reply(None, reason) if text is None else read_writing(text)

    def _format(self, schema: str) -> dict[str, Any]:
        """The schema as a response_format."""
        value = json.loads(schema)
        if any(urlsplit(url).hostname == OPENAI_HOST for url in self.clients):
            value = _without(value, UNKNOWN_TO_OPENAI)
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": value, "strict": True}}

    async def _text(self, question: Question, options: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The text of the server's reply, or None and the reason."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TransientError),
            stop=stop_after_attempt(self.policy.attempts) | stop_before_delay(self.policy.budget),
            wait=self._pause,
            reraise=True,
        )
        content = [part async for part in self._content(question)]
        try:
            text: str = await retrying(self._attempt, content, options)
        except _TransientError as error:
            tries = retrying.statistics["attempt_number"]
            return None, f"{error} (gave up after {tries} {'attempt' if tries == 1 else 'attempts'})"
        except _FinalError as error:
            return None, str(error)
        return text, None

    def _pause(self, state: RetryCallState) -> float:
        """Seconds before the next attempt: a random backoff, or longer if every reachable server asked for it."""
        return max(self.endpoints.rest_seconds(), self.policy.wait(state))

    async def _content(self, question: Question) -> AsyncIterator[dict[str, Any]]:
        """The message's parts: text and images as data URLs, neighbouring texts joined."""
        if sum(part == IMAGE for part in question.stem) != len(question.images):
            raise HPEditError("a prompt must have as many picture places as pictures")
        images = iter(question.images)
        text = ""
        for part in (*question.stem, question.tail):
            if part != IMAGE:
                text += plain_words(part)
                continue
            if text:
                yield {"type": "text", "text": text}
                text = ""
            yield {"type": "image_url", "image_url": {"url": await self._url(next(images))}}
        if text:
            yield {"type": "text", "text": text}

    async def _url(self, image: Image.Image) -> str:
        """The image's data URL, encoded once, in a thread: a megapixel takes a third of a second."""
        task = self.pictures.get(id(image))
        if task is None:
            task = self.pictures[id(image)] = asyncio.create_task(asyncio.to_thread(data_url, image))
            while len(self.pictures) > PICTURES_KEPT:
                self.pictures.popitem(last=False)
        return await asyncio.shield(task)

    async def _attempt(self, content: list[dict[str, Any]], options: Mapping[str, Any]) -> str:
        """Send one request; the reply's text."""
        endpoint = await self._endpoint()
        servers = self.endpoints
        try:
            async with asyncio.timeout(self.policy.timeout):
                reply = await self.clients[endpoint.url].chat.completions.with_raw_response.create(
                    model=self.model,
                    messages=[{"role": "user", "content": content}],  # type: ignore[misc, list-item]
                    **options,
                )
                text: str = reply.http_response.text
        except ReplyTooLarge as error:
            servers.answered(endpoint)
            raise _FinalError(error.message) from error
        except (openai.APITimeoutError, TimeoutError) as error:
            said = f"the server took longer than {self.policy.timeout:g} s"
            servers.failed(endpoint, said)
            raise _TransientError(said) from error
        except openai.APIConnectionError as error:
            said = f"no connection to the server: {error.__cause__ or error}"
            servers.failed(endpoint, said)
            raise _TransientError(said) from error
        except openai.APIStatusError as error:
            raise self._refused(endpoint, error) from error
        except BaseException:
            servers.cancelled(endpoint)
            raise
        servers.answered(endpoint)
        return text

    async def _endpoint(self) -> Endpoint:
        """Choose a server: wait while all circuits are open, and check the health of one whose circuit was open."""
        while True:
            endpoint = self.endpoints.take()
            if endpoint is None:
                await asyncio.sleep(min(0.05, self.endpoints.cooldown))
            elif not endpoint.trips or await self._lives(endpoint):
                return endpoint

    async def _lives(self, endpoint: Endpoint) -> bool:
        """Health check of a server that failed: if it answers at all, the questions were at fault."""
        servers = self.endpoints
        try:
            async with asyncio.timeout(KNOCK):
                await self.clients[endpoint.url].models.with_raw_response.list()
        except (openai.APIConnectionError, TimeoutError) as error:
            servers.failed(endpoint, f"no connection to the server: {error.__cause__ or error or 'timeout'}")
            return False
        except openai.APIStatusError as error:
            if error.status_code >= 500:
                servers.failed(endpoint, self._words(endpoint, error))
                return False
        except BaseException:
            servers.cancelled(endpoint)
            raise
        servers.reachable(endpoint)
        return True

    def _words(self, endpoint: Endpoint, error: openai.APIStatusError) -> str:
        said = _hidden(error.response.text or error.message, endpoint.url)
        return f"the server answered {error.status_code}: {quoted(said)}"

    def _refused(self, endpoint: Endpoint, error: openai.APIStatusError) -> Exception:
        """Turn an HTTP error into the exception to raise, and update the server's state."""
        servers = self.endpoints
        code = error.status_code
        said = self._words(endpoint, error)
        if code in (408, 429) or code >= 500:
            seconds = retry_after(error.response.headers.get("retry-after"))
            (servers.throttled if code == 429 else servers.failed)(endpoint, said, seconds)
            return _TransientError(said)
        servers.answered(endpoint)
        if code == 401:
            return HPEditError(
                f"{endpoint.url}: {said}", hint=f"set its key in the environment as {key_variable(endpoint.url)}"
            )
        if code == 404:
            return HPEditError(f"{endpoint.url}: {said}", hint=f"does it serve {self.model!r}, below this URL?")
        return _FinalError(said)


def _without(schema: Any, names: tuple[str, ...]) -> Any:
    """A schema without some keywords, at every level."""
    if isinstance(schema, list):
        return [_without(value, names) for value in schema]
    if isinstance(schema, dict):
        return {key: _without(value, names) for key, value in schema.items() if key not in names}
    return schema


def retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for, a number or a date; 0 if it can't be read."""
    if not value:
        return 0.0
    try:
        return min(max(0.0, float(value)), 3600.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), 3600.0)


def key_variable(url: str) -> str:
    """The environment variable of a server's API key; OpenAI's own key is sent only to OpenAI."""
    return "OPENAI_API_KEY" if urlsplit(url).hostname == OPENAI_HOST else KEY_VARIABLE


def server_key(url: str) -> str:
    """The server's API key from the environment; empty if not set."""
    return os.environ.get(key_variable(url), "")


def _hidden(text: str, url: str) -> str:
    """A server's error text with the API key masked, should it repeat it."""
    key = server_key(url)
    return text.replace(key, "***") if key else text
