"""Push a dataset to the Hugging Face hub in one commit; the command can be repeated.

An interrupted push changes nothing visible; the next one uploads only what the hub lacks, and one without changes makes
no commit. Afterwards the hub's folders of the dataset hold exactly the local files: shards of an earlier push are
deleted, other files there (.gitattributes, scripts) stay.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hpedit.cases.dataset.write import CARD, COUNTS, DATA, PLOTS, SHEETS
from hpedit.errors import HPEditError
from hpedit.store.atomic import read_json

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SHARD = re.compile(r"train-(\d{5})-of-(\d{5})\.parquet")
NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pushed:
    """Result of a push."""

    url: str
    """Of the dataset on the hub."""
    commit: str
    """Hash of the newest commit."""
    changed: bool
    """False if the hub was up to date."""
    files: int
    """Of the dataset."""
    deleted: tuple[str, ...]
    """Files of an earlier push that were deleted."""

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"deleted": list(self.deleted)}


def dataset_folder(folder: Path) -> Path:
    """Find a complete, readable dataset in a build's output or in `folder` itself; else HPEditError."""
    found = folder / "dataset" if (folder / "dataset").is_dir() else folder
    if not (found / CARD).is_file() or not (found / COUNTS).is_file():
        raise HPEditError(f"{folder} contains no finished dataset", hint="`hpedit cases build` makes one")
    shards = sorted(path for path in (found / DATA).glob("*.parquet") if SHARD.fullmatch(path.name))
    total = int(SHARD.fullmatch(shards[0].name)[2]) if shards else 0  # type: ignore[index]
    expected = [f"train-{number:05d}-of-{total:05d}.parquet" for number in range(total)]
    if not shards or [path.name for path in shards] != expected:
        raise HPEditError(f"{found / DATA} lacks shards: it has {len(shards)} of {total}", hint="build it again")
    rows = sum(_rows(path) for path in shards)
    if rows != read_json(found / COUNTS)["cases"]:
        raise HPEditError(f"{found} holds {rows} cases, its card states another number", hint="build it again")
    return found


def _rows(path: Path) -> int:
    try:
        rows: int = pq.read_metadata(path).num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise HPEditError(f"{path} is damaged: {error}", hint="build it again") from error
    return rows


def push_dataset(folder: Path, repo: str, *, private: bool = False) -> Pushed:
    """Make the hub's dataset `repo` equal to the local one, in one commit, or none if it is equal already.

    The token is that of HF_TOKEN or `hf auth login`; the hub is huggingface.co or HF_ENDPOINT.

    Args:
        folder: Of a dataset, or the output of a build.
        repo: org/name on the hub; created if missing.
        private: Applies to a created repository only.

    Raises:
        HPEditError: no finished dataset, an invalid name, no write access, or the connection was lost.
    """
    found = dataset_folder(folder)
    if not NAME.fullmatch(repo):
        raise HPEditError(f"invalid dataset name {repo!r}", hint="use org/name")
    with naming_hub_errors(repo):
        return _push(open_hub(), found, repo, private)


@contextmanager
def naming_hub_errors(repo: str) -> Iterator[None]:
    """Turn the hub's refusals and a lost connection into HPEditError with a hint."""
    # The hub's errors derive from those of its HTTP library, which differs between versions.
    from huggingface_hub.errors import HfHubHTTPError

    http = (kind for kind in HfHubHTTPError.__mro__ if kind.__module__.startswith("httpx"))
    # RuntimeError: the hub's client wraps errors of an upload in it.
    lost: tuple[type[BaseException], ...] = (*http, OSError, RuntimeError)
    try:
        yield
    except HfHubHTTPError as error:
        raise _refused(error, repo) from error
    except lost as error:
        cause = error.__cause__ or error
        if isinstance(cause, HfHubHTTPError):
            raise _refused(cause, repo) from error
        raise HPEditError(
            f"the push to {repo} was interrupted: {_line(cause)}",
            hint="repeat the command to resume; nothing is visible on the hub yet",
        ) from error


def open_hub() -> HfApi:
    """The hub's client: of huggingface.co or HF_ENDPOINT, with progress bars on a terminal only."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def _push(api: HfApi, folder: Path, repo: str, private: bool) -> Pushed:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    url = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
    before = api.dataset_info(repo).sha
    files = _files(folder)
    there = set(api.list_repo_files(repo, repo_type="dataset")) - set(files)
    old = sorted(path for path in there if path.partition("/")[0] in (DATA, PLOTS, SHEETS))
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        *(CommitOperationDelete(path) for path in old),
        *(CommitOperationAdd(path, folder / path) for path in files),
    ]
    commit = api.create_commit(
        repo, operations, repo_type="dataset", commit_message=f"Upload {len(files)} files with hpedit cases push"
    )
    return Pushed(str(url), commit.oid, commit.oid != before, len(files), tuple(old))


def _files(folder: Path) -> list[str]:
    """Relative names of the dataset's files, sorted, without hidden ones (temporary files that a kill left)."""
    parts = [folder / CARD, folder / COUNTS]
    for name in (DATA, PLOTS, SHEETS):
        parts += [path for path in (folder / name).glob("*") if path.is_file() and not path.name.startswith(".")]
    return sorted(path.relative_to(folder).as_posix() for path in parts)


def _refused(error: Any, repo: str) -> HPEditError:
    """The hub's refusal as an error with a hint."""
    status = error.response.status_code if error.response is not None else 0
    if status in (401, 403):
        hint = "log in by `hf auth login`, or set HF_TOKEN to a token with write access"
        return HPEditError(f"no write access to {repo} on the hub ({status})", hint=hint)
    if status == 429 or status >= 500:
        return HPEditError(f"the hub could not accept {repo} ({status})", hint="repeat the command later to resume")
    return HPEditError(f"the hub refused {repo}: {_line(error)}")


def _line(error: BaseException) -> str:
    """An error's message in one line."""
    return " ".join(str(error).split()) or type(error).__name__
