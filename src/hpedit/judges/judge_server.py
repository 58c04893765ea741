"""Serve a judge over an OpenAI-compatible API: one answer token with its logprobs, or JSON of a schema.

- POST /v1/chat/completions   one user message of text and pictures (PNG, JPEG or WebP as data URLs); requests that
                              arrive together are computed together. Without a response_format: max_tokens 1,
                              temperature 0, logprobs with up to 20 top_logprobs. With response_format json_schema:
                              JSON of that schema, of up to 2048 tokens, at any temperature, with a seed
- GET /v1/models              the one judge, with its fingerprint
- GET /healthz                {"ok": true}

Errors are OpenAI's: {"error": {"message", "type", "param", "code"}}. No URL is ever fetched: images are in the request.
Without a token the server listens only on the loopback address.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hpedit.errors import HPEditError
from hpedit.judges.batching import Batcher, BatcherFull
from hpedit.judges.protocol import IMAGE, Question
from hpedit.judges.server_schema import TOP, ChatRequest, ImagePart, TextPart, UserMessage
from hpedit.judges.writing import MAX_TOKENS, Reply, WritingPrompt
from hpedit.store.images import decode_image
from hpedit.web.lingering_close import Incoming, refuse
from hpedit.web.security import MIN_TOKEN, TimedProtocol, is_loopback

MAX_BODY = 64 * 2**20
"""Bytes of a request: two pictures of some 16 megapixels as PNG."""
MAX_PICTURES = 16
MAX_TEXT = 50_000
"""Characters of a message: a judge's longest prompt has some 6,000, and attention takes the square of it."""
LOOK_SECONDS = 0.5
"""How often a waiting request looks whether its client is still there."""
DECODERS = 4
"""Pictures decoded at once: one may take a third of a gigabyte."""
FORMATS = {"data:image/png;base64": "PNG", "data:image/jpeg;base64": "JPEG", "data:image/webp;base64": "WEBP"}
Tops = list[tuple[str, float]]
R = TypeVar("R")
Q = TypeVar("Q")


class TopJudge(Protocol):
    """What the server needs of a judge, such as `TransformersJudge`."""

    @property
    def fingerprint(self) -> str:
        """Identifies weights and decoding."""
        ...

    def top(self, questions: Sequence[Question], count: int) -> list[Tops]:
        """The likeliest next tokens of each question with their logprobs, best first."""
        ...


