"""Every group can be looked at, and a long run stays small on the disk."""

import io

import numpy as np
import pytest
from PIL import Image
from tests.rl.redness import RednessScorer

from hpedit.rl.monitor.group_log import read_group_log
from hpedit.rl.trainer import train
from hpedit.store.checkpoint import load_latest


@pytest.fixture
def start(make_recipe, tiny_editor, training_cases):
    def run(scorer=None, cases=training_cases, **changes):
        return train(make_recipe(**changes), editor=tiny_editor, cases=cases, scorer=scorer or RednessScorer())

    return run


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_record_has_every_edit_with_its_scores_and_advantage(start, training_cases):
    result = start(log={"groups_every": 2}, scorer=RednessScorer(lambda n, v: None if n == 2 else v))
    groups = read_group_log(result.folder / "groups" / "iteration_000002.parquet")
    assert [len(rows) for rows in groups] == [4, 4]
    sources = {case.id: np.asarray(case.source) for case in training_cases}
    for rows in groups:
        first = rows[0]
        assert (picture(first.sources[0]) == sources[first.case_id]).all(), "small pictures are kept bit for bit"
        assert first.instruction == "make it red"
        used = [row for row in rows if row.state == "used"]
        assert sum(row.advantage for row in used) == pytest.approx(0, abs=1e-6)
        for row in used:
            score = row.scores["scorer"]
            assert score["reward"] == pytest.approx(1 / (1 + np.exp(5 - 2 * score["value"])))
            again = RednessScorer().score([None], [Image.open(io.BytesIO(row.image))], ["x"])[0].value
            assert again == pytest.approx(score["value"])
    [left_out] = [row for rows in groups for row in rows if row.state == "left out"]
    assert left_out.scores["scorer"]["value"] is None
    assert left_out.scores["scorer"]["reason"] == "no answer"


def test_the_first_record_and_the_newest_are_kept(start):
    result = start(train={"iterations": 6}, log={"groups_every": 1, "groups_keep": 3})
    names = [file.stem for file in sorted((result.folder / "groups").iterdir())]
    assert names == ["iteration_000001", "iteration_000005", "iteration_000006"]
    assert load_latest(result.folder / "checkpoints").step == 6


def test_large_pictures_are_reduced(start, make_case):
    cases = [make_case(f"big-{i}", sizes=((512, 512),), seed=i) for i in range(3)]
    result = start(cases=cases, log={"groups_every": 1}, train={"iterations": 1})
    [first, *_] = read_group_log(result.folder / "groups" / "iteration_000001.parquet")
    assert max(picture(first[0].sources[0]).shape) == 384


def test_groups_that_were_replaced_are_recorded_as_such(start):
    class Silent(RednessScorer):
        def score(self, cases, images, edit_ids=None):
            self.answer = lambda _number, value: 3.0 if cases[0].id == "case-0" else value
            return super().score(cases, images, edit_ids)

    result = start(
        scorer=Silent(),
        log={"groups_every": 1},
        rollout={"dynamic_sampling": 1},
        train={"iterations": 4, "micro_batch": 4},
    )
    states = {
        (rows[0].case_id, row.state)
        for file in (result.folder / "groups").iterdir()
        for rows in read_group_log(file)
        for row in rows
    }
    assert ("case-0", "replaced") in states
    assert ("case-1", "replaced") not in states
