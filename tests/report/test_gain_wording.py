"""The words follow the intervals."""

import pytest

from hpedit.report.gain_wording import control_sentence, gain_sentence, headline
from hpedit.stats.intervals import Interval


def summary(oracle, scorer):
    pairs = (("oracle", oracle), ("scorer", scorer))
    return {name: {"gain": {"mean": sum(ci) / 2, "ci95": list(ci)}} if ci else None for name, ci in pairs}


UP, DOWN, NONE = (0.1, 0.3), (-0.3, -0.1), (-0.1, 0.2)


@pytest.mark.parametrize(
    ("oracle", "scorer", "words", "tone"),
    [
        (UP, UP, "made the edits better", "good"),
        (UP, NONE, "does not see it clearly", "good"),
        (NONE, UP, "please the scorer", "bad"),
        (DOWN, UP, "please the scorer", "bad"),
        (DOWN, DOWN, "worse by the oracle", "bad"),
        (NONE, NONE, "No clear change", "warn"),
        (None, UP, "no judge independent of training", "warn"),
        (None, DOWN, "scores the edits lower", "bad"),
        (None, None, "not measured", "warn"),
    ],
)
def test_the_headline_trusts_the_oracle_before_the_scorer(oracle, scorer, words, tone):
    verdict = headline(summary(oracle, scorer))
    assert words in verdict.text
    assert verdict.tone == tone


def test_no_interval_no_claim():
    gain = Interval.read({"gain": {"mean": 0.4, "ci95": [None, None]}}, "gain")
    assert "shows nothing" in gain_sentence(gain).text
    assert headline({"oracle": {"gain": {"mean": 0.4, "ci95": [None, None]}}}).tone == "warn"


@pytest.mark.parametrize("node", [None, {}, {"mean": None}, {"mean": float("nan")}, {"mean": True}, 3.0])
def test_what_is_no_estimate_is_none(node):
    assert Interval.read({"gain": node}, "gain") is None


@pytest.mark.parametrize(
    ("ahead", "words"), [(UP, "more than unfinished training"), (DOWN, "behind it"), (NONE, "no clear difference")]
)
def test_the_control_is_judged_by_the_difference(ahead, words):
    mean = sum(ahead) / 2
    control = {"gain": {"mean": 0.0, "ci95": [-0.1, 0.1]}, "post_minus_control": {"mean": mean, "ci95": list(ahead)}}
    assert words in control_sentence({"control": control}).text
    assert control_sentence({}).text == "not measured"


def test_few_photos_and_a_gain_that_is_not_clear_make_no_claim():
    few = {"mean": 0.2, "ci95": list(UP), "photos": 5, "clear": False}
    unclear = few | {"photos": 40}
    words = "not enough photos (5; a verdict needs 8)"
    assert words in gain_sentence(Interval.read(few)).text
    assert headline({"oracle": {"gain": few}}).text.lower().startswith(words)
    assert headline({"scorer": {"gain": few}}).text.lower().startswith(words)
    assert words in control_sentence({"control": {"gain": few, "post_minus_control": few}}).text
    assert "chance among so many figures" in gain_sentence(Interval.read(unclear)).text
    assert headline({"oracle": {"gain": unclear}}).text == "No clear change by the oracle."
    assert "no clear difference" in control_sentence({"control": {"gain": unclear, "post_minus_control": unclear}}).text
