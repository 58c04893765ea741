"""The HTTP side of the rating app. JSON in and out; every error is {"error", "hint"}.

- GET /            the page; GET /static/NAME its scripts and style; GET /healthz {"ok": true}.
- POST /api/session {"rater", "token"} -> cookie, {"rater", "practice_left"}; GET tells the same, or 401; DELETE ends.
- GET /api/next    {"item": ITEM, "ahead": [ITEM, ...]} or {"done": true, "progress": P}. Asking again gives the same
  items. ?ahead=2 leases up to that many items beyond the first: the page loads their pictures, and goes on with them
  while an answer is under way or the network is off.
- POST /api/answer {"client_id", "assignment", "value", "flags", "ms", "client_time"}
  -> {"stored": true, "duplicate", "progress": P, "feedback": {"expected", "right", "text"} | null}, once it is fsynced.
  The same client_id again, and the same decision again, is a duplicate; another decision on the item is 409 until the
  first is undone. An answer after its lease is stored as overlap.
- POST /api/undo   {"client_id", "answer"} -> {"stored": true, "item": ITEM with "previous"}; "answer" null is the last.
- GET /picture/ID  PNG; needs the session, as all of /api does.

ITEM = {"assignment", "kind", "phase", "task", "instruction", "source", "references", "edits", "width", "height",
"lease_seconds", "progress"}; "references" are the addresses of further source pictures, mostly none, at sizes of their
own; "edits" is empty where a case is checked. P = {"done", "total", "practice_done", "practice_total", "can_undo"}.
401: sign in. 404: not there, or not this rater's. 409: contradicts what is stored. 422: cannot be. 507: the disk is
full, 503: it cannot be written; in both nothing is stored, and the same request can be sent again.

Every POST and DELETE needs Content-Type application/json (where it has a body), Origin, and X-HPEdit: 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

import uvicorn
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr
from starlette.exceptions import HTTPException

from hpedit.errors import HPEditError
from hpedit.rate.pictures import PictureShelf
from hpedit.rate.requests import MAX_INSTRUCTION, NewAnswer, Refusal
from hpedit.rate.sessions import Desk
from hpedit.rate.writer import Writer
from hpedit.ratings.store import MEND, RatingStore, StoreFault
from hpedit.web.security import HEADERS, MAX_CONNECTIONS, Guard, Policy, TimedProtocol

HERE = Path(__file__).parent
COOKIE_SECONDS = 30 * 24 * 3600
MAX_AHEAD = 4
"""Items that a rater can hold beyond the one on the screen: what they hold, nobody else is given."""
WRONG_TOKEN_SECONDS = 0.5
"""A wrong token is answered after this long, which slows guessing down."""
_MEDIA = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}

T = TypeVar("T")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SessionBody(_Body):
    """POST /api/session."""

    rater: StrictStr = Field(max_length=256)
    token: StrictStr | None = Field(default=None, max_length=1024)


_MAX_VALUE = len(MEND) + 2 * MAX_INSTRUCTION
"""A mended instruction may come in a longer spelling than the one in which it is kept."""
_ClientId = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{8,64}$")]


class AnswerBody(_Body):
    """POST /api/answer."""

    client_id: _ClientId
    assignment: StrictStr = Field(max_length=64)
    value: Annotated[StrictInt, Field(ge=0, le=5)] | StrictFloat | Annotated[StrictStr, Field(max_length=_MAX_VALUE)]
    flags: list[Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]] = Field(default_factory=list, max_length=8)
    ms: int = Field(default=0, ge=0, le=2**40)
    client_time: str = Field(default="", pattern=r"^[0-9A-Za-z:+. -]{0,64}$")

    def new(self) -> NewAnswer:
        """As the desk takes it."""
        value = self.value if isinstance(self.value, str) else float(self.value)
        flags = tuple(sorted(set(self.flags)))
        return NewAnswer(self.client_id, self.assignment, value, flags, self.ms, self.client_time)


class UndoBody(_Body):
    """POST /api/undo."""

    client_id: _ClientId
    answer: _ClientId | None = None


class RatingApp:
    """The routes over one desk, one shelf and one writer."""

    def __init__(self, desk: Desk, writer: Writer, shelf: PictureShelf, policy: Policy, port: int) -> None:
        self._desk, self._writer, self._shelf, self._policy = desk, writer, shelf, policy
        # Cookies know no ports: two servers on one machine must not sign each other's raters out.
        self._cookie = f"hpedit_rate_{port}"
        self._static = {path.name: path for path in (HERE / "static").glob("*") if path.suffix in _MEDIA}
        # StrictUndefined: a name the template expects and nobody gives is a bug to be seen, not an empty text.
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined
        )

    def app(self) -> FastAPI:
        """The ASGI application, guarded."""
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=_no_lifespan)
        signed_in = Depends(self._signed_in)
        app.get("/")(self._page)
        app.get("/healthz")(self._health)
        app.get("/favicon.ico")(self._no_icon)
        app.get("/static/{name}")(self._static_file)
        app.post("/api/session")(self._sign_in)
        app.get("/api/session", dependencies=[signed_in])(self._who)
        app.delete("/api/session")(self._sign_out)
        app.get("/api/next", dependencies=[signed_in])(self._next)
        app.post("/api/answer", dependencies=[signed_in])(self._answer)
        app.post("/api/undo", dependencies=[signed_in])(self._undo)
        app.get("/picture/{name}", dependencies=[signed_in])(self._picture)
        _add_error_handlers(app)
        app.add_middleware(Guard, policy=self._policy)
        return app

    async def _write(self, operation: Callable[[], T]) -> T:
        """Run on the writer's thread; returns after the commit."""
        return await asyncio.wrap_future(self._writer.submit(operation))

    async def _signed_in(self, request: Request) -> None:
        rater = self._desk.session(request.cookies.get(self._cookie, ""))
        if rater is None:
            raise HTTPException(401, "sign in first")
        request.state.rater = rater

    async def _page(self) -> HTMLResponse:
        page = self._templates.get_template("rate.html.jinja")
        text = page.render(token_required=self._policy.token is not None, checking=self._desk.kind == "check")
        return HTMLResponse(text, headers={"cache-control": "no-store"})

    async def _health(self) -> JSONResponse:
        return _json({"ok": True})

    async def _no_icon(self) -> Response:
        return Response(status_code=204)

    def _static_file(self, name: str) -> Response:
        path = self._static.get(name)
        if path is None:
            raise HTTPException(404, "there is no such file")
        return Response(path.read_bytes(), media_type=_MEDIA[path.suffix], headers={"cache-control": "no-cache"})

    async def _sign_in(self, request: Request, body: SessionBody) -> JSONResponse:
        if not self._policy.knows(body.token):
            await asyncio.sleep(WRONG_TOKEN_SECONDS)
            raise HTTPException(401, "the token is wrong" if body.token else "this server asks for a token")
        cookie, who = await self._write(lambda: self._desk.sign_in(body.rater))
        response = _json(who)
        response.set_cookie(self._cookie, cookie, max_age=COOKIE_SECONDS, **_cookie_rules(request))
        return response

    async def _who(self, request: Request) -> JSONResponse:
        return _json(await self._write(lambda: self._desk.who(request.state.rater)))

    async def _sign_out(self, request: Request) -> JSONResponse:
        cookie = request.cookies.get(self._cookie, "")
        await self._write(lambda: self._desk.sign_out(cookie))
        response = _json({"ok": True})
        response.delete_cookie(self._cookie, **_cookie_rules(request))
        return response

    async def _next(self, request: Request, ahead: Annotated[int, Query(ge=0, le=MAX_AHEAD)] = 0) -> JSONResponse:
        return _json(await self._write(lambda: self._desk.next(request.state.rater, ahead)))

    async def _answer(self, request: Request, body: AnswerBody) -> JSONResponse:
        new = body.new()
        return _json(await self._write(lambda: self._desk.answer(request.state.rater, new)))

    async def _undo(self, request: Request, body: UndoBody) -> JSONResponse:
        return _json(await self._write(lambda: self._desk.undo(request.state.rater, body.client_id, body.answer)))

    async def _picture(self, request: Request, name: str) -> Response:
        rater = request.state.rater
        key = self._desk.known_picture(rater, name)
        if key is None:
            key = await self._write(lambda: self._desk.find_picture(rater, name))
        data = await asyncio.to_thread(self._shelf.read, key)
        # Vary: what a browser keeps of one rater is not shown to the next one who signs in there.
        headers = {"cache-control": "private, max-age=3600", "vary": "Cookie"}
        return Response(data, media_type="image/png", headers=headers)


