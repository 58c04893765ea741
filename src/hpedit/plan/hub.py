"""What the hub will say when a model is fetched, without fetching it. No torch.

A model in the hub's cache needs no hub. Otherwise three things are asked with short patience: can it be reached, does
it have the model at this revision, and does it give us its files (a licence to accept, a token).
"""

from __future__ import annotations

import os
import socket
import threading
import urllib.request
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hpedit.errors import HPEditError
from hpedit.plan.models import HubFiles

PATIENCE: Final = 1.0
"""Seconds to find out whether there is a hub at all: a blocked network answers nothing for minutes."""
ANSWER: Final = 5.0
"""Seconds for one answer of a hub that can be reached."""
TRUE: Final = ("1", "ON", "YES", "TRUE")
OFTEN_TRIED: Final = "model_index.json"


class HubTrouble(HPEditError):
    """A model can't be had. `ours` tells trouble with this machine's network from one that follows the account."""

    def __init__(self, message: str, hint: str, *, ours: bool) -> None:
        super().__init__(message, hint)
        self.ours = ours


def cache_folder() -> Path:
    """Where the hub's cache is, by the environment variables that huggingface_hub reads."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def snapshot(model: str, revision: str | None) -> Path | None:
    """The folder of a model in the cache; None if it isn't there at this revision."""
    folder = cache_folder() / f"models--{model.replace('/', '--')}"
    named = folder / "refs" / (revision or "main")
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else revision
    found = folder / "snapshots" / commit if commit else None
    return found if found and found.is_dir() else None


def offline() -> bool:
    """Whether huggingface_hub is told to stay off the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in TRUE


def ask(model: str, revision: str | None, probe: str = OFTEN_TRIED) -> HubFiles:
    """Size and commit of a model on the hub; `probe` is a small file whose head is asked for.

    Raises:
        HubTrouble: why it can't be had.
    """
    if offline():
        raise HubTrouble(
            f"{model} is not in the hub's cache ({cache_folder()}), and HF_HUB_OFFLINE is set",
            "fetch it where there is a network (hf download), or unset HF_HUB_OFFLINE",
            ours=True,
        )
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if not reachable(endpoint):
        raise HubTrouble(
            f"{endpoint} can't be reached from here: what is not in the hub's cache can't be fetched",
            "check the network, or HF_ENDPOINT; sizes are from a table",
            ours=True,
        )
    return _ask(model, revision, probe, endpoint)


@lru_cache(maxsize=8)
def reachable(url: str, patience: float = PATIENCE) -> bool:
    """Whether anybody listens there, or at the proxy before it, within `patience` seconds. Names are resolved too."""
    proxy = urllib.request.getproxies().get(urlsplit(url).scheme)
    parts = urlsplit(proxy if proxy and not urllib.request.proxy_bypass(urlsplit(url).hostname or "") else url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    answered: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname or "", port), timeout=patience).close()
            answered.append(True)
        except OSError:
            answered.append(False)

    # A thread: nothing bounds the time that resolving a name takes.
    asking = threading.Thread(target=connect, daemon=True)
    asking.start()
    asking.join(patience)
    return answered == [True]


def _ask(model: str, revision: str | None, probe: str, endpoint: str) -> HubFiles:
    from huggingface_hub import HfApi, get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    # Whatever HTTP library huggingface_hub uses: its errors of transport are no part of its own.
    transport: tuple[Any, ...] = tuple(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    try:
        url = hf_hub_url(model, probe, revision=revision, endpoint=endpoint)
        head = get_hf_file_metadata(url, token=get_token(), timeout=ANSWER, endpoint=endpoint)
        info = HfApi(endpoint=endpoint).model_info(model, revision=revision, files_metadata=True, timeout=ANSWER)
    except HfHubHTTPError as error:
        raise _trouble(model, revision, error) from error
    except (OSError, *transport) as error:
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise HubTrouble(f"the hub did not answer for {model}: {text[0]}", "try again later", ours=True) from error
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
    return HubFiles(_needed(sizes), head.commit_hash or info.sha, measured=True)


def _needed(sizes: Mapping[str, int]) -> int:
    """Bytes of the files that a pipeline fetches: those in folders and small ones; a second copy at the top is not."""
    nested = any("/" in name for name in sizes)
    top = (".safetensors", ".bin", ".ckpt", ".pt", ".gguf")
    return sum(size for name, size in sizes.items() if not (nested and "/" not in name and name.endswith(top)))


def _trouble(model: str, revision: str | None, error: Any) -> HubTrouble:
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    status = getattr(error.response, "status_code", None)
    if isinstance(error, GatedRepoError):
        return HubTrouble(
            f"{model} is gated, and this account may not have it ({status})",
            f"accept its licence at https://huggingface.co/{model}, then: hf auth login",
            ours=False,
        )
    if isinstance(error, RevisionNotFoundError):
        return HubTrouble(f"{model} has no revision {revision}", "check editor.revision", ours=False)
    if status in (401, 403):
        return HubTrouble(
            f"the hub refuses the token for {model} ({status})",
            "it has expired or may not read this model: hf auth login, or HF_TOKEN",
            ours=False,
        )
    if status == 404:
        return HubTrouble(f"the hub has no model {model}", "check its name", ours=False)
    return HubTrouble(
        f"the hub can't answer for {model} now ({status})", "it is in trouble: try later, or another HF_ENDPOINT",
        ours=True,
    )  # fmt: skip
