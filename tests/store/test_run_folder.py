"""A run folder continues what is the same, and refuses the rest in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpedit.errors import HPEditError
from hpedit.store.atomic import read_jsonl
from hpedit.store.run_folder import RunFolder, hash_path

RECIPE = {"seed": 0, "train": {"learning_rate": 3e-4, "betas": [0.9, 0.999]}}


def open_run(path: Path, stage: str = "train", **changes: object) -> RunFolder:
    return RunFolder.open(path, stage, RECIPE | changes, {"cases": "abc"})


def test_new_then_finished_then_read_again(tmp_path: Path) -> None:
    with open_run(tmp_path / "a" / "b") as run:
        assert not run.done
        with pytest.raises(HPEditError, match="not finished"):
            run.result()
        run.log("begins")
        run.metrics({"step": 1})
        run.finish({"gain": 0.25})
    with open_run(tmp_path / "a" / "b") as run:
        assert run.done
        assert run.result() == {"gain": 0.25}
        assert (run.path / "log.txt").read_text().endswith("+00:00 begins\n")


def test_a_folder_in_which_nothing_was_made_takes_corrected_settings(tmp_path: Path) -> None:
    open_run(tmp_path / "run").close()
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["seed"] == 0
    open_run(tmp_path / "run", seed=1).close()
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["seed"] == 1


def test_other_settings_are_named_in_one_line(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        run.metrics({"step": 1})
    with pytest.raises(HPEditError, match="seed was 0, is now 1") as caught:
        open_run(tmp_path / "run", seed=1)
    assert "\n" not in caught.value.message
    with pytest.raises(HPEditError, match=r"train\.learning_rate was 0\.0003, is now 0\.1"):
        open_run(tmp_path / "run", train={"learning_rate": 0.1, "betas": [0.9, 0.999]})
    with pytest.raises(HPEditError, match='stage was "train", is now "bench"'):
        open_run(tmp_path / "run", stage="bench")
    with pytest.raises(HPEditError, match="cases has other content"):
        RunFolder.open(tmp_path / "run", "train", RECIPE, {"cases": "other"})
    with pytest.raises(HPEditError, match="and 1 more"):
        open_run(tmp_path / "run", a=1, b=2, c=3, d=4)


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.doc").write_text("years of work")
    with pytest.raises(HPEditError, match=r"not a run folder: it has thesis\.doc"):
        open_run(theirs)
    assert os.listdir(theirs) == ["thesis.doc"]


def test_a_recipe_json_of_another_program_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"flour": 500}')
    with pytest.raises(HPEditError, match="not a recipe of this program"):
        open_run(tmp_path)


def test_what_a_kill_before_the_recipe_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".tmp-k3j").write_text("{")
    assert not open_run(tmp_path).done


@pytest.mark.parametrize("name", ["mit Leerzeichen", "каталог", "日本語", "🙂", "a'b\"c"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    open_run(tmp_path / name).close()
    open_run(tmp_path / name).close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "recipe.json").is_file()


def test_files_links_and_long_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HPEditError, match="is a file"):
        open_run(tmp_path / "file")
    with pytest.raises(HPEditError, match="cannot be used as an output folder"):
        open_run(tmp_path / "file" / "below")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(HPEditError, match="a link to nothing"):
        open_run(tmp_path / "dangling")
    with pytest.raises(HPEditError, match="File name too long"):
        open_run(tmp_path / ("x" * 300))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    open_run(tmp_path / "link").close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(HPEditError, match="Permission denied"):
        open_run(tmp_path / "locked")


def test_two_do_not_share_a_folder(tmp_path: Path) -> None:
    with open_run(tmp_path / "run"), pytest.raises(HPEditError, match="in use by another process"):
        open_run(tmp_path / "run")
    open_run(tmp_path / "run").close()


def test_a_killed_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = (
        "import sys; from hpedit.store.run_folder import RunFolder\n"
        "run = RunFolder.open(sys.argv[1], 'train', {'seed': 0})\n"
        "print('open', flush=True); input()"
    )
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=pipe, stdout=pipe)
    assert child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    with pytest.raises(HPEditError, match="in use by another process"):
        RunFolder.open(tmp_path, "train", {"seed": 0})
    child.kill()
    child.wait()
    RunFolder.open(tmp_path, "train", {"seed": 0}).close()


def test_metrics_after_the_resume_point_are_dropped(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for step in range(1, 6):
            run.metrics({"step": step})
        run.drop_metrics_after(3)
        run.metrics({"step": 4, "again": True})
    assert read_jsonl(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}, {"step": 3}, {"step": 4, "again": True}]


def test_a_hash_follows_content_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "cases"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_text("1")
    first = hash_path(folder)
    assert hash_path(folder / "deep" / "a") != first
    (folder / ".lock").write_text("unseen")
    assert hash_path(folder) == first
    (folder / "deep" / "a").rename(folder / "deep" / "b")
    assert hash_path(folder) != first
    with pytest.raises(HPEditError, match="does not exist"):
        hash_path(tmp_path / "nothing")
