"""A judge behind an OpenAI-compatible server: vLLM, SGLang, `hpedit scorer serve`, or a service.

    judge = OpenAIJudge("Qwen/Qwen3-VL-32B-Instruct", ["http://gpu1:8000/v1", "http://gpu2:8000/v1"])
    answers = judge.ask(questions)

A question that fails for good has no probabilities, and says why; it is never a score of 0. Busy and failing servers
are asked again, within limits; when none answers any more, or too many answers are unscorable, the run stops.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai
from PIL import Image
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from hpedit.errors import HPEditError
from hpedit.scorer.backends.completion import Unreadable, parse_completion, quoted, read_completion
from hpedit.scorer.backends.endpoints import Endpoint, Endpoints
from hpedit.scorer.backends.limits import UnscorableLimit
from hpedit.scorer.backends.pictures import data_url
from hpedit.scorer.backends.protocol import IMAGE, MIN_MASS, Answer, Question
from hpedit.scorer.backends.surfaces import VERSION, plain_words

TOP = 20
"""Tokens listed with the answer: the most that OpenAI and, by default, vLLM give."""
KEY_VARIABLE = "HPEDIT_JUDGE_API_KEY"
OPENAI_HOST = "api.openai.com"
KNOCK = 10.0
"""Seconds within which a server that failed must list its models to be asked again."""
NO_DESCRIPTION = frozenset({401, 408, 429, *range(500, 600)} - {501})
"""Replies to a request for the list of models by which a server says nothing of them: it may well have a list."""
PICTURES_KEPT = 64
"""Encoded pictures kept at hand: the questions about one edit are neighbours."""
T = TypeVar("T")


class _TransientError(Exception):
    """An attempt failed in a way that another may not."""


class _FinalError(Exception):
    """The server refused this question; asking again would not help."""


class OpenAIJudge:
    """A judge behind one or more OpenAI-compatible servers.

    Args:
        model: Its name at the servers.
        urls: Base URLs, as http://host:8000/v1; questions go to the least busy.
        concurrency: Questions under way at once.
        timeout: Seconds for one attempt.
        attempts: Most attempts for one question.
        budget: Seconds after which no further attempt at a question begins.
        backoff: Seconds; attempt n is followed by a random wait of at most backoff * 2**n, or what Retry-After says.
        limit: Stops a run of which too many answers are unscorable.
        endpoints: The servers' state; None makes one from `urls`.

    The key is read from the environment variable HPEDIT_JUDGE_API_KEY, for OpenAI's own service from OPENAI_API_KEY.
    """

    def __init__(
        self,
        model: str,
        urls: Sequence[str],
        *,
        concurrency: int = 16,
        timeout: float = 120.0,
        attempts: int = 5,
        budget: float = 300.0,
        backoff: float = 0.5,
        limit: UnscorableLimit | None = None,
        endpoints: Endpoints | None = None,
    ) -> None:
        self.model = model
        self.endpoints = endpoints or Endpoints(urls)
        self.concurrency = concurrency
        self.timeout = timeout
        self.attempts = attempts
        self.budget = budget
        self.limit = limit or UnscorableLimit()
        self._wait = wait_random_exponential(multiplier=backoff, max=30.0)
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """Model as the servers describe it, and the way the answer is read; not where the servers are.

        Raises:
            HPEditError: no server answers, or two of them serve different weights.
        """
        if not self._fingerprint:
            described = _run(self._describe())
            text = f"{self.model}|{described}|top {TOP}|temperature 0|expectation|{MIN_MASS}|{VERSION}"
            self._fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._fingerprint

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer a question, in order; many questions are under way at once.

        Raises:
            HPEditError: no server answers any more, the key or the model is refused, or too many answers are
                unscorable.
        """
        return _run(self._ask(questions))

    async def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        async with AsyncExitStack() as stack:
            asking = _Asking(self, await self._clients(stack))
            work = iter(enumerate(questions))

            async def take_turns() -> None:
                for index, question in work:
                    answers[index] = await asking.answer(question)
                    self.limit.count([answers[index]])

            workers = [asyncio.create_task(take_turns()) for _ in range(min(self.concurrency, len(questions)))]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return [answers[index] for index in range(len(questions))]

    async def _clients(self, stack: AsyncExitStack) -> dict[str, openai.AsyncOpenAI]:
        clients = {}
        for one in self.endpoints.all:
            # Redirects are not followed: pictures go where they were sent. Plain HTTP, then, never meets a certificate,
            # and loading them takes a tenth of a second.
            http = openai.DefaultAsyncHttpxClient(
                verify=urlsplit(one.url).scheme == "https", follow_redirects=False, timeout=self.timeout
            )
            client = openai.AsyncOpenAI(
                base_url=one.url, api_key=_key(one.url) or "none", max_retries=0, http_client=http
            )
            clients[one.url] = await stack.enter_async_context(client)
        return clients

    async def _describe(self) -> str:
        """What the servers' lists of models say of this one."""
        async with AsyncExitStack() as stack:
            clients = await self._clients(stack)
            told = await asyncio.gather(*(_description(client, self.model) for client in clients.values()))
        heard = {text for text in told if not isinstance(text, openai.APIError)}
        if not heard:
            raise HPEditError(
                f"no server of the judge answers: {'; '.join(map(_failure, clients, told))}",
                hint="start it, or check URL and key",
            )
        if len(heard) > 1:
            raise HPEditError(f"the servers disagree about what {self.model} is: {'; '.join(sorted(map(str, heard)))}")
        return str(heard.pop())


