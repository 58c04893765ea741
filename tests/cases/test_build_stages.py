"""What makes a stage stale, and what an error says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpedit.cases.build_stages import Stage, refuse_stale_stages
from hpedit.errors import HPEditError


def chain(out: Path, near: int = 6, sha: str = "x", per_photo: int = 2, place: str = "a") -> list[Stage]:
    """Three stages, each done; a further setting stands in a list."""
    settings: list[dict[str, Any]] = [
        {"duplicates": {"near": near, "exclude": []}},
        {"sources": [{"folder": place}, {"folder": "b"}]},
        {"instructions": {"per_photo": per_photo}},
    ]
    stages: list[Stage] = []
    for number, mine in enumerate(settings, start=1):
        inputs = {"sources[1]": sha} if number == 2 else {}
        stages.append(Stage(f"{number}-s", out, mine, inputs, stages[-1].key if stages else "", ("more",)))
    return stages


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for stage in chain(tmp_path):
        stage.begin()
        (stage.folder / "part.parquet").write_bytes(b"x")
        stage.finish({"n": 1})
    return tmp_path


def test_what_was_not_changed_is_not_stale(out: Path) -> None:
    assert refuse_stale_stages(chain(out), update=False) == []
    assert all(stage.done for stage in chain(out))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"near": 3}, r"stale: 1-s \(duplicates\.near was 6, is 3\) and after it 2-s, 3-s"),
        ({"sha": "y"}, r"stale: 2-s \(sources\[1\] has changed\) and after it 3-s"),
        ({"per_photo": 1}, r"stale: 3-s \(instructions\.per_photo was 2, is 1\)$"),
    ],
)
def test_a_change_names_the_setting_and_all_that_follow(out: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(HPEditError, match=words):
        refuse_stale_stages(chain(out, **change), update=False)
    # Nothing was touched.
    assert refuse_stale_stages(chain(out), update=False) == []


def test_where_an_input_lies_does_not_count(out: Path) -> None:
    assert refuse_stale_stages(chain(out, place="elsewhere/a"), update=False) == []
    with pytest.raises(HPEditError, match=r"stale: 2-s \(sources\[1\] has changed\) and after it 3-s"):
        refuse_stale_stages(chain(out, place="elsewhere/a", sha="y"), update=False)
    with pytest.raises(HPEditError, match=r"stale: 1-s \(duplicates\.near was 6, is 3\) and after it 2-s, 3-s"):
        refuse_stale_stages(chain(out, place="elsewhere/a", near=3), update=False)


def test_update_removes_the_stale_alone(out: Path) -> None:
    called: list[bool] = []
    assert refuse_stale_stages(chain(out, sha="y"), update=True, before=lambda: called.append(True)) == ["2-s", "3-s"]
    assert called
    assert [(out / name / "part.parquet").exists() for name in ("1-s", "2-s", "3-s")] == [True, False, False]
    assert refuse_stale_stages(chain(out, sha="y"), update=False) == []


def test_a_stage_that_was_only_begun_goes_on(tmp_path: Path) -> None:
    first = chain(tmp_path)[0]
    first.begin()
    (first.folder / "part.parquet").write_bytes(b"x")
    assert not first.done
    assert refuse_stale_stages(chain(tmp_path), update=False) == []
    first.begin()
    assert (first.folder / "part.parquet").exists()


def test_several_changes_are_listed_up_to_three(out: Path) -> None:
    stages = chain(out)
    stages[0] = Stage("1-s", out, {"duplicates": {"near": 1, "exclude": ["a"], "x": 1, "y": 2}}, {}, "")
    with pytest.raises(HPEditError, match="and 1 more"):
        refuse_stale_stages(stages, update=False)
