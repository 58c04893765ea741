"""A judge behind an OpenAI-compatible server: vLLM, SGLang, `hpedit scorer serve`, or a service.

    judge = OpenAIJudge("Qwen/Qwen3-VL-32B-Instruct", ["http://gpu1:8000/v1", "http://gpu2:8000/v1"])
    answers = judge.ask(questions)

A question that fails for good has no probabilities but a reason; it is never a score of 0. Requests to busy and failing
servers are retried within limits; when no server answers, or too many answers are unscorable, the run stops.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai
from tenacity.wait import wait_random_exponential

from hpedit.errors import HPEditError
from hpedit.judges.bounded_reply import PLAIN, bound_reply
from hpedit.judges.completion import Unreadable, parse_completion
from hpedit.judges.endpoints import Endpoints
from hpedit.judges.limits import UnscorableLimit
from hpedit.judges.openai_requests import TOP, OpenAIRequests, RetryPolicy, server_key
from hpedit.judges.protocol import MIN_MASS, Answer, Question
from hpedit.judges.token_variants import VERSION
from hpedit.judges.writing import Reply, WritingPrompt

NO_DESCRIPTION = frozenset({401, 408, 429, *range(500, 600)} - {501})
"""Status codes that don't mean that a server has no list of models: it is busy, starting or refuses the key."""
T = TypeVar("T")
Q = TypeVar("Q")
_WRITTEN = Answer((1.0,))
"""Stands for a written text when answers are counted."""


class OpenAIJudge:
    """A judge behind one or more OpenAI-compatible servers.

    Args:
        model: Its name at the servers.
        urls: Base URLs, such as http://host:8000/v1; requests go to the least busy.
        concurrency: Most requests in flight.
        timeout: Seconds for one attempt.
        attempts: Most attempts for one question.
        budget: Seconds after which no further attempt at a question starts.
        backoff: Seconds; after attempt n a random wait of at most backoff * 2**n, or what Retry-After says.
        limit: Stops a run with too many unscorable answers.
        endpoints: The servers' state; made from `urls` if None.

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
        """Identifies the model as the servers describe it, and how answers are read; independent of the URLs.

        Raises:
            HPEditError: no server answers, or two of them serve different weights.
        """
        if not self._fingerprint:
            described = _run(self._describe())
            text = f"{self.model}|{described}|top {TOP}|temperature 0|expectation|{MIN_MASS}|{VERSION}"
            self._fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._fingerprint

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer per question, in order; many requests are in flight at once.

        Raises:
            HPEditError: no server answers, the key or the model is refused, or too many answers are unscorable.
        """

        async def answer(requests: OpenAIRequests, question: Question) -> Answer:
            found = await requests.answer(question)
            self.limit.count([found])
            return found

        return _run(self._each(questions, answer))

    def write(self, prompts: Sequence[WritingPrompt]) -> list[Reply]:
        """One reply per prompt, in order: JSON, not validated against the schema, or the reason why there is none.

        Raises:
            HPEditError: no server answers, the key or the model is refused, or too many prompts fail.
        """

        async def reply(requests: OpenAIRequests, prompt: WritingPrompt) -> Reply:
            found = await requests.reply(prompt)
            # A text that may succeed with another seed is not the server's failure.
            self.limit.count([Answer(None, found.reason)] if found.text is None and not found.again else [_WRITTEN])
            return found

        return _run(self._each(prompts, reply))

    async def _each(self, items: Sequence[Q], ask: Callable[[OpenAIRequests, Q], Coroutine[Any, Any, T]]) -> list[T]:
        """What `ask` finds for each item, in order, with `concurrency` requests in flight."""
        found: dict[int, T] = {}
        async with AsyncExitStack() as stack:
            policy = RetryPolicy(self.timeout, self.attempts, self.budget, self._wait)
            requests = OpenAIRequests(self.model, self.endpoints, policy, await self._clients(stack))
            work = iter(enumerate(items))

            async def take_turns() -> None:
                for index, item in work:
                    found[index] = await ask(requests, item)

            workers = [asyncio.create_task(take_turns()) for _ in range(min(self.concurrency, len(items)))]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return [found[index] for index in range(len(items))]

    async def _clients(self, stack: AsyncExitStack) -> dict[str, openai.AsyncOpenAI]:
        clients = {}
        for one in self.endpoints.all:
            # Redirects are not followed, so that images reach no other host. Plain HTTP then needs no certificates, and
            # loading them takes a tenth of a second.
            http = openai.DefaultAsyncHttpxClient(
                verify=urlsplit(one.url).scheme == "https", follow_redirects=False, timeout=self.timeout,
                headers=PLAIN, event_hooks={"response": [bound_reply]},
            )  # fmt: skip
            client = openai.AsyncOpenAI(
                base_url=one.url, api_key=server_key(one.url) or "none", max_retries=0, http_client=http
            )
            clients[one.url] = await stack.enter_async_context(client)
        return clients

    async def _describe(self) -> str:
        """The model's entry in the servers' lists of models."""
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


async def _description(client: openai.AsyncOpenAI, model: str) -> str | openai.APIError:
    """The model's root and fingerprint in a server's list; empty where it has no list or leaves the model out.

    A busy, starting or refusing server is an error, not an empty description, which would give one judge two
    fingerprints.
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


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from synchronous code; in a new thread if this one already runs an event loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
