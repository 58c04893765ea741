"""Web security of the rating server: one network policy, checked before any route sees a request.

- Loopback by default; any other address needs a token.
- Host must be one of the server's own names (against DNS rebinding).
- A request that changes something needs exactly one Origin, equal to its Host, and a header that no form can send
  (against CSRF); Sec-Fetch-Site, if the browser sends it, must not be cross-site.
- Every response forbids scripts, frames and addresses other than the server's own (CSP).
- Bodies have limits of size and time; headers of time (`TimedProtocol`).
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
"""Bytes; an answer has about 300."""
BODY_SECONDS = 10.0
"""Time limit of a request's body."""
LATE_SECONDS = 1.0
"""A client whose body is late may go on for so long, enough to read the error, before its connection is closed."""
HEADER_SECONDS = 10.0
"""Time limit of a request's headers, and of the first byte of a connection."""
MAX_CONNECTIONS = 512
"""Beyond these the server answers 503; a browser uses about six."""
MIN_TOKEN = 16
"""Characters, too many to be guessed over a network."""

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

_ENCODED_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
_SAFE = ("GET", "HEAD", "OPTIONS")

Objection = tuple[int, str, str]
"""Why a request is refused: status, error and hint."""


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """Who may send requests to one server."""

    hosts: frozenset[str]
    """Accepted Host headers, with port."""
    token: str | None
    """What a rater must know to sign in; None only on loopback."""

    @classmethod
    def of_address(cls, host: str, port: int, token: str | None, allowed: Sequence[str] = ()) -> NetworkPolicy:
        """The policy of a server at this address.

        Args:
            allowed: further names under which it is reached, such as a reverse proxy's: "rate.example.org", or with a
                port.

        Raises:
            HPEditError: a host or name other than loopback without a token, or a token that could be guessed.
        """
        check_token(host, token, allowed)
        names = {host} if not is_any_address(host) else _own_addresses()
        if is_loopback(host) or is_any_address(host):
            names |= {"localhost", "127.0.0.1", "::1"}
        hosts = {f"{_bracketed(name)}:{port}" for name in names}
        if port == 80:
            hosts |= {_bracketed(name) for name in names}
        return cls(frozenset(hosts | {name.lower() for name in allowed}), token)

    def knows(self, token: str | None) -> bool:
        """Whether this is the token, compared in constant time."""
        given = (token or "").encode("utf-8", "surrogatepass")
        return self.token is None or hmac.compare_digest(given, self.token.encode())

    def objection(self, scope: Scope) -> Objection | None:
        """Why a request is refused by its headers, or None."""
        hosts, origins = _header_values(scope, b"host"), _header_values(scope, b"origin")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, "unknown host name", "open the address that the server printed, or use --allow-host"
        if not _same_site(scope):
            return 403, "cross-site request", "open the server's own page"
        own = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        changes = scope["method"] not in _SAFE
        if origins and (len(origins) > 1 or origins[0].lower() not in own):
            return 403, "cross-origin request", "open the server's own page"
        if changes and not origins:
            return 403, "missing header Origin", "send the header Origin"
        if changes and _header_values(scope, b"x-hpedit") != ["1"]:
            return 403, "missing header X-HPEdit", "send the header X-HPEdit: 1"
        if _header_values(scope, b"transfer-encoding") and _header_values(scope, b"content-length"):
            return 400, "the request states its length twice", "send only Content-Length"
        return None


def check_token(host: str, token: str | None, names: Sequence[str] = ()) -> None:
    """Raise HPEditError if a token is needed and missing, or too short to protect anything.

    Args:
        names: further names under which the server is reached: a proxy that forwards them opens the page to others.
    """
    how = "python -c 'import secrets; print(secrets.token_urlsafe())' makes one; pass it by HPEDIT_RATE_TOKEN"
    reached = (host, *(urlsplit(f"//{name}").hostname or name for name in names))
    reachable = next((name for name in reached if not is_loopback(name)), None)
    if token is None and reachable is not None:
        raise HPEditError(f"{reachable} is reachable from other machines and needs a token", hint=how)
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise HPEditError(f"the token must have at least {MIN_TOKEN} printable ASCII characters", hint=how)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_any_address(host: str) -> bool:
    """Whether a server that listens at `host` listens on all addresses of the machine."""
    return host in ("0.0.0.0", "::", "")


def _own_addresses() -> set[str]:
    """Names and addresses of this machine, as far as they can be found without a network."""
    name = socket.gethostname()
    found = {name.lower()}
    with contextlib.suppress(OSError):
        found |= {str(entry[4][0]).split("%")[0] for entry in socket.getaddrinfo(name, None)}
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: connecting a datagram socket only chooses its interface (TEST-NET-1, RFC 5737).
        probe.connect(("192.0.2.1", 9))
        found.add(probe.getsockname()[0])
    return found


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name.lower()


def _header_values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _same_site(scope: Scope) -> bool:
    """Whether Sec-Fetch-Site lets a request pass; clients that do not send it pass."""
    sites = _header_values(scope, b"sec-fetch-site")
    if not sites or sites in (["same-origin"], ["none"]):
        return True
    # A link in a message opens the page, which holds no data; it must not open in a frame.
    is_page = scope["path"] == "/" and scope["method"] == "GET"
    return is_page and _header_values(scope, b"sec-fetch-dest") == ["document"]


class RequestGuard:
    """ASGI middleware: applies the policy, limits the body's size and time, and adds the security headers."""

    def __init__(self, app: ASGIApp, policy: NetworkPolicy) -> None:
        self._app, self._policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on with its body."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_ENCODED_HEADERS]
            await send(message)

        incoming = Incoming(receive)
        read = self._policy.objection(scope) or await _read_body(scope, incoming)
        if isinstance(read, bytes):
            await self._app(scope, _replay_body(read, receive), send_with_headers)
        else:
            status, error, hint = read
            linger = LATE_SECONDS if status == 408 else LINGER_SECONDS
            await refuse(incoming, send_with_headers, status, {"error": error, "hint": hint}, linger)


async def _read_body(scope: Scope, receive: Receive) -> bytes | Objection:
    """The whole body of a request, or why it is refused."""
    too_large = (413, f"the request has more than {MAX_BODY} bytes", "an answer is a few hundred bytes")
    lengths = _header_values(scope, b"content-length")
    if lengths and (not lengths[0].isdecimal() or int(lengths[0]) > MAX_BODY):
        return too_large
    chunks = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return 400, "the request was cut off", "send it again"
                chunks += message.get("body", b"")
                if len(chunks) > MAX_BODY:
                    return too_large
                if not message.get("more_body", False):
                    return bytes(chunks)
    except TimeoutError:
        return 408, "the request took too long", "send it again"


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body already read, then whatever follows."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with a time limit on request headers, HEADER_SECONDS; plain uvicorn waits for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the time limit with the connection."""
        super().connection_made(transport)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Stop the time limit when a request's headers are complete; start it with the first bytes of the next."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_clock()
        elif self._deadline is None:
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limit with the connection."""
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
