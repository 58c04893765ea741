"""Query a model on the Hugging Face Hub without downloading it: its size, commit and access rights. No torch.

A model in the local cache needs no hub. Otherwise the hub is asked, with short timeouts: can it be reached, does it
have the model at this revision, and does this account have access (a licence to accept, a token).
"""

from __future__ import annotations

import socket
import threading
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hpedit.errors import HPEditError

CONNECT_TIMEOUT: Final = 1.0
"""Seconds to find out whether there is a hub at all: a blocked network answers nothing for minutes."""
ANSWER_TIMEOUT: Final = 5.0
"""Seconds for one answer of a hub that can be reached."""
PIPELINE_INDEX: Final = "model_index.json"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the hub: bytes that a download takes, and the commit of its revision."""

    bytes: int
    commit: str | None


class HubError(HPEditError):
    """A hub model can't be fetched. `network`: because of this machine's network, not of the model or the account."""

    def __init__(self, message: str, hint: str, *, network: bool = False) -> None:
        super().__init__(message, hint)
        self.network = network


def hub_cache() -> Path:
    """Folder of huggingface_hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_snapshot(model: str, revision: str | None, file: str = PIPELINE_INDEX) -> Path | None:
    """Folder of a hub model in the local cache; None unless it is there at this revision with `file` in it."""
    from huggingface_hub import try_to_load_from_cache

    # Not snapshot_download: a pipeline's download leaves out second copies of the weights and counts as incomplete.
    found = try_to_load_from_cache(model, file, revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def query_hub_model(model: str, revision: str | None, file: str = PIPELINE_INDEX) -> HubModel:
    """Size and commit of a model on the hub; access is checked by a HEAD request for the small file `file`.

    Raises:
        HubError: The model can't be fetched, and why.
    """
    from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        message = f"{model} is not in the hub's cache ({hub_cache()}), and HF_HUB_OFFLINE is set"
        hint = "fetch it where there is a network (hf download), or unset HF_HUB_OFFLINE"
        raise HubError(message, hint, network=True)
    if not hub_reachable(constants.ENDPOINT):
        message = f"{constants.ENDPOINT} can't be reached from here: only models in the hub's cache can be used"
        raise HubError(message, "check the network, or HF_ENDPOINT; sizes are from a table", network=True)
    # Whatever HTTP library huggingface_hub uses: its transport errors are not among huggingface_hub's own.
    transport: tuple[Any, ...] = tuple(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    try:
        # The model's description is public even where its files are gated, hence the HEAD request for a file.
        head = get_hf_file_metadata(hf_hub_url(model, file, revision=revision), timeout=ANSWER_TIMEOUT)
        info = HfApi().model_info(model, revision=revision, files_metadata=True, timeout=ANSWER_TIMEOUT)
    except HfHubHTTPError as error:
        raise _refusal(model, revision, error) from error
    except (OSError, *transport) as error:
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise HubError(f"the hub did not answer for {model}: {text[0]}", "try again later", network=True) from error
    sizes = {one.rfilename: int(one.size or 0) for one in info.siblings or ()}
    # A pipeline's files lie in folders; weights at the top are a second copy, which is not fetched.
    nested = any("/" in name for name in sizes)
    extra = (".safetensors", ".bin", ".ckpt", ".pt", ".gguf")
    needed = (size for name, size in sizes.items() if not (nested and "/" not in name and name.endswith(extra)))
    return HubModel(sum(needed), head.commit_hash or info.sha)


@lru_cache(maxsize=8)
def hub_reachable(url: str, timeout: float = CONNECT_TIMEOUT) -> bool:
    """Whether a server listens at `url`, or at the proxy before it, within `timeout` seconds, name lookup included."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=timeout).close()
            connected.set()
        except OSError:
            return

    # A thread, since no timeout bounds a name lookup; it is not waited for longer.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout)
    return connected.is_set()


def _refusal(model: str, revision: str | None, error: Any) -> HubError:
    """What an HTTP error of the hub means for the user."""
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    status = getattr(error.response, "status_code", None)
    if isinstance(error, GatedRepoError):
        licence = f"accept its licence at https://huggingface.co/{model}, then: hf auth login"
        return HubError(f"{model} is gated, and this account has no access ({status})", licence)
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"{model} has no revision {revision}", "check editor.revision")
    if status in (401, 403):
        hint = "it has expired or may not read this model: hf auth login, or HF_TOKEN"
        return HubError(f"the hub refuses the token for {model} ({status})", hint)
    if status == 404:
        return HubError(f"the hub has no model {model}", "check its name")
    hint = "the hub has a problem: try later, or set another HF_ENDPOINT"
    return HubError(f"the hub can't answer for {model} now ({status})", hint, network=True)