class _CookieRules(TypedDict):
    path: str
    httponly: bool
    samesite: Literal["strict"]
    secure: bool


def _cookie_rules(request: Request) -> _CookieRules:
    """Who gets the session's cookie: no script, no other site and, where the page came over TLS, no plain HTTP.

    A proxy ends the TLS, but the browser's Origin, which the guard has checked, says how the page came.
    """
    encrypted = request.headers.get("origin", "").lower().startswith("https://")
    return {"path": "/", "httponly": True, "samesite": "strict", "secure": encrypted}


@contextlib.asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


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
        # Pydantic's text repeats what was sent, the token too; places are enough.
        places = sorted({".".join(str(part) for part in found["loc"]) for found in error.errors()})
        return _error(422, f"the request is not as it must be: {', '.join(places)}", "reload the page")

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        # Starlette logs the traceback and answers outside the guard, so the headers are added here.
        response = _error(500, "the server made a mistake", "its terminal says which; the answer is sent again")
        response.headers.update(HEADERS)
        return response


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that the port is known before anything is printed; HPEditError if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; else every reply waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise HPEditError(f"{host}:{port} cannot be used: {error.strerror}", hint="choose another --port") from error
    return listener


def make_server(app: FastAPI) -> uvicorn.Server:
    """Uvicorn with the limits of `hpedit.web.security`; it logs no request, since addresses may hold a token."""
    config = uvicorn.Config(
        app, http=TimedProtocol, ws="none", access_log=False, log_level="warning", server_header=False,
        limit_concurrency=MAX_CONNECTIONS, timeout_keep_alive=30, timeout_graceful_shutdown=5, proxy_headers=False,
    )  # fmt: skip
    return uvicorn.Server(config)


def serve(
    store: RatingStore,
    desk: Desk,
    shelf: PictureShelf,
    policy: Policy,
    listener: socket.socket,
    ready: Callable[[], None],
    enough: Callable[[], bool] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are finished, and a return means that all is on the disk.

    Args:
        ready: Called when a signal already ends the server cleanly: the moment to print the address.
        enough: Asked every second; the server ends by itself when it says so.
    """
    writer = Writer(store, desk.reload)
    server = make_server(RatingApp(desk, writer, shelf, policy, listener.getsockname()[1]).app())

    def end(*_: object) -> None:
        server.should_exit = True

    # uvicorn has handlers of its own while it runs, and raises the signal again once it has shut down; these take what
    # comes before and after, since to end on request is no failure.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, end)
    try:
        ready()
        if enough is not None:
            threading.Thread(target=_end_when, args=(enough, server), daemon=True).start()
        server.run(sockets=[listener])
    finally:
        writer.close()


def _end_when(enough: Callable[[], bool], server: uvicorn.Server) -> None:
    while not server.should_exit:
        if enough():
            # The last answer's reply, and a page that asks for the next item, still come through.
            time.sleep(1.0)
            server.should_exit = True
        time.sleep(1.0)
