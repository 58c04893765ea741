"""Pushing a dataset to a hub: one commit, repeatable, whatever stops it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from tests.cases.dataset.hub import TOKEN, Hub, connected, running
from tests.cases.dataset.test_dataset import build
from typer.testing import CliRunner

from hpedit.cases.dataset.push import push_dataset
from hpedit.cli import app
from hpedit.errors import HPEditError

REPO = "someone/mine"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client in this process talks to."""
    with connected(monkeypatch) as found:
        yield found


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return build(tmp_path / "out" / "dataset")


def local(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def visible(hub: Hub) -> dict[str, bytes]:
    return {name: data for name, data in hub.files[REPO].items() if name != ".gitattributes"}


def test_the_command_puts_the_dataset_on_the_hub(hub: Hub, dataset: Path) -> None:
    result = CliRunner().invoke(app, ["cases", "push", str(dataset.parent), "--repo", REPO, "--private", "--json"])
    assert result.exit_code == 0, result.output
    done = json.loads(result.stdout)
    assert (done["url"], done["changed"], done["files"]) == (f"{hub.url}/datasets/{REPO}", True, 8)
    assert visible(hub) == local(dataset)
    assert ".gitattributes" in hub.files[REPO]
    assert hub.private == {REPO: True}
    assert len(hub.commits) == 1
    assert TOKEN not in result.output


def test_pushed_again_it_sends_nothing_and_makes_no_commit(hub: Hub, dataset: Path) -> None:
    first = push_dataset(dataset, REPO)
    sent = len(hub.received)
    again = push_dataset(dataset, REPO)
    assert (again.changed, again.commit) == (False, first.commit)
    assert (len(hub.received), len(hub.commits)) == (sent, 1)


def test_connection_cut_in_the_middle_and_the_push_repeated(hub: Hub, dataset: Path) -> None:
    hub.cut_after = 2
    with pytest.raises(HPEditError, match="interrupted") as error:
        push_dataset(dataset, REPO)
    assert "repeat the command to resume" in error.value.hint
    assert visible(hub) == {}
    hub.cut_after = None
    before = list(hub.received)
    assert len(before) == 2
    push_dataset(dataset, REPO)
    assert visible(hub) == local(dataset)
    assert len(hub.commits) == 1
    # No large file was sent twice.
    assert len(set(hub.received)) == len(hub.received) == 6
    assert hub.received[:2] == before


def test_the_answer_to_the_commit_is_lost_and_the_push_repeated(hub: Hub, dataset: Path) -> None:
    hub.cut_answers = True
    with pytest.raises(HPEditError, match="interrupted"):
        push_dataset(dataset, REPO)
    hub.cut_answers = False
    assert push_dataset(dataset, REPO).changed is False
    assert visible(hub) == local(dataset)
    assert len(hub.commits) == 1


@pytest.mark.slow
def test_killed_while_a_file_is_sent_and_the_command_repeated(dataset: Path) -> None:
    with running() as hub:
        names = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-m", "hpedit", "cases", "push", str(dataset), "--repo", REPO]
        hub.cut_after, hub.hold = 1, threading.Event()
        child = subprocess.Popen(command, env=os.environ | names, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert hub.hold.wait(300), "nothing was sent"
        finally:
            child.kill()
            ended = child.wait()
        assert ended == -signal.SIGKILL
        assert visible(hub) == {}
        hub.cut_after, hub.hold = None, None
        done = subprocess.run(command, env=os.environ | names, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert visible(hub) == local(dataset)
        assert len(hub.commits) == 1


def test_shards_of_an_earlier_push_go_and_files_of_others_stay(hub: Hub, dataset: Path) -> None:
    push_dataset(dataset, REPO)
    hub.files[REPO] |= {"data/train-00000-of-00009.parquet": b"old", "notes.md": b"mine"}
    done = push_dataset(dataset, REPO)
    assert done.deleted == ("data/train-00000-of-00009.parquet",)
    assert visible(hub) == local(dataset) | {"notes.md": b"mine"}


def test_a_temporary_file_that_a_kill_left_is_not_pushed(hub: Hub, dataset: Path) -> None:
    (dataset / "data" / ".tmp-x.parquet").write_bytes(b"half")
    push_dataset(dataset, REPO)
    assert not [name for name in visible(hub) if ".tmp" in name]


def test_without_the_right_to_write_it_says_how_to_get_it(
    hub: Hub, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HPEditError, match="401") as error:
        push_dataset(dataset, REPO)
    assert "hf auth login" in error.value.hint
    assert "hf_wrong" not in error.value.message
    assert hub.files == {}


def test_a_hub_in_trouble_is_told_apart(hub: Hub, dataset: Path) -> None:
    hub.status = 503
    with pytest.raises(HPEditError, match=r"could not accept someone/mine \(503\)"):
        push_dataset(dataset, REPO)


def test_offline_and_nobody_there(hub: Hub, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HPEditError, match="interrupted"):
        push_dataset(dataset, REPO)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HPEditError, match="offline mode"):
        push_dataset(dataset, REPO)
    assert hub.files == {}


@pytest.mark.parametrize("name", ["mine", "a/b/c", "a b/c", "../x", "/x", "", "ä/b"])
def test_a_bad_name_is_refused_before_anything_is_asked(dataset: Path, name: str) -> None:
    with pytest.raises(HPEditError, match="invalid dataset name"):
        push_dataset(dataset, name)


def test_what_is_no_finished_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="no finished dataset"):
        push_dataset(tmp_path, REPO)
    shard = dataset / "data" / "train-00001-of-00003.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-20])
    with pytest.raises(HPEditError, match="is damaged"):
        push_dataset(dataset, REPO)
    shard.unlink()
    with pytest.raises(HPEditError, match="it has 2 of 3"):
        push_dataset(dataset, REPO)
    shutil.copy(dataset / "data" / "train-00000-of-00003.parquet", shard)
    (dataset / "data" / "train-00002-of-00003.parquet").write_bytes(whole)
    with pytest.raises(HPEditError, match="12 cases"):
        push_dataset(dataset, REPO)
