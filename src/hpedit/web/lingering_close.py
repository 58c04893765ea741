"""Refuse a request whose body is not wanted, in such a way that its client learns of it.

A connection that is closed on a client that still sends is reset, and the answer is lost with it. So after the answer
what comes is read and thrown away, as nginx does by its lingering_close.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import Message, Receive, Send

LINGER_SECONDS = 30.0
"""So long a client that was refused may go on sending before its connection is closed."""
SILENT_SECONDS = 0.5
SILENCES = 10
"""So often in a row it may be silent for SILENT_SECONDS. A machine that stands still for a while, this server with it,
is one silence, however long it was."""


class Incoming:
    """The `receive` of a request, which remembers whether the body has ended."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False
        """Whether the last of the body has come, or the client has gone."""

    async def __call__(self) -> Message:
        """What comes next."""
        message = await self._receive()
        self.ended = not message.get("more_body", False)
        return message


async def refuse(
    incoming: Incoming, send: Send, status: int, answer: dict[str, Any], linger: float = LINGER_SECONDS
) -> None:
    """Answer at once, let the client finish sending, and close its connection.

    Args:
        incoming: The request, of which anything may have been read.
        answer: Sent as JSON.
        linger: Seconds that the client may go on sending at most.
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
    await _throw_away(incoming, linger)
    await send({"type": "http.response.body", "body": b""})


async def _throw_away(incoming: Incoming, linger: float) -> None:
    now = asyncio.get_running_loop().time
    end, silences = now() + linger, 0
    while not incoming.ended and silences < SILENCES and now() < end:
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                await incoming()
            silences = 0
        except TimeoutError:
            silences += 1
