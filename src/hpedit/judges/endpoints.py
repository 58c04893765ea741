"""Load balancing and circuit breakers over several servers of one judge.

Each question goes to the server with the fewest requests in flight. The circuit of a server that failed several times
in a row opens: it is not asked for a while, then tried once; if that fails too, the circuit opens again. When all
circuits have opened like this, the judge is down and the run stops with the last errors.
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
"""Times in a row that every circuit must have opened for the judge to count as down."""


@dataclass(slots=True)
class Endpoint:
    """One server and its circuit breaker.

    Args:
        url: Its base URL.
        outstanding: Requests in flight.
        failures: Failures since its last answer.
        trips: Times that its circuit opened since its last answer.
        open_until: Until when its circuit is open, in seconds of the clock.
        rest_until: Until when other servers are preferred (it sent Retry-After).
        said: Its last error.
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
        """Choose the server to ask now, and count the request as in flight; None while all circuits are open.

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
        """Whether its circuit is closed, or due for one trial."""
        return not one.trips or (now >= one.open_until and one.outstanding == 0)

    def answered(self, one: Endpoint) -> None:
        """Record an answer, even a refusal: its circuit closes."""
        one.outstanding -= 1
        one.failures = one.trips = 0

    def reachable(self, one: Endpoint) -> None:
        """Record a successful health check: its circuit closes, and the request goes on."""
        one.failures = one.trips = 0

    def throttled(self, one: Endpoint, said: str, seconds: float) -> None:
        """Record a rate limit: other servers are preferred for so many seconds."""
        self.answered(one)
        one.said = said
        one.rest_until = self.clock() + seconds

    def failed(self, one: Endpoint, said: str, seconds: float = 0.0) -> None:
        """Record a timeout, a lost connection or a server error, with the seconds that Retry-After asked for."""
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
        """Seconds until a server with a closed circuit may be asked; 0 if none has one: a trial comes first."""
        closed = [one.rest_until for one in self.all if not one.trips]
        return max(0.0, min(closed, default=0.0) - self.clock())

    def cancelled(self, one: Endpoint) -> None:
        """Record a cancelled request, which says nothing about the server."""
        one.outstanding -= 1
