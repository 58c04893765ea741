"""Who may talk to the rating server: one policy, checked before any route sees a request.

- Loopback by default; any other address needs a token.
- Host must be one of the names by which the server is meant to be reached (no DNS rebinding).
- A request that changes something needs exactly one Origin, which is the Host that it asks, and a header that no form
  can send; Sec-Fetch-Site, where a browser sends it, must not say cross-site.
- Every response forbids scripts, frames and addresses that are not the server's own.
- Bodies are small and come in time; so do headers (`TimedProtocol`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from hpedit.errors import HPEditError
from hpedit.web.lingering_close import LINGER_SECONDS, Incoming, refuse

MAX_BODY = 64 * 1024
"""Bytes; an answer has some 300."""
BODY_SECONDS = 10.0
"""A body must be there by then."""
LATE_SECONDS = 1.0
"""So long one that was not may go on before its connection is closed: long enough to read why."""
HEADER_SECONDS = 10.0
"""So must the headers of a request, and the first byte of a connection."""
MAX_CONNECTIONS = 512
"""Beyond these the server answers 503: a browser uses some six."""
MIN_TOKEN = 16
"""Characters: too many to be guessed over a network."""

_CSP = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS: dict[str, str] = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""On every response, errors included."""

_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Policy:
    """The network policy of one server."""

    hosts: frozenset[str]
    """Host headers that are accepted, with port."""
    token: str | None
    """What a rater must know; None on loopback alone."""

    @classmethod
    def make(cls, host: str, port: int, token: str | None, allowed: Sequence[str] = ()) -> Policy:
        """The policy of a server at this address.

        Args:
            allowed: Further names under which it is reached, of a reverse proxy say: "rate.example.org", or with a
                port.

        Raises:
            HPEditError: Another host or name than loopback without a token, or a token that could be guessed.
        """
        check_token(host, token, allowed)
        names = {host} if not _is_any(host) else _own_addresses()
        if is_loopback(host) or _is_any(host):
            names |= {"localhost", "127.0.0.1", "::1"}
        hosts = {_with_port(name, port) for name in names}
        if port == 80:
            hosts |= {_bracketed(name) for name in names}
        return cls(frozenset(hosts | {name.lower() for name in allowed}), token)

    def knows(self, token: str | None) -> bool:
        """Whether this is the token; takes as long for a wrong one as for the right one."""
        return self.token is None or hmac.compare_digest(
            (token or "").encode("utf-8", "surrogatepass"), self.token.encode()
        )

    def objection(self, scope: Scope) -> tuple[int, str, str] | None:
        """Why a request is refused: status, error and hint; None lets it pass."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        hosts, origins = _all(headers, b"host"), _all(headers, b"origin")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, "this server is not known by that name", "open the address that it printed, or use --allow-host"
        if not _may_fetch(scope, headers):
            return 403, "the request comes from another site", "open the server's own page"
        own = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        changes = scope["method"] not in _SAFE
        if origins and (len(origins) > 1 or origins[0].lower() not in own):
            return 403, "the request comes from another origin", "open the server's own page"
        if changes and not origins:
            return 403, "the request does not say where it comes from", "send the header Origin"
        if changes and _all(headers, b"x-hpedit") != ["1"]:
            return 403, "the request was not made by the page", "send the header X-HPEdit: 1"
        if _all(headers, b"transfer-encoding") and _all(headers, b"content-length"):
            return 400, "the request states its length twice", "send Content-Length alone"
        return None


def check_token(host: str, token: str | None, names: Sequence[str] = ()) -> None:
    """HPEditError where a token is missing or too short to protect anything.

    Args:
        names: Further names under which the server is reached: a proxy that passes them on opens the page to others.
    """
    how = "python -c 'import secrets; print(secrets.token_urlsafe())' makes one; pass it by HPEDIT_RATE_TOKEN"
    reachable = next((name for name in (host, *map(_without_port, names)) if not is_loopback(name)), None)
    if token is None and reachable is not None:
        raise HPEditError(f"{reachable} can be reached from other machines, which needs a token", hint=how)
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise HPEditError(f"the token must have at least {MIN_TOKEN} plain characters", hint=how)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")


def _own_addresses() -> set[str]:
    """Names and addresses of this machine."""
    name = socket.gethostname()
    found = {name.lower()}
    # Its name need not be in the DNS, and it need not have a network: what can be found is enough.
    with contextlib.suppress(OSError):
        found |= {str(entry[4][0]).split("%")[0] for entry in socket.getaddrinfo(name, None)}
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: a datagram socket only chooses the interface it would use (TEST-NET-1, RFC 5737).
        probe.connect(("192.0.2.1", 9))
        found.add(probe.getsockname()[0])
    return found


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name.lower()


def _without_port(name: str) -> str:
    return urlsplit(f"//{name}").hostname or name


def _with_port(name: str, port: int) -> str:
    return f"{_bracketed(name)}:{port}"


def _all(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _may_fetch(scope: Scope, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the browser's own word on where a request comes from lets it pass; not every client gives it."""
    sites = _all(headers, b"sec-fetch-site")
    if not sites or sites in (["same-origin"], ["none"]):
        return True
    # A link in a message opens the page, which holds no data; it must not open in a frame.
    is_page = scope["path"] == "/" and scope["method"] == "GET"
    return is_page and _all(headers, b"sec-fetch-dest") == ["document"]


class Guard:
    """ASGI middleware: the policy before, the headers after, and a limit of size and time to the body."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app, self._policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_ENCODED]
            await send(message)

        objection = self._policy.objection(scope)
        incoming = Incoming(receive)
        body = b""
        if objection is None:
            read = await _read_body(scope, incoming)
            if isinstance(read, bytes):
                body = read
            else:
                objection = read
        if objection is not None:
            status, error, hint = objection
            linger = LATE_SECONDS if status == 408 else LINGER_SECONDS
            await refuse(incoming, send_with_headers, status, {"error": error, "hint": hint}, linger)
            return
        await self._app(scope, _once(body, receive), send_with_headers)


_ENCODED = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


async def _read_body(scope: Scope, receive: Receive) -> bytes | tuple[int, str, str]:
    """The whole body, or why it is not taken."""
    too_large = (413, f"the request has more than {MAX_BODY} bytes", "an answer is a few hundred bytes")
    lengths = _all(scope["headers"], b"content-length")
    if lengths and (not lengths[0].isdecimal() or int(lengths[0]) > MAX_BODY):
        return too_large
    chunks = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return 400, "the request broke off", "send it again"
                chunks += message.get("body", b"")
                if len(chunks) > MAX_BODY:
                    return too_large
                if not message.get("more_body", False):
                    return bytes(chunks)
    except TimeoutError:
        return 408, "the request took too long", "send it again"


def _once(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already, and then what else comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request headers do not come in HEADER_SECONDS; uvicorn waits for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock with the connection."""
        super().connection_made(transport)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Stop it when a request is complete; start it for the first bytes of the next."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_clock()
        elif self._deadline is None:
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
