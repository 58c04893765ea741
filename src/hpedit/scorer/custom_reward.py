"""Rewards of the user's own: a Python function named by its dotted path, or an HTTP service.

    scorer: my_package.rewards.sharpness         # in a recipe; the working directory counts as a place of modules
    scorer: http://127.0.0.1:9000/score

A function takes (source, edit, instruction), two PIL images (RGB) and a text, and returns a score in 0 to 5, or None
where there is none to be had. A class is made without arguments and called the same way. An object with a method
`score(cases, images, edit_ids)` is taken as a whole `Scorer`.

The service takes one POST for a batch, and answers in the same order; null says that there is no score:

    {"edits": [{"id", "task", "instruction", "source": "data:image/png;base64,...", "edit": "data:image/png;..."}]}
    {"scores": [3.5, null], "fingerprint": "identity-v2"}
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from PIL import Image

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE, MIN_SCORE, Case, Score
from hpedit.scorer.protocol import Scorer
from hpedit.store.json_text import decode_json

RewardFunction = Callable[[Image.Image, Image.Image, str], float | None]
"""(source, edit, instruction) -> score in 0 to 5, or None."""
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
MOST_BYTES = 16_000_000
"""Of a service's reply."""
TIMEOUT = 300.0
"""Seconds for one batch."""


def is_custom(spec: str) -> bool:
    """Whether a recipe's scorer is a dotted path or an HTTP service, and not a folder."""
    return spec.startswith(("http://", "https://")) or (bool(DOTTED.fullmatch(spec)) and not Path(spec).exists())


def load_custom(spec: str) -> Scorer:
    """Load a reward by its dotted path, or the address of a service.

    Raises:
        HPEditError: no such module or name, something that can't be called, or no service that answers.
    """
    if spec.startswith(("http://", "https://")):
        return HTTPScorer(spec)
    found = load_object(spec)
    if inspect.isclass(found):
        found = found()
    if callable(getattr(found, "score", None)):
        return cast(Scorer, found)
    if not callable(found):
        raise HPEditError(f"{spec} can't be called", hint="name a function of (source, edit, instruction)")
    return FunctionScorer(found, spec)


def load_object(path: str) -> Any:
    """Import what a dotted path names, `package.module.name`; the working directory counts as a place of modules.

    Raises:
        HPEditError: there is no such module or name in it.
    """
    module, _, name = path.rpartition(".")
    if not module:
        raise HPEditError(f"{path} is not a dotted path", hint="name it as package.module.name")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise HPEditError(
            f"{path} can't be imported: there is no module {error.name}", hint=f"it is looked for in {here}, too"
        ) from error
    except AttributeError as error:
        raise HPEditError(f"{path} can't be imported: {module} has no {name}") from error
    finally:
        if added:
            sys.path.remove(here)


class FunctionScorer:
    """A `Scorer` made of a function of one edit.

    Args:
        function: (source, edit, instruction) -> score in 0 to 5, or None.
        name: What it is called in metrics and errors.
    """

    def __init__(self, function: RewardFunction, name: str = "") -> None:
        self.function = function
        self.name = name or getattr(function, "__qualname__", type(function).__name__)

    @property
    def fingerprint(self) -> str:
        """Name and source of the function: a changed one is another reward."""
        try:
            text = inspect.getsource(self.function if inspect.isroutine(self.function) else type(self.function))
        except (OSError, TypeError):
            text = ""
        return hashlib.sha256(f"{self.name}|{text}".encode()).hexdigest()[:16]

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        """One score for each (case, image).

        Raises:
            HPEditError: the function raised, or returned what is no score.
        """
        ids = edit_ids or [f"{case.id}-{index}" for index, case in enumerate(cases)]
        name = self.fingerprint
        found = []
        for case, image, edit in zip(cases, images, ids, strict=True):
            try:
                value = self.function(case.source, image, case.instruction)
            except HPEditError:
                raise
            except Exception as error:
                raise HPEditError(f"the reward {self.name} failed on edit {edit}: {error!r}") from error
            found.append(_score(edit, name, value, f"the reward {self.name}"))
        return found


class HTTPScorer:
    """A `Scorer` behind an HTTP service; see the module for what is sent and answered.

    Args:
        url: Where edits are posted.
        timeout: Seconds for one batch.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        self.url, self.timeout = url, timeout
        reply = self._post([])
        self._fingerprint = hashlib.sha256(f"{url}|{reply.get('fingerprint', '')}".encode()).hexdigest()[:16]

    @property
    def fingerprint(self) -> str:
        """The address, and what the service calls itself."""
        return self._fingerprint

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        """One score for each (case, image), by one request.

        Raises:
            HPEditError: the service can't be reached, or its reply is not as promised.
        """
        from hpedit.judges.picture_encoding import data_url  # numpy: a plan, which reads specs alone, needs none

        ids = list(edit_ids or [f"{case.id}-{index}" for index, case in enumerate(cases)])
        asked = [
            {
                "id": edit, "task": case.task, "instruction": case.instruction,
                "source": data_url(case.source), "edit": data_url(image),
            }
            for edit, case, image in zip(ids, cases, images, strict=True)
        ]  # fmt: skip
        scores = self._post(asked)["scores"]
        return [
            _score(edit, self._fingerprint, value, f"the service {self.url}")
            for edit, value in zip(ids, scores, strict=True)
        ]

    def _post(self, edits: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import httpx

        hint = 'it should answer {"scores": [...]} to a POST of {"edits": [...]}'
        try:
            with httpx.stream("POST", self.url, json={"edits": list(edits)}, timeout=self.timeout) as response:
                text = b""
                for part in response.iter_bytes():
                    text += part
                    if len(text) > MOST_BYTES:
                        raise HPEditError(f"{self.url} answers more than {MOST_BYTES:,} bytes", hint=hint)
                code = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HPEditError(
                f"{self.url} can't be reached: {error or type(error).__name__}", hint="start the service first"
            ) from error
        if code != httpx.codes.OK:
            raise HPEditError(f"{self.url} answers {code}: {text[:200].decode(errors='replace')}", hint=hint)
        try:
            reply = decode_json(text)
        except ValueError as error:
            raise HPEditError(f"{self.url} answers what is not JSON", hint=hint) from error
        scores = reply.get("scores") if isinstance(reply, dict) else None
        if not isinstance(scores, list) or len(scores) != len(edits):
            raise HPEditError(f"{self.url} does not answer one score for each of {len(edits)} edits", hint=hint)
        found: dict[str, Any] = reply
        return found


def _score(edit: str, name: str, value: Any, who: str) -> Score:
    """A score of what a user's code gave; HPEditError for what is neither None nor a number in 0 to 5."""
    if value is None:
        return Score(edit, name, None, reason=f"{who} gave none")
    try:
        number = float("nan") if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not math.isfinite(number) or not MIN_SCORE <= number <= MAX_SCORE:
        raise HPEditError(
            f"{who} gave {value!r} for edit {edit}", hint="a score lies in 0 to 5; None says that there is none"
        )
    return Score(edit, name, number)
