"""The HTTP server of the rating app. JSON in and out; every error is {"error", "hint"}.

- GET /            the page; GET /static/NAME its scripts and style; GET /healthz {"ok": true}.
- POST /api/session {"rater", "token"} -> cookie, {"rater", "practice_left"}; GET returns the same, or 401; DELETE ends
  the session.
- GET /api/next    {"item": ITEM, "ahead": [ITEM, ...]} or {"done": true, "progress": P}. Asking again gives the same
  items. ?ahead=2 leases up to that many further items, so that the page can preload their images and go on with them
  while an answer is being sent or the network is down.
- POST /api/answer {"client_id", "assignment", "value", "flags", "ms", "client_time"}
  -> {"stored": true, "duplicate", "progress": P, "feedback": {"expected", "right", "text"} | null}, after an fsync.
  The same client_id again, and the same decision again, is a duplicate; another decision on the item is 409 until the
  first is undone. An answer after its lease is stored as overlap.
- POST /api/undo   {"client_id", "answer"} -> {"stored": true, "item": ITEM with "previous"}; "answer" null is the last.
- GET /picture/ID  PNG; needs the session, like all of /api.

ITEM = {"assignment", "kind", "phase", "task", "instruction", "source", "references", "edits", "width", "height",
"lease_seconds", "progress"}; "references" are the addresses of further source images, usually none, each at its own
size; "edits" is empty for the check of a case. P = {"done", "total", "practice_done", "practice_total", "can_undo"}.
401: sign in. 404: unknown, or another rater's. 409: contradicts what is stored. 422: invalid. 507: the disk is full,
503: it cannot be written; in both nothing is stored, and the same request can be sent again.

Every POST and DELETE needs Content-Type application/json (if it has a body), Origin, and X-HPEdit: 1.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import uvicorn
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from hpedit.errors import HPEditError
from hpedit.rate.batched_writer import BatchedWriter
from hpedit.rate.image_cache import ImageCache
from hpedit.rate.requests import AnswerBody, Missing, Refusal, SessionBody, UndoBody
from hpedit.rate.sessions import SESSION_SECONDS, RatingService
from hpedit.ratings.store import StoreFault
from hpedit.web.security import HEADERS, MAX_CONNECTIONS, NetworkPolicy, RequestGuard, TimedProtocol

HERE = Path(__file__).parent
MAX_AHEAD = 4
"""Items that a rater can lease beyond the one on the screen; nobody else is given them meanwhile."""
WRONG_TOKEN_SECONDS = 0.5
"""Delay of the answer to a wrong token, which slows guessing down."""
_MEDIA = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}

T = TypeVar("T")


class RatingApp:
    """The HTTP routes of the rating app over one service, writer and image cache."""

    def __init__(
        self, service: RatingService, writer: BatchedWriter, cache: ImageCache, policy: NetworkPolicy, port: int
    ) -> None:
        self._service, self._writer, self._cache, self._policy = service, writer, cache, policy
        # Cookies ignore ports: two servers on one machine must not sign each other's raters out.
        self._cookie = f"hpedit_rate_{port}"
        self._static = {path.name: path for path in (HERE / "static").glob("*") if path.suffix in _MEDIA}
        # StrictUndefined: a name that the template uses and nothing defines is an error, not an empty text.
        loader = FileSystemLoader(HERE / "templates")
        self._templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)

    def app(self) -> FastAPI:
        """The ASGI application behind its `RequestGuard`."""
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        signed_in = Depends(self._signed_in)
        app.get("/")(self._get_page)
        app.get("/healthz")(self._get_health)
        app.get("/favicon.ico")(self._get_icon)
        app.get("/static/{name}")(self._get_static)
        app.post("/api/session")(self._post_session)
        app.get("/api/session", dependencies=[signed_in])(self._get_session)
        app.delete("/api/session")(self._delete_session)
        app.get("/api/next", dependencies=[signed_in])(self._get_next)
        app.post("/api/answer", dependencies=[signed_in])(self._post_answer)
        app.post("/api/undo", dependencies=[signed_in])(self._post_undo)
        app.get("/picture/{name}", dependencies=[signed_in])(self._get_picture)
        _add_error_handlers(app)
        app.add_middleware(RequestGuard, policy=self._policy)
        return app

    async def _write(self, operation: Callable[[], T]) -> T:
        """Run an operation on the writer's thread; returns after the commit."""
        return await asyncio.wrap_future(self._writer.submit(operation))

    async def _reply(self, operation: Callable[[], dict[str, Any]]) -> JSONResponse:
        return _json(await self._write(operation))

    async def _signed_in(self, request: Request) -> None:
        rater = self._service.session(request.cookies.get(self._cookie, ""))
        if rater is None:
            raise HTTPException(401, "sign in first")
        request.state.rater = rater

    async def _get_page(self) -> HTMLResponse:
        page = self._templates.get_template("rate.html.jinja")
        text = page.render(
            token_required=self._policy.token is not None, checking=self._service.settings.kind == "check"
        )
        return HTMLResponse(text, headers={"cache-control": "no-store"})

    async def _get_health(self) -> JSONResponse:
        return _json({"ok": True})

    async def _get_icon(self) -> Response:
        return Response(status_code=204)

    def _get_static(self, name: str) -> Response:
        path = self._static.get(name)
        if path is None:
            raise HTTPException(404, "no such file")
        return Response(path.read_bytes(), media_type=_MEDIA[path.suffix], headers={"cache-control": "no-cache"})

    async def _post_session(self, request: Request, body: SessionBody) -> JSONResponse:
        if not self._policy.knows(body.token):
            await asyncio.sleep(WRONG_TOKEN_SECONDS)
            raise HTTPException(401, "the token is wrong" if body.token else "this server needs a token")
        cookie, who = await self._write(lambda: self._service.sign_in(body.rater))
        response = _json(who)
        response.set_cookie(self._cookie, cookie, max_age=SESSION_SECONDS, **_cookie_rules(request))
        return response

    async def _get_session(self, request: Request) -> JSONResponse:
        return await self._reply(lambda: self._service.who(request.state.rater))

    async def _delete_session(self, request: Request) -> JSONResponse:
        cookie = request.cookies.get(self._cookie, "")
        await self._write(lambda: self._service.sign_out(cookie))
        response = _json({"ok": True})
        response.delete_cookie(self._cookie, **_cookie_rules(request))
        return response

    async def _get_next(self, request: Request, ahead: Annotated[int, Query(ge=0, le=MAX_AHEAD)] = 0) -> JSONResponse:
        return await self._reply(lambda: self._service.next(request.state.rater, ahead))

    async def _post_answer(self, request: Request, body: AnswerBody) -> JSONResponse:
        return await self._reply(lambda: self._service.answer(request.state.rater, body))

    async def _post_undo(self, request: Request, body: UndoBody) -> JSONResponse:
        return await self._reply(lambda: self._service.undo(request.state.rater, body.client_id, body.answer))

    async def _get_picture(self, request: Request, name: str) -> Response:
        rater = request.state.rater
        key = self._service.known_picture(rater, name)
        if key is None:
            key = await self._write(lambda: self._service.find_picture(rater, name))
        try:
            data = await asyncio.to_thread(self._cache.read, key)
        except HPEditError as error:
            raise Missing(error.message, hint=error.hint) from error
        # Vary: an image that the browser keeps is not shown to the next rater who signs in there.
        headers = {"cache-control": "private, max-age=3600", "vary": "Cookie"}
        return Response(data, media_type="image/png", headers=headers)


