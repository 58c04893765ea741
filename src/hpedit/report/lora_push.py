"""Push a trained LoRA with its model card to the Hugging Face hub in one commit; the command can be repeated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpedit.cases.dataset.push import NAME, naming_hub_errors, open_hub
from hpedit.editors.lora import WEIGHTS_NAME
from hpedit.editors.lora_files import COMFYUI_NAME
from hpedit.errors import HPEditError
from hpedit.report.lora_card import CARD, FinishedLora, render_lora_card

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def push_lora(path: Path, repo: str, *, licence: str | None = None, private: bool = False) -> dict[str, Any]:
    """Put card and LoRA of a run into the hub's model repository `repo`; other files there stay.

    The card is the README.md in the run's folder if there is one (`hpedit lora card`, perhaps edited), else it is
    written anew. The token is that of HF_TOKEN or `hf auth login`; the hub is huggingface.co or HF_ENDPOINT.

    Args:
        path: Folder of `hpedit train` or `hpedit run`.
        repo: org/name on the hub; created if missing.
        licence: Of the LoRA; only for a card that is not written yet.
        private: Applies to a created repository only.

    Returns:
        The repository's url, the newest commit, whether it changed, and the files.

    Raises:
        HPEditError: no finished LoRA, a licence for a card that is there, an invalid name, no write access, or the
            connection was lost.
    """
    run = FinishedLora.open(path)
    if not NAME.fullmatch(repo):
        raise HPEditError(f"invalid model name {repo!r}", hint="use org/name")
    written = path / CARD
    if written.is_file() and licence:
        raise HPEditError(f"{written} states the licence already", hint="edit it there, or remove the file")
    text = written.read_bytes() if written.is_file() else render_lora_card(run, licence=licence, repo=repo).encode()
    with naming_hub_errors(repo):
        return _push(open_hub(), run, text, repo, private)


def _push(api: HfApi, run: FinishedLora, card: bytes, repo: str, private: bool) -> dict[str, Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    url = api.create_repo(repo, private=private, exist_ok=True)
    before = api.model_info(repo).sha
    names = [name for name in (WEIGHTS_NAME, COMFYUI_NAME) if (run.lora / name).is_file()]
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        CommitOperationAdd(CARD, card),
        *(CommitOperationAdd(name, run.lora / name) for name in names),
    ]
    commit = api.create_commit(repo, operations, commit_message="Upload the LoRA with hpedit lora push")
    return {"url": str(url), "commit": commit.oid, "changed": commit.oid != before, "files": [CARD, *names]}
