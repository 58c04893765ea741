"""Several servers of one judge: which one to ask next, and which to leave alone.

Each question goes to the server with the fewest questions under way. A server that failed several times in a row is
left alone for a while (its circuit is open), then tried once; if that fails too, the circuit opens again. When that is
so of all servers, the judge is down and the run stops with what they said last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hpedit.errors import HPEditError

FAILURES = 5
"""Failures in a row that open a server's circuit."""
COOLDOWN = 5.0
"""Seconds for which it stays open."""
TRIPS = 2
"""Times in a row that all circuits must have opened for the judge to be down."""


@dataclass(slots=True)
class Endpoint:
    """One server.

    Args:
        url: Its base URL.
        outstanding: Questions under way.
        failures: Failures since its last answer.
        trips: Times that its circuit opened since its last answer.
        open_until: Moment until which it is left alone, seconds of the clock.
        rest_until: Moment until which others are preferred (it asked for patience).
        said: Its last failure.
    """

    url: str
    outstanding: int = 0
    failures: int = 0
    trips: int = 0
    open_until: float = 0.0
    rest_until: float = 0.0
    said: str = field(default="nothing")


class Endpoints:
    """The servers of one judge.

    Args:
        urls: Base URLs, at least one.
        failures, cooldown, trips: See FAILURES, COOLDOWN and TRIPS.
        clock: Seconds, only differences count.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        failures: int = FAILURES,
        cooldown: float = COOLDOWN,
        trips: int = TRIPS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not urls:
            raise HPEditError("a judge needs the URL of a server")
        self.all = [Endpoint(url) for url in dict.fromkeys(urls)]
        self.failures = failures
        self.cooldown = cooldown
        self.trips = trips
        self.clock = clock

    def take(self) -> Endpoint | None:
        """The server to ask now, counted as under way; None while all circuits are open.

        Raises:
            HPEditError: the judge is down.
        """
        if all(one.trips >= self.trips for one in self.all):
            said = "; ".join(f"{one.url}: {one.said}" for one in self.all)
            raise HPEditError(
                f"no server of the judge answers any more. Their last words: {said}",
                hint="start the server again and run the same command again: answers already given are in the cache",
            )
        now = self.clock()
        usable = [one for one in self.all if self._usable(one, now)]
        if not usable:
            return None
        chosen = min(usable, key=lambda one: (one.rest_until > now, one.outstanding))
        chosen.outstanding += 1
        return chosen

    def _usable(self, one: Endpoint, now: float) -> bool:
        """Closed, or due for its one trial."""
        return not one.trips or (now >= one.open_until and one.outstanding == 0)

    def answered(self, one: Endpoint) -> None:
        """It answered, be it with a refusal: the server lives."""
        one.outstanding -= 1
        one.failures = one.trips = 0

    def reachable(self, one: Endpoint) -> None:
        """It answered a knock; its circuit closes, and the question goes on."""
        one.failures = one.trips = 0

    def throttled(self, one: Endpoint, said: str, seconds: float) -> None:
        """It lives but has too much to do: others are preferred for so many seconds."""
        self.answered(one)
        one.said = said
        one.rest_until = self.clock() + seconds

    def failed(self, one: Endpoint, said: str, seconds: float = 0.0) -> None:
        """It did not answer, or with an error of its own, and perhaps asked for so many seconds of rest."""
        one.outstanding -= 1
        one.failures += 1
        one.said = said
        now = self.clock()
        one.rest_until = now + seconds
        trial = one.trips > 0 and now >= one.open_until
        if trial or (one.trips == 0 and one.failures >= self.failures):
            one.trips += 1
            one.open_until = now + self.cooldown

    def rest_seconds(self) -> float:
        """Seconds until a server with a closed circuit has rested; 0 where there is none, since a trial comes first."""
        closed = [one.rest_until for one in self.all if not one.trips]
        return max(0.0, min(closed, default=0.0) - self.clock())

    def cancelled(self, one: Endpoint) -> None:
        """The question was withdrawn: nothing is known of the server."""
        one.outstanding -= 1
