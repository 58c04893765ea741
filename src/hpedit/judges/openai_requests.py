"""One round of questions to OpenAI-compatible servers: requests, retries, and what to make of each failure.

A failure that another attempt may mend is tried again at the least busy server; one that concerns this question alone
becomes its reason; one that concerns them all (key, model, no server left) stops the run.
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
from hpedit.judges.completion import quoted, read_completion, read_writing
from hpedit.judges.endpoints import Endpoint, Endpoints
from hpedit.judges.picture_encoding import data_url
from hpedit.judges.protocol import IMAGE, Answer, Question
from hpedit.judges.token_variants import plain_words
from hpedit.judges.writing import Reply, WritingPrompt

TOP = 20
"""Tokens listed with the answer: the most that OpenAI and, by default, vLLM give."""
KEY_VARIABLE = "HPEDIT_JUDGE_API_KEY"
OPENAI_HOST = "api.openai.com"
UNKNOWN_TO_OPENAI = ("minLength", "maxLength")
"""Keywords of a schema that OpenAI's own service may refuse; the reader holds the text against them anyway."""
KNOCK = 10.0
"""Seconds within which a server that failed must list its models to be asked again."""
PICTURES_KEPT = 64
"""Encoded pictures kept at hand: the questions about one edit are neighbours."""
SCORING = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP}
"""One token with its probabilities."""


class _TransientError(Exception):
    """An attempt failed in a way that another may not."""


class _FinalError(Exception):
    """The server refused this question; asking again would not help."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to try.

    Args:
        timeout: Seconds for one attempt.
        attempts: Most attempts for one question.
        budget: Seconds after which no further attempt at a question begins.
        wait: Between attempts.
    """

    timeout: float
    attempts: int
    budget: float
    wait: wait_base


class OpenAIRequests:
    """One call of a judge: its connections, and the pictures encoded for it.

    Args:
        model: Its name at the servers.
        endpoints: The servers' state.
        policy: How long to try.
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
        """Ask until there is an answer or a reason why there is none."""
        text, reason = await self._text(question, SCORING)
        return Answer(None, reason) if text is None else read_completion(text, question.choices)

    async def reply(self, prompt: WritingPrompt) -> Reply:
        """Have a text written, or a reason why there is none."""
        options = {
            "max_tokens": prompt.max_tokens,
            "temperature": prompt.temperature,
            "seed": prompt.seed % 2**31,
            "response_format": self._format(prompt.schema),
        }
        text, reason = await self._text(prompt.question, options)
        return Reply(None, reason) if text is None else read_writing(text)

    def _format(self, schema: str) -> dict[str, Any]:
        """The schema as a server takes it."""
        value = json.loads(schema)
        if any(urlsplit(url).hostname == OPENAI_HOST for url in self.clients):
            value = _without(value, UNKNOWN_TO_OPENAI)
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": value, "strict": True}}

    async def _text(self, question: Question, options: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The text of the server's reply, or None and the reason why there is none."""
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
        """Seconds before the next attempt: a random backoff, and what all servers that are there asked for."""
        return max(self.endpoints.rest_seconds(), self.policy.wait(state))

    async def _content(self, question: Question) -> AsyncIterator[dict[str, Any]]:
        """The message's parts: text and pictures as data URLs, neighbouring texts joined."""
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
        """Encoded once, in a thread: a megapixel takes a third of a second."""
        task = self.pictures.get(id(image))
        if task is None:
            task = self.pictures[id(image)] = asyncio.create_task(asyncio.to_thread(data_url, image))
            while len(self.pictures) > PICTURES_KEPT:
                self.pictures.popitem(last=False)
        return await asyncio.shield(task)

    async def _attempt(self, content: list[dict[str, Any]], options: Mapping[str, Any]) -> str:
        """One request; the reply's text."""
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
        """The server to ask; waits while all circuits are open, and knocks at one that was."""
        while True:
            endpoint = self.endpoints.take()
            if endpoint is None:
                await asyncio.sleep(min(0.05, self.endpoints.cooldown))
            elif not endpoint.trips or await self._lives(endpoint):
                return endpoint

    async def _lives(self, endpoint: Endpoint) -> bool:
        """Whether a server that failed answers at all: if so, it was the questions that it failed at."""
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
        """What to make of an HTTP error, the server's state noted."""
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
    """A schema without some keywords, to its depths."""
    if isinstance(schema, list):
        return [_without(value, names) for value in schema]
    if isinstance(schema, dict):
        return {key: _without(value, names) for key, value in schema.items() if key not in names}
    return schema


def retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for, given as a number or a date; 0 where it says nothing useful."""
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
    """The environment variable of a server's key; OpenAI's own key is sent to nobody else."""
    return "OPENAI_API_KEY" if urlsplit(url).hostname == OPENAI_HOST else KEY_VARIABLE


def server_key(url: str) -> str:
    """The server's key from the environment; empty where there is none."""
    return os.environ.get(key_variable(url), "")


def _hidden(text: str, url: str) -> str:
    """A server's words without the key, should it repeat it."""
    key = server_key(url)
    return text.replace(key, "***") if key else text
