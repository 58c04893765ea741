"""A scorer that failed its probe is no reward; one that was not probed is let pass with a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpedit.errors import HPEditError
from hpedit.scorer.probes.gate import PROBE, PROBE_FILES, admit_reward
from hpedit.store.atomic import atomic_write, dump_json
from hpedit.store.run_folder import hash_path

REASON = "more than 20% of a kind do not score below: grid 40%"


def leave(folder: Path, *, passed: bool, scorer: str = "now") -> None:
    reasons = [] if passed else [REASON]
    atomic_write(folder / PROBE, dump_json({"scorer": scorer, "passed": passed, "reasons": reasons}))


def test_a_scorer_that_passed_goes_without_a_word(tmp_path: Path, capsys) -> None:
    leave(tmp_path, passed=True)
    admit_reward(tmp_path, "now", force=False)
    assert capsys.readouterr() == ("", "")


def test_a_scorer_that_failed_is_refused_by_the_names_of_the_kinds(tmp_path: Path) -> None:
    leave(tmp_path, passed=False)
    with pytest.raises(HPEditError, match=r"refused as a reward.*grid 40%") as error:
        admit_reward(tmp_path, "now", force=False)
    assert "scorer_force: true" in error.value.hint


def test_a_scorer_that_failed_can_be_forced_and_it_is_said(tmp_path: Path, capsys) -> None:
    leave(tmp_path, passed=False)
    admit_reward(tmp_path, "now", force=True)
    assert "forced: more than 20%" in capsys.readouterr().err


@pytest.mark.parametrize("passed", [True, False])
def test_a_probe_of_another_fingerprint_does_not_count(tmp_path: Path, capsys, passed: bool) -> None:
    leave(tmp_path, passed=passed, scorer="before")
    admit_reward(tmp_path, "now", force=False)
    assert "was changed after it was probed" in capsys.readouterr().err


def test_a_scorer_that_was_not_probed_is_let_pass_with_one_line(tmp_path: Path, capsys) -> None:
    admit_reward(tmp_path, "now", force=False)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "has not been probed" in told
    assert "hpedit scorer probe" in told


@pytest.mark.parametrize("content", ["", "[]", '{"passed": true}'], ids=["empty", "a list", "no scorer"])
def test_a_damaged_probe_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / PROBE).write_text(content)
    with pytest.raises(HPEditError, match=r"probe\.json"):
        admit_reward(tmp_path, "now", force=False)


def test_a_probe_does_not_make_another_scorer_of_it(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text("{}")
    before = hash_path(tmp_path, PROBE_FILES)
    leave(tmp_path, passed=True)
    assert hash_path(tmp_path, PROBE_FILES) == before
    assert hash_path(tmp_path) != before
