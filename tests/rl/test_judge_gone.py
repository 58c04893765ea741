"""A judge's server that dies while a run trains."""

import time

import pytest
from tests.judges.servers import GOOD, reset, serving

from hpedit.errors import HPEditError
from hpedit.judges.endpoints import Endpoints
from hpedit.judges.openai_judge import OpenAIJudge
from hpedit.judges.protocol import IMAGE, Question
from hpedit.records import Score
from hpedit.rl.trainer import train
from hpedit.store.checkpoint import load_latest


class Asks:
    """A scorer that asks a judge over HTTP about each edit; the edit's place makes the difference within a group."""

    fingerprint = "asks"

    def __init__(self, url):
        endpoints = Endpoints([url], failures=2, cooldown=0.1)
        self.judge = OpenAIJudge("m", [url], endpoints=endpoints, timeout=5.0, attempts=10, backoff=0.001)

    def score(self, _cases, images, edit_ids):
        answers = self.judge.ask([Question(("How good is ", IMAGE), (image,), "?") for image in images])
        return [
            Score(name, self.fingerprint, answer.expected * (place % 3) / 3)
            for place, (name, answer) in enumerate(zip(edit_ids, answers, strict=True))
        ]


def test_a_judge_that_dies_mid_step_stops_the_run_with_address_and_last_words(
    make_recipe, tiny_editor, training_cases, tmp_path
):
    recipe = make_recipe(train={"iterations": 3})
    began = time.monotonic()
    # Eight edits an iteration: it dies in the second.
    with serving(*[GOOD] * 12, reset, models=reset) as server:
        with pytest.raises(HPEditError, match="no server of the judge answers any more") as caught:
            train(recipe, editor=tiny_editor, cases=training_cases, scorer=Asks(server.url))
        assert server.url in caught.value.message
        assert "Their last words" in caught.value.message
    assert time.monotonic() - began < 60
    assert load_latest(tmp_path / "run" / "checkpoints").step == 1
    with serving(GOOD) as server:
        result = train(recipe, editor=tiny_editor, cases=training_cases, scorer=Asks(server.url))
    assert [record["step"] for record in result.metrics] == [1, 2, 3]
