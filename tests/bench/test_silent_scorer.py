"""A scorer that its own fit found to have no signal: its figures are shown and nothing is concluded from them."""

from hpedit.bench.verdict import verdict_of


def instrument(title, low, high, *, independent=False, doubt=""):
    gain = {"mean": (low + high) / 2, "ci95": [low, high]}
    overall = {"models": {"new": {"gain": gain}}}
    return {"title": title, "independent": independent, "overall": overall, "doubt": doubt}


def test_a_scorer_without_signal_says_nothing():
    silent = instrument("HP-Scorer", 0.1, 0.2, doubt="correlation is -0.1")
    assert "no signal" in verdict_of([silent], "new").text
    assert verdict_of([silent], "new").tone == "warn"
    unrated = {"title": "People", "independent": True, "overall": {"models": {}}}
    assert "no signal" in verdict_of([silent, unrated], "new").text
    people = instrument("People", 0.1, 0.2, independent=True)
    assert verdict_of([silent, people], "new").text == "Better edits: people see it."


def test_a_scorer_with_signal_is_heard():
    assert "scores the edits higher" in verdict_of([instrument("HP-Scorer", 0.1, 0.2)], "new").text