def _cookie_rules(request: Request) -> dict[str, Any]:
    """Attributes of the session cookie: hidden from scripts, other sites and, if the page came by TLS, plain HTTP.

    A proxy may end the TLS, but the browser's Origin, which the guard has checked, says how the page came.
    """
    encrypted = request.headers.get("origin", "").lower().startswith("https://")
    return {"path": "/", "httponly": True, "samesite": "strict", "secure": encrypted}


def _json(content: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, headers={"cache-control": "no-store"})


def _error(status: int, error: str, hint: str = "") -> JSONResponse:
    return _json({"error": error, "hint": hint}, status)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        return _error(error.status, error.message, error.hint)

    @app.exception_handler(StoreFault)
    async def not_stored(_: Request, fault: StoreFault) -> JSONResponse:
        logging.getLogger("hpedit.rate").error("%s: %s", fault.message, fault.hint)
        return _error(507 if fault.full else 503, fault.message, fault.hint)

    @app.exception_handler(HTTPException)
    async def failed(_: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # Not pydantic's own text, which repeats what was sent, the token included.
        places = sorted({".".join(str(part) for part in found["loc"]) for found in error.errors()})
        return _error(422, f"invalid request: {', '.join(places)}", "reload the page")

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        # Starlette logs the traceback and answers outside the guard, so the headers are added here.
        response = _error(500, "internal server error, see the terminal", "the answer is sent again")
        response.headers.update(HEADERS)
        return response


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket, opened before the server starts so that its port is known; HPEditError if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only if the protocol is named; otherwise every reply waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise HPEditError(f"{host}:{port} cannot be used: {error.strerror}", hint="choose another --port") from error
    return listener


def uvicorn_server(app: FastAPI) -> uvicorn.Server:
    """Uvicorn with the limits of `hpedit.web.security`; no request is logged, since addresses may hold a token."""
    config = uvicorn.Config(
        app, http=TimedProtocol, ws="none", lifespan="off", access_log=False, log_level="warning", server_header=False,
        limit_concurrency=MAX_CONNECTIONS, timeout_keep_alive=30, timeout_graceful_shutdown=5, proxy_headers=False,
    )  # fmt: skip
    return uvicorn.Server(config)


def run_until_signal(server: uvicorn.Server, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; requests in progress are finished.

    Args:
        ready: called once a signal ends the server cleanly: the moment to print the address.
    """

    def end(*_: object) -> None:
        server.should_exit = True

    # uvicorn has its own handlers while it runs, and raises the signal again after its shutdown; these catch a signal
    # before and after that, since ending on request is not a failure.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, end)
    ready()
    server.run(sockets=[listener])