class _HTTPError(Exception):
    """A response other than 200."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class BodyLimit:
    """ASGI middleware that refuses requests of more than MAX_BODY bytes before they are in memory."""

    def __init__(self, app: ASGIApp, most: int = MAX_BODY) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        incoming = Incoming(receive)
        told = dict(scope["headers"]).get(b"content-length", b"0")
        refusal = _error_body(413, f"a request has at most {self.most:,} bytes")
        if not told.isdigit() or int(told) > self.most:
            await refuse(incoming, send, 413, refusal)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await incoming()
            seen += len(message.get("body", b""))
            # The application sees a client that disconnected; its response is dropped.
            return message if seen <= self.most else {"type": "http.disconnect"}

        async def passed_on(message: Message) -> None:
            if seen <= self.most:
                await send(message)

        await self.app(scope, counted, passed_on)
        if seen > self.most:
            await refuse(incoming, send, 413, refusal)


def build_app(judge: TopJudge, name: str, *, token: str | None = None, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """Build the web application of a judge.

    Args:
        judge: Answers the requests.
        name: The model's name in requests.
        token: Required in `Authorization: Bearer` except for /healthz; None requires none.
        hosts: Accepted Host headers; without a token only loopback names, or another site's page could reach the server
            by DNS rebinding.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="judge")
    scoring: Batcher[Question, Tops] = Batcher(lambda questions: judge.top(questions, TOP), thread=thread)
    writing: Batcher[WritingPrompt, Reply] = Batcher(lambda prompts: _write(judge, prompts), thread=thread)
    decoders = asyncio.Semaphore(DECODERS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await scoring.close()
        await writing.close()
        thread.shutdown(wait=False)

    app = FastAPI(title="hpedit judge", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_exception_handler(_HTTPError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)

    def check(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and not hmac.compare_digest(given.encode(), token.encode()):
            raise _HTTPError(401, "wrong or missing token in Authorization: Bearer")

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        check(request)
        entry = {"id": name, "object": "model", "created": 0, "owned_by": "hpedit", "fingerprint": judge.fingerprint}
        return {"object": "list", "data": [entry]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request, asked: ChatRequest) -> dict[str, Any]:
        check(request)
        if asked.model != name:
            raise _HTTPError(404, f"the model {asked.model!r} is not served here, only {name!r}")
        async with decoders:
            question = await asyncio.to_thread(_question, asked.messages[0])
        if asked.response_format is None:
            return _completion(asked, await _while_there(request, _put(scoring, question)))
        return _written(asked, await _while_there(request, _put(writing, _prompt(asked, question))))

    return app


def _write(judge: TopJudge, prompts: Sequence[WritingPrompt]) -> list[Reply]:
    """Replies of a judge that writes; HPEditError for one that gives probabilities alone."""
    write: Callable[[Sequence[WritingPrompt]], list[Reply]] | None = getattr(judge, "write", None)
    if write is None:
        raise HPEditError("this judge does not write: ask it without a response_format")
    return write(prompts)


async def _while_there(request: Request, work: Coroutine[Any, Any, R]) -> R:
    """The result of `work`, which is cancelled, and left out of its batch, when the client has gone."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
            if await request.is_disconnected():
                raise _HTTPError(499, "the client has gone")
        return task.result()
    finally:
        task.cancel()


async def _put(batcher: Batcher[Q, R], question: Q) -> R:
    try:
        return await batcher.put(question)
    except BatcherFull:
        raise _HTTPError(429, "too many requests wait", {"retry-after": "1"}) from None
    except HPEditError as error:
        raise _HTTPError(400, error.message) from error


def _question(message: UserMessage) -> Question:
    """Convert a message to a question: what follows the last image is the tail."""
    texts = [message.content] if isinstance(message.content, str) else [
        part.text for part in message.content if isinstance(part, TextPart)
    ]  # fmt: skip
    if sum(map(len, texts)) > MAX_TEXT:
        raise _HTTPError(400, f"a message has at most {MAX_TEXT:,} characters of text")
    if isinstance(message.content, str):
        return Question((), (), message.content)
    if any(IMAGE in part.text for part in message.content if isinstance(part, TextPart)):
        raise _HTTPError(400, "a text holds a NUL character")
    parts = [part.text if isinstance(part, TextPart) else IMAGE for part in message.content]
    urls = [part.image_url.url for part in message.content if isinstance(part, ImagePart)]
    if len(urls) > MAX_PICTURES:
        raise _HTTPError(400, f"a message has at most {MAX_PICTURES} pictures")
    last = max((index for index, part in enumerate(parts) if part == IMAGE), default=-1) + 1
    return Question(tuple(parts[:last]), tuple(_picture(url) for url in urls), "".join(parts[last:]))


def _picture(url: str) -> Image.Image:
    """Decode the image in a data URL; nothing is fetched."""
    head, _, data = url.partition(",")
    if head not in FORMATS:
        raise _HTTPError(400, "a picture must be in a data URL of PNG, JPEG or WebP in base64; none is fetched")
    try:
        return decode_image(base64.b64decode(data, validate=True), "the picture", FORMATS[head])
    except binascii.Error as error:
        raise _HTTPError(400, f"a picture is not base64: {error}") from error
    except HPEditError as error:
        raise _HTTPError(400, error.message) from error


def _prompt(asked: ChatRequest, question: Question) -> WritingPrompt:
    """Convert a request for JSON to a writing prompt."""
    assert asked.response_format is not None
    schema = json.dumps(asked.response_format.json_schema.schema_)
    most = asked.max_completion_tokens or asked.max_tokens or MAX_TOKENS
    return WritingPrompt(question, schema, most, asked.temperature or 0.0, asked.seed or 0)


def _written(asked: ChatRequest, reply: Reply) -> dict[str, Any]:
    """OpenAI's chat completion of a text; one that was cut off has none, since half of a JSON is of no use."""
    if reply.text is None and not reply.again:
        raise _HTTPError(422, str(reply.reason))
    return _reply(asked, reply.text or "", "length" if reply.text is None else "stop", None)


def _completion(asked: ChatRequest, tops: Tops) -> dict[str, Any]:
    """OpenAI's chat completion of the likeliest token."""
    text, _ = tops[0]
    logprobs = None
    if asked.logprobs:
        listed = [_logprob(*one) for one in tops[: asked.top_logprobs or 0]]
        logprobs = {"content": [{**_logprob(*tops[0]), "top_logprobs": listed}], "refusal": None}
    usage = {"prompt_tokens": 0, "completion_tokens": 1, "total_tokens": 1}
    return {**_reply(asked, text, "length", logprobs), "usage": usage}


def _reply(asked: ChatRequest, text: str, finish: str, logprobs: dict[str, Any] | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}],
    }


def _logprob(token: str, logprob: float) -> dict[str, Any]:
    # JSON has no infinity; -9999 is what OpenAI's schema says for "very unlikely".
    return {"token": token, "logprob": max(logprob, -9999.0), "bytes": list(token.encode())}


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(_error_body(status, message), status, headers)


def _error_body(status: int, message: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


async def _on_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, _HTTPError)
    return _error(error.status, str(error), error.headers)


async def _on_http(_: Request, error: Exception) -> JSONResponse:
    """An unknown address or method, in OpenAI's form."""
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail), dict(error.headers or {}))


async def _on_bug(_: Request, __: Exception) -> JSONResponse:
    """A fault of this program, in OpenAI's form; the traceback goes to the log."""
    return _error(500, "internal error of the judge, see its log")


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()[:5])
    return _error(400, f"this server answers one user message, with one token or with JSON: {found}")


def check_address(host: str, token: str | None) -> None:
    """HPEditError for a public address without a token, or with a token that could be guessed."""
    if not token and not is_loopback(host):
        raise HPEditError(
            f"{host} can be reached by others, and there is no token",
            hint="set HPEDIT_SERVE_TOKEN to a long random word, or serve on 127.0.0.1",
        )
    if token and len(token) < MIN_TOKEN:
        raise HPEditError(f"a token has at least {MIN_TOKEN} characters")


def run_server(
    judge: TopJudge, name: str, host: str, port: int, token: str | None, ready: Callable[[str], None]
) -> None:
    """Serve a judge until interrupted.

    Args:
        judge, name, token: See `build_app`.
        host: Address to bind; one beyond the loopback needs a token.
        port: 0 picks a free one.
        ready: Called with the base URL once the address is bound.

    Raises:
        HPEditError: no token where one is needed, a short one, or the address can't be bound.
    """
    check_address(host, token)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family)
    except OSError as error:
        raise HPEditError(f"{host}:{port} can't be served on: {error.strerror}", hint="give another --port") from error
    hosts = ("*",) if token else ("127.0.0.1", "localhost", "[::1]", host)
    config = uvicorn.Config(
        build_app(judge, name, token=token, hosts=hosts),
        log_level="warning",
        access_log=False,
        http=TimedProtocol,
        timeout_graceful_shutdown=5,
    )
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    ready(f"http://{shown}:{bound.getsockname()[1]}/v1")
    uvicorn.Server(config).run(sockets=[bound])
