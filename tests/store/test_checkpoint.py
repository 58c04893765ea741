"""A kill, a torn file or a full disk costs the last checkpoint at most, never the run."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from tests.children import run_in_child

from hpedit.errors import HPEditError
from hpedit.store import atomic, checkpoint
from hpedit.store.checkpoint import find_damage, load_latest, save_checkpoint


def tensors_of(step: int) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(step)
    lora = {name: torch.randn(4, 3, generator=generator) for name in ("a", "b")}
    return {"lora": lora, "optimizer": {"m": torch.full((5,), float(step), dtype=torch.float64)}}


def save(root: Path, step: int, keep: int = 3) -> Path:
    return save_checkpoint(root, step, tensors_of(step), {"step": step, "seen": [1, 2.5, None]}, keep)


def assert_is(root: Path, step: int) -> None:
    loaded = load_latest(root)
    assert loaded is not None
    assert loaded.step == step
    assert loaded.state == {"step": step, "seen": [1, 2.5, None]}
    expected = tensors_of(step)
    assert loaded.tensors.keys() == expected.keys()
    for group, named in expected.items():
        assert loaded.tensors[group].keys() == named.keys()
        for name, value in named.items():
            assert loaded.tensors[group][name].dtype == value.dtype
            assert torch.equal(loaded.tensors[group][name], value)


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there yet"
    assert load_latest(root) is None
    path = save(root, 12)
    assert path == root / "step_000012"
    assert_is(root, 12)


def test_tensors_that_share_memory_or_are_not_contiguous_can_be_saved(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    save_checkpoint(tmp_path, 1, {"w": {"whole": whole, "part": whole[1:], "turned": whole.T}}, {})
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert torch.equal(loaded.tensors["w"]["turned"], whole.T)
    assert torch.equal(loaded.tensors["w"]["part"], whole[1:])


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["step_000004", "step_000005"]


def save_until_killed(root: Path, line_limit: int) -> None:
    """Save step 2 and die by SIGKILL at the `line_limit`-th line of ours."""
    left = line_limit
    ours = {checkpoint.__file__, atomic.__file__}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in ours:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    save(root, 2, keep=1)
    os._exit(0)


@pytest.mark.slow
def test_sigkill_at_every_line_of_a_save(tmp_path: Path) -> None:
    """Real SIGKILLs, one at every line that a save executes; the last good checkpoint loads each time."""
    found: dict[int, int] = {1: 0, 2: 0}
    template = tmp_path / "template"
    save(template, 1)
    for line in range(1, 1000):
        root = shutil.copytree(template, tmp_path / str(line))
        status = run_in_child(save_until_killed, root, line)
        loaded = load_latest(root)
        assert loaded is not None, f"nothing loads after a kill at line {line}"
        assert_is(root, loaded.step)
        found[loaded.step] += 1
        save(root, 3, keep=1)
        assert_is(root, 3)
        assert names(root) == ["step_000003"], f"something is left over after a kill at line {line}"
        shutil.rmtree(root)
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert found[1] > 20, "the sweep must meet the save before its rename"
    assert found[2] > 3, "and after it"


@pytest.mark.slow
def test_sigkill_from_outside_at_any_moment(tmp_path: Path) -> None:
    """Kills that also fall inside the writing of a file: a child saves without end, we kill it again and again."""
    code = (
        "import sys, torch; from hpedit.store.checkpoint import *\n"
        "found = load_latest(sys.argv[1]); step = found.step if found else 0\n"
        "assert found is None or torch.equal(found.tensors['w']['x'], torch.full((300000,), float(step)))\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    step += 1\n"
        "    save_checkpoint(sys.argv[1], step, {'w': {'x': torch.full((300000,), float(step))}}, {'step': step}, 2)\n"
    )
    reached = 0
    for attempt in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.2 + 0.137 * attempt)
        child.kill()
        child.wait()
        loaded = load_latest(tmp_path)
        if loaded is not None:
            assert loaded.step >= reached
            assert torch.equal(loaded.tensors["w"]["x"], torch.full((300000,), float(loaded.step)))
            reached = loaded.step
    assert reached > 0


DAMAGE = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "bit-flipped": lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]),
    "missing": lambda file: file.unlink(),
    "zero-length": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", ["lora.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_damaged_file_is_named_and_the_one_before_loads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, name: str
) -> None:
    save(tmp_path, 1)
    bad = save(tmp_path, 2) / name
    DAMAGE[kind](bad)
    with caplog.at_level(logging.WARNING):
        assert_is(tmp_path, 1)
    assert str(bad) in caplog.text


def test_no_good_one_left_is_said_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (save(tmp_path, 1) / "state.json").write_text("")
    assert load_latest(tmp_path) is None
    assert "none of the 1 checkpoints is whole" in caplog.text


@pytest.mark.parametrize(
    "manifest",
    ["[]", "{}", '{"step": 1, "files": 3}', '{"step": 9, "files": {}}', '{"step": 1, "files": {"../secret": ""}}'],
)
def test_an_invalid_manifest_is_damage_not_a_crash(tmp_path: Path, manifest: str) -> None:
    path = save(tmp_path, 1)
    (path / "manifest.json").write_text(manifest)
    assert "manifest.json" in find_damage(path)
    assert load_latest(tmp_path) is None


def test_leftovers_and_stray_names_are_ignored_then_cleaned(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step_000002.tmp-abc").mkdir()
    (tmp_path / "step_foo").mkdir()
    assert_is(tmp_path, 1)
    save(tmp_path, 2)
    assert names(tmp_path) == ["step_000001", "step_000002", "step_foo"]


def test_saving_over_a_damaged_one_of_the_same_step_mends_it(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "state.json").unlink()
    save(tmp_path, 2)
    assert_is(tmp_path, 2)
    assert names(tmp_path) == ["step_000001", "step_000002"]


def test_saving_the_same_again_changes_nothing(tmp_path: Path) -> None:
    first = save(tmp_path, 2)
    before = (first / "manifest.json").stat().st_ino
    assert save(tmp_path, 2) == first
    assert (first / "manifest.json").stat().st_ino == before
    assert names(tmp_path) == ["step_000002"]


def test_another_checkpoint_of_the_same_step_is_not_overwritten(tmp_path: Path) -> None:
    save(tmp_path, 2)
    with pytest.raises(HPEditError, match="already holds another checkpoint"):
        save_checkpoint(tmp_path, 2, tensors_of(9), {})
    assert_is(tmp_path, 2)
    assert names(tmp_path) == ["step_000002"]


def test_retention_never_deletes_the_only_good_one(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=4)
    for step in (2, 3, 4):
        (tmp_path / f"step_00000{step}" / "state.json").write_text("torn")
    save(tmp_path, 3, keep=1)  # the run fell back to 1 and has come to 3 again; a damaged 4 lies ahead
    assert_is(tmp_path, 3)
    save(tmp_path, 4, keep=2)
    assert_is(tmp_path, 4)
    assert names(tmp_path) == ["step_000003", "step_000004"]


def test_a_failed_delete_does_not_stop_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)

    def fail(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint.shutil, "rmtree", fail)
    save(tmp_path, 2, keep=1)
    assert_is(tmp_path, 2)
    assert "could not be removed" in caplog.text


def test_state_must_be_plain_json(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="not plain JSON"):
        save_checkpoint(tmp_path, 1, {}, {"betas": (0.9, 0.999)})
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path, 1, {}, {"loss": float("nan")})
    assert load_latest(tmp_path) is None


def test_floats_come_back_bit_for_bit(tmp_path: Path) -> None:
    state = {"values": [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0], "big": 2**80}
    path = save_checkpoint(tmp_path, 1, {}, state)
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.state == state
    assert str(loaded.state["values"][4]) == "-0.0"
    assert json.loads((path / "manifest.json").read_text())["step"] == 1
