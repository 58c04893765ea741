"""An HTTP client's limit on replies: a server that never stops sending must not fill the memory.

Compressed replies are not asked for and refused, since a few bytes of one can unpack to gigabytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hpedit.errors import HPEditError

MAX_REPLY = 8 * 2**20
"""Bytes of a judge's reply; one with 20 logprobs has some 5,000, a written JSON of 2,048 tokens some 20,000."""
PLAIN = {"accept-encoding": "identity"}
"""Request headers that ask for no compression."""


class ReplyTooLarge(HPEditError):
    """A reply was cut off, or not begun."""


async def bound_reply(response: Any) -> None:
    """Hook of an httpx client for each response, before its body is read: bounds the body."""
    coding = response.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise ReplyTooLarge(f"the reply is compressed ({coding}), which was not asked for")
    stream = response.stream
    # The client takes only streams of its own class, and `openai` brings its own copy of httpx.
    base = next(kind for kind in type(stream).__mro__ if kind.__name__ == "AsyncByteStream")
    response.stream = type("BoundedStream", (_Bounded, base), {})(stream)


class _Bounded:
    """The body of a reply, cut off with an error beyond MAX_REPLY bytes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Pass on the parts while they fit."""
        seen = 0
        async for part in self._stream:
            seen += len(part)
            if seen > MAX_REPLY:
                raise ReplyTooLarge(f"the reply has more than {MAX_REPLY:,} bytes")
            yield part

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()
