"""Bring a dataset to a hub: a command of its own that can be repeated.

What the hub shows is the dataset before or the dataset after, since all files go up in one commit. A push that was
stopped has changed nothing that can be seen; the next one sends only what the hub does not have yet, and one that is
repeated without a change makes no commit. Afterwards the hub's folders of the dataset hold exactly the local files:
shards of an earlier push are deleted, other files there (.gitattributes, a script of one's own) stay.
"""

from __future__ import annotations

import os
import re
import sys
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
    """What a push did."""

    url: str
    """Of the dataset on the hub."""
    commit: str
    """Hash of the newest commit there."""
    changed: bool
    """False where the hub had everything already."""
    files: int
    """Of the dataset."""
    deleted: tuple[str, ...]
    """Files of an earlier push that are no part of it any more."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"deleted": list(self.deleted)}


def dataset_folder(folder: Path) -> Path:
    """The dataset in a build's output, or `folder` itself if it is one, complete and readable; else HPEditError."""
    found = folder / "dataset" if (folder / "dataset").is_dir() else folder
    if not (found / CARD).is_file() or not (found / COUNTS).is_file():
        raise HPEditError(f"{folder} holds no finished dataset", hint="`hpedit cases build` makes one")
    shards = sorted(path for path in (found / DATA).glob("*.parquet") if SHARD.fullmatch(path.name))
    total = int(SHARD.fullmatch(shards[0].name)[2]) if shards else 0  # type: ignore[index]
    expected = [f"train-{number:05d}-of-{total:05d}.parquet" for number in range(total)]
    if not shards or [path.name for path in shards] != expected:
        raise HPEditError(f"{found / DATA} lacks shards: it has {len(shards)} of {total}", hint="build it again")
    rows = sum(_rows(path) for path in shards)
    if rows != read_json(found / COUNTS)["cases"]:
        raise HPEditError(f"{found} holds {rows} cases, its card tells of another number", hint="build it again")
    return found


def _rows(path: Path) -> int:
    try:
        rows: int = pq.read_metadata(path).num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise HPEditError(f"{path} is damaged: {error}", hint="build it again") from error
    return rows


def push_dataset(folder: Path, repo: str, *, private: bool = False) -> Pushed:
    """Make the hub's dataset `repo` equal to the local one, in one commit, or in none if it is equal already.

    The token is the one of the environment (HF_TOKEN) or of `hf auth login`; the hub is huggingface.co, or the one in
    HF_ENDPOINT.

    Args:
        folder: Of a dataset, or the output of a build.
        repo: Its name there: org/name. It is made if it is not there.
        private: Of a repository that is made; one that is there stays as it is.

    Raises:
        HPEditError: no finished dataset, a bad name, no right to write there, or the connection was lost.
    """
    found = dataset_folder(folder)
    if not NAME.fullmatch(repo):
        raise HPEditError(f"{repo!r} is no name of a dataset on a hub", hint="write it as org/name")
    # The hub's errors derive from those of the HTTP library that it uses, which differs between its versions.
    from huggingface_hub.errors import HfHubHTTPError

    http = (kind for kind in HfHubHTTPError.__mro__ if kind.__module__.startswith("httpx"))
    # RuntimeError: the hub's client wraps what happens while a file is sent.
    lost: tuple[type[BaseException], ...] = (*http, OSError, RuntimeError)
    try:
        return _push(_api(), found, repo, private)
    except HfHubHTTPError as error:
        raise _refused(error, repo) from error
    except lost as error:
        cause = error.__cause__ or error
        if isinstance(cause, HfHubHTTPError):
            raise _refused(cause, repo) from error
        raise HPEditError(
            f"the push to {repo} was interrupted: {_line(cause)}",
            hint="the same command goes on; nothing of it is visible on the hub yet",
        ) from error


def _api() -> HfApi:
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
    old = sorted(path for path in api.list_repo_files(repo, repo_type="dataset") if _ours(path) and path not in files)
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        *(CommitOperationDelete(path) for path in old),
        *(CommitOperationAdd(path, folder / path) for path in files),
    ]
    commit = api.create_commit(
        repo, operations, repo_type="dataset", commit_message=f"Upload {len(files)} files with hpedit cases push"
    )
    return Pushed(str(url), commit.oid, commit.oid != before, len(files), tuple(old))


def _files(folder: Path) -> list[str]:
    """The dataset's files, relative, sorted. Hidden ones (a temporary file that a kill left) are none of it."""
    parts = [folder / CARD, folder / COUNTS]
    for name in (DATA, PLOTS, SHEETS):
        parts += [path for path in (folder / name).glob("*") if path.is_file() and not path.name.startswith(".")]
    return sorted(path.relative_to(folder).as_posix() for path in parts)


def _ours(path: str) -> bool:
    """Whether a file on the hub lies where a push puts files."""
    return path.partition("/")[0] in (DATA, PLOTS, SHEETS)


def _refused(error: Any, repo: str) -> HPEditError:
    """The hub's answer as an error that can be mended."""
    status = error.response.status_code if error.response is not None else 0
    if status in (401, 403):
        return HPEditError(
            f"the hub refuses to let {repo} be written ({status})",
            hint="log in by `hf auth login`, or set HF_TOKEN to a token with the right to write there",
        )
    if status == 429 or status >= 500:
        return HPEditError(f"the hub could not take {repo} now ({status})", hint="the same command goes on, try later")
    return HPEditError(f"the hub refused {repo}: {_line(error)}")


def _line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
