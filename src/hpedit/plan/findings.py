"""What is wrong with a recipe, or may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from hpedit.errors import HPEditError

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing; an error stops a run, a warning does not."""

    level: Level
    message: str
    hint: str = ""


@dataclass(slots=True)
class Findings:
    """All that was found, in the order in which it was."""

    found: list[Finding] = field(default_factory=list)

    def error(self, message: str, hint: str = "") -> None:
        """Note what would stop the run; the same thing twice counts once."""
        self._add(Finding("error", message, hint))

    def warning(self, message: str, hint: str = "") -> None:
        """Note what one should know."""
        self._add(Finding("warning", message, hint))

    def of_machine(self, *, elsewhere: bool) -> Callable[[str, str], None]:
        """`error`; `warning` where another machine than this one will run it."""
        return self.warning if elsewhere else self.error

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Within it an HPEditError ends the block and becomes an error."""
        try:
            yield
        except HPEditError as error:
            self.error(error.message, error.hint)

    def of(self, level: Level) -> list[Finding]:
        """Those of a level."""
        return [problem for problem in self.found if problem.level == level]

    def _add(self, problem: Finding) -> None:
        if problem not in self.found:
            self.found.append(problem)