class _Asking:
    """One call of `ask`: its connections, and the pictures encoded for it."""

    def __init__(self, judge: OpenAIJudge, clients: dict[str, openai.AsyncOpenAI]) -> None:
        self.judge = judge
        self.clients = clients
        self.pictures: OrderedDict[int, asyncio.Task[str]] = OrderedDict()

    async def answer(self, question: Question) -> Answer:
        """Ask until there is an answer or a reason why there is none."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TransientError),
            stop=stop_after_attempt(self.judge.attempts) | stop_before_delay(self.judge.budget),
            wait=self._pause,
            reraise=True,
        )
        content = [part async for part in self._content(question)]
        try:
            text: str = await retrying(self._attempt, content)
        except _TransientError as error:
            tries = retrying.statistics["attempt_number"]
            return Answer(None, f"{error} (gave up after {tries} {'attempt' if tries == 1 else 'attempts'})")
        except _FinalError as error:
            return Answer(None, str(error))
        return read_completion(text, question.choices)

    def _pause(self, state: RetryCallState) -> float:
        """Seconds before the next attempt: a random backoff, and what all servers that are there asked for."""
        return max(self.judge.endpoints.patience(), self.judge._wait(state))

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

    async def _attempt(self, content: list[dict[str, Any]]) -> str:
        """One request; the reply's text."""
        endpoint = await self._endpoint()
        servers = self.judge.endpoints
        try:
            async with asyncio.timeout(self.judge.timeout):
                reply = await self.clients[endpoint.url].chat.completions.with_raw_response.create(
                    model=self.judge.model,
                    messages=[{"role": "user", "content": content}],  # type: ignore[misc, list-item]
                    max_tokens=1,
                    temperature=0,
                    logprobs=True,
                    top_logprobs=TOP,
                )
                text: str = reply.http_response.text
        except (openai.APITimeoutError, TimeoutError) as error:
            said = f"the server took longer than {self.judge.timeout:g} s"
            servers.failed(endpoint, said)
            raise _TransientError(said) from error
        except openai.APIConnectionError as error:
            said = f"no connection to the server: {error.__cause__ or error}"
            servers.failed(endpoint, said)
            raise _TransientError(said) from error
        except openai.APIStatusError as error:
            raise self._refused(endpoint, error) from error
        except BaseException:
            servers.dropped(endpoint)
            raise
        servers.answered(endpoint)
        return text

    async def _endpoint(self) -> Endpoint:
        """The server to ask; waits while all circuits are open, and knocks at one that was."""
        while True:
            endpoint = self.judge.endpoints.take()
            if endpoint is None:
                await asyncio.sleep(min(0.05, self.judge.endpoints.cooldown))
            elif not endpoint.trips or await self._lives(endpoint):
                return endpoint

    async def _lives(self, endpoint: Endpoint) -> bool:
        """Whether a server that failed answers at all: if so, it was the questions that it failed at."""
        servers = self.judge.endpoints
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
            servers.dropped(endpoint)
            raise
        servers.lives(endpoint)
        return True

    def _words(self, endpoint: Endpoint, error: openai.APIStatusError) -> str:
        said = _hidden(error.response.text or error.message, endpoint.url)
        return f"the server answered {error.status_code}: {quoted(said)}"

    def _refused(self, endpoint: Endpoint, error: openai.APIStatusError) -> Exception:
        """What to make of an HTTP error, the server's state noted."""
        servers = self.judge.endpoints
        code = error.status_code
        said = self._words(endpoint, error)
        if code in (408, 429) or code >= 500:
            seconds = retry_after(error.response.headers.get("retry-after"))
            (servers.asked_for_patience if code == 429 else servers.failed)(endpoint, said, seconds)
            return _TransientError(said)
        servers.answered(endpoint)
        if code == 401:
            return HPEditError(
                f"{endpoint.url}: {said}", hint=f"set its key in the environment as {_variable(endpoint.url)}"
            )
        if code == 404:
            return HPEditError(f"{endpoint.url}: {said}", hint=f"does it serve {self.judge.model!r}, below this URL?")
        return _FinalError(said)


async def _description(client: openai.AsyncOpenAI, model: str) -> str | openai.APIError:
    """The model's root and fingerprint in a server's list; empty where it has no list or leaves the model out.

    A server that is busy, starting or refuses the key says nothing about the model: that is an error, not an empty
    description, which would give one judge two fingerprints.
    """
    try:
        reply = await client.models.with_raw_response.list()
        listed = parse_completion(reply.http_response.text).get("data")
    except openai.APIConnectionError as error:
        return error
    except openai.APIStatusError as error:
        return error if error.status_code in NO_DESCRIPTION else ""
    except Unreadable:
        return ""
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("id") == model:
            return json.dumps({key: entry.get(key) for key in ("root", "fingerprint")}, sort_keys=True)
    return ""


def _failure(url: str, error: object) -> str:
    """A server and how it failed to describe its model, without the key."""
    return f"{url}: {error.status_code}" if isinstance(error, openai.APIStatusError) else url


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


def _variable(url: str) -> str:
    """The environment variable of a server's key; OpenAI's own key is sent to nobody else."""
    return "OPENAI_API_KEY" if urlsplit(url).hostname == OPENAI_HOST else KEY_VARIABLE


def _key(url: str) -> str:
    return os.environ.get(_variable(url), "")


def _hidden(text: str, url: str) -> str:
    """A server's words without the key, should it repeat it."""
    key = _key(url)
    return text.replace(key, "***") if key else text


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end from synchronous code; in a thread of its own where this one already runs a loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
