"""Errors and warnings that a plan finds in a recipe, collected instead of raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from hpedit.errors import HPEditError

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """An error or warning; an error stops a run, a warning does not."""

    level: Severity
    message: str
    hint: str = ""


@dataclass(slots=True)
class Findings:
    """All errors and warnings, in the order in which they were found."""

    found: list[Finding] = field(default_factory=list)

    def error(self, message: str, hint: str = "") -> None:
        """Add an error; a repeated one counts once."""
        self._add(Finding("error", message, hint))

    def warning(self, message: str, hint: str = "") -> None:
        """Add a warning; a repeated one counts once."""
        self._add(Finding("warning", message, hint))

    def of_machine(self, *, elsewhere: bool) -> Callable[[str, str], None]:
        """How to report a problem of this machine: `error`, or `warning` if the run will be elsewhere."""
        return self.warning if elsewhere else self.error

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Context in which an HPEditError ends the block and is added as an error."""
        try:
            yield
        except HPEditError as error:
            self.error(error.message, error.hint)

    def of(self, level: Severity) -> list[Finding]:
        """The findings of one level."""
        return [problem for problem in self.found if problem.level == level]

    def _add(self, problem: Finding) -> None:
        if problem not in self.found:
            self.found.append(problem)
