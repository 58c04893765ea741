"""Refuse a request before its body is read, so that the client still receives the error (nginx's lingering_close).

Closing a connection while the client is sending resets it, and the answer is lost. So after the answer the rest of the
body is read and discarded.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import Message, Receive, Send

LINGER_SECONDS = 30.0
"""How long a refused client may go on sending before its connection is closed."""
SILENT_SECONDS = 0.5
SILENCES = 10
"""A client that is silent for SILENT_SECONDS so often in a row is disconnected. Counted, not summed: while the whole
machine is suspended, this server with it, that is a single silence, however long."""


class Incoming:
    """A request's ASGI `receive` that remembers whether the body has ended."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False
        """Whether the body is complete, or the client has disconnected."""

    async def __call__(self) -> Message:
        """The next message."""
        message = await self._receive()
        self.ended = not message.get("more_body", False)
        return message


async def refuse(
    incoming: Incoming, send: Send, status: int, answer: dict[str, Any], linger: float = LINGER_SECONDS
) -> None:
    """Answer at once, let the client finish sending, then close its connection.

    Args:
        incoming: the request; any part of it may have been read.
        answer: sent as JSON.
        linger: maximum seconds for which the client may go on sending.
    """
    body = json.dumps(answer).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await _discard_body(incoming, linger)
    await send({"type": "http.response.body", "body": b""})


async def _discard_body(incoming: Incoming, linger: float) -> None:
    now = asyncio.get_running_loop().time
    end, silences = now() + linger, 0
    while not incoming.ended and silences < SILENCES and now() < end:
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                await incoming()
            silences = 0
        except TimeoutError:
            silences += 1
